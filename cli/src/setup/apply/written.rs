//! The results of `setup apply` for the services: `.env` entries, files with secrets, and Kubernetes secrets.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use settings::SecretSource;
use setup::apply::Applied;
use setup::manifest::{Secret, manifest};
use setup::observed::Observed;
use setup::plan::Plan;
use setup::values::PlatformValues;
use sources::SourceName;

use super::args::ApplyArgs;
use crate::setup::connect::Connect;
use crate::setup::files;
use crate::{CommandError, output};

/// The files and entries that were written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Path of the file with the signing key, if one was written.
    pub(super) signing_keys: Option<PathBuf>,
    /// Names of the entries that changed in the `.env` file.
    pub(super) env: Vec<String>,
}

/// The services' variables whose values come from the created objects.
pub(crate) fn variables(connect: &Connect, plan: &Plan, observed: &Observed) -> Vec<(String, String)> {
    let Some(stage) = &connect.desired.stage else { return Vec::new() };
    let values = PlatformValues::of(stage, plan, observed, connect.settling);
    values.iter().flat_map(PlatformValues::variables).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Writes the `.env` file and the files with secrets, but never the set-up's own credential. A variable whose value is
/// not known yet is left out, and the next run adds it.
pub(super) fn write(
    args: &ApplyArgs,
    connect: &Connect,
    applied: &Applied,
    written: &mut Written,
) -> Result<(), CommandError> {
    let Some(path) = args.write_env.as_ref().filter(|_| connect.desired.stage.is_some()) else { return Ok(()) };
    let entries = entries(args, connect, applied, written)?;
    written.env.extend(files::write_env(path, &entries)?);
    Ok(())
}

/// Prints the results for `--print-env` and `--secret-yaml` on standard output, once at the end of the run.
pub(super) fn print_results(
    args: &ApplyArgs,
    connect: &Connect,
    applied: &Applied,
    written: &Written,
) -> Result<(), CommandError> {
    if connect.desired.stage.is_none() {
        return Ok(());
    }
    if args.print_env {
        let entries = entries(args, connect, applied, written)?;
        entries.iter().for_each(|(name, value)| output::result(&format!("{name}={value}\n")));
    }
    if args.secret_yaml {
        print_manifest(connect)?;
    }
    let is_configured = args.write_env.is_some() || args.print_env;
    if let Some(path) = written.signing_keys.as_ref().filter(|_| !is_configured) {
        output::problem(&format!(
            "the signing key was written to {0}; set CUSTOMERIO_SIGNING_KEYS_FILE={0}",
            path.display()
        ));
    }
    Ok(())
}

fn entries(
    args: &ApplyArgs,
    connect: &Connect,
    applied: &Applied,
    written: &Written,
) -> Result<Vec<(String, String)>, CommandError> {
    let mut entries = variables(connect, &applied.plan, &applied.observed);
    if let Some(stage) = connect.desired.stage.as_ref().filter(|_| !entries.is_empty()) {
        let platform = &args.connect.platform;
        let without_slash = |url: String| url.trim_end_matches('/').to_owned();
        entries.push(("DEPLOYMENT".to_owned(), platform.deployment.to_string()));
        entries.push(("IMS_URL".to_owned(), without_slash(platform.ims_url.to_string())));
        entries.push(("PLATFORM_API_URL".to_owned(), without_slash(platform.platform_api_url.to_string())));
        if let Some((client_id, secret)) = &connect.sink_credential {
            entries.push(("IMS_CLIENT_ID".to_owned(), client_id.clone()));
            let path = match secret {
                SecretSource::File(path) => shared_path(args, "IMS_CLIENT_SECRET_FILE", path),
                SecretSource::Value(value) => {
                    files::write_secret(&args.secrets_dir, "ims-client-secret", stage, value)?
                }
            };
            entries.extend(secret_entries("IMS_CLIENT_SECRET", &path));
        }
    }
    let given = args.connect.customerio.signing_keys_file.as_ref();
    let given = given.filter(|path| !connect.has_sources_file && path.exists());
    let given = given.map(|path| shared_path(args, "CUSTOMERIO_SIGNING_KEYS_FILE", path));
    if let Some(path) = written.signing_keys.clone().or(given) {
        entries.extend(secret_entries("CUSTOMERIO_SIGNING_KEYS", &path));
    }
    if let Ok(folder) = args.secrets_dir.canonicalize() {
        // Docker Compose mounts the folder at the same path in the containers.
        entries.push(("SETUP_SECRETS_DIR".to_owned(), folder.display().to_string()));
    }
    Ok(entries)
}

/// Prints the Kubernetes secrets on standard output, and names the missing ones on standard error.
fn print_manifest(connect: &Connect) -> Result<(), CommandError> {
    if std::io::stdout().is_terminal() {
        output::problem("the manifest below holds secrets as they are; pipe it to `kubectl apply -f -`");
    }
    let client_secret = match &connect.sink_credential {
        Some((_, secret)) => Some(secret.read().map_err(|error| error.to_string())?),
        None => None,
    };
    let secrets = kubernetes(connect, client_secret.as_ref());
    if client_secret.is_none() {
        output::problem("IMS_CLIENT_ID and IMS_CLIENT_SECRET are not set: the manifest has no Secret for the sink");
    }
    for source in connect.sources.keys().filter(|source| !connect.key_texts.contains_key(source)) {
        output::problem(&format!("the signing key of source `{source}` is not known: the manifest does not have it"));
    }
    output::result(&manifest(&secrets));
    Ok(())
}

fn kubernetes(connect: &Connect, client_secret: Option<&SecretString>) -> Vec<Secret> {
    let texts = connect.key_texts.iter().map(|(source, text)| (source.clone(), text.clone()));
    let keys: BTreeMap<SourceName, SecretString> = texts.collect();
    let signing_keys = Secret::of_signing_keys(&keys, connect.has_sources_file);
    signing_keys.into_iter().chain(client_secret.map(Secret::of_client_secret)).collect()
}

/// The absolute path of a secret's file for the services. Prints a warning if containers cannot read the file.
fn shared_path(args: &ApplyArgs, variable: &str, path: &Path) -> PathBuf {
    let (path, problem) = files::path_for_services(path, &args.secrets_dir);
    if let Some(problem) = problem {
        output::problem(&format!("{variable}: {problem}"));
    }
    path
}

/// The entries for a secret in a file. The variable for the secret's value must be empty, because the services refuse a
/// configuration with both variables.
fn secret_entries(variable: &str, path: &Path) -> [(String, String); 2] {
    [(variable.to_owned(), String::new()), (format!("{variable}_FILE"), path.display().to_string())]
}
