//! Gets the signing keys that are not configured yet, from a service account or from a person. Writes each one to the
//! file from which the gateway will read it.

use std::path::{Path, PathBuf};

use customerio_api::SigningKeySource;
use secrecy::SecretString;
use setup::apply::Applied;
use sources::SourceName;

use super::args::ApplyArgs;
use super::written::Written;
use crate::setup::connect::Connect;
use crate::setup::{ask, files};
use crate::{CommandError, output};

/// Gets the missing signing keys from Customer.io with a service-account token, or from a person.
pub(super) async fn keys(
    connect: &mut Connect,
    applied: &Applied,
    args: &ApplyArgs,
    may_ask: bool,
    written: &mut Written,
) -> Result<(), CommandError> {
    let wishes = connect.desired.webhooks.iter().map(|wish| wish.source.clone());
    let missing: Vec<SourceName> = wishes.filter(|source| !connect.keys.contains_key(source)).collect();
    for source in missing {
        let fetched = match fetch(connect, applied, &source).await {
            Some(Ok(key)) => Some(key),
            Some(Err(error)) => {
                output::problem(&error);
                None
            }
            None => None,
        };
        let key = match fetched {
            Some(key) => Some(key),
            None if may_ask => ask::secret(&format!(
                "Signing key of source `{source}` (Customer.io: Data & Integrations > Integrations > Reporting Webhooks; it is not shown; empty to continue without it):"
            ))?,
            None => None,
        };
        let Some(key) = key else { continue };
        keep(connect, args, &source, &key, written);
        connect.key_texts.insert(source.clone(), key.clone());
        connect.keys.insert(source, key);
    }
    Ok(())
}

/// Writes a key to its file. If that is not possible, this run still uses the key, and the message contains the remedy.
fn keep(connect: &Connect, args: &ApplyArgs, source: &SourceName, key: &SecretString, written: &mut Written) {
    let place = Place::of(connect.key_files.get(source), connect.has_sources_file, source);
    let file = match (&place, &connect.desired.stage) {
        (Place::Given(path), _) => files::write_new_secret(path, key),
        (Place::Folder(name), Some(stage)) => files::write_secret(&args.secrets_dir, name, stage, key),
        // Without a stage there are no webhooks, so there is no key to write.
        (Place::Folder(_), None) => return,
    };
    match file {
        Ok(path) if connect.has_sources_file => output::line(&place.hint(source, &path)),
        Ok(path) => written.signing_keys = Some(path),
        Err(error) => output::problem(&format!(
            "the signing key of source `{source}` was not written and has to be entered again: {error}"
        )),
    }
}

/// Where the signing key of a source is written.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The configured file, which does not exist yet.
    Given(PathBuf),
    /// A file of this name in the folder for secrets.
    Folder(String),
}

impl Place {
    fn of(given: Option<&PathBuf>, has_sources_file: bool, source: &SourceName) -> Self {
        match given {
            Some(path) => Self::Given(path.clone()),
            None if has_sources_file => Self::Folder(format!("customerio-signing-keys-{source}")),
            None => Self::Folder("customerio-signing-keys".to_owned()),
        }
    }

    fn hint(&self, source: &SourceName, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Given(_) => format!("the signing key of source `{source}` was written to {path}"),
            Self::Folder(_) => format!(
                "the signing key of source `{source}` was written to {path}; set signing_keys_file = \"{path}\" for this source in SOURCES_FILE"
            ),
        }
    }
}

async fn fetch(connect: &Connect, applied: &Applied, source: &SourceName) -> Option<Result<SecretString, String>> {
    let account = connect.service_accounts.get(source)?;
    let wish = connect.desired.webhooks.iter().find(|wish| wish.source == *source)?;
    let workspaces = &applied.observed.customerio.get(source)?.workspaces;
    let named = |name: &String| workspaces.iter().find(|workspace| workspace.name == *name);
    let workspace = match &wish.workspace {
        Some(name) => named(name),
        None => workspaces.first().filter(|_| workspaces.len() == 1),
    };
    let Some(workspace) = workspace else {
        return Some(Err(format!(
            "source `{source}`: name its workspace with CUSTOMERIO_WORKSPACE, so that the signing key can be fetched"
        )));
    };
    Some(account.signing_key(workspace.id).await.map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_to_the_configured_file_or_else_to_the_folder_for_secrets() {
        let source: SourceName = "shop".parse().unwrap();
        let given = PathBuf::from("/keys/shop");
        assert_eq!(Place::of(Some(&given), true, &source), Place::Given(given.clone()));
        assert_eq!(Place::of(Some(&given), false, &source), Place::Given(given));
        assert_eq!(Place::of(None, false, &source), Place::Folder("customerio-signing-keys".to_owned()));
        let place = Place::of(None, true, &source);
        assert_eq!(place, Place::Folder("customerio-signing-keys-shop".to_owned()));
        let hint = place.hint(&source, Path::new("/s/customerio-signing-keys-shop"));
        assert!(hint.contains("signing_keys_file = \"/s/customerio-signing-keys-shop\""), "{hint}");
    }
}
