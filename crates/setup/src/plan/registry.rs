//! Plans the compatibility rule of the typed topic's subject. The transformer registers the schema itself.

use crate::desired::Permit;
use crate::key::Key;
use crate::observed::ObservedSubject;
use crate::plan::planned::{Difference, Plan, Planned};
use crate::step::Step;

/// The compatibility rule under which readers of every version can read every record.
pub(crate) const COMPATIBILITY: &str = "FULL_TRANSITIVE";

pub(super) fn registry_subject(subject: &str, found: &ObservedSubject, permit: &Permit, plan: &mut Plan) {
    let key = Key::Subject(subject.to_owned());
    let step = || Step::Compatibility { subject: subject.to_owned() };
    let object = match found.compatibility.as_deref() {
        Some(COMPATIBILITY) => Planned::keep(key, subject, subject),
        None if !found.exists => Planned::create(key, subject, step()),
        current => {
            let current = current.unwrap_or("the registry's default");
            let differences = vec![Difference::new("compatibility", current, COMPATIBILITY)];
            if permit.adopt {
                Planned::existing(key, subject, subject, differences, vec![step()])
            } else {
                plan.notes.push(format!(
                    "the subject {subject} existed before, with the compatibility {current}; --adopt changes it to {COMPATIBILITY}, so that no reader meets a schema that it cannot read"
                ));
                Planned { differences, ..Planned::keep(key, subject, subject) }
            }
        }
    };
    plan.objects.push(object);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Change;

    #[test]
    fn the_compatibility_of_an_existing_subject_is_changed_only_with_adopt() {
        let planned = |exists, compatibility: Option<&str>, adopt| {
            let mut plan = Plan::default();
            let found = ObservedSubject { exists, compatibility: compatibility.map(str::to_owned) };
            registry_subject("typed-value", &found, &Permit { adopt, ..Permit::default() }, &mut plan);
            (plan.objects[0].change, plan.objects[0].differences.len(), plan.notes.len())
        };
        assert_eq!(planned(false, None, false), (Change::Create, 0, 0));
        assert_eq!(planned(true, Some("FULL_TRANSITIVE"), false), (Change::Keep, 0, 0));
        assert_eq!(planned(false, Some("FULL_TRANSITIVE"), false), (Change::Keep, 0, 0));
        assert_eq!(planned(true, Some("BACKWARD"), false), (Change::Keep, 1, 1));
        assert_eq!(planned(true, Some("BACKWARD"), true), (Change::Update, 1, 0));
        assert_eq!(planned(true, None, true), (Change::Update, 1, 0));
        assert_eq!(planned(false, Some("NONE"), false), (Change::Keep, 1, 1));
    }
}
