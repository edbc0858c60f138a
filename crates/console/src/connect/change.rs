//! Changes of the set-up, for operators and only with `CONSOLE_ALLOW_SETUP`.

use askama::Template;
use axum::extract::State;
use axum::response::{Html, Redirect};
use serde::Deserialize;

use super::progress::Progress;
use super::source::{Changed, TestEvent};
use super::view::countdown;
use super::{no_plan, test_event};
use crate::access::{Operator, Viewer};
use crate::action_log::Action;
use crate::failure::Failure;
use crate::format::Moment;
use crate::input::{Form, Query};
use crate::jobs::{JobKind, JobProgress};
use crate::links::{self, PublicId};
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;

pub(super) fn routes() -> Routes {
    Routes::new()
        .post("/connect/apply", apply)
        .get("/connect/progress", progress)
        .get("/connect/progress/live", live)
        .post("/connect/webhook", webhook)
        .get("/connect/test", test)
        .post("/connect/test", send)
}

fn allowed(console: &Console) -> Result<(), Failure> {
    if console.settings().allow_setup {
        return Ok(());
    }
    Err(Failure::Disabled(
        "The console was started without CONSOLE_ALLOW_SETUP=true, so it changes nothing.".to_owned(),
    ))
}

#[derive(Debug, Deserialize)]
struct Apply {
    /// Name of the production sandbox, which the user types to confirm the change.
    #[serde(default)]
    sandbox: String,
}

async fn apply(
    by: By<Operator>,
    State(console): State<Console>,
    Form(Apply { sandbox }): Form<Apply>,
) -> Result<Redirect, Failure> {
    allowed(&console)?;
    let connect = &console.screens().connect;
    let seen = connect.seen().ok_or_else(|| Failure::Conflict("No plan has been looked at yet.".to_owned()))?;
    let sandbox = sandbox.trim().to_owned();
    if let Some(name) = seen.plan.production_sandbox.as_ref().filter(|name| **name != sandbox) {
        return Err(Failure::Invalid(format!("{name} is a production sandbox, and what was typed is not its name.")));
    }
    let job = console.jobs().begin(JobKind::Apply, &by.user.name, console.now()).map_err(|running| {
        Failure::Conflict(format!("{} of {} runs, and one job runs at a time.", running.kind.name(), running.by))
    })?;
    console.log().write(&by.user, Action::ApplySetup, seen.sandbox.clone().unwrap_or_default(), None);
    *connect.progress() = Progress { begun: Some((by.user.name, console.now())), ..Progress::default() };
    let console = console.clone();
    tokio::spawn(async move {
        let connect = &console.screens().connect;
        let mut report = |line: String| {
            job.report(JobProgress { what: line.clone(), ..JobProgress::default() });
            connect.progress().report(line);
        };
        let confirmed = Some(sandbox).filter(|sandbox| !sandbox.is_empty());
        let applying = connect.source.apply(&seen.file, confirmed, &mut report);
        let result = tokio::select! {
            result = applying => result,
            // The change can be stopped after any request, because the next run continues from there.
            () = job.stopped().cancelled_owned() => Err("it was stopped; apply it again to continue".to_owned()),
        };
        connect.progress().result = Some(result);
        drop(job);
    });
    Ok(Redirect::to("/connect/progress"))
}

/// The last change in the form that the template needs.
struct ProgressView {
    is_running: bool,
    by: String,
    begun: Option<Moment>,
    lines: Vec<String>,
    changed: Option<Changed>,
    error: Option<String>,
}

impl ProgressView {
    fn of(console: &Console) -> Self {
        let Progress { begun, lines, result } = console.screens().connect.progress().clone();
        let is_running = begun.is_some() && result.is_none();
        let (by, begun) = begun.map_or((String::new(), None), |(by, at)| (by, Some(Moment::of_millis(at))));
        let (changed, error) = match result {
            Some(Ok(changed)) => (Some(changed), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        Self { is_running, by, begun, lines, changed, error }
    }
}

#[derive(Template)]
#[template(path = "connect/progress.html")]
struct ProgressPage {
    page: Page,
    progress: ProgressView,
}

#[derive(Template)]
#[template(path = "connect/progress_live.html")]
struct ProgressPart {
    progress: ProgressView,
}

async fn progress(by: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    let page = Page::new(&console, &by, Screen::Connect, "Connect: progress");
    render(&ProgressPage { page, progress: ProgressView::of(&console) })
}

async fn live(_: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    render(&ProgressPart { progress: ProgressView::of(&console) })
}

#[derive(Debug, Deserialize)]
struct Switch {
    source: String,
    to: SwitchTo,
    /// Name of the source, which the user types to confirm a pause.
    #[serde(default)]
    confirm: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SwitchTo {
    Pause,
    Resume,
}

async fn webhook(
    by: By<Operator>,
    State(console): State<Console>,
    Form(Switch { source, to, confirm }): Form<Switch>,
) -> Result<Redirect, Failure> {
    allowed(&console)?;
    let connect = &console.screens().connect;
    let is_known = |seen: &super::Seen| seen.webhooks.iter().any(|webhook| webhook.source == source);
    if !connect.seen().is_some_and(|seen| is_known(&seen)) {
        return Err(Failure::Conflict("There is no webhook of this source in the last plan.".to_owned()));
    }
    match to {
        SwitchTo::Pause => {
            if confirm.trim() != source {
                return Err(Failure::Invalid("To pause the webhook, type the name of its source.".to_owned()));
            }
            console.log().write(&by.user, Action::PauseWebhook, source.clone(), None);
            connect.source.pause(&source).await.map_err(not_switched)?;
        }
        SwitchTo::Resume => {
            console.log().write(&by.user, Action::ResumeWebhook, source.clone(), None);
            let waiting = connect.source.resume(&source).await.map_err(not_switched)?;
            if let Some(waiting) = waiting.first() {
                return Err(Failure::Conflict(format!("The webhook was not enabled: it waits for {waiting}.")));
            }
        }
    }
    Ok(Redirect::to("/connect/plan"))
}

fn not_switched(error: String) -> Failure {
    Failure::Unanswered(format!("The webhook was not changed: {}.", error.trim_end_matches('.')))
}

#[derive(Debug, Deserialize)]
struct Chosen {
    #[serde(default)]
    source: String,
    #[serde(default)]
    event: String,
}

#[derive(Template)]
#[template(path = "connect/test.html")]
struct TestPage {
    page: Page,
    source: String,
    event: String,
    event_id: String,
    body: String,
    endpoint: String,
    /// The production sandbox whose name the user has to type; `None` if the sandbox is not for production.
    production: Option<String>,
    countdown: Option<i64>,
}

/// Shows the body of a test event before it is sent.
async fn test(
    by: By<Operator>,
    State(console): State<Console>,
    Query(Chosen { source, event }): Query<Chosen>,
) -> Result<Html<String>, Failure> {
    allowed(&console)?;
    let connect = &console.screens().connect;
    let seen = match connect.seen() {
        Some(seen) => seen,
        None => connect.look().await.map_err(no_plan)?,
    };
    let webhook = seen.webhooks.iter().find(|webhook| webhook.source == source);
    let webhook = webhook.ok_or_else(|| Failure::NotFound("There is no webhook of this source.".to_owned()))?;
    let event_id = test_event::new_id(console.now());
    let body = test_event::body(&event, &event_id, console.now());
    let body = body.ok_or_else(|| Failure::NotFound("There is no event of this name.".to_owned()))?;
    let page = Page::new(&console, &by, Screen::Connect, "Connect: test event");
    let (endpoint, production) = (webhook.endpoint.clone(), seen.plan.production_sandbox.clone());
    let countdown = countdown(seen.not_before, console.now());
    render(&TestPage { page, source, event, event_id, body: pretty(&body), endpoint, production, countdown })
}

fn pretty(body: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    value.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| body.to_owned())
}

#[derive(Debug, Deserialize)]
struct Send {
    source: String,
    event: String,
    #[serde(default)]
    sandbox: String,
}

async fn send(
    by: By<Operator>,
    State(console): State<Console>,
    Form(Send { source, event, sandbox }): Form<Send>,
) -> Result<Redirect, Failure> {
    allowed(&console)?;
    let connect = &console.screens().connect;
    let seen = connect.look().await.map_err(no_plan)?;
    if let Some(name) = seen.plan.production_sandbox.as_ref().filter(|name| **name != sandbox.trim()) {
        return Err(Failure::Invalid(format!("{name} is a production sandbox, and what was typed is not its name.")));
    }
    if let Some(left) = countdown(seen.not_before, console.now()) {
        return Err(Failure::Conflict(format!(
            "Platform loses events for another {left} seconds after a change, so nothing was sent."
        )));
    }
    let now = console.now();
    let event_id = test_event::new_id(now);
    let body = test_event::body(&event, &event_id, now);
    let body = body.ok_or_else(|| Failure::Invalid("There is no event of this name.".to_owned()))?;
    console.log().write(&by.user, Action::SendTestEvent, event_id.clone(), None);
    let sent = connect.source.send(&TestEvent { source, body }).await;
    sent.map_err(|error| Failure::Unanswered(format!("The event was not sent: {}.", error.trim_end_matches('.'))))?;
    let page = PublicId::of(&event_id).map(|id| links::event_since(&id, now));
    Ok(Redirect::to(page.as_deref().unwrap_or(Screen::Events.path())))
}
