//! The configured sources of webhooks and their live signing keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use customerio::SigningKey;
use prometheus::IntCounter;
use secrecy::{ExposeSecret, SecretString};
use settings::{Problems, SecretSource};
use sources::SourceName;

use crate::reload::{Loaded, Origin};

/// One source.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: SourceName,
    /// All live keys; never empty.
    pub(crate) keys: Vec<SigningKey>,
    /// Counts what was stored, resolved once.
    pub(crate) stored: OnceLock<IntCounter>,
}

impl Source {
    fn new(name: SourceName, keys: Vec<SigningKey>) -> Self {
        Self { name, keys, stored: OnceLock::new() }
    }
}

/// All sources by name.
#[derive(Debug, Clone)]
pub(crate) struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// One source named `default`.
    pub(crate) fn single(keys: Vec<SigningKey>) -> Self {
        let name = SourceName::default();
        Self(BTreeMap::from([(name.as_str().to_owned(), Source::new(name, keys))]))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Source> {
        self.0.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.values()
    }
}

/// Where sources and keys come from.
#[derive(Debug, Clone)]
pub(crate) enum SourcesOrigin {
    /// `CUSTOMERIO_SIGNING_KEYS`: one source, for as long as the process lives.
    Value(SecretString),
    /// `CUSTOMERIO_SIGNING_KEYS_FILE`: one source.
    KeysFile(PathBuf),
    /// `SOURCES_FILE`, and the key files it names.
    SourcesFile(PathBuf),
}

impl Origin for SourcesOrigin {
    type Value = Sources;

    const WHAT: &'static str = "signing keys";
    const LABEL: &'static str = "signing_keys";

    fn load(&self) -> Result<Loaded<Sources>, Problems> {
        match self {
            Self::Value(text) => {
                let keys = parse_keys("CUSTOMERIO_SIGNING_KEYS", text.expose_secret())?;
                Ok(Loaded { value: Sources::single(keys), files: Vec::new() })
            }
            Self::KeysFile(path) => {
                let text = SecretSource::File(path.clone()).read();
                let text = text.map_err(|error| format!("CUSTOMERIO_SIGNING_KEYS_FILE: {error}"))?;
                let keys =
                    parse_keys(&format!("CUSTOMERIO_SIGNING_KEYS_FILE: {}", path.display()), text.expose_secret())?;
                Ok(Loaded { value: Sources::single(keys), files: vec![path.clone()] })
            }
            Self::SourcesFile(path) => load_sources(path),
        }
    }
}

/// The sources of `SOURCES_FILE` with their keys; everything that is wrong with the file and its keys.
fn load_sources(path: &Path) -> Result<Loaded<Sources>, Problems> {
    let mut problems = Problems::default();
    let Some(entries) = problems.check(sources::read(path)) else { return Err(problems) };
    let (mut found, mut files) = (BTreeMap::new(), vec![path.to_owned()]);
    for (name, entry) in entries {
        let keys: Vec<SigningKey> = match &entry.signing_keys_file {
            Some(file) => {
                files.push(file.clone());
                let text = SecretSource::File(file.clone()).read();
                problems
                    .check(text.map_err(|error| format!("source `{name}`: {error}")))
                    .and_then(|text| {
                        let place = format!("source `{name}`: {}", file.display());
                        problems.check(parse_keys(&place, text.expose_secret()))
                    })
                    .unwrap_or_default()
            }
            None => entry.signing_keys.iter().map(|key| SigningKey::new(key.expose_secret())).collect(),
        };
        let blank = entry.signing_keys.iter().any(|key| key.expose_secret().trim().is_empty());
        if blank || entry.signing_keys.is_empty() && entry.signing_keys_file.is_none() {
            problems.add(format!(
                "SOURCES_FILE: source `{name}` needs signing_keys or signing_keys_file, and no key may be blank"
            ));
        }
        found.insert(name.as_str().to_owned(), Source::new(name, keys));
    }
    if problems.is_empty() { Ok(Loaded { value: Sources(found), files }) } else { Err(problems) }
}

/// Reads signing keys, one a line; blank lines are passed over.
///
/// # Errors
/// A sentence naming the place when no key is left.
fn parse_keys(place: &str, text: &str) -> Result<Vec<SigningKey>, String> {
    // Files that were put together from several keep the byte order mark of each.
    let is_no_part = |c: char| c.is_whitespace() || c == '\u{feff}';
    let lines = text.lines().map(|line| line.trim_matches(is_no_part));
    let keys: Vec<_> = lines.filter(|line| !line.is_empty()).map(SigningKey::new).collect();
    if keys.is_empty() {
        return Err(format!(
            "{place} holds no key; copy the signing key from the Reporting Webhooks page of Customer.io, one a line"
        ));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_one_a_line() {
        assert_eq!(parse_keys("KEYS", " first \n\nsecond\n").unwrap().len(), 2);
        let keys = parse_keys("KEYS", "\u{feff}first\r\n\u{feff}second\r\n").unwrap();
        for (key, text) in keys.iter().zip(["first", "second"]) {
            let signature = customerio::sign(&SigningKey::new(text), "1700000000", b"{}");
            assert!(customerio::verify(std::slice::from_ref(key), b"1700000000", b"{}", signature.as_bytes()).is_ok());
        }
        assert!(parse_keys("KEYS", " \n").unwrap_err().starts_with("KEYS holds no key"));
    }

    #[test]
    fn a_file_gives_each_source_its_keys() {
        let folder = std::env::temp_dir().join(format!("gateway-sources-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("sources.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        std::fs::write(folder.join("b.key"), "k2\nk3\n").unwrap();
        write("[sources.a]\nsigning_keys = [\"k1\"]\n[sources.b]\nsigning_keys_file = \"b.key\"\n");
        let Loaded { value: sources, files } = load_sources(&path).unwrap();
        assert_eq!(sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(files, [path.clone(), folder.join("b.key")]);
        assert_eq!((sources.get("a").unwrap().keys.len(), sources.get("b").unwrap().keys.len()), (1, 2));
        write("[sources.a]\n[sources.b]\nsigning_keys_file = \"nowhere\"\n[sources.c]\nsigning_keys = [\" \"]\n");
        let problems = load_sources(&path).unwrap_err().to_string();
        for part in ["source `a` needs", "source `b`: cannot read", "source `c` needs"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
