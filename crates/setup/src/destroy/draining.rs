//! Decides whether the pipeline is empty, so that the flow can be removed without losing events.
//!
//! The webhook is disabled first. Then the services deliver the records that are in Kafka, and only then is the flow
//! removed. The sink commits an offset only after the record has a durable outcome, so a lag of 0 means that no record
//! is in flight.

use super::DestroyPermit;

/// Records and consumers that are still in the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Number of records that the transformer or the sink has not processed yet.
    pub lag: u64,
    /// Number of members of the transformer's and the sink's consumer group.
    pub members: usize,
    /// Number of unresolved dead letters.
    pub unresolved: u64,
}

/// A reason why the flow cannot be removed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undrained {
    /// Records in Kafka are not sent to Platform yet.
    #[error(
        "{0} records in Kafka are not delivered yet: let the transformers and sinks run until they have delivered \
         them (`customerio-aep status` shows the lag)"
    )]
    Lag(u64),
    /// Dead letters are not resolved.
    #[error(
        "{0} dead letters are unresolved: replay or discard them (`customerio-aep dead-letters list`), or give them \
         up with --abandon {0}"
    )]
    Unresolved(u64),
    /// Services are running.
    #[error(
        "the consumer groups have {0} members: stop the services first, the sinks last, after they have delivered what \
         is in Kafka"
    )]
    Members(usize),
}

impl Traffic {
    /// The reasons why the flow cannot be removed yet, in the order in which a person resolves them. Empty if the flow
    /// can be removed.
    #[must_use]
    pub fn undrained(self, permit: &DestroyPermit) -> Vec<Undrained> {
        let lag = (self.lag > 0).then_some(Undrained::Lag(self.lag));
        let unresolved = (self.unresolved > permit.abandon).then_some(Undrained::Unresolved(self.unresolved));
        let members = (self.members > 0).then_some(Undrained::Members(self.members));
        [lag, unresolved, members].into_iter().flatten().collect()
    }
}

/// Proof that [`Drained::check`] found no reason to keep the flow.
#[derive(Debug)]
pub struct Drained(());

impl Drained {
    /// Checks the traffic that was read after the webhooks were disabled. `None` is accepted: either the plan does not
    /// remove the flow, or Kafka is not part of the set-up, and a person has confirmed a plan with a note about that.
    ///
    /// # Errors
    /// The reasons why the flow cannot be removed yet.
    pub fn check(traffic: Option<Traffic>, permit: &DestroyPermit) -> Result<Self, Vec<Undrained>> {
        let undrained = traffic.map(|traffic| traffic.undrained(permit)).unwrap_or_default();
        if undrained.is_empty() { Ok(Self(())) } else { Err(undrained) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_can_be_removed_only_without_lag_dead_letters_and_group_members() {
        let permit = DestroyPermit::default();
        let undrained = |traffic: Traffic| traffic.undrained(&permit);
        let busy = Traffic { lag: 7, members: 2, unresolved: 3 };
        assert_eq!(undrained(busy), [Undrained::Lag(7), Undrained::Unresolved(3), Undrained::Members(2)]);
        assert!(Drained::check(Some(busy), &permit).is_err());
        assert!(Drained::check(Some(Traffic { lag: 1, ..Traffic::default() }), &permit).is_err());
        assert!(Drained::check(Some(Traffic::default()), &permit).is_ok());
        assert!(Drained::check(None, &permit).is_ok(), "without Kafka, there is no traffic to check");
    }

    #[test]
    fn only_unresolved_dead_letters_can_be_abandoned() {
        let permit = DestroyPermit { abandon: 3, ..DestroyPermit::default() };
        assert!(Drained::check(Some(Traffic { unresolved: 3, ..Traffic::default() }), &permit).is_ok());
        let more = Traffic { lag: 1, members: 1, unresolved: 4 };
        assert_eq!(more.undrained(&permit).len(), 3);
        assert!(Undrained::Unresolved(4).to_string().contains("--abandon 4"));
    }
}
