//! Creates and renders the pages of the screens.

use askama::Template;
use axum::response::Html;

use crate::failure::Failure;
use crate::routes::By;
use crate::screen::Screen;
use crate::state::Console;

pub(crate) use crate::frame::Page;

impl Page {
    /// Returns the frame of a page of a screen. The browser shows the title on its tab.
    pub(crate) fn new<R>(console: &Console, by: &By<R>, screen: Screen, title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            screen: Some(screen),
            user: Some(by.user.clone()),
            token: by.visit.token.clone(),
            has_login: console.visitors().has_login(),
            grafana: console.settings().grafana.as_ref().map(ToString::to_string),
        }
    }
}

/// Renders a page or a part of a page.
pub(crate) fn render(page: &impl Template) -> Result<Html<String>, Failure> {
    page.render().map(Html).map_err(|_| Failure::Defect("a page could not be rendered"))
}
