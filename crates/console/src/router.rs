//! All routes of the console.

use axum::Router;
use axum::middleware::from_fn_with_state;

use crate::failure::Failure;
use crate::guard::guard;
use crate::routes::Routes;
use crate::state::Console;
use crate::{assets, connect, dead_letters, events, login, overview, proof, stop};

/// Returns the routes of all screens, the assets, the login and the stop of jobs.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .and(assets::routes())
        .and(login::routes())
        .and(overview::routes())
        .and(events::routes())
        .and(dead_letters::routes())
        .and(proof::routes())
        .and(connect::routes())
        .and(stop::routes())
}

/// Returns the router with all routes, the error pages and the guard.
pub(crate) fn router(console: &Console) -> Router {
    routes()
        .into_router()
        .fallback(async || Failure::NotFound("There is no page at this address.".to_owned()))
        .method_not_allowed_fallback(async || Failure::WrongMethod)
        .layer(from_fn_with_state(console.clone(), guard))
        .with_state(console.clone())
}
