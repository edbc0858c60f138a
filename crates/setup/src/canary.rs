//! Decides from the gateways' counters whether the gateways accept Customer.io's webhooks. The command
//! `setup webhook canary` uses this method in networks from which the public URL cannot be called. In all other
//! networks, a signed request through the public URL ([`crate::round_trip`]) verifies the same.
//!
//! This module contains only pure functions; [`crate::switch`] reads the counters and changes the webhook.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counters of one gateway's responses to the webhooks of one source, since the gateway's process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Number of 202 responses: the signature was valid, and the webhook is stored.
    pub stored: u64,
    /// Number of 401 responses: the signature was refused.
    pub refused: u64,
    /// Number of all other responses, such as 413 and 503.
    #[serde(default)]
    pub other: u64,
}

impl Counts {
    /// Responses since `earlier`. If a count is smaller than in `earlier`, the gateway's process has restarted, and all
    /// its responses are later than `earlier`.
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

/// The counters of each gateway, by the gateway's admin address.
pub type GatewayCounts = BTreeMap<String, Counts>;

/// The decision that follows from the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No gateway has answered 202 or 401 yet, so it is unknown whether the signing key is correct.
    Wait {
        /// Number of responses other than 202 and 401 since the start.
        other: u64,
    },
    /// A gateway stored an authentic webhook, and no gateway refused a signature: all wanted events can be enabled.
    Widen {
        /// Admin address of the gateway that stored the webhook.
        gateway: String,
    },
    /// A gateway refused a signature: the webhook must be disabled.
    Disable {
        /// Admin address of the gateway that refused the webhook.
        gateway: String,
    },
}

/// Compares the counters at the start of the canary with the current ones. A gateway that is not in `start` counts from
/// zero. A refused signature takes precedence over stored webhooks.
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
    fn the_canary_waits_while_no_webhook_is_stored_or_refused() {
        let start = counts(&[("a", 7, 3), ("b", 0, 0)]);
        assert_eq!(decide(&start, &start), Decision::Wait { other: 0 });
        assert_eq!(decide(&start, &GatewayCounts::new()), Decision::Wait { other: 0 }, "no gateway responds");
        let mut busy = start.clone();
        busy.get_mut("b").unwrap().other = 2;
        assert_eq!(decide(&start, &busy), Decision::Wait { other: 2 });
    }

    #[test]
    fn one_stored_webhook_widens_the_canary_unless_another_was_refused() {
        let start = counts(&[("a", 7, 3), ("b", 0, 0)]);
        let stored = counts(&[("a", 7, 3), ("b", 1, 0)]);
        assert_eq!(decide(&start, &stored), Decision::Widen { gateway: "b".to_owned() });
        let refused = counts(&[("a", 7, 4), ("b", 0, 0)]);
        assert_eq!(decide(&start, &refused), Decision::Disable { gateway: "a".to_owned() });
        let both = counts(&[("a", 7, 4), ("b", 9, 0)]);
        assert_eq!(
            decide(&start, &both),
            Decision::Disable { gateway: "a".to_owned() },
            "a refused signature takes precedence"
        );
    }

    #[test]
    fn a_restarted_or_new_gateway_counts_from_zero() {
        let start = counts(&[("a", 7, 3)]);
        assert_eq!(decide(&start, &counts(&[("a", 0, 0)])), Decision::Wait { other: 0 });
        assert_eq!(decide(&start, &counts(&[("a", 1, 0)])), Decision::Widen { gateway: "a".to_owned() });
        assert_eq!(decide(&start, &counts(&[("a", 9, 1)])), Decision::Disable { gateway: "a".to_owned() });
        let new = counts(&[("a", 7, 3), ("c", 0, 1)]);
        assert_eq!(decide(&start, &new), Decision::Disable { gateway: "c".to_owned() });
    }
}
