//! Screen Dead letters: list, explanation, replay and discard of dead letters.
//!
//! `state` keeps the unresolved dead letters in a compact form, and reads new records while a page is open. `listing`
//! finds the dead letters that match a filter (`selection`). `one` shows one dead letter. `operation` replays and
//! discards dead letters as jobs, and `work` keeps the results. `explanation` reads the explanations from
//! docs/dead-letters.md.

mod explanation;
mod listing;
mod message;
mod one;
mod operation;
mod result;
mod selection;
mod source;
mod state;
mod view;
mod work;

use std::sync::PoisonError;

use askama::Template;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use crate::access::{Role, Viewer};
use crate::failure::Failure;
use crate::format;
use crate::input::Query;
use crate::job_view::JobView;
use crate::links;
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;
use listing::{Listing, MOST_PAGES, ROWS};
use selection::Wanted;
use view::{FilterView, GroupView, PagesView, ReadingView, RowView, WorkRow};

pub use source::{
    Answering, DeadLetterSource, DeadLetterTopic, EndedEarly, Found, OnRead, Operation, Order, Refusal, Refusals,
    Summary,
};
pub use state::DeadLetters;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/dead-letters", show)
        .get("/dead-letters/reading", reading)
        .and(one::routes())
        .and(operation::routes())
}

#[derive(Debug, Deserialize)]
struct Asked {
    #[serde(flatten)]
    wanted: Wanted,
    #[serde(default)]
    page: String,
}

#[derive(Template)]
#[template(path = "dead_letters.html")]
struct DeadLettersPage {
    page: Page,
    reading: ReadingView,
    job: Option<JobView>,
    /// Path of the page of the running job, if it is a job of this screen.
    job_page: Option<String>,
    filters: FilterView,
    /// Number of dead letters that match the filter.
    matching: String,
    total: String,
    is_empty: bool,
    is_operator: bool,
    /// Whether the user has to choose how dead letters of the sink are replayed.
    needs_how: bool,
    /// Maximum number of dead letters that one operation resolves; `None` if the filter matches no more than that.
    limit: Option<String>,
    groups: Vec<GroupView>,
    rows: Vec<RowView>,
    pages: PagesView,
    work: Vec<WorkRow>,
}

/// The part of the page that shows the progress of reading the topic.
#[derive(Template)]
#[template(path = "dead_letters/reading.html")]
struct ReadingPart {
    reading: ReadingView,
}

async fn show(
    by: By<Viewer>,
    State(console): State<Console>,
    Query(Asked { wanted, page }): Query<Asked>,
) -> Result<Html<String>, Failure> {
    let selection = wanted.read(console.now())?;
    let number = page.parse().unwrap_or(1);
    let screen = &console.screens().dead_letters;
    let reading = screen.refresh(console.now()).await;
    let (unresolved, filter) = (screen.unresolved(), selection.clone());
    // The list can have a million dead letters, so it must not block the async runtime.
    let listing = tokio::task::spawn_blocking(move || {
        Listing::of(&unresolved.lock().unwrap_or_else(PoisonError::into_inner), &filter, number)
    });
    let listing = listing.await.map_err(|_| Failure::Defect("the dead letters could not be listed"))?;
    let title = match (&selection.stage, &selection.code) {
        (Some(stage), Some(code)) => format!("Dead letters: {code} of {stage}"),
        (None, Some(code)) => format!("Dead letters: {code}"),
        (Some(stage), None) => format!("Dead letters of {stage}"),
        (None, None) => "Dead letters".to_owned(),
    };
    let running = console.jobs().running();
    let limit = operation::LIMIT as u64;
    render(&DeadLettersPage {
        page: Page::new(&console, &by, Screen::DeadLetters, title),
        reading: ReadingView::of(&reading, &listing),
        job_page: running.as_ref().filter(|job| screen.history.find(job.id).is_some()).map(|job| work::address(job.id)),
        job: running.map(|running| JobView::of(&running, &by.user)),
        filters: FilterView::of(&wanted, &selection, &listing),
        matching: format::count(listing.matching),
        total: format::count(listing.total),
        is_empty: listing.matching == 0,
        is_operator: by.user.role == Role::Operator,
        needs_how: listing.groups.iter().any(|group| operation::needs_how(group.stage)),
        limit: (listing.matching > limit).then(|| format::count(limit)),
        groups: listing.groups.iter().map(|group| GroupView::of(group, &selection)).collect(),
        rows: listing.rows.iter().map(|row| RowView::of(row, links::dead_letter(row.position))).collect(),
        pages: PagesView::of(&listing, &selection, ROWS, MOST_PAGES),
        work: screen.history.all().iter().map(|work| WorkRow::of(work, work::address(work.id))).collect(),
    })
}

/// Returns the progress of reading the topic. When the read has ended, the response makes the browser reload the page.
async fn reading(_: By<Viewer>, State(console): State<Console>) -> Result<Response, Failure> {
    let screen = &console.screens().dead_letters;
    let reading = screen.reading();
    if !reading.is_reading {
        return Ok([("hx-refresh", "true")].into_response());
    }
    let (total, is_complete) = {
        let unresolved = screen.lock();
        (unresolved.count() as u64, unresolved.is_complete())
    };
    let listing = Listing { total, is_complete, ..Listing::default() };
    Ok(render(&ReadingPart { reading: ReadingView::of(&reading, &listing) })?.into_response())
}

#[cfg(test)]
mod tests;
