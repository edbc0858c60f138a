//! The browser console. It offers the reports and operations of the command line to people who work in a browser.
//!
//! Pages are rendered on the server ([`askama`] escapes every value) and work without JavaScript. They use the
//! functions of the crates `operator` and `setup`, as the command line does, so that both show the same results.
//!
//! - `guard` checks the host, the origin and the form token of a request, and finds its user.
//! - `access` contains users and roles. The signature of a handler contains the role that it requires (`routes`).
//! - `mask` masks the values of events until an investigator reveals them.
//! - Each screen has a module, templates, and a trait for its access to the pipeline.

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
