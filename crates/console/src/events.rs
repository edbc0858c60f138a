//! Screen Events: a live view of events as they end, and search for events.
//!
//! `tail` is the live tail, and `search` finds events. `look` is a job that collects everything about one event
//! (`found_event`). `page` shows the steps (`timeline`), and in three columns (`columns`) the webhook, the mapping
//! rules and the XDM event. Values are masked until a user reveals them.

mod again;
mod columns;
mod found_event;
mod look;
mod page;
mod search;
mod source;
mod tail;
mod tail_view;
mod timeline;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use futures_util::stream::unfold;
use tokio_util::sync::CancellationToken;

use crate::access::Viewer;
use crate::failure::Failure;
use crate::input::Query;
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;
use look::Looks;
use search::{EndedRow, Searches};
use tail::{MOST_ROWS, Tail};
use tail_view::{TailFilter, TailRow, choices};

pub use source::{Answering, EventSource, EventTopics, Listener, Search};

/// Number of events on a page without JavaScript.
const WITHOUT_STREAM: usize = 50;
/// Delay before a browser reconnects to a stream that has ended (the `retry` field of server-sent events).
const RECONNECT_DELAY: Duration = Duration::from_secs(5);

/// State of the screen Events: the live tail and the last results.
#[derive(Debug)]
pub struct Events {
    source: Arc<dyn EventSource>,
    tail: Tail,
    looks: Looks,
    searches: Searches,
}

impl Events {
    /// Creates the screen for this source of events.
    pub fn new(source: impl EventSource) -> Self {
        let (tail, looks, searches) = (Tail::default(), Looks::default(), Searches::default());
        Self { source: Arc::new(source), tail, looks, searches }
    }

    /// Ends the tail and its streams when `stop` is cancelled.
    pub(crate) async fn end_with(&self, stop: CancellationToken) {
        stop.cancelled().await;
        self.tail.end();
    }
}

pub(crate) fn routes() -> Routes {
    Routes::new().get("/events", show).get("/events/tail", stream).and(search::routes()).and(page::routes())
}

#[derive(Template)]
#[template(path = "events.html")]
struct EventsPage {
    page: Page,
    rows: Vec<TailRow>,
    said: String,
    filter: TailFilter,
    channels: Vec<&'static str>,
    metrics: Vec<&'static str>,
    /// Path of the stream with the same filter.
    stream: String,
    most_rows: usize,
    searches: Vec<EndedRow>,
}

impl EventsPage {
    /// Returns the path of this page with the same filter.
    fn reload(&self) -> String {
        format!("/events?{}", self.filter.query())
    }
}

async fn show(
    by: By<Viewer>,
    State(console): State<Console>,
    Query(filter): Query<TailFilter>,
) -> Result<Html<String>, Failure> {
    let events = &console.screens().events;
    events.tail.is_shown(&events.source);
    let (newest, said) = events.tail.newest();
    let (channels, metrics) = choices();
    render(&EventsPage {
        page: Page::new(&console, &by, Screen::Events, "Events"),
        rows: tail_view::rows(&newest, &filter, WITHOUT_STREAM),
        said: said.unwrap_or_else(|| "Opening the topics.".to_owned()),
        stream: format!("/events/tail?{}", filter.query()),
        filter,
        channels,
        metrics,
        most_rows: MOST_ROWS,
        searches: events.searches.rows(),
    })
}

/// Streams events as they end, until the browser closes the stream.
async fn stream(
    _: By<Viewer>,
    State(console): State<Console>,
    Query(filter): Query<TailFilter>,
) -> Result<Response, Failure> {
    let events = &console.screens().events;
    let stream = events.tail.open(&events.source).ok_or_else(|| {
        Failure::Conflict("Too many people follow the events at this time. Close a tab that shows them.".to_owned())
    })?;
    let messages = unfold((stream, filter), |(mut stream, filter)| async move {
        let beat = stream.next(|ended| filter.includes(ended)).await?;
        let event = Event::default().retry(RECONNECT_DELAY);
        let event = match tail_view::message(&beat) {
            Ok(message) => event.data(message),
            Err(_) => event.comment("a defect"),
        };
        Some((Ok::<_, Infallible>(event), (stream, filter)))
    });
    let stream = Sse::new(messages).keep_alive(KeepAlive::default());
    Ok(([(CACHE_CONTROL, "no-store")], stream).into_response())
}

#[cfg(test)]
mod tests;
