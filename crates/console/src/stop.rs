//! Route that stops the running job.

use axum::extract::State;
use axum::response::Redirect;
use serde::Deserialize;

use crate::access::{Role, User, Viewer};
use crate::action_log::Action;
use crate::failure::Failure;
use crate::input::Form;
use crate::jobs::{JobKind, Running};
use crate::links;
use crate::routes::{By, Routes};
use crate::state::Console;

pub(crate) fn routes() -> Routes {
    Routes::new().post("/jobs/stop", stop)
}

/// Returns whether a user may stop a job. A user may stop their own jobs and jobs that only read; an operator may stop
/// every job.
pub(crate) fn may_stop(running: &Running, user: &User) -> bool {
    let only_reads = match running.kind {
        JobKind::Audit | JobKind::Find | JobKind::DryRun => true,
        JobKind::Replay | JobKind::Discard | JobKind::Apply => false,
    };
    only_reads || running.by == user.name || user.role == Role::Operator
}

#[derive(Debug, Deserialize)]
struct Stop {
    id: u64,
    /// Path of the page to return to.
    #[serde(default)]
    back: String,
}

async fn stop(
    by: By<Viewer>,
    State(console): State<Console>,
    Form(Stop { id, back }): Form<Stop>,
) -> Result<Redirect, Failure> {
    match console.jobs().running().filter(|running| running.id == id) {
        Some(running) if !may_stop(&running, &by.user) => Err(Failure::RoleNeeded(Role::Operator)),
        running => {
            if running.is_some() && console.jobs().stop(id) {
                console.log().write(&by.user, Action::StopJob, id.to_string(), None);
            }
            Ok(Redirect::to(links::path(&back)))
        }
    }
}
