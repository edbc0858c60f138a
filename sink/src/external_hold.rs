//! Holds that do not come from Platform's responses: an operator holds the sink, or Platform's schema lacks a field that the
//! sink would write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use service::OperatorHold;

/// How soon the sink notices that such a hold has ended.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Why nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExternalHold {
    /// `setup sink hold`.
    Operator,
    /// Platform's schema lacks a field, or has it only since a moment ago.
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

/// These holds. Cheap to clone; all clones share their state.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExternalHolds {
    operator: OperatorHold,
    schema: Arc<AtomicBool>,
    /// The schema has not been compared yet, so that nothing may be sent for a moment.
    comparing: Arc<AtomicBool>,
}

/// Which of the holds the metrics show.
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

    /// Sets whether nothing may be sent because the first comparison of the schema is not over.
    pub(crate) fn set_comparing(&self, comparing: bool) {
        self.comparing.store(comparing, Ordering::Relaxed);
    }

    /// Whether the first comparison of the schema is not over.
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

    /// Passes on each hold that has begun or ended since `shown`, with its name.
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
    fn each_hold_holds_by_itself_and_is_shown_by_its_name() {
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
        assert_eq!(held(), (true, [false, false]), "the first comparison is not a hold to show");
        holds.set_comparing(false);
        assert_eq!(held(), (false, [false, false]));
    }
}
