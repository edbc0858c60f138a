//! Dead letters: what failed, why, and what to do about it?

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
pub struct DeadLetters {}

pub(crate) fn routes() -> Routes {
    Routes::new().get("/dead-letters", show)
}

#[derive(Template)]
#[template(path = "screen_not_built.html")]
struct NotBuilt {
    page: Page,
}

async fn show(by: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    render(&NotBuilt { page: Page::new(&console, &by, Screen::DeadLetters, "Dead letters") })
}
