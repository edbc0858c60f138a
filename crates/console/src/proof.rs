//! Screen Proof: audits that check that every event of a time range has an outcome.
//!
//! An audit is a job: only one job runs at a time, the page shows its progress, and a user can stop it. `source` runs
//! the audit, `table` explains the result row by row, and `history` keeps the last results.

mod history;
mod source;
mod table;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;
use settings::parse_bound;

use crate::access::Viewer;
use crate::action_log::Action;
use crate::failure::Failure;
use crate::format::{self, Moment};
use crate::input::{Form, Query};
use crate::job_view::JobView;
use crate::jobs::JobKind;
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;
use history::{Ended, Outcome};
use table::Table;

pub use history::Proof;
pub use source::{AuditSource, Finished, Range};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/proof", show)
        .get("/proof/job", job)
        .post("/proof/start", start)
        .get("/proof/results/{id}", result)
        .get("/proof/results/{id}/json", result_as_json)
}

/// A row in the list of the audits that have ended.
struct EndedRow {
    id: u64,
    at: Moment,
    by: String,
    range: String,
    records: String,
    state: &'static str,
    mark: &'static str,
    word: String,
}

impl EndedRow {
    fn of(ended: &Ended) -> Self {
        let (state, mark, word, records) = match &ended.outcome {
            Outcome::Explained(finished) if finished.is_complete => {
                ("good", "✓", "everything is explained".to_owned(), format::count(finished.records_read))
            }
            Outcome::Explained(finished) => {
                ("good", "✓", "explained, records in progress".to_owned(), format::count(finished.records_read))
            }
            Outcome::Unexplained(finished) => {
                ("bad", "✕", "not everything is explained".to_owned(), format::count(finished.records_read))
            }
            Outcome::Stopped => ("none", "■", "stopped".to_owned(), format::UNKNOWN.to_owned()),
            Outcome::Failed(_) => ("warn", "!", "no answer".to_owned(), format::UNKNOWN.to_owned()),
        };
        let (id, at, by) = (ended.id, Moment::of_millis(ended.at), ended.by.clone());
        Self { id, at, by, range: ended.range.words(), records, state, mark, word }
    }
}

#[derive(Template)]
#[template(path = "proof.html")]
struct ProofPage {
    page: Page,
    job: Option<JobView>,
    ended: Vec<EndedRow>,
}

#[derive(Template)]
#[template(path = "proof/job.html")]
struct JobPart {
    page: Page,
    job: Option<JobView>,
}

async fn show(by: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    let page = Page::new(&console, &by, Screen::Proof, "Proof");
    let job = console.jobs().running().map(|running| JobView::of(&running, &by.user));
    let ended = console.screens().proof.ended().iter().map(|ended| EndedRow::of(ended)).collect();
    render(&ProofPage { page, job, ended })
}

#[derive(Debug, Deserialize)]
struct Asked {
    id: u64,
}

/// Returns the progress of an audit, or redirects to the result when the audit has ended.
async fn job(
    by: By<Viewer>,
    State(console): State<Console>,
    Query(Asked { id }): Query<Asked>,
) -> Result<Response, Failure> {
    let running = console.jobs().running().filter(|running| running.id == id);
    let Some(running) = running else {
        let has_result = console.screens().proof.find(id).is_some();
        let to = if has_result { format!("/proof/results/{id}") } else { "/proof".to_owned() };
        return Ok([("hx-redirect", to)].into_response());
    };
    let page = Page::new(&console, &by, Screen::Proof, "Proof");
    Ok(render(&JobPart { page, job: Some(JobView::of(&running, &by.user)) })?.into_response())
}

#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    since: String,
    #[serde(default)]
    until: String,
    /// Range of a button, such as `24h` or `all`, which replaces the fields `since` and `until`.
    #[serde(default)]
    quick: String,
}

impl Wanted {
    fn range(&self, now: i64) -> Result<Range, Failure> {
        let bound = |name: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => parse_bound(text, now)
                .map(Some)
                .map_err(|error| Failure::Invalid(format!("“{name}” cannot be used: {error}."))),
        };
        let range = match self.quick.as_str() {
            "" => Range { since: bound("From", &self.since)?, until: bound("To", &self.until)? },
            "all" => Range::default(),
            quick => Range { since: bound("From", quick)?, until: None },
        };
        match range {
            Range { since: Some(since), until: Some(until) } if since >= until => {
                Err(Failure::Invalid("The range is empty: “From” must be before “To”.".to_owned()))
            }
            range => Ok(range),
        }
    }
}

async fn start(
    by: By<Viewer>,
    State(console): State<Console>,
    Form(wanted): Form<Wanted>,
) -> Result<Redirect, Failure> {
    let range = wanted.range(console.now())?;
    let job = console.jobs().begin(JobKind::Audit, &by.user.name, console.now()).map_err(|running| {
        Failure::Conflict(format!("{} of {} runs, and one job runs at a time.", running.kind.name(), running.by))
    })?;
    console.log().write(&by.user, Action::StartAudit, range.words(), None);
    tokio::spawn(async move {
        let (id, proof) = (job.id(), &console.screens().proof);
        let result = proof.source().audit(range, &job).await;
        let outcome = match result {
            _ if !job.goes_on() => Outcome::Stopped,
            Ok(finished) if finished.is_explained => Outcome::Explained(finished),
            Ok(finished) => Outcome::Unexplained(finished),
            Err(error) => Outcome::Failed(error),
        };
        // Keep the result before the job ends, because pages look for it as soon as no job is running.
        proof.keep(Ended { id, at: console.now(), by: by.user.name, range, outcome });
        drop(job);
    });
    Ok(Redirect::to("/proof"))
}

#[derive(Template)]
#[template(path = "proof/result.html")]
struct ResultPage {
    page: Page,
    row: EndedRow,
    headline: Headline,
    table: Option<Table>,
}

/// Title and summary of a result.
struct Headline {
    state: &'static str,
    mark: &'static str,
    title: &'static str,
    sentence: String,
}

impl Headline {
    fn of(outcome: &Outcome) -> Self {
        let (state, mark, title, sentence) = match outcome {
            Outcome::Explained(finished) if finished.is_complete => (
                "good",
                "✓",
                "Everything is explained",
                "Every record of the range is accepted by Platform, a duplicate, or a dead letter with its reason."
                    .to_owned(),
            ),
            Outcome::Explained(_) => (
                "good",
                "✓",
                "Everything is explained",
                "Some records are still in progress; every other record of the range has its outcome.".to_owned(),
            ),
            Outcome::Unexplained(finished) => (
                "bad",
                "✕",
                "Not everything is explained",
                format!(
                    "{} records have a problem. Each is listed below with what is known of it.",
                    format::count(finished.table.findings_total)
                ),
            ),
            Outcome::Stopped => {
                ("none", "■", "Stopped", "The audit was stopped before its end, and has no result.".to_owned())
            }
            Outcome::Failed(error) => ("warn", "!", "No answer", format!("The audit could not be made: {error}.")),
        };
        Self { state, mark, title, sentence }
    }
}

fn found(console: &Console, id: &str) -> Result<std::sync::Arc<Ended>, Failure> {
    let ended = id.parse().ok().and_then(|id| console.screens().proof.find(id));
    ended.ok_or_else(|| {
        Failure::NotFound(
            "There is no audit of this number. The console keeps the last ones until it is started again.".to_owned(),
        )
    })
}

async fn result(
    by: By<Viewer>,
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<Html<String>, Failure> {
    let ended = found(&console, &id)?;
    let page = Page::new(&console, &by, Screen::Proof, format!("Proof: {}", ended.range.words()));
    let table = ended.outcome.finished().map(|finished| finished.table.clone());
    render(&ResultPage { page, row: EndedRow::of(&ended), headline: Headline::of(&ended.outcome), table })
}

async fn result_as_json(
    _: By<Viewer>,
    State(console): State<Console>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let ended = found(&console, &id)?;
    let finished = ended.outcome.finished();
    let finished = finished.ok_or_else(|| Failure::NotFound("This audit has no result.".to_owned()))?;
    let name = format!("attachment; filename=\"audit-{}.json\"", ended.id);
    let headers = [(CONTENT_TYPE, "application/json".to_owned()), (CONTENT_DISPOSITION, name)];
    Ok((headers, finished.json.clone()).into_response())
}

#[cfg(test)]
mod tests;
