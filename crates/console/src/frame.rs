//! The frame of every page: its title, the navigation, the user, and the token of its forms.

use crate::access::User;
use crate::assets;
use crate::screen::Screen;

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
