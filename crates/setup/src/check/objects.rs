//! Builds the lines about objects from a plan. Every change that `setup apply` would make is a finding.

use crate::check::{Level, Line};
use crate::key::Target;
use crate::plan::{Change, Plan, Planned};
use crate::step::Phase;
use crate::who::Who;

const APPLY: &str = "run `customerio-aep setup apply`";

/// The lines about the plan's objects in one service.
pub(super) fn lines(plan: &Plan, target: Target, id: &'static str) -> Vec<Line> {
    let objects = plan.objects.iter().filter(|object| object.key.target() == target);
    let refusals = plan.refusals.iter().map(|refusal| {
        let text = refusal.to_string();
        Line::bad(refusal.code(), "whether the objects fit the configuration", text, refusal.who(), "as the text says")
    });
    objects.map(|object| line(object, id)).chain(refusals).collect()
}

fn line(object: &Planned, id: &'static str) -> Line {
    let asked = format!("the {}", object.key);
    let differences: Vec<String> = object
        .differences
        .iter()
        .map(|difference| format!("{} is {}, wanted {}", difference.field, difference.current, difference.wanted))
        .collect();
    match object.change {
        Change::Keep if differences.is_empty() => {
            let found = format!("as it should be ({})", object.id.as_deref().unwrap_or(&object.name));
            Line::good(id, asked, found)
        }
        Change::Keep => Line { level: Level::Note, ..Line::good(id, asked, differences.join("; ")) },
        Change::Create => Line::bad(id, asked, "it does not exist", Who::You, APPLY),
        Change::Update | Change::Remove if object.next(Phase::Objects).is_none() => {
            let step = format!("{APPLY}: it enables the webhook after a signed round trip");
            Line::bad("webhook_enabled", asked, "it is disabled: no event is sent", Who::You, step)
        }
        Change::Update | Change::Remove => Line::bad(id, asked, differences.join("; "), Who::You, APPLY),
    }
}
