//! Screen Connect: checks of the set-up, the plan of what is missing, and test events that go through the whole
//! pipeline.
//!
//! The screen uses the functions of the crate `setup`, as the command line does. Users never type credentials into a
//! browser, because credentials are options of the process. Changes need the operator role and `CONSOLE_ALLOW_SETUP`.

mod change;
mod checks;
mod progress;
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
use checks::Checks;
use progress::Progress;
use view::{ChecksView, PlanView, WebhookRow, countdown};

pub use source::{Answering, Changed, ConnectSource, Part, Seen, SeenWebhook, TestEvent};

/// State of the screen Connect: the checks, the last plan and the last change.
#[derive(Debug)]
pub struct Connect {
    source: Arc<dyn ConnectSource>,
    checks: Checks,
    /// The last plan that a user viewed. `apply` executes this plan or nothing.
    seen: Mutex<Option<Arc<Seen>>>,
    progress: Mutex<Progress>,
}

impl Connect {
    /// Creates the screen for this set-up.
    pub fn new(source: impl ConnectSource) -> Self {
        let (checks, seen, progress) = (Checks::default(), Mutex::default(), Mutex::default());
        Self { source: Arc::new(source), checks, seen, progress }
    }

    fn seen(&self) -> Option<Arc<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a new plan and keeps it as the last viewed plan.
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

/// Whether a user may change the set-up, and the reason if not.
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
    /// Seconds until Platform no longer loses events of a new flow; `None` if it loses none now.
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

/// Returns the failure for a plan that could not be made. The usual reason is a missing option, and the checks show who
/// can set it.
fn no_plan(error: String) -> Failure {
    Failure::Unanswered(format!("The plan could not be made: {}.", error.trim_end_matches('.')))
}

#[cfg(test)]
mod tests;
