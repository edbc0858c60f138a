//! A canary decides by the gateways' own counters whether Customer.io's webhooks are accepted. It is for a network from
//! which the public URL cannot be called, so that a signed round trip proves nothing.
//!
//! Only functions of values are here; [`crate::switch`] reads the counters and changes the webhook.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The responses of one gateway to the webhooks of one source, since its process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// 202: the signature was authentic, and the webhook is stored.
    pub stored: u64,
    /// 401: the signature was refused.
    pub refused: u64,
    /// Every other response, such as 413 and 503.
    #[serde(default)]
    pub other: u64,
}

impl Counts {
    /// The responses since `earlier`. A smaller count means that the process has started again since.
    fn since(self, earlier: Self) -> Self {
        let is_restarted = self.stored < earlier.stored || self.refused < earlier.refused || self.other < earlier.other;
        if is_restarted {
            return self;
        }
        Self {
            stored: self.stored - earlier.stored,
            refused: self.refused - earlier.refused,
            other: self.other - earlier.other,
        }
    }
}

/// The counts of each gateway, by its admin address.
pub type GatewayCounts = BTreeMap<String, Counts>;

/// What a look at the counters leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No webhook has arrived yet, or none that shows whether the signing key is right.
    Wait {
        /// Responses other than 202 and 401 since the start.
        other: u64,
    },
    /// An authentic webhook is stored, and none was refused: all events can follow.
    Widen {
        /// The gateway.
        gateway: String,
    },
    /// A gateway has refused a signature: no more webhooks must be sent to it.
    Disable {
        /// The gateway.
        gateway: String,
    },
}

/// Decides by the counts at the start of the canary and those of now. A gateway that was not there at the start counts
/// from zero. A refusal wins, whatever else has arrived.
#[must_use]
pub fn decide(start: &GatewayCounts, now: &GatewayCounts) -> Decision {
    let since = |address: &String, counts: &Counts| counts.since(start.get(address).copied().unwrap_or_default());
    let grown: Vec<(&String, Counts)> = now.iter().map(|(address, counts)| (address, since(address, counts))).collect();
    let first = |has: fn(&Counts) -> bool| grown.iter().find(|(_, counts)| has(counts)).map(|(at, _)| (*at).clone());
    if let Some(gateway) = first(|counts| counts.refused > 0) {
        return Decision::Disable { gateway };
    }
    match first(|counts| counts.stored > 0) {
        Some(gateway) => Decision::Widen { gateway },
        None => Decision::Wait { other: grown.iter().map(|(_, counts)| counts.other).sum() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64, u64)]) -> GatewayCounts {
        let counts = |stored, refused| Counts { stored, refused, other: 0 };
        of.iter().map(|(at, stored, refused)| ((*at).to_owned(), counts(*stored, *refused))).collect()
    }

    #[test]
    fn it_waits_until_a_counter_moves() {
        let start = counts(&[("a", 7, 3), ("b", 0, 0)]);
        assert_eq!(decide(&start, &start), Decision::Wait { other: 0 });
        assert_eq!(decide(&start, &GatewayCounts::new()), Decision::Wait { other: 0 }, "no gateway responds");
        let mut busy = start.clone();
        busy.get_mut("b").unwrap().other = 2;
        assert_eq!(decide(&start, &busy), Decision::Wait { other: 2 });
    }

    #[test]
    fn the_first_stored_webhook_widens_and_the_first_refused_one_disables() {
        let start = counts(&[("a", 7, 3), ("b", 0, 0)]);
        let stored = counts(&[("a", 7, 3), ("b", 1, 0)]);
        assert_eq!(decide(&start, &stored), Decision::Widen { gateway: "b".to_owned() });
        let refused = counts(&[("a", 7, 4), ("b", 0, 0)]);
        assert_eq!(decide(&start, &refused), Decision::Disable { gateway: "a".to_owned() });
        let both = counts(&[("a", 7, 4), ("b", 9, 0)]);
        assert_eq!(decide(&start, &both), Decision::Disable { gateway: "a".to_owned() }, "a refusal wins");
    }

    #[test]
    fn a_gateway_that_starts_again_or_is_new_counts_from_zero() {
        let start = counts(&[("a", 7, 3)]);
        assert_eq!(decide(&start, &counts(&[("a", 0, 0)])), Decision::Wait { other: 0 });
        assert_eq!(decide(&start, &counts(&[("a", 1, 0)])), Decision::Widen { gateway: "a".to_owned() });
        assert_eq!(decide(&start, &counts(&[("a", 9, 1)])), Decision::Disable { gateway: "a".to_owned() });
        let new = counts(&[("a", 7, 3), ("c", 0, 1)]);
        assert_eq!(decide(&start, &new), Decision::Disable { gateway: "c".to_owned() });
    }
}
