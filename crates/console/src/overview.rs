//! Screen Overview: health of the pipeline, age of events, and findings that need a person.
//!
//! `watch` polls the services, Kafka, Platform and Customer.io, and keeps samples of the last hour. `view` converts a
//! status into the data of the page.

mod hour;
mod source;
mod spark;
mod view;
mod watch;

use askama::Template;
use axum::extract::State;
use axum::response::Html;

use crate::access::Viewer;
use crate::failure::Failure;
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;
use hour::HourRow;
use view::View;

pub use source::StatusSource;
pub use watch::Overview;

pub(crate) fn routes() -> Routes {
    Routes::new().get("/", show).get("/overview/live", live)
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    page: Page,
    view: View,
    hour: Vec<HourRow>,
}

/// The part of the page that is reloaded periodically.
#[derive(Template)]
#[template(path = "overview/live.html")]
struct Live {
    view: View,
}

fn view(console: &Console) -> View {
    let overview = &console.screens().overview;
    overview.is_watched(console.now());
    let (status, samples) = overview.current();
    View::of(status.as_deref(), &samples, console.now())
}

async fn show(by: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    let page = Page::new(&console, &by, Screen::Overview, "Overview");
    let hour = hour::rows(&console.screens().overview.current().1, console.now());
    render(&OverviewPage { page, view: view(&console), hour })
}

async fn live(_: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    render(&Live { view: view(&console) })
}

#[cfg(test)]
mod tests;
