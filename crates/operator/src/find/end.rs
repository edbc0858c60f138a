//! Determines whether events have ended, and with which result.

use super::timeline::{State, Timeline};

/// Result of an event that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Platform accepted the event, or the event is a duplicate of one that was delivered before.
    Accepted,
    /// The event was not accepted: it is a dead letter, a test webhook of `check`, or has no known outcome.
    NotAccepted,
}

impl State {
    /// Returns the result of the event; `None` while a service still has to process it.
    #[must_use]
    pub fn end(self) -> Option<End> {
        match self {
            Self::Accepted | Self::AcceptedInferred | Self::Duplicate => Some(End::Accepted),
            Self::RejectedAfterAcceptance
            | Self::DeadLetter
            | Self::Discarded
            | Self::WithoutReceipt
            | Self::Check
            | Self::Unknown => Some(End::NotAccepted),
            Self::WaitingForTransformer | Self::WaitingForSink => None,
        }
    }
}

/// Returns `Accepted` if all events were accepted, else `NotAccepted`; `None` if there are no events, or if an event
/// has no result yet.
#[must_use]
pub fn end_of_all(timelines: &[Timeline]) -> Option<End> {
    let ends: Option<Vec<End>> = timelines.iter().map(|timeline| timeline.state.end()).collect();
    let ends = ends.filter(|ends| !ends.is_empty())?;
    Some(if ends.contains(&End::NotAccepted) { End::NotAccepted } else { End::Accepted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(states: &[State]) -> Option<End> {
        let timeline = |&state: &State| Timeline { event_id: None, state, steps: Vec::new(), is_complete: true };
        end_of_all(&states.iter().map(timeline).collect::<Vec<_>>())
    }

    #[test]
    fn events_have_a_common_result_once_none_of_them_waits_for_a_service() {
        assert_eq!(all(&[]), None);
        assert_eq!(all(&[State::Accepted, State::AcceptedInferred]), Some(End::Accepted));
        assert_eq!(all(&[State::Accepted, State::DeadLetter]), Some(End::NotAccepted));
        assert_eq!(all(&[State::DeadLetter, State::WaitingForSink]), None);
        assert_eq!(all(&[State::WaitingForTransformer]), None);
        for state in
            [State::RejectedAfterAcceptance, State::Discarded, State::WithoutReceipt, State::Check, State::Unknown]
        {
            assert_eq!(all(&[state]), Some(End::NotAccepted), "{state:?}");
        }
    }
}
