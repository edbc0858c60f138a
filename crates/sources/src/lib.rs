//! Reads `SOURCES_FILE`, which configures several Customer.io workspaces on one pipeline.
//!
//! Gateway and transformer use the same file, so that a source cannot be known to only one of them. This crate parses
//! the file; the services interpret its values.
//!
//! ```toml
//! [sources.shop]
//! signing_keys = ["8f2a…"]            # or: signing_keys_file = "/run/secrets/shop"
//! workspace_id = "104732"
//! identity_namespace_id = "ShopCustomerID"
//! identity_namespace_cio_id = "ShopCioID"
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use secrecy::SecretString;
use serde::Deserialize;
use settings::{FileError, read_text};

/// Name of a source, as in the gateway's path and in each record's header: 1 to 64 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(String);

impl SourceName {
    /// The source of `POST /webhooks/customerio`.
    pub const DEFAULT: &'static str = contract::raw::DEFAULT_SOURCE;

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SourceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if (1..=64).contains(&name.len()) && name.chars().all(legal) {
            Ok(Self(name.to_owned()))
        } else {
            Err("this is not a source name: 1 to 64 letters, digits, `-` and `_`".to_owned())
        }
    }
}

impl Default for SourceName {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One source in the file. A missing field gets the value of the corresponding variable.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceEntry {
    /// All live signing keys of the source.
    #[serde(default)]
    pub signing_keys: Vec<SecretString>,
    /// File that contains the live signing keys, one per line.
    pub signing_keys_file: Option<PathBuf>,
    /// Id of the Customer.io workspace, which is written into each event.
    pub workspace_id: Option<String>,
    /// Overrides `IDENTITY_NAMESPACE_ID`.
    pub identity_namespace_id: Option<String>,
    /// Overrides `IDENTITY_NAMESPACE_CIO_ID`.
    pub identity_namespace_cio_id: Option<String>,
    /// Whether the source may share its namespaces with other sources, because an id means the same person in all of
    /// them.
    #[serde(default)]
    pub shared_identity: bool,
    /// Overrides `INCLUDE_PHONE`.
    pub include_phone: Option<bool>,
    /// Overrides `HASH_EMAIL`.
    pub hash_email: Option<bool>,
    /// Overrides `DROP_FIELDS`.
    pub drop_fields: Option<Vec<String>>,
    /// Overrides `BLOCKED_IDS`.
    pub blocked_ids: Option<Vec<String>>,
    /// Overrides `ON_MISSING_IDENTITY`.
    pub on_missing_identity: Option<String>,
    /// Overrides `CUSTOMERIO_APP_API_KEY_FILE` in `setup`, `check` and `status`.
    pub app_api_key_file: Option<PathBuf>,
    /// Overrides `CUSTOMERIO_SERVICE_ACCOUNT_TOKEN_FILE` in `setup`, `check` and `status`.
    pub service_account_token_file: Option<PathBuf>,
    /// Overrides `CUSTOMERIO_REGION`.
    pub region: Option<String>,
    /// Overrides `CUSTOMERIO_WORKSPACE`.
    pub workspace: Option<String>,
    /// Overrides `CUSTOMERIO_PUBLIC_URL`.
    pub public_url: Option<String>,
    /// Overrides `CUSTOMERIO_EVENTS`.
    pub events: Option<String>,
    /// Overrides `CUSTOMERIO_FULL_RESOLUTION`.
    pub full_resolution: Option<bool>,
    /// Overrides `CUSTOMERIO_WITH_CONTENT`.
    pub with_content: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    sources: BTreeMap<String, SourceEntry>,
}

/// Error of reading `SOURCES_FILE`.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// The file cannot be read.
    #[error("SOURCES_FILE: {0}")]
    Read(#[from] FileError),
    /// The file is not TOML of the right form. The error contains the line number but no text of the line, which may be
    /// a key.
    #[error("SOURCES_FILE: {path}, line {line}: {message}")]
    Form {
        /// Path in `SOURCES_FILE`.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Message of the TOML parser.
        message: String,
    },
    /// The file can be parsed, but its content is not valid.
    #[error("SOURCES_FILE: {path}: {message}")]
    Content {
        /// Path in `SOURCES_FILE`.
        path: PathBuf,
        /// Name of the source, the problem and its remedy.
        message: String,
    },
}

/// Reads the file. Paths in the file are relative to its folder.
///
/// # Errors
/// [`SourcesError`].
pub fn read(path: &Path) -> Result<BTreeMap<SourceName, SourceEntry>, SourcesError> {
    let mut sources = parse(path, &read_text(path)?)?;
    let folder = path.parent();
    for entry in sources.values_mut() {
        let files = [&mut entry.signing_keys_file, &mut entry.app_api_key_file, &mut entry.service_account_token_file];
        for file in files.into_iter().flatten() {
            if let Some(folder) = folder {
                *file = folder.join(&*file);
            }
        }
    }
    Ok(sources)
}

fn parse(path: &Path, text: &str) -> Result<BTreeMap<SourceName, SourceEntry>, SourcesError> {
    let content = |message: String| SourcesError::Content { path: path.to_owned(), message };
    let file: File = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
        SourcesError::Form { path: path.to_owned(), line, message: without_values(error.message()) }
    })?;
    if file.sources.is_empty() {
        return Err(content("it names no source; write a table such as [sources.shop]".to_owned()));
    }
    let mut sources = BTreeMap::new();
    for (name, entry) in file.sources {
        let name: SourceName = name.parse().map_err(content)?;
        if !entry.signing_keys.is_empty() && entry.signing_keys_file.is_some() {
            return Err(content(format!("source `{name}` has signing_keys and signing_keys_file; keep one")));
        }
        sources.insert(name, entry);
    }
    Ok(sources)
}

/// Removes the quoted texts from the parser's message. The parser quotes invalid values in double quotes and unknown
/// names in backticks, and either may be a key. Only a text in backticks that can be a field's name is kept.
fn without_values(message: &str) -> String {
    let mut parts = message.split('"');
    let mut text = parts.next().unwrap_or_default().to_owned();
    if let Some(rest) = parts.next_back() {
        text.push_str("\"…\"");
        text.push_str(rest);
    }
    let is_name = |text: &str| text.len() <= 30 && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(number, part)| if number % 2 == 0 || is_name(part) { part } else { "…" });
    parts.collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<BTreeMap<SourceName, SourceEntry>, String> {
        parse(Path::new("sources.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_in_the_documented_form_is_parsed() {
        let text = r#"
            [sources.shop]
            signing_keys = ["a", "b"]
            workspace_id = "104732"
            identity_namespace_id = "ShopID"
            drop_fields = ["subject"]
            [sources.app]
            signing_keys_file = "app.key"
            hash_email = true
            shared_identity = true
        "#;
        let sources = parsed(text).unwrap();
        let shop = &sources[&"shop".parse().unwrap()];
        assert_eq!((shop.signing_keys.len(), shop.workspace_id.as_deref()), (2, Some("104732")));
        assert_eq!((shop.hash_email, shop.shared_identity), (None, false));
        let app = &sources[&"app".parse().unwrap()];
        assert_eq!((app.hash_email, app.shared_identity), (Some(true), true));
    }

    #[test]
    fn errors_of_an_invalid_file_contain_the_line_but_no_key() {
        let unknown = parsed("[sources.a]\nsigning_keys = [\"topsecret\"]\nsigning_key = \"topsecret\"\n").unwrap_err();
        assert!(unknown.contains("line 3") && unknown.contains("signing_key"), "{unknown}");
        let syntax = parsed("[sources.a]\nsigning_keys = [\"topsecret\n").unwrap_err();
        assert!(syntax.contains("line 2"), "{syntax}");
        let wrong_type = parsed("[sources.a]\nsigning_keys = \"topsecret\"\n").unwrap_err();
        let both = parsed("[sources.a]\nsigning_keys = [\"topsecret\"]\nsigning_keys_file = \"k\"\n").unwrap_err();
        assert!(both.contains("keep one"));
        let misplaced = parsed("[sources.a]\n0topsecret = \"x\"\n").unwrap_err();
        let name = parsed("[sources.\"top secret\"]\nsigning_keys = [\"a\"]\nsigning_keys_file = \"k\"\n").unwrap_err();
        assert!(!name.contains("top secret"), "{name}");
        for text in [unknown, syntax, wrong_type, both, misplaced] {
            assert!(!text.contains("topsecret"), "{text}");
        }
        assert!(parsed("[sources]\n").unwrap_err().contains("no source"));
        assert!(parsed("[sources.\"a b\"]\n").unwrap_err().contains("source name"));
        assert!(parsed("").unwrap_err().contains("sources"));
    }

    #[test]
    fn key_file_paths_are_resolved_relative_to_the_folder_of_sources_file() {
        let folder = std::env::temp_dir().join(format!("sources-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("sources.toml");
        // The file starts with a byte order mark, as editors on Windows write it.
        std::fs::write(&path, "\u{feff}[sources.a]\nsigning_keys_file = \"a.key\"\n").unwrap();
        assert_eq!(read(&path).unwrap()[&"a".parse().unwrap()].signing_keys_file, Some(folder.join("a.key")));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("cannot read"));
    }
}
