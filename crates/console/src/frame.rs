//! The data of `layout.html`, which surrounds every page: title, navigation, user and form token.

use crate::access::User;
use crate::assets;
use crate::screen::Screen;

/// The data that `layout.html` shows around a page.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) screen: Option<Screen>,
    pub(crate) user: Option<User>,
    /// CSRF token for the forms of the page: `<input type="hidden" name="token" value="{{ page.token }}">`.
    pub(crate) token: String,
    pub(crate) has_login: bool,
    pub(crate) grafana: Option<String>,
}

impl Page {
    /// Returns the frame of a page for a visitor who may not be authenticated.
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

    /// Returns the path of an asset.
    pub(crate) fn asset(&self, name: &str) -> String {
        assets::path(name)
    }
}
