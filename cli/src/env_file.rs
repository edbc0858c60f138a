//! `.env` files: values for variables that neither a flag nor the environment sets.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use settings::Variables;

/// Returns the values of all variables. The environment has precedence over the file of `--credentials`, which in turn
/// has precedence over the file of `--env-file` or, without that option, `./.env`.
pub(crate) fn variables(arguments: &[OsString]) -> Result<Variables, String> {
    let file = named(arguments, "--env-file");
    let variables = match &file {
        Some(path) => Variables::with_file(path).map_err(|error| format!("--env-file: {error}"))?,
        None if Path::new(".env").is_file() => {
            Variables::with_file(Path::new(".env")).map_err(|error| error.to_string())?
        }
        None => Variables::of_process(),
    };
    match named(arguments, "--credentials") {
        Some(path) => variables.and_file(&path).map_err(|error| format!("--credentials: {error}")),
        None => Ok(variables),
    }
}

/// Finds the value of an option in the arguments. clap cannot parse the arguments yet, because the file that the option
/// names contains values of other options.
fn named(arguments: &[OsString], option: &str) -> Option<PathBuf> {
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        if argument == option {
            return arguments.next().map(|path| PathBuf::from(path.into_owned()));
        }
        if let Some(path) = argument.strip_prefix(option).and_then(|rest| rest.strip_prefix('=')) {
            return Some(PathBuf::from(path));
        }
    }
    None
}
