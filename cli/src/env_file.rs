//! `.env` files: values for variables that neither a flag nor the environment sets.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use settings::Variables;

/// The variables, with the file that `--env-file` names behind the environment, or `./.env` if there is one.
pub(crate) fn variables(arguments: &[OsString]) -> Result<Variables, String> {
    let read = |path: &Path| Variables::with_file(path).map_err(|error| error.to_string());
    match named(arguments) {
        Some(path) => read(&path).map_err(|error| format!("--env-file: {error}")),
        None if Path::new(".env").is_file() => read(Path::new(".env")),
        None => Ok(Variables::of_process()),
    }
}

/// The value of `--env-file`; clap cannot be asked yet, because the file decides about its defaults.
fn named(arguments: &[OsString]) -> Option<PathBuf> {
    let mut arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    while let Some(argument) = arguments.next() {
        if argument == "--env-file" {
            return arguments.next().map(|path| PathBuf::from(path.into_owned()));
        }
        if let Some(path) = argument.strip_prefix("--env-file=") {
            return Some(PathBuf::from(path));
        }
    }
    None
}
