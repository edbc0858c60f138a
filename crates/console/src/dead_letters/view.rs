//! Data of the templates of the screen Dead letters.

use contract::dead_letter::Stage;
use operator::dead_letters::{Group, SinkDeadLetters};

use super::explanation::{Explanation, codes, explanation};
use super::listing::{Listing, Row};
use super::selection::{Selection, Wanted, is_name};
use super::source::Operation;
use super::state::Reading;
use super::work::{Outcome, Work};
use crate::format::{self, Moment};

/// Progress and result of reading the topic.
pub(super) struct ReadingView {
    pub(super) is_reading: bool,
    /// Progress in thousandths; `None` if the total is not known.
    pub(super) done: Option<u64>,
    pub(super) what: String,
    /// Error message of the last read.
    pub(super) error: Option<String>,
    /// Whether the topic does not exist.
    pub(super) is_missing: bool,
    /// Time of the last complete read.
    pub(super) complete_at: Option<Moment>,
    /// Number of dead letters that are kept, if the topic has more than the limit.
    pub(super) more_than: Option<String>,
}

impl ReadingView {
    pub(super) fn of(reading: &Reading, listing: &Listing) -> Self {
        let (records, of) = reading.progress;
        let what = match of {
            Some(of) => format!("{} of about {} records", format::count(records), format::count(of)),
            None => format!("{} records", format::count(records)),
        };
        let (error, is_missing) = match &reading.result {
            Some(Err(error)) => (Some(error.trim_end_matches('.').to_owned()), false),
            Some(Ok(exists)) => (None, !exists),
            None => (None, false),
        };
        Self {
            is_reading: reading.is_reading,
            done: of.filter(|of| *of > 0).map(|of| records.min(of).saturating_mul(1000) / of),
            what,
            error: error.filter(|_| !reading.is_reading),
            is_missing: is_missing && !reading.is_reading,
            complete_at: reading.complete_at.map(Moment::of_millis),
            more_than: (!listing.is_complete).then(|| format::count(listing.total)),
        }
    }
}

/// The fields of the filter as the user entered them, and the values to choose from.
pub(super) struct FilterView {
    pub(super) wanted: Wanted,
    pub(super) stages: [Stage; 4],
    pub(super) codes: Vec<String>,
    pub(super) sources: Vec<String>,
    /// Hidden fields of the form that starts a dry run: the filter with exact times.
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) words: String,
    pub(super) is_filtered: bool,
}

impl FilterView {
    pub(super) fn of(wanted: &Wanted, selection: &Selection, listing: &Listing) -> Self {
        let of_services = codes().map(|(_, code)| code.to_owned());
        let of_groups = listing.groups.iter().map(|group| group.code.clone());
        let chosen = selection.code.iter().cloned();
        let mut codes: Vec<String> = of_services.chain(of_groups).chain(chosen).filter(|code| is_name(code)).collect();
        codes.sort();
        codes.dedup();
        let mut sources = listing.sources.clone();
        sources.extend(selection.source.iter().filter(|source| !listing.sources.contains(source)).cloned());
        sources.retain(|source| is_name(source));
        Self {
            wanted: wanted.clone(),
            stages: Stage::ALL,
            codes,
            sources,
            fields: selection.fields(),
            words: selection.words(),
            is_filtered: *selection != Selection::default(),
        }
    }

    pub(super) fn is_stage(&self, stage: &Stage) -> bool {
        self.wanted.stage.trim() == stage.as_str()
    }
}

/// The group of dead letters with the same stage and code.
pub(super) struct GroupView {
    pub(super) stage: String,
    pub(super) code: String,
    pub(super) count: String,
    pub(super) oldest: Moment,
    pub(super) newest: Moment,
    pub(super) explanation: Option<&'static Explanation>,
    /// Path of the list with only this group; `None` if the list already shows only this group, or if the code of the
    /// group cannot be part of a URL.
    pub(super) href: Option<String>,
}

impl GroupView {
    pub(super) fn of(group: &Group, selection: &Selection) -> Self {
        let only = Selection { stage: Some(group.stage), code: Some(group.code.clone()), ..selection.clone() };
        let can_link = is_name(&group.code) && only != *selection;
        Self {
            stage: group.stage.to_string(),
            code: group.code.clone(),
            count: format::count(group.unresolved),
            oldest: Moment::of_millis(group.oldest),
            newest: Moment::of_millis(group.newest),
            explanation: explanation(group.stage, &group.code),
            href: can_link.then(|| only.address(1)),
        }
    }
}

/// A row for a dead letter in the list.
pub(super) struct RowView {
    pub(super) href: String,
    pub(super) position: String,
    pub(super) time: Moment,
    pub(super) stage: String,
    pub(super) code: String,
    pub(super) source: String,
    pub(super) message: String,
}

impl RowView {
    pub(super) fn of(row: &Row, href: String) -> Self {
        Self {
            href,
            position: row.position.to_string(),
            time: Moment::of_millis(row.time),
            stage: row.stage.clone(),
            code: row.code.clone(),
            source: row.source.clone(),
            message: row.message.clone().unwrap_or_else(|| "open it to see its message".to_owned()),
        }
    }
}

/// Range of the rows on the page, and links to the newer and older pages.
pub(super) struct PagesView {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) newer: Option<String>,
    pub(super) older: Option<String>,
    /// Total number of rows that the pages can show; `None` if they can show all matching dead letters.
    pub(super) most: Option<String>,
}

impl PagesView {
    pub(super) fn of(listing: &Listing, selection: &Selection, rows: usize, most_pages: usize) -> Self {
        let (page, most) = (listing.page, (rows * most_pages) as u64);
        let from = (page.saturating_sub(1) * rows) as u64;
        Self {
            from: format::count(from + 1),
            to: format::count(from + listing.rows.len() as u64),
            newer: (page > 1).then(|| selection.address(page - 1)),
            older: (page < listing.pages).then(|| selection.address(page + 1)),
            most: (listing.matching > most).then(|| format::count(most)),
        }
    }
}

/// Returns the name of an operation for pages.
pub(super) fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::Replay(SinkDeadLetters::AsIs) => "replay, as they are",
        Operation::Replay(SinkDeadLetters::Remap) => "replay, mapped again",
        Operation::Replay(SinkDeadLetters::Unspecified) => "replay",
        Operation::Discard => "discard",
    }
}

/// A row for a dry run, a replay or a discard in the list.
pub(super) struct WorkRow {
    pub(super) id: u64,
    pub(super) href: String,
    pub(super) name: String,
    pub(super) selection: String,
    pub(super) by: String,
    pub(super) begun: Moment,
    pub(super) ended: Option<Moment>,
    pub(super) state: &'static str,
    pub(super) mark: &'static str,
    pub(super) word: String,
}

impl WorkRow {
    pub(super) fn of(work: &Work, href: String) -> Self {
        let name = match (&work.confirmed, name(work.operation)) {
            (None, name) => format!("Dry run: {name}"),
            (Some(_), name) => format!("{}{}", name[..1].to_uppercase(), &name[1..]),
        };
        let (state, mark, word) = match work.outcome() {
            None => ("none", "…", "runs".to_owned()),
            Some(Outcome::Planned(plan)) => {
                ("none", "≡", format!("{} would be resolved", format::count(plan.resolves)))
            }
            Some(Outcome::Done(summary)) => {
                let count = format::count(summary.done);
                match (summary.is_stopped, summary.refusals.total) {
                    (true, _) => ("warn", "■", format!("stopped after {count}")),
                    (false, 0) => ("good", "✓", format!("{count} resolved")),
                    (false, refused) => {
                        ("warn", "!", format!("{count} resolved, {} cannot be", format::count(refused)))
                    }
                }
            }
            Some(Outcome::Stopped) => ("none", "■", "stopped".to_owned()),
            Some(Outcome::Failed(ended)) if ended.resolved > 0 => {
                ("bad", "✕", format!("ended early after {}", format::count(ended.resolved)))
            }
            Some(Outcome::Failed(_)) => ("bad", "✕", "not carried out".to_owned()),
        };
        Self {
            id: work.id,
            href,
            name,
            selection: work.selection.words(),
            by: work.by.clone(),
            begun: Moment::of_millis(work.begun),
            ended: work.ended().map(Moment::of_millis),
            state,
            mark,
            word,
        }
    }
}
