//! Connect: what is set up, what is missing, and does it work from end to end?
//!
//! Everything here is a function of the crate `setup`, which the command line uses too. Credentials are never typed into a
//! browser: they are options of the process. Changing something needs the operator role and `CONSOLE_ALLOW_SETUP`.

mod change;
mod checks;
mod source;
mod test_event;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askama::Template;
use axum::extract::State;
use axum::response::{Html, Redirect};
use jiff::Timestamp;

use crate::access::{Role, User, Viewer};
use crate::failure::Failure;
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::screen::Screen;
use crate::state::Console;
use change::Progress;
use checks::Checks;
use view::{ChecksView, PlanView, WebhookRow, countdown};

pub use source::{Answering, Changed, ConnectSource, Part, Seen, SeenWebhook, TestEvent};

/// The state of the screen.
#[derive(Debug)]
pub struct Connect {
    source: Arc<dyn ConnectSource>,
    checks: Checks,
    /// The last plan that somebody saw, and when: an `apply` carries out this one or nothing.
    seen: Mutex<Option<Arc<Seen>>>,
    progress: Mutex<Progress>,
}

impl Connect {
    /// A screen over this set-up.
    pub fn new(source: impl ConnectSource) -> Self {
        let (checks, seen, progress) = (Checks::default(), Mutex::default(), Mutex::default());
        Self { source: Arc::new(source), checks, seen, progress }
    }

    fn seen(&self) -> Option<Arc<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks again, and keeps what was found.
    async fn look(&self) -> Result<Arc<Seen>, String> {
        let seen = Arc::new(self.source.plan().await?);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&seen));
        Ok(seen)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/connect", show)
        .get("/connect/checks", checks)
        .post("/connect/check", check)
        .get("/connect/plan", plan)
        .and(change::routes())
}

/// What a person may change on this page, and if not, why.
struct Permission {
    may_change: bool,
    reason: &'static str,
}

impl Permission {
    fn of(console: &Console, user: &User) -> Self {
        let (may_change, reason) = match (console.settings().allow_setup, user.role) {
            (false, _) => (false, "Changes are off: the console was started without CONSOLE_ALLOW_SETUP=true."),
            (true, Role::Operator) => (true, ""),
            (true, _) => (false, "Changes need the role of an operator."),
        };
        Self { may_change, reason }
    }
}

#[derive(Template)]
#[template(path = "connect.html")]
struct ConnectPage {
    page: Page,
    checks: ChecksView,
}

#[derive(Template)]
#[template(path = "connect/checks.html")]
struct ChecksPart {
    checks: ChecksView,
}

async fn show(by: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    let connect = &console.screens().connect;
    if connect.checks.found().begun.is_none() {
        connect.checks.begin(&connect.source, console.now());
    }
    let page = Page::new(&console, &by, Screen::Connect, "Connect");
    render(&ConnectPage { page, checks: ChecksView::of(&connect.checks.found()) })
}

async fn checks(_: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    render(&ChecksPart { checks: ChecksView::of(&console.screens().connect.checks.found()) })
}

async fn check(_: By<Viewer>, State(console): State<Console>) -> Redirect {
    let connect = &console.screens().connect;
    connect.checks.begin(&connect.source, console.now());
    Redirect::to("/connect")
}

#[derive(Template)]
#[template(path = "connect/plan.html")]
struct PlanPage {
    page: Page,
    plan: PlanView,
    webhooks: Vec<WebhookRow>,
    permission: Permission,
    /// Seconds in which Platform still loses events.
    countdown: Option<i64>,
    not_before: Option<Timestamp>,
    events: Vec<String>,
}

async fn plan(by: By<Viewer>, State(console): State<Console>) -> Result<Html<String>, Failure> {
    let seen = console.screens().connect.look().await.map_err(no_plan)?;
    let page = Page::new(&console, &by, Screen::Connect, "Connect: the plan");
    render(&PlanPage {
        page,
        plan: PlanView::of(&seen),
        webhooks: seen.webhooks.iter().map(WebhookRow::of).collect(),
        permission: Permission::of(&console, &by.user),
        countdown: countdown(seen.not_before, console.now()),
        not_before: seen.not_before,
        events: test_event::names(),
    })
}

/// Why there is no plan. A missing option is the usual reason, and the checks say who can set it.
fn no_plan(error: String) -> Failure {
    Failure::Unanswered(format!("The plan could not be made: {}.", error.trim_end_matches('.')))
}

#[cfg(test)]
mod tests;
