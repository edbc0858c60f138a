//! Events: what arrives, and what became of one event?

use askama::Template;
use axum::extract::State;
use axum::response::Html;

use crate::access::Viewer;
use crate::failure::Failure;
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;

/// The state of the screen.
#[derive(Debug, Default)]
pub struct Events {}

pub(crate) fn routes() -> Routes {
    Routes::new().get("/events", show)
}

#[derive(Template)]
#[template(path = "screen_not_built.html")]
struct NotBuilt {
    page: Page,
}

async fn show(by: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    render(&NotBuilt { page: Page::new(&console, &by, Screen::Events, "Events") })
}
