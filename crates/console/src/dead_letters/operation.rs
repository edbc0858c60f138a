//! Replays and discards dead letters. A user starts a dry run and then confirms its result. Each step is a job whose
//! page has its own URL.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Redirect, Response};
use contract::dead_letter::Stage;
use operator::dead_letters::{Bounds, Resolving, SinkDeadLetters};
use serde::Deserialize;

use super::result::ResultView;
use super::selection::{Selection, Wanted};
use super::source::{Operation, Order, Summary};
use super::view::WorkRow;
use super::work::{Confirmed, Outcome, Work, address};
use crate::access::{Operator, Role, User, Viewer};
use crate::action_log::Action;
use crate::failure::Failure;
use crate::format;
use crate::input::{Form, Query};
use crate::job_view::JobView;
use crate::jobs::{Job, JobKind, Running};
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;

/// Maximum number of dead letters that one operation resolves, because its plan is kept in memory.
pub(super) const LIMIT: usize = 50_000;
/// Number of dead letters that are resolved per second, as on the command line.
const RATE: u32 = 500;
/// Maximum length of the note, in characters.
const LONGEST_NOTE: usize = 500;

pub(super) fn routes() -> Routes {
    Routes::new()
        .post("/dead-letters/plan", plan)
        .post("/dead-letters/carry-out", carry_out)
        .get("/dead-letters/work/{id}", show)
        .get("/dead-letters/progress", progress)
}

/// Returns whether the user has to choose how dead letters of this stage are replayed.
pub(super) fn needs_how(stage: Stage) -> bool {
    matches!(stage, Stage::Sink | Stage::Platform)
}

#[derive(Debug, Deserialize)]
struct PlanForm {
    #[serde(flatten)]
    wanted: Wanted,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    how: String,
}

impl PlanForm {
    fn operation(&self) -> Result<Operation, Failure> {
        let how = match self.how.as_str() {
            "" => SinkDeadLetters::Unspecified,
            "as-is" => SinkDeadLetters::AsIs,
            "remap" => SinkDeadLetters::Remap,
            _ => return Err(Failure::Invalid("There is no such way to replay.".to_owned())),
        };
        match self.operation.as_str() {
            "replay" => Ok(Operation::Replay(how)),
            "discard" => Ok(Operation::Discard),
            _ => Err(Failure::Invalid("Choose whether the dead letters are to be replayed or discarded.".to_owned())),
        }
    }
}

fn busy(running: &Running) -> Failure {
    Failure::Conflict(format!("{} of {} runs, and one job runs at a time.", running.kind.name(), running.by))
}

async fn plan(
    by: By<Operator>,
    State(console): State<Console>,
    Form(form): Form<PlanForm>,
) -> Result<Redirect, Failure> {
    let (operation, selection) = (form.operation()?, form.wanted.read(console.now())?);
    let selection = selection.before(console.now());
    let screen = &console.screens().dead_letters;
    if operation == Operation::Replay(SinkDeadLetters::Unspecified) {
        let unresolved = screen.lock();
        let mut chosen = unresolved.iter().filter(|dead_letter| selection.includes(dead_letter));
        if chosen.any(|dead_letter| needs_how(dead_letter.stage)) {
            return Err(Failure::Invalid(
                "Some of the dead letters are of the sink or of Platform. Choose whether to send them as they are, because Platform’s side was corrected, or to map them again, because the mapping was corrected.".to_owned(),
            ));
        }
    }
    let job = console.jobs().begin(JobKind::DryRun, &by.user.name, console.now()).map_err(|running| busy(&running))?;
    let verb = if operation == Operation::Discard { "discard" } else { "replay" };
    console.log().write(&by.user, Action::DryRun, format!("{verb}: {}", selection.words()), None);
    let work = Work::new(job.id(), (&by.user.name, console.now()), selection, operation, None);
    let work = screen.history.add(work);
    let to = address(work.id);
    run(&console, work, job);
    Ok(Redirect::to(&to))
}

/// Executes a dry run, replay or discard in a separate task, which continues after the request has ended.
fn run(console: &Console, work: Arc<Work>, job: Job) {
    let console = console.clone();
    tokio::spawn(async move {
        let screen = &console.screens().dead_letters;
        let resolving = work.confirmed.as_ref().map(|confirmed| Resolving {
            by: work.by.clone(),
            note: confirmed.note.clone(),
            rate: RATE,
        });
        let at_most =
            work.confirmed.as_ref().map(|confirmed| usize::try_from(confirmed.resolves).unwrap_or(usize::MAX));
        let bounds = Bounds { limit: Some(LIMIT), at_most };
        let order = Order { operation: work.operation, filter: work.selection.filter(), bounds, resolving };
        let result = screen.source().carry_out(&order, &job).await;
        let outcome = match result {
            Ok(summary) if work.confirmed.is_some() => Outcome::Done(summary),
            Ok(_) if !job.goes_on() => Outcome::Stopped,
            Ok(summary) => Outcome::Planned(summary),
            Err(ended) if ended.resolved == 0 && !job.goes_on() => Outcome::Stopped,
            Err(ended) => Outcome::Failed(ended),
        };
        // Keep the result before the job ends, because pages look for it as soon as no job is running.
        work.end(outcome, console.now());
        screen.has_changed();
        drop(job);
    });
}

#[derive(Debug, Deserialize)]
struct Confirm {
    plan: u64,
    #[serde(default)]
    note: String,
    /// Number of dead letters that the plan resolves. The user types it to confirm the operation.
    #[serde(default)]
    confirm: String,
}

/// Parses the number that a user typed, with or without thousands separators.
fn typed_number(text: &str) -> Option<u64> {
    let digits: String =
        text.trim().chars().filter(|c| !matches!(c, ',' | '.' | '\'' | '’' | ' ' | '\u{a0}')).collect();
    digits.parse().ok()
}

impl Confirm {
    /// Checks the form against the plan of the dry run.
    fn read(&self, work: &Work, plan: &Summary) -> Result<Confirmed, Failure> {
        let note: String = self.note.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if note.chars().count() > LONGEST_NOTE {
            return Err(Failure::Invalid(format!("The note is longer than {LONGEST_NOTE} characters.")));
        }
        if note.is_empty() && work.operation == Operation::Discard {
            return Err(Failure::Invalid(
                "To discard dead letters, write a note that says why they are not needed.".to_owned(),
            ));
        }
        if plan.resolves == 0 {
            return Err(Failure::Invalid("The dry run found nothing to do.".to_owned()));
        }
        if typed_number(&self.confirm) != Some(plan.resolves) {
            return Err(Failure::Invalid(format!(
                "What was typed is not the number {}. Nothing was changed.",
                format::count(plan.resolves)
            )));
        }
        Ok(Confirmed {
            plan: work.id,
            resolves: plan.resolves,
            resolved_before: plan.resolved_before,
            note: Some(note).filter(|note| !note.is_empty()),
        })
    }
}

async fn carry_out(
    by: By<Operator>,
    State(console): State<Console>,
    Form(form): Form<Confirm>,
) -> Result<Redirect, Failure> {
    let screen = &console.screens().dead_letters;
    let work = screen.history.find(form.plan).ok_or_else(gone)?;
    let Some(plan) = work.plan() else {
        return Err(Failure::Conflict("This dry run has no plan that could be carried out.".to_owned()));
    };
    let confirmed = form.read(&work, &plan)?;
    let (kind, action) = match work.operation {
        Operation::Replay(_) => (JobKind::Replay, Action::Replay),
        Operation::Discard => (JobKind::Discard, Action::Discard),
    };
    let begin = || console.jobs().begin(kind, &by.user.name, console.now());
    let job = match work.carry_out(begin, Job::id) {
        Ok(Ok(job)) => job,
        // The form was sent twice, or another user has confirmed the same plan.
        Ok(Err(before)) => return Ok(Redirect::to(&address(before))),
        Err(running) => return Err(busy(&running)),
    };
    let subject = format!("{} dead letters: {}", plan.resolves, work.selection.words());
    console.log().write(&by.user, action, subject, confirmed.note.as_deref());
    let by = (by.user.name.as_str(), console.now());
    let begun = Work::new(job.id(), by, work.selection.clone(), work.operation, Some(confirmed));
    let begun = screen.history.add(begun);
    let to = address(begun.id);
    run(&console, begun, job);
    Ok(Redirect::to(&to))
}

fn gone() -> Failure {
    Failure::NotFound(
        "There is no dry run, replay or discard of this number. The console keeps the last ones until it is started again; what was resolved stays recorded with each dead letter.".to_owned(),
    )
}

#[derive(Template)]
#[template(path = "dead_letters/work.html")]
struct WorkPage {
    page: Page,
    row: WorkRow,
    is_dry_run: bool,
    is_discard: bool,
    note: Option<String>,
    plan: Option<String>,
    list: String,
    job: Option<JobView>,
    result: Option<ResultView>,
    is_operator: bool,
    /// Hidden fields of the form that starts a new dry run of the same selection.
    fields: Vec<(&'static str, String)>,
    how: &'static str,
}

#[derive(Template)]
#[template(path = "dead_letters/job.html")]
struct JobPart {
    page: Page,
    job: Option<JobView>,
}

fn view(page: Page, user: &User, work: &Work, job: Option<JobView>) -> WorkPage {
    // Remove the end of the time range, so that the list also shows dead letters that were written since the dry run.
    let list = Selection { until: None, ..work.selection.clone() }.address(1);
    WorkPage {
        page,
        row: WorkRow::of(work, address(work.id)),
        is_dry_run: work.confirmed.is_none(),
        is_discard: work.operation == Operation::Discard,
        note: work.confirmed.as_ref().and_then(|confirmed| confirmed.note.as_deref()).map(crate::mask::reason),
        plan: work.confirmed.as_ref().map(|confirmed| address(confirmed.plan)),
        list,
        job,
        result: work.outcome().as_ref().map(|outcome| ResultView::of(work, outcome)),
        is_operator: user.role == Role::Operator,
        fields: work.selection.fields(),
        how: match work.operation {
            Operation::Replay(SinkDeadLetters::AsIs) => "as-is",
            Operation::Replay(SinkDeadLetters::Remap) => "remap",
            Operation::Replay(SinkDeadLetters::Unspecified) | Operation::Discard => "",
        },
    }
}

async fn show(by: By<Viewer>, State(console): State<Console>, Path(id): Path<String>) -> Result<Html<String>, Failure> {
    let work = id.parse().ok().and_then(|id| console.screens().dead_letters.history.find(id)).ok_or_else(gone)?;
    let running = console.jobs().running().filter(|running| running.id == work.id);
    let job = running.map(|running| JobView::of(&running, &by.user));
    let title = if work.confirmed.is_none() { "Dead letters: dry run" } else { "Dead letters: result" };
    let page = Page::new(&console, &by, Screen::DeadLetters, title);
    render(&view(page, &by.user, &work, job))
}

#[derive(Debug, Deserialize)]
struct Asked {
    id: u64,
}

/// Returns the progress of a job. When the job has ended, the response makes the browser reload the page.
async fn progress(
    by: By<Viewer>,
    State(console): State<Console>,
    Query(Asked { id }): Query<Asked>,
) -> Result<Response, Failure> {
    let Some(running) = console.jobs().running().filter(|running| running.id == id) else {
        return Ok([("hx-refresh", "true")].into_response());
    };
    let page = Page::new(&console, &by, Screen::DeadLetters, "Dead letters");
    Ok(render(&JobPart { page, job: Some(JobView::of(&running, &by.user)) })?.into_response())
}
