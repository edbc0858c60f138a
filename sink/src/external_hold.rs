//! Holds that do not come from Platform's responses: an operator holds the sink, or Platform's schema lacks a field.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use service::OperatorHold;

/// Interval at which the sink checks whether an external hold has ended.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The reason for a hold that does not come from Platform's responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExternalHold {
    /// An operator holds the sink with `customerio-aep setup sink hold`.
    Operator,
    /// Platform's schema lacks a field, or got the field only recently.
    Schema,
}

impl ExternalHold {
    pub(crate) const ALL: [Self; 2] = [Self::Operator, Self::Schema];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Schema => "schema",
        }
    }
}

/// The state of all external holds. Cheap to clone; all clones share the state.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExternalHolds {
    operator: OperatorHold,
    schema: Arc<AtomicBool>,
    /// Whether the first comparison of the schema still delays the first request.
    comparing: Arc<AtomicBool>,
}

/// The holds that the metrics show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ShownHolds([bool; ExternalHold::ALL.len()]);

impl ExternalHolds {
    pub(crate) fn new(operator: OperatorHold) -> Self {
        Self { operator, ..Self::default() }
    }

    /// Sets whether the sink holds because of Platform's schema.
    pub(crate) fn set_schema(&self, held: bool) {
        self.schema.store(held, Ordering::Relaxed);
    }

    /// Sets whether the first comparison of the schema delays the first request.
    pub(crate) fn set_comparing(&self, comparing: bool) {
        self.comparing.store(comparing, Ordering::Relaxed);
    }

    /// Whether the first comparison of the schema delays the first request.
    pub(crate) fn is_comparing(&self) -> bool {
        self.comparing.load(Ordering::Relaxed)
    }

    /// Whether no request may be started.
    pub(crate) fn is_held(&self) -> bool {
        self.is_comparing() || ExternalHold::ALL.iter().any(|hold| self.is_held_by(*hold))
    }

    fn is_held_by(&self, hold: ExternalHold) -> bool {
        match hold {
            ExternalHold::Operator => self.operator.is_held(),
            ExternalHold::Schema => self.schema.load(Ordering::Relaxed),
        }
    }

    /// Calls `set_held` with the name of each hold that has begun or ended since `shown`, and updates `shown`.
    pub(crate) fn show(&self, shown: &mut ShownHolds, mut set_held: impl FnMut(&'static str, bool)) {
        for (hold, shown) in ExternalHold::ALL.into_iter().zip(&mut shown.0) {
            let held = self.is_held_by(hold);
            if std::mem::replace(shown, held) != held {
                set_held(hold.as_str(), held);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_external_hold_alone_holds_the_sink_and_is_shown_with_its_reason() {
        let operator = OperatorHold::default();
        operator.offer();
        let (holds, mut shown) = (ExternalHolds::new(operator.clone()), ShownHolds::default());
        let mut shown_by_name = std::collections::BTreeMap::new();
        let mut held = || {
            holds.show(&mut shown, |reason, held| {
                shown_by_name.insert(reason, held);
            });
            let is_shown = |hold: ExternalHold| shown_by_name.get(hold.as_str()).copied().unwrap_or_default();
            (holds.is_held(), ExternalHold::ALL.map(is_shown))
        };
        assert_eq!(held(), (false, [false, false]));
        operator.set(true);
        assert_eq!(held(), (true, [true, false]));
        holds.set_schema(true);
        operator.set(false);
        assert_eq!(held(), (true, [false, true]));
        holds.set_schema(false);
        holds.set_comparing(true);
        assert_eq!(held(), (true, [false, false]), "the first comparison is not shown as a hold");
        holds.set_comparing(false);
        assert_eq!(held(), (false, [false, false]));
    }
}
