//! What every page has: its title, the navigation, the user, and the token of its forms.

use askama::Template;
use axum::response::Html;

use crate::access::User;
use crate::assets;
use crate::failure::Failure;
use crate::routes::By;
use crate::screen::Screen;
use crate::state::Console;

/// The frame of a page, which `layout.html` shows.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) screen: Option<Screen>,
    pub(crate) user: Option<User>,
    /// The token of its forms: `<input type="hidden" name="token" value="{{ page.token }}">`.
    pub(crate) token: String,
    pub(crate) has_login: bool,
    pub(crate) grafana: Option<String>,
}

impl Page {
    /// A page of a screen. The title is what the browser's tab shows.
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

    /// A page for somebody who may not be known.
    pub(crate) fn without_user(title: impl Into<String>) -> Self {
        let (title, token) = (title.into(), String::new());
        Self { title, screen: None, user: None, token, has_login: false, grafana: None }
    }

    pub(crate) fn screens(&self) -> [Screen; 5] {
        Screen::ALL
    }

    pub(crate) fn is_at(&self, screen: &Screen) -> bool {
        self.screen == Some(*screen)
    }

    /// The address of an asset.
    pub(crate) fn asset(&self, name: &str) -> String {
        assets::path(name)
    }
}

/// Renders a page, or a part of one.
pub(crate) fn render(page: &impl Template) -> Result<Html<String>, Failure> {
    page.render().map(Html).map_err(|_| Failure::Defect("a page could not be rendered"))
}
