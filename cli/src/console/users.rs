//! The command `console users`, which manages the users of the console.

use std::io::BufRead;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use console::{NewUser, Role, add_user};
use secrecy::SecretString;

use crate::setup::ask;
use crate::{CommandError, UsageError, Verdict, output};

#[derive(Debug, Subcommand)]
pub(crate) enum UsersAction {
    /// Add a user, or give a user another role and password
    ///
    /// It asks for the password, or reads it from the first line of standard input if that is not a terminal. The console
    /// reads the file again within one request.
    Add(AddArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The name: letters, digits and . _ - @ +
    name: String,

    /// Role of the user: viewer, investigator or operator
    #[arg(long, value_name = "ROLE")]
    role: Role,

    /// The users file; it is created if it does not exist
    #[arg(long = "console-users-file", env = "CONSOLE_USERS_FILE", value_name = "PATH")]
    file: PathBuf,
}

pub(super) fn run(action: &UsersAction) -> Result<Verdict, CommandError> {
    let UsersAction::Add(AddArgs { name, role, file }) = action;
    let password = password()?;
    let new = NewUser { name: name.clone(), role: *role, password };
    let is_new = add_user(file, &new).map_err(|error| UsageError(error.to_string()))?;
    let what = if is_new { "added" } else { "changed" };
    output::line(&format!("{what} {role} {name} in {}", file.display()));
    Ok(Verdict::Good)
}

fn password() -> Result<SecretString, CommandError> {
    if !ask::is_possible() {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line)?;
        return Ok(line.trim_end_matches(['\r', '\n']).into());
    }
    let none = || UsageError("no password was given; nothing was changed".to_owned());
    let password = ask::secret("Password (at least 12 characters; it is not shown):")?.ok_or_else(none)?;
    let again = ask::secret("The same again:")?.ok_or_else(none)?;
    let is_same = secrecy::ExposeSecret::expose_secret(&password) == secrecy::ExposeSecret::expose_secret(&again);
    if is_same {
        Ok(password)
    } else {
        Err(UsageError("the two are not the same; nothing was changed".to_owned()).into())
    }
}
