//! A plan as a file, which a person can review. `setup apply` executes it only if the state has not changed since.

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::stage::Stage;
use crate::step::PlannedRequest;

const VERSION: u32 = 1;

/// The content of the file: method, path and body of every request, and no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    version: u32,
    made_at: String,
    made_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage: Option<String>,
    objects: Vec<ObjectRecord>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectRecord {
    object: String,
    change: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    requests: Vec<PlannedRequest>,
}

/// Error for a file that is not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a plan of this version; make one with `customerio-aep setup plan --out FILE`")]
pub struct NotAPlan;

impl PlanFile {
    /// The file content for a plan.
    #[must_use]
    pub fn of(plan: &Plan, stage: Option<&Stage>) -> Self {
        let record = |object: &crate::plan::Planned| ObjectRecord {
            object: object.key.to_string(),
            change: object.change.as_str().to_owned(),
            name: object.name.clone(),
            id: object.id.clone(),
            requests: object.requests().collect(),
        };
        Self {
            version: VERSION,
            made_at: jiff::Timestamp::now().to_string(),
            made_by: concat!("customerio-aep ", env!("CARGO_PKG_VERSION")).to_owned(),
            stage: stage.map(|stage| format!("{}/{}/{}", stage.deployment, stage.organisation, stage.sandbox)),
            objects: plan.objects.iter().map(record).collect(),
        }
    }

    /// The text of the file, as JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("text, lists and maps with text keys are JSON");
        format!("{text}\n")
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// [`NotAPlan`].
    pub fn read(text: &str) -> Result<Self, NotAPlan> {
        let file: Self = serde_json::from_str(text).map_err(|_| NotAPlan)?;
        if file.version == VERSION { Ok(file) } else { Err(NotAPlan) }
    }

    /// The differences between this plan and a plan made now. Empty if this plan can be applied.
    #[must_use]
    pub fn moved(&self, now: &Self) -> Vec<String> {
        let mut moved = Vec::new();
        if self.stage != now.stage {
            let name = |stage: &Option<String>| stage.clone().unwrap_or_else(|| "none".to_owned());
            moved.push(format!("the stage was {} and is {}", name(&self.stage), name(&now.stage)));
        }
        for before in &self.objects {
            match now.objects.iter().find(|after| after.object == before.object) {
                None => moved.push(format!("the {} is no longer part of the plan", before.object)),
                Some(after) if after.id != before.id => {
                    let name = |id: &Option<String>| id.clone().unwrap_or_else(|| "missing".to_owned());
                    moved.push(format!("the {} was {} and is {}", before.object, name(&before.id), name(&after.id)));
                }
                Some(after) if after != before => {
                    moved.push(format!("the requests for the {} are others than before", before.object));
                }
                Some(_) => {}
            }
        }
        let is_new = |after: &&ObjectRecord| self.objects.iter().all(|before| before.object != after.object);
        moved.extend(now.objects.iter().filter(is_new).map(|after| format!("the {} is new in the plan", after.object)));
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Key;
    use crate::plan::Planned;
    use crate::step::Step;

    fn file(objects: Vec<Planned>) -> PlanFile {
        PlanFile::of(&Plan { objects, ..Plan::default() }, None)
    }

    fn subject() -> Planned {
        Planned::create(
            Key::Subject("typed-value".into()),
            "typed-value",
            Step::Compatibility { subject: "typed-value".into() },
        )
    }

    #[test]
    fn a_plan_survives_writing_and_reading_unchanged() {
        let plan = file(vec![subject(), Planned::keep(Key::Flow, "Events", "f-1")]);
        let read = PlanFile::read(&plan.to_text()).unwrap();
        assert_eq!(read, plan);
        assert!(read.moved(&file(vec![subject(), Planned::keep(Key::Flow, "Events", "f-1")])).is_empty());
        assert_eq!(PlanFile::read("{}"), Err(NotAPlan));
        assert_eq!(PlanFile::read(&plan.to_text().replace("\"version\": 1", "\"version\": 2")), Err(NotAPlan));
    }

    #[test]
    fn each_kind_of_difference_from_the_planned_state_is_reported() {
        let before = file(vec![subject(), Planned::keep(Key::Flow, "Events", "f-1")]);
        let says = |objects: Vec<Planned>| before.moved(&file(objects)).join("; ");
        let flow = |id: &str| Planned::keep(Key::Flow, "Events", id);
        assert!(says(vec![subject(), flow("f-2")]).contains("the flow was f-1 and is f-2"));
        assert!(says(vec![subject()]).contains("the flow is no longer"));
        assert!(
            says(vec![subject(), flow("f-1"), Planned::keep(Key::Dataset, "x", "d")]).contains("the dataset is new")
        );
        let kept = Planned::keep(Key::Subject("typed-value".into()), "typed-value", "typed-value");
        assert!(says(vec![kept, flow("f-1")]).contains("registry subject typed-value was missing and is typed-value"));
    }
}
