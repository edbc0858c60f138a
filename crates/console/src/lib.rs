//! The browser console: what the command line shows and does, for people who work in a browser.
//!
//! Pages are rendered on the server ([`askama`] escapes every value), and work without JavaScript. The functions behind
//! them are those of the crates `operator` and `setup`, so that the console and the command line show the same answers.
//!
//! - `guard` admits a request: the host, the origin, the token of the form, the visitor.
//! - `access` knows the visitors and their roles; a handler names the role that it needs in its signature (`routes`).
//! - `mask` hides the values of events from everyone who has not asked for them.
//! - Each screen has a module, templates, and a trait through which it reaches the pipeline.

mod access;
mod action_log;
mod assets;
mod config;
pub mod connect;
pub mod dead_letters;
pub mod events;
mod failure;
mod format;
mod frame;
mod guard;
mod input;
mod job_view;
mod jobs;
mod links;
mod login;
pub mod mask;
pub mod overview;
mod page;
mod pipeline;
pub mod proof;
mod router;
mod routes;
mod screen;
mod server;
mod state;
mod stop;

pub use access::{FirstUser, NewUser, Role, UsersError, add_user, first_user};
pub use config::{Authentication, ConsoleArgs, GrafanaUrl, GroupRole, Settings};
pub use connect::Connect;
pub use dead_letters::DeadLetters;
pub use events::Events;
pub use jobs::Job;
pub use overview::Overview;
pub use pipeline::{PipelineAccess, PositionsOf};
pub use proof::Proof;
pub use server::Server;
pub use state::{Console, Screens};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
