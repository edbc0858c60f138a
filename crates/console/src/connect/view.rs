//! Data of the templates for checks and plans: pure functions.

use jiff::Timestamp;
use setup::check::{Level, Line};
use setup::plan::{Change, Planned};

use super::checks::Found;
use super::source::{Seen, SeenWebhook};
use crate::format::{self, Moment};

/// A row for a check and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckRow {
    pub(super) state: &'static str,
    pub(super) mark: &'static str,
    pub(super) word: &'static str,
    pub(super) asked: String,
    pub(super) found: String,
    /// Who can take the next step, and a description of the step.
    pub(super) next: Option<(String, String)>,
}

impl CheckRow {
    fn of(line: &Line) -> Self {
        let (state, mark, word) = match line.level {
            Level::Good => ("good", "✓", "right"),
            Level::Note => ("none", "i", "note"),
            Level::Skipped => ("none", "–", "skipped"),
            Level::Unanswered => ("warn", "?", "no answer"),
            Level::Bad => ("bad", "✕", "wrong"),
        };
        let next = line.next.as_ref().map(|next| (capital(&next.who.to_string()), next.step.clone()));
        Self { state, mark, word, asked: line.asked.clone(), found: line.found.clone(), next }
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    first + chars.as_str()
}

/// The checks of one part of the set-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartView {
    pub(super) name: &'static str,
    pub(super) is_running: bool,
    pub(super) summary: String,
    pub(super) state: &'static str,
    pub(super) rows: Vec<CheckRow>,
}

/// The checks of all parts of the set-up, with a summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChecksView {
    pub(super) begun: Option<Moment>,
    pub(super) is_running: bool,
    pub(super) state: &'static str,
    pub(super) mark: &'static str,
    pub(super) sentence: String,
    pub(super) parts: Vec<PartView>,
}

impl ChecksView {
    pub(super) fn of(found: &Found) -> Self {
        let (is_running, findings) = (found.is_running(), found.findings());
        let (state, mark, sentence) = match (is_running, findings) {
            (true, _) => ("none", "…", "The checks run. Each account answers in its own time.".to_owned()),
            (false, 0) => ("good", "✓", "Everything that was asked is right.".to_owned()),
            (false, 1) => ("warn", "!", "One finding needs action.".to_owned()),
            (false, count) => ("warn", "!", format!("{} findings need action.", format::count(count as u64))),
        };
        let part = |(part, lines): &(super::source::Part, Option<Vec<Line>>)| {
            let wrong = lines.iter().flatten().filter(|line| line.level >= Level::Unanswered).count();
            let (state, summary) = match (lines, wrong) {
                (None, _) => ("none", "asking".to_owned()),
                (Some(lines), 0) if lines.is_empty() => ("none", "not configured".to_owned()),
                (Some(_), 0) => ("good", "all right".to_owned()),
                (Some(_), 1) => ("warn", "1 finding".to_owned()),
                (Some(_), count) => ("warn", format!("{count} findings")),
            };
            let rows = lines.iter().flatten().map(CheckRow::of).collect();
            PartView { name: part.name(), is_running: lines.is_none(), summary, state, rows }
        };
        let parts = found.parts.iter().map(part).collect();
        Self { begun: found.begun.map(Moment::of_millis), is_running, state, mark, sentence, parts }
    }
}

/// A row for an object of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectRow {
    pub(super) sign: char,
    pub(super) word: &'static str,
    pub(super) state: &'static str,
    pub(super) part: &'static str,
    pub(super) object: String,
    pub(super) name: String,
    pub(super) id: String,
    /// Differences: name of the property, current value and wanted value.
    pub(super) differences: Vec<(String, String, String)>,
}

impl ObjectRow {
    fn of(object: &Planned) -> Self {
        let (word, state) = match object.change {
            Change::Create => ("create", "good"),
            Change::Update => ("change", "warn"),
            Change::Keep => ("keep", "none"),
            Change::Remove => ("remove", "bad"),
        };
        let difference = |difference: &setup::plan::Difference| {
            (difference.field.clone(), difference.current.clone(), difference.wanted.clone())
        };
        Self {
            sign: object.change.sign(),
            word,
            state,
            part: object.key.target().as_str(),
            object: object.key.to_string(),
            name: object.name.clone(),
            id: object.id.clone().unwrap_or_default(),
            differences: object.differences.iter().map(difference).collect(),
        }
    }
}

/// A plan in the form that the template needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlanView {
    pub(super) objects: Vec<ObjectRow>,
    pub(super) summary: String,
    pub(super) has_changes: bool,
    /// Reasons why the plan cannot be applied: who has to act, and the reason.
    pub(super) refusals: Vec<(String, String)>,
    pub(super) problems: Vec<String>,
    pub(super) notes: Vec<String>,
    /// Objects that cannot be removed later, each with the reason.
    pub(super) permanent: Vec<(String, &'static str)>,
    pub(super) missing_permissions: Vec<String>,
    /// The production sandbox whose name the user has to type; `None` if the sandbox is not for production.
    pub(super) production: Option<String>,
    /// Whether the plan has changes and can be applied.
    pub(super) is_possible: bool,
}

impl PlanView {
    pub(super) fn of(seen: &Seen) -> Self {
        let plan = &seen.plan;
        let count = |change| plan.objects.iter().filter(|object| object.change == change).count();
        let needs_name = |refusal: &&setup::refusal::Refusal| refusal.code() != "production_not_confirmed";
        let refusals: Vec<(String, String)> = seen
            .refusals
            .iter()
            .filter(needs_name)
            .map(|refusal| (capital(&refusal.who().to_string()), refusal.to_string()))
            .collect();
        Self {
            objects: plan.objects.iter().map(ObjectRow::of).collect(),
            summary: format!(
                "{} to create, {} to change, {} as planned",
                count(Change::Create),
                count(Change::Update),
                count(Change::Keep)
            ),
            has_changes: plan.has_changes(),
            is_possible: plan.has_changes() && refusals.is_empty(),
            refusals,
            problems: plan.problems.clone(),
            notes: plan.notes.clone(),
            permanent: plan.permanent.iter().map(|object| (object.key.to_string(), object.reason)).collect(),
            missing_permissions: plan.missing_permissions().map(|permission| permission.title.to_owned()).collect(),
            production: plan.production_sandbox.clone(),
        }
    }
}

/// A row for the webhook of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebhookRow {
    pub(super) source: String,
    pub(super) endpoint: String,
    pub(super) state: &'static str,
    pub(super) mark: &'static str,
    pub(super) word: &'static str,
    pub(super) can_pause: bool,
    pub(super) can_resume: bool,
    pub(super) channels: Vec<String>,
    pub(super) resolution: &'static str,
    pub(super) content: &'static str,
}

impl WebhookRow {
    pub(super) fn of(webhook: &SeenWebhook) -> Self {
        let (state, mark, word) = match webhook.is_enabled {
            Some(true) => ("good", "✓", "enabled"),
            Some(false) => ("bad", "✕", "disabled: it sends nothing"),
            None => ("none", "–", "not created"),
        };
        let channel = |(name, chosen, all): &(String, usize, usize)| format!("{name} {chosen} of {all}");
        Self {
            source: webhook.source.clone(),
            endpoint: webhook.endpoint.clone(),
            state,
            mark,
            word,
            can_pause: webhook.is_enabled == Some(true),
            can_resume: webhook.is_enabled == Some(false),
            channels: webhook.channels.iter().map(channel).collect(),
            resolution: match webhook.is_full_resolution {
                Some(true) => "every open and click",
                Some(false) => "only the first open and click of a message",
                None => format::UNKNOWN,
            },
            content: match webhook.has_content {
                Some(true) => "message bodies are included",
                Some(false) => "without message bodies",
                None => format::UNKNOWN,
            },
        }
    }
}

/// Returns the seconds until Platform no longer loses events of a new flow; `None` if it loses none now.
pub(super) fn countdown(not_before: Option<Timestamp>, now: i64) -> Option<i64> {
    let left = not_before?.as_millisecond().saturating_sub(now);
    (left > 0).then_some(left.div_euclid(1000) + 1)
}
