//! Results of dry runs, replays and discards in the form that the template needs.

use super::source::{Operation, Refusal, Summary};
use super::work::{Confirmed, Outcome, Work, address};
use crate::format;
use crate::links;

/// Title and summary of a result.
pub(super) struct Headline {
    pub(super) state: &'static str,
    pub(super) mark: &'static str,
    pub(super) title: String,
    pub(super) sentence: String,
}

impl Headline {
    fn of(work: &Work, outcome: &Outcome) -> Self {
        let is_discard = work.operation == Operation::Discard;
        let (verb, done) = if is_discard { ("discard", "discarded") } else { ("replay", "replayed") };
        let count = format::count;
        let (state, mark, title, sentence) = match outcome {
            Outcome::Planned(plan) if plan.resolves == 0 => (
                "none",
                "≡",
                format!("Nothing to {verb}"),
                "No unresolved dead letter of this selection can be treated like this.".to_owned(),
            ),
            Outcome::Planned(plan) => (
                "none",
                "≡",
                format!("{} dead letters would be {done}", count(plan.resolves)),
                "This was a dry run: nothing has been changed.".to_owned(),
            ),
            Outcome::Done(summary) if summary.is_stopped => (
                "warn",
                "■",
                format!("Stopped after {} of {}", count(summary.done), count(summary.resolves)),
                format!("{} dead letters were {done}. The others stay unresolved.", count(summary.done)),
            ),
            Outcome::Done(summary) => (
                if summary.done > 0 { "good" } else { "warn" },
                if summary.done > 0 { "✓" } else { "!" },
                format!("{} dead letters were {done}", count(summary.done)),
                match (is_discard, summary.done) {
                    (_, 0) => "Nothing was left to do.".to_owned(),
                    (true, _) => "Their records stay on the topic until its retention ends.".to_owned(),
                    (false, _) => {
                        "Their records go through the pipeline again. One that fails again becomes a new dead letter."
                            .to_owned()
                    }
                },
            ),
            Outcome::Stopped => {
                ("none", "■", "Stopped".to_owned(), "It was stopped before it changed anything.".to_owned())
            }
            Outcome::Failed(ended) if ended.resolved > 0 => (
                "bad",
                "✕",
                format!("Ended early after {}", count(ended.resolved)),
                format!(
                    "{}. {} dead letters were {done} before, and the others stay unresolved. A new dry run continues with those.",
                    ended.error.trim_end_matches('.'),
                    count(ended.resolved)
                ),
            ),
            Outcome::Failed(ended) => {
                ("bad", "✕", "Nothing was changed".to_owned(), format!("{}.", ended.error.trim_end_matches('.')))
            }
        };
        Self { state, mark, title, sentence }
    }
}

/// Returns sentences about the differences between the dry run and the executed operation.
fn changes(confirmed: &Confirmed, summary: &Summary) -> Vec<String> {
    let mut changes = Vec::new();
    let resolved = summary.resolved_before.saturating_sub(confirmed.resolved_before);
    if resolved > 0 {
        changes.push(format!("Somebody else resolved {} of them since the dry run.", format::count(resolved)));
    }
    if summary.resolves != confirmed.resolves {
        changes.push(format!(
            "The dry run had found {}. When the right to write was taken, the plan was made again, and had {}.",
            format::count(confirmed.resolves),
            format::count(summary.resolves)
        ));
    }
    changes
}

/// A number of a result and its meaning.
pub(super) struct Fact {
    pub(super) count: String,
    pub(super) what: &'static str,
}

fn facts(operation: Operation, summary: &Summary) -> Vec<Fact> {
    let of_replay: &[(u64, &str)] = match operation {
        Operation::Replay(_) => &[
            (summary.to_raw, "go back to the raw topic and are mapped by the transformer that runs now"),
            (summary.as_is, "are sent to Platform as they are"),
            (summary.remap, "are mapped again from their raw record"),
            (summary.only_resolved, "are only resolved, because another dead letter of the same record is replayed"),
        ],
        Operation::Discard => &[(summary.resolves, "are marked as discarded; nothing is deleted")],
    };
    let of_all = [
        (summary.resolved_before, "of this selection are resolved already"),
        (summary.left, "more match and are over the limit of one operation: repeat it for them"),
    ];
    let all = of_replay.iter().copied().chain(of_all).filter(|(count, _)| *count > 0);
    all.map(|(count, what)| Fact { count: format::count(count), what }).collect()
}

/// A reason for which dead letters cannot be replayed.
pub(super) struct RefusalRow {
    pub(super) count: String,
    pub(super) reason: String,
    pub(super) examples: Vec<(String, String)>,
}

/// The result of a dry run, replay or discard.
pub(super) struct ResultView {
    pub(super) headline: Headline,
    pub(super) changes: Vec<String>,
    pub(super) facts: Vec<Fact>,
    pub(super) refused: String,
    pub(super) refusals: Vec<RefusalRow>,
    /// Number of dead letters that cannot be replayed for reasons that are not listed.
    pub(super) other_refusals: Option<String>,
    /// Number that the user has to type to execute the plan.
    pub(super) number: Option<String>,
    pub(super) carried_out: Option<String>,
    /// Whether the page offers a new dry run of the same selection.
    pub(super) can_repeat: bool,
}

impl ResultView {
    pub(super) fn of(work: &Work, outcome: &Outcome) -> Self {
        let summary = match outcome {
            Outcome::Planned(summary) | Outcome::Done(summary) => Some(summary),
            Outcome::Stopped | Outcome::Failed(_) => None,
        };
        let refusal = |refusal: &Refusal| RefusalRow {
            count: format::count(refusal.count),
            reason: refusal.reason.clone(),
            examples: refusal
                .examples
                .iter()
                .map(|position| (links::dead_letter(*position), position.to_string()))
                .collect(),
        };
        let refusals = summary.map(|summary| summary.refusals.clone()).unwrap_or_default();
        let carried_out = work.carried_out_by().map(address);
        let number = work.plan().map(|plan| plan.resolves).filter(|resolves| *resolves > 0 && carried_out.is_none());
        Self {
            headline: Headline::of(work, outcome),
            changes: work
                .confirmed
                .as_ref()
                .zip(summary)
                .map(|(confirmed, found)| changes(confirmed, found))
                .unwrap_or_default(),
            facts: summary.map(|summary| facts(work.operation, summary)).unwrap_or_default(),
            refused: format::count(refusals.total),
            other_refusals: Some(refusals.others()).filter(|others| *others > 0).map(format::count),
            refusals: refusals.reasons.iter().map(refusal).collect(),
            number: number.map(format::count),
            carried_out,
            can_repeat: match outcome {
                Outcome::Planned(_) => false,
                Outcome::Done(summary) => summary.is_stopped || summary.left > 0,
                Outcome::Stopped | Outcome::Failed(_) => true,
            },
        }
    }
}
