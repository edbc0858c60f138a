//! Decides which file in the folder for secrets a stage writes. Two stages may share the folder: next to each file, a
//! note (the file `.NAME.stage`) contains the stage to which the file belongs.
//!
//! The first stage gets the short name, such as `ims-client-secret`. Another stage gets a name with the stage, such as
//! `ims-client-secret.customerio-aep.prod`; the entries of `--write-env` contain the whole path.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use settings::SecretSource;
use setup::stage::Stage;

/// Claims a file for a stage's secret, and returns the name of the file.
///
/// # Errors
/// A message if both possible files hold secrets of other stages, or of an unknown origin.
pub(super) fn claimed(folder: &Path, name: &str, stage: &Stage, secret: &SecretString) -> Result<String, String> {
    let own = format!("{name}.{}.{}", stage.deployment, stage.sandbox);
    let owner = format!("{}/{}/{}", stage.deployment, stage.organisation, stage.sandbox);
    // A stage whose file has the long name keeps this file, even if the short name is no longer in use.
    let has_own = noted(folder, &own).as_deref() == Some(owner.as_str());
    let names = if has_own { [own.as_str(), name] } else { [name, own.as_str()] };
    for name in names {
        if is_claimed(folder, name, &owner, secret).map_err(|error| format!("{}: {error}", folder.display()))? {
            return Ok(name.to_owned());
        }
    }
    let folder = folder.display();
    Err(format!(
        "the files {name} and {own} in {folder} hold other secrets and are not overwritten; choose another folder with --secrets-dir"
    ))
}

/// Claims a file for a stage. Returns false if the file belongs to another stage, or if it has no note and contains
/// another secret.
fn is_claimed(folder: &Path, name: &str, owner: &str, secret: &SecretString) -> std::io::Result<bool> {
    let path = folder.join(name);
    let has_note = note(folder, name).exists();
    if !has_note && path.exists() {
        let same = SecretSource::File(path).read().is_ok_and(|found| found.expose_secret() == secret.expose_secret());
        if !same {
            return Ok(false);
        }
    }
    // If two stages claim a file at the same time, only one of them can create the note. The note never exists without
    // its content, because a run can be killed at any time.
    let whole = folder.join(format!(".{name}.stage.{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&whole)?;
    file.write_all(format!("{owner}\n").as_bytes())?;
    let created = std::fs::hard_link(&whole, note(folder, name));
    std::fs::remove_file(&whole)?;
    match created {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(noted(folder, name).as_deref() == Some(owner)),
        Err(error) => Err(error),
    }
}

/// The stage to which a file belongs; `None` if it has no note.
fn noted(folder: &Path, name: &str) -> Option<String> {
    std::fs::read_to_string(note(folder, name)).ok().map(|text| text.trim().to_owned())
}

fn note(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.stage"))
}
