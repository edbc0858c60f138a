//! The time in which Platform loses events: shortly after a flow or a schema was created or changed.

use std::time::Duration;

use jiff::Timestamp;

use crate::key::Key;
use crate::observed::Observed;
use crate::plan::Plan;

/// Durations in which Platform loses events after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settling {
    /// Duration after a change of the flow.
    pub after_flow: Duration,
    /// Duration after a change of the schema or its field group.
    pub after_schema: Duration,
}

impl Default for Settling {
    /// The durations that Adobe documents: five and fifteen minutes.
    fn default() -> Self {
        Self { after_flow: Duration::from_secs(5 * 60), after_schema: Duration::from_secs(15 * 60) }
    }
}

impl Settling {
    /// Multiplies both durations by a factor, for a simulator with the same factor (`--settle-scale`).
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let scaled = |time: Duration| Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(time);
        Self { after_flow: scaled(self.after_flow), after_schema: scaled(self.after_schema) }
    }
}

/// The time after which Platform loses no events, rounded up to a second; `None` as long as there is no flow.
#[must_use]
pub fn not_before(plan: &Plan, observed: &Observed, settling: Settling) -> Option<Timestamp> {
    let objects = observed.platform.as_ref()?.objects.as_ref()?;
    let id = |key: &Key| plan.object(key)?.id.as_deref();
    let flow_id = id(&Key::Flow)?;
    let flow = objects.flows.iter().find(|flow| flow.id == flow_id)?;
    let changed = |resources: &[platform::control::Resource], key: &Key| {
        let id = id(key)?;
        resources.iter().find(|resource| resource.id == id)?.changed_at
    };
    let after = |at: Option<i64>, wait: Duration| {
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        at.map(|at| at.saturating_add(wait))
    };
    let ends = [
        after(flow.updated_at.or(flow.created_at), settling.after_flow),
        after(changed(&objects.schemas, &Key::Schema), settling.after_schema),
        after(changed(&objects.field_groups, &Key::FieldGroup), settling.after_schema),
    ];
    let millis = ends.into_iter().flatten().max()?;
    Timestamp::from_second(millis.div_euclid(1000) + i64::from(millis.rem_euclid(1000) > 0)).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::observed::{ObservedPlatform, PlatformObjects};
    use crate::plan::Planned;

    fn observed(updated_at: i64) -> Observed {
        let flow = json!({"id": "f", "updatedAt": updated_at});
        let flows = vec![serde_json::from_value(flow).unwrap()];
        let objects = Some(PlatformObjects { flows, ..PlatformObjects::default() });
        Observed { platform: Some(ObservedPlatform { objects, ..ObservedPlatform::default() }), ..Observed::default() }
    }

    #[test]
    fn settling_ends_five_minutes_after_the_last_change_of_the_flow_rounded_up_to_a_second() {
        let plan = Plan { objects: vec![Planned::keep(Key::Flow, "x", "f")], ..Plan::default() };
        let at = not_before(&plan, &observed(1_000_001), Settling::default()).unwrap();
        assert_eq!(at.as_second(), 1001 + 300);
        let scaled = Settling::default().scaled(0.01);
        assert_eq!(not_before(&plan, &observed(1_000_000), scaled).unwrap().as_second(), 1003);
        assert_eq!(not_before(&Plan::default(), &observed(1), Settling::default()), None);
    }
}
