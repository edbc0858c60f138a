//! Searches by event id, by delivery id and by person. The searched text is sent in a form and is not part of any URL.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use customerio::{Identifier, PersonKey};
use operator::find::{Timeline, Wanted};
use serde::Deserialize;
use settings::parse_bound;

use super::source::Search;
use super::timeline::Headline;
use crate::access::Viewer;
use crate::action_log::Action;
use crate::failure::Failure;
use crate::format::{self, Moment};
use crate::input::{Form, Query};
use crate::job_view::JobView;
use crate::jobs::JobKind;
use crate::links::{self, PublicId};
use crate::mask;
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;

/// Maximum number of searches that are kept.
const MOST: usize = 20;
/// Maximum number of events of a search that are shown, the newest first.
const MOST_EVENTS: usize = 200;
/// Maximum length of a searched text, in bytes. No id is longer.
const LONGEST: usize = 1000;

pub(super) fn routes() -> Routes {
    Routes::new()
        .post("/events/search", start)
        .get("/events/searches/{id}", result)
        .get("/events/searches/{id}/progress", progress)
}

/// Kind of the searched text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Id,
    PersonId,
    CioId,
    Email,
}

impl Kind {
    /// Returns a description of the search without the text.
    fn words(self) -> &'static str {
        match self {
            Self::Id => "an event id or a delivery id",
            Self::PersonId => "a person, by their own id",
            Self::CioId => "a person, by Customer.io's id",
            Self::Email => "a person, by their address",
        }
    }

    fn wanted(self, text: &str) -> Option<Wanted> {
        // The gateway computes the keys of records with the same function.
        let person = |identifier| PersonKey::of_person(identifier, text).map(Wanted::Person);
        match self {
            Self::Id => (!text.trim().is_empty()).then(|| Wanted::Id(text.trim().to_owned())),
            Self::PersonId => person(Identifier::Id),
            Self::CioId => person(Identifier::CioId),
            Self::Email => person(Identifier::Email),
        }
    }
}

/// A row for an event that was found.
#[derive(Debug, Clone)]
struct FoundRow {
    event_id: String,
    /// Path of the page of the event, or of one of its records if the id may be personal data.
    href: Option<String>,
    at: Option<Moment>,
    headline: Headline,
    steps: String,
}

impl FoundRow {
    fn of(timeline: &Timeline) -> Self {
        let first = timeline.steps.first();
        let by_id = timeline.event_id.as_deref().and_then(PublicId::of);
        let by_record = timeline.steps.iter().find_map(|step| match step.record {
            operator::find::StepRecord::Raw(position) => Some(links::record("raw", position)),
            operator::find::StepRecord::Typed(position) => Some(links::record("typed", position)),
            operator::find::StepRecord::DeadLetter(_) => None,
        });
        let href = match (by_id, first) {
            (Some(id), Some(first)) => Some(links::event_since(&id, first.time)),
            (Some(id), None) => Some(links::event(&id)),
            (None, _) => by_record,
        };
        let names: Vec<&str> = timeline.steps.iter().map(|step| step.kind.as_str()).collect();
        Self {
            event_id: timeline.event_id.as_deref().map_or("without a readable id".to_owned(), mask::code),
            href,
            at: first.map(|first| Moment::of_millis(first.time)),
            headline: Headline::of(timeline.state),
            steps: names.join(", "),
        }
    }
}

#[derive(Debug)]
enum Outcome {
    /// The newest events, the newest first, and the number of all events.
    Found(Vec<FoundRow>, usize),
    Stopped,
    Failed(String),
}

/// A search that has ended. It does not contain the searched text.
#[derive(Debug)]
struct Ended {
    /// Id of the job.
    id: u64,
    at: i64,
    by: String,
    kind: Kind,
    since: Option<i64>,
    outcome: Outcome,
}

impl Ended {
    fn range(&self) -> String {
        self.since.map_or("everything retained".to_owned(), |since| format!("from {}", operator::rfc3339(since)))
    }
}

/// The last searches, the newest first.
#[derive(Debug, Default)]
pub(super) struct Searches(Mutex<VecDeque<Arc<Ended>>>);

impl Searches {
    fn list(&self) -> MutexGuard<'_, VecDeque<Arc<Ended>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, ended: Ended) {
        let mut list = self.list();
        list.push_front(Arc::new(ended));
        list.truncate(MOST);
    }

    fn find(&self, id: u64) -> Option<Arc<Ended>> {
        self.list().iter().find(|ended| ended.id == id).cloned()
    }

    /// Returns the rows for the list on the screen.
    pub(super) fn rows(&self) -> Vec<EndedRow> {
        self.list().iter().map(|ended| EndedRow::of(ended)).collect()
    }
}

/// A row for a search in the list.
pub(super) struct EndedRow {
    pub(super) id: u64,
    pub(super) what: &'static str,
    pub(super) range: String,
    pub(super) at: Moment,
    pub(super) by: String,
    pub(super) result: String,
}

impl EndedRow {
    fn of(ended: &Ended) -> Self {
        let result = match &ended.outcome {
            Outcome::Found(_, 0) => "nothing".to_owned(),
            Outcome::Found(_, 1) => "one event".to_owned(),
            Outcome::Found(_, more) => format!("{} events", format::count(*more as u64)),
            Outcome::Stopped => "stopped".to_owned(),
            Outcome::Failed(_) => "no answer".to_owned(),
        };
        let (id, what, range) = (ended.id, ended.kind.words(), ended.range());
        Self { id, what, range, at: Moment::of_millis(ended.at), by: ended.by.clone(), result }
    }
}

#[derive(Debug, Deserialize)]
struct Asked {
    kind: Kind,
    text: String,
    /// Start of the range, for example `24h`; empty for everything that is retained.
    #[serde(default)]
    since: String,
    /// Set to search for a person in every partition.
    #[serde(default)]
    everywhere: Option<String>,
}

async fn start(by: By<Viewer>, State(console): State<Console>, Form(asked): Form<Asked>) -> Result<Redirect, Failure> {
    if asked.text.len() > LONGEST {
        return Err(Failure::Invalid(format!("An id has at most {} bytes.", format::count(LONGEST as u64))));
    }
    let wanted = asked.kind.wanted(&asked.text);
    let wanted = wanted.ok_or_else(|| Failure::Invalid("Nothing was written to search for.".to_owned()))?;
    let since = match asked.since.trim() {
        "" => None,
        text => Some(
            parse_bound(text, console.now())
                .map_err(|error| Failure::Invalid(format!("“Received” cannot be used: {error}.")))?,
        ),
    };
    let search = Search { wanted, since, all_partitions: asked.everywhere.is_some() };
    let job = console.jobs().begin(JobKind::Find, &by.user.name, console.now()).map_err(|running| {
        Failure::Conflict(format!("{} of {} runs, and one job runs at a time.", running.kind.name(), running.by))
    })?;
    let id = job.id();
    if asked.kind != Kind::Id {
        console.log().write(&by.user, Action::SearchPerson, format!("search {id}"), None);
    }
    tokio::spawn(async move {
        let events = &console.screens().events;
        let found = events.source.find(&search, &job).await;
        let outcome = match found {
            _ if !job.goes_on() => Outcome::Stopped,
            Ok(timelines) => {
                let newest = timelines.iter().rev().take(MOST_EVENTS);
                Outcome::Found(newest.map(FoundRow::of).collect(), timelines.len())
            }
            Err(error) => Outcome::Failed(error),
        };
        let (at, by, kind) = (console.now(), by.user.name, asked.kind);
        // Keep the result before the job ends, because pages look for it as soon as no job is running.
        events.searches.keep(Ended { id, at, by, kind, since, outcome });
        drop(job);
    });
    Ok(Redirect::to(&format!("/events/searches/{id}")))
}

#[derive(Template)]
#[template(path = "events/search.html")]
struct SearchPage {
    page: Page,
    job: Option<JobView>,
    /// Path that the page polls for the progress.
    poll: String,
    /// Path to which the browser returns after a stop.
    back: String,
    what: &'static str,
    range: String,
    found: Vec<FoundRow>,
    total: String,
    has_more: bool,
    /// Sentence that is shown if the search has no result.
    instead: Option<String>,
}

#[derive(Deserialize)]
struct Shown {
    /// Set to show the list instead of a redirect if the search found only one event.
    #[serde(default)]
    list: Option<String>,
}

async fn result(
    by: By<Viewer>,
    State(console): State<Console>,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Response, Failure> {
    let id = id.parse().map_err(|_| unknown())?;
    let page = Page::new(&console, &by, Screen::Events, "Events: a search");
    let running = console.jobs().running().filter(|running| running.id == id && running.kind == JobKind::Find);
    let back = format!("/events/searches/{id}");
    let mut view = SearchPage {
        page,
        job: running.map(|running| JobView::of(&running, &by.user)),
        poll: format!("{back}/progress"),
        back,
        what: "",
        range: String::new(),
        found: Vec::new(),
        total: String::new(),
        has_more: false,
        instead: None,
    };
    if view.job.is_some() {
        return Ok(render(&view)?.into_response());
    }
    let ended = console.screens().events.searches.find(id).ok_or_else(unknown)?;
    (view.what, view.range) = (ended.kind.words(), ended.range());
    match &ended.outcome {
        Outcome::Found(rows, total) => {
            if let ([FoundRow { href: Some(href), .. }], None) = (rows.as_slice(), &shown.list) {
                return Ok(Redirect::to(href).into_response());
            }
            view.found.clone_from(rows);
            view.total = format::count(*total as u64);
            view.has_more = *total > rows.len();
        }
        Outcome::Stopped => view.instead = Some("The search was stopped before its end, and has no result.".to_owned()),
        Outcome::Failed(error) => {
            view.instead = Some(format!("The topics could not be read: {}.", error.trim_end_matches('.')));
        }
    }
    Ok(render(&view)?.into_response())
}

fn unknown() -> Failure {
    Failure::NotFound(
        "There is no search of this number. The console keeps the last ones until it is started again.".to_owned(),
    )
}

#[derive(Template)]
#[template(path = "events/job.html")]
struct JobPart {
    page: Page,
    job: Option<JobView>,
    poll: String,
    back: String,
}

/// Returns the progress of a search. When the search has ended, the response makes the browser reload the page.
async fn progress(by: By<Viewer>, State(console): State<Console>, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: u64 = id.parse().map_err(|_| unknown())?;
    let running = console.jobs().running().filter(|running| running.id == id && running.kind == JobKind::Find);
    let Some(running) = running else { return Ok([("hx-refresh", "true")].into_response()) };
    let page = Page::new(&console, &by, Screen::Events, "Events: a search");
    let back = format!("/events/searches/{id}");
    let job = Some(JobView::of(&running, &by.user));
    Ok(render(&JobPart { page, job, poll: format!("{back}/progress"), back })?.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_kind_decides_whether_a_text_is_an_id_or_a_person() {
        assert_eq!(Kind::Id.wanted(" 01X "), Some(Wanted::Id("01X".to_owned())));
        // The first 32 digits of the output of `printf 'id:42' | sha256sum`.
        let key = |kind: Kind, text: &str| match kind.wanted(text) {
            Some(Wanted::Person(key)) => key.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(key(Kind::PersonId, " 42 "), "bbb3660007f68b86e00e9ea8af5f57b7");
        assert_eq!(key(Kind::Email, "A@B.example"), key(Kind::Email, "a@b.example"));
        for kind in [Kind::Id, Kind::PersonId, Kind::CioId, Kind::Email] {
            assert_eq!(kind.wanted("  "), None, "{kind:?}");
        }
    }
}
