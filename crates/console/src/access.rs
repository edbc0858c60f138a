//! Users of the console, their authentication and their roles.

mod proxy;
mod role;
mod session;
mod user;
mod users_file;
mod visitors;

pub(crate) use proxy::ProxySettings;
pub use role::Role;
pub(crate) use role::{Investigator, Operator, RequiredRole, Viewer};
pub(crate) use session::SessionId;
pub(crate) use user::User;
pub(crate) use users_file::UsersFile;
pub use users_file::{FirstUser, NewUser, UsersError, add_user, first_user};
pub(crate) use visitors::{LoginError, Visit, Visitor, Visitors};
