//! The page of one event. Its URL contains the event id or the position of a record, and no personal data.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use operator::find::StepRecord;
use serde::Deserialize;

use super::again::Again;
use super::columns::Columns;
use super::found_event::FoundEvent;
use super::look::{Key, Look, Outcome, look};
use super::timeline::{self, Headline};
use crate::access::{Investigator, Role, User, Viewer};
use crate::action_log::Action;
use crate::failure::Failure;
use crate::format::Moment;
use crate::input::{Form, Query};
use crate::job_view::JobView;
use crate::jobs::{JobKind, Running};
use crate::links::PublicId;
use crate::mask::Values;
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;

/// Maximum length of an event id in a URL, in bytes.
const LONGEST_ID: usize = 1000;
/// Maximum length of the reason for a reveal, in characters.
const LONGEST_REASON: usize = 300;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/events/event", event)
        .get("/events/record", record)
        .get("/events/look", watch)
        .post("/events/look", look_again)
        .post("/events/reveal", reveal)
}

/// Fields of a URL or a form: `id` and `since`, or `topic` and `position`.
#[derive(Debug, Default, Deserialize)]
struct Address {
    #[serde(default)]
    id: String,
    #[serde(default)]
    since: String,
    #[serde(default)]
    topic: String,
    #[serde(default)]
    position: String,
    /// Set to compare the stored event with today's mapping.
    #[serde(default)]
    again: Option<String>,
    /// Version of the result that the page shows.
    #[serde(default)]
    seen: String,
    #[serde(default)]
    reason: String,
}

impl Address {
    fn key(&self) -> Result<Key, Failure> {
        if !self.topic.is_empty() || !self.position.is_empty() {
            let position =
                self.position.parse().map_err(|error| Failure::Invalid(format!("In the address: {error}.")))?;
            return match self.topic.as_str() {
                "raw" => Ok(Key::Record(StepRecord::Raw(position))),
                "typed" => Ok(Key::Record(StepRecord::Typed(position))),
                _ => Err(Failure::Invalid("The topic in the address must be `raw` or `typed`.".to_owned())),
            };
        }
        if self.id.trim().is_empty() || self.id.len() > LONGEST_ID {
            return Err(Failure::Invalid("The address names no event.".to_owned()));
        }
        let id = PublicId::of(&self.id).ok_or_else(|| {
            Failure::Invalid(
                "The id in the address may be personal data, which must not be part of an address. Search for it on the screen Events."
                    .to_owned(),
            )
        })?;
        let since =
            match self.since.as_str() {
                "" => None,
                since => Some(since.parse().map_err(|_| {
                    Failure::Invalid("`since` in the address must be milliseconds since 1970.".to_owned())
                })?),
            };
        Ok(Key::Event { id, since })
    }
}

async fn event(
    by: By<Viewer>,
    State(console): State<Console>,
    Query(address): Query<Address>,
) -> Result<Response, Failure> {
    show(&by, &console, &address)
}

async fn record(
    by: By<Viewer>,
    State(console): State<Console>,
    Query(address): Query<Address>,
) -> Result<Response, Failure> {
    show(&by, &console, &address)
}

fn show(by: &By<Viewer>, console: &Console, address: &Address) -> Result<Response, Failure> {
    let key = address.key()?;
    let now = console.now();
    if let Some(look) = console.screens().events.looks.find(&key, now) {
        return shown(by, console, &look, address.again.is_some());
    }
    let running = match begin(console, &by.user, &key, None) {
        Ok(()) => console.jobs().running(),
        Err(running) => Some(*running),
    };
    Ok(looking(by, console, &key, running.as_ref())?.into_response())
}

/// The page while a job is running.
#[derive(Template)]
#[template(path = "events/looking.html")]
struct LookingPage {
    page: Page,
    title: String,
    job: Option<JobView>,
    poll: String,
    back: String,
}

/// The part of [`LookingPage`] that is reloaded periodically.
#[derive(Template)]
#[template(path = "events/job.html")]
struct LookingPart {
    page: Page,
    job: Option<JobView>,
    poll: String,
    back: String,
}

fn looking<R>(by: &By<R>, console: &Console, key: &Key, running: Option<&Running>) -> Result<Html<String>, Failure> {
    let title = format!("Event {}", key.subject());
    let page = Page::new(console, by, Screen::Events, title.clone());
    let job = running.map(|running| JobView::of(running, &by.user));
    render(&LookingPage { page, title, job, poll: poll(key, ""), back: key.href() })
}

/// Returns the path that a page polls for changes.
fn poll(key: &Key, seen: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(key.fields());
    if !seen.is_empty() {
        query.append_pair("seen", seen);
    }
    format!("/events/look?{}", query.finish())
}

/// Starts a search. If there is an earlier result, the search reads only the records from [`Look::next_since`] on.
fn begin(console: &Console, user: &User, key: &Key, earlier: Option<&Look>) -> Result<(), Box<Running>> {
    let now = console.now();
    let job = console.jobs().begin(JobKind::Find, &user.name, now)?;
    let first_at = earlier.map_or(now, |look| look.first_at);
    let given = match key {
        Key::Event { since, .. } => *since,
        Key::Record(_) => None,
    };
    let since = earlier.map(Look::next_since).or(given);
    let (console, key) = (console.clone(), key.clone());
    tokio::spawn(async move {
        let events = &console.screens().events;
        let found = look(&*events.source, &key, since, &job).await;
        let outcome = match found {
            _ if !job.goes_on() => Outcome::Stopped,
            Ok(Some(found)) => Outcome::Found(Box::new(found)),
            Ok(None) => Outcome::Nothing,
            Err(error) => Outcome::Failed(error),
        };
        // Keep the result before the job ends, because pages look for it as soon as no job is running.
        events.looks.keep(Look { key, first_at, at: now, outcome }, console.now());
        drop(job);
    });
    Ok(())
}

/// Responds to the poll of a page: with the progress of the job, with a reload if the result has changed, or with no
/// content.
async fn watch(
    by: By<Viewer>,
    State(console): State<Console>,
    Query(address): Query<Address>,
) -> Result<Response, Failure> {
    let key = address.key()?;
    let now = console.now();
    let look = console.screens().events.looks.find(&key, now);
    if look.as_ref().is_some_and(|look| look.version() != address.seen) {
        return Ok([("hx-refresh", "true")].into_response());
    }
    let is_due = look.as_ref().is_none_or(|look| look.is_due(now));
    if is_due && console.jobs().running().is_none() {
        // If another user has started a job in the meantime, the next poll tries again.
        drop(begin(&console, &by.user, &key, look.as_deref()));
    }
    if let Some(look) = look {
        let status = if look.is_watched(now) { StatusCode::NO_CONTENT } else { no_more_polling() };
        return Ok(status.into_response());
    }
    let page = Page::new(&console, &by, Screen::Events, "Event");
    let job = console.jobs().running().map(|running| JobView::of(&running, &by.user));
    Ok(render(&LookingPart { page, job, poll: poll(&key, ""), back: key.href() })?.into_response())
}

/// Returns the status code that makes htmx stop polling.
fn no_more_polling() -> StatusCode {
    StatusCode::from_u16(286).unwrap_or(StatusCode::NO_CONTENT)
}

/// Searches again from the beginning and discards the earlier result.
async fn look_again(
    by: By<Viewer>,
    State(console): State<Console>,
    Form(address): Form<Address>,
) -> Result<Redirect, Failure> {
    let key = address.key()?;
    console.screens().events.looks.forget(&key, console.now());
    // If another job is running, the page waits for it.
    drop(begin(&console, &by.user, &key, None));
    Ok(Redirect::to(&key.href()))
}

/// The page if no event was found.
#[derive(Template)]
#[template(path = "events/no_event.html")]
struct NoEventPage {
    page: Page,
    title: &'static str,
    sentence: String,
    fields: Vec<(&'static str, String)>,
    /// Path to poll for changes.
    poll: Option<String>,
    /// Path of the same page without `since`, which searches all retained records.
    everything: Option<String>,
}

#[derive(Template)]
#[template(path = "events/event.html")]
struct EventPage {
    page: Page,
    title: String,
    at: Moment,
    since: Option<Moment>,
    headline: Headline,
    steps: Vec<timeline::Row>,
    columns: Columns,
    again: Option<Again>,
    is_revealed: bool,
    may_reveal: bool,
    href: String,
    fields: Vec<(&'static str, String)>,
    poll: Option<String>,
    everything: Option<String>,
}

fn shown<R>(by: &By<R>, console: &Console, look: &Look, again: bool) -> Result<Response, Failure> {
    let (status, title, sentence) = match &look.outcome {
        Outcome::Found(found) => {
            return Ok(found_page(by, console, look, found, Values::Masked, again)?.into_response());
        }
        Outcome::Nothing => (
            StatusCode::NOT_FOUND,
            "Not found",
            "Nothing was found: the gateway has not stored it, or it has expired from the topics.".to_owned(),
        ),
        Outcome::Stopped => (StatusCode::OK, "Stopped", "The search was stopped before its end.".to_owned()),
        Outcome::Failed(error) => (
            StatusCode::BAD_GATEWAY,
            "No answer",
            format!("The topics could not be read: {}.", error.trim_end_matches('.')),
        ),
    };
    let view = NoEventPage {
        page: Page::new(console, by, Screen::Events, format!("Event: {}", title.to_lowercase())),
        title,
        sentence,
        fields: look.key.fields(),
        poll: poll_while_watched(look, console.now()),
        everything: everything(&look.key),
    };
    Ok((status, render(&view)?).into_response())
}

fn poll_while_watched(look: &Look, now: i64) -> Option<String> {
    look.is_watched(now).then(|| poll(&look.key, &look.version()))
}

/// Returns the path of the same page without `since`; `None` if the key has no `since`.
fn everything(key: &Key) -> Option<String> {
    match key {
        Key::Event { id, since: Some(_) } => Some(Key::Event { id: id.clone(), since: None }.href()),
        Key::Event { since: None, .. } | Key::Record(_) => None,
    }
}

fn found_page<R>(
    by: &By<R>,
    console: &Console,
    look: &Look,
    found: &FoundEvent,
    values: Values,
    again: bool,
) -> Result<Html<String>, Failure> {
    let id = found.timeline.event_id.as_deref();
    let title = id.map_or_else(|| look.key.subject(), crate::mask::code);
    let is_revealed = values == Values::Revealed;
    render(&EventPage {
        page: Page::new(console, by, Screen::Events, format!("Event {title}")),
        title,
        at: Moment::of_millis(look.at),
        since: match look.key {
            Key::Event { since, .. } => since.map(Moment::of_millis),
            Key::Record(_) => None,
        },
        headline: Headline::of(found.timeline.state),
        steps: timeline::rows(&found.timeline),
        columns: Columns::of(found, values),
        again: again.then(|| Again::of(found, values)),
        is_revealed,
        may_reveal: !is_revealed && by.user.role >= Role::Investigator,
        href: look.key.href(),
        fields: look.key.fields(),
        poll: poll_while_watched(look, console.now()).filter(|_| !is_revealed),
        everything: everything(&look.key),
    })
}

/// Shows the values of one event once, and writes the reveal to the audit log.
async fn reveal(
    by: By<Investigator>,
    State(console): State<Console>,
    Form(address): Form<Address>,
) -> Result<Html<String>, Failure> {
    let (key, reason) = (address.key()?, address.reason.trim());
    if reason.is_empty() {
        return Err(Failure::Invalid("A reason is needed to see the values of an event.".to_owned()));
    }
    if reason.chars().count() > LONGEST_REASON {
        return Err(Failure::Invalid(format!("A reason has at most {LONGEST_REASON} characters.")));
    }
    let look: Option<Arc<Look>> = console.screens().events.looks.find(&key, console.now());
    let Some(look) = look else {
        return Err(Failure::Conflict(
            "The page of this event is too old. Open it again, and then reveal it.".to_owned(),
        ));
    };
    let Outcome::Found(found) = &look.outcome else {
        return Err(Failure::Conflict("There is no event to reveal.".to_owned()));
    };
    // The log must not contain an id that may be personal data, so it contains the record of the webhook instead.
    let id = found.timeline.event_id.as_deref().filter(|id| crate::mask::is_code(id));
    let record = || found.webhook.as_ref().map_or_else(|| key.subject(), |webhook| webhook.record.to_string());
    let subject = id.map_or_else(record, str::to_owned);
    console.log().write(&by.user, Action::Reveal, subject, Some(reason));
    found_page(&by, &console, &look, found, Values::Revealed, address.again.is_some())
}
