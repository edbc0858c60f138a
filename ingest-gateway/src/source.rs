//! The configured sources of webhooks and their live signing keys.

use std::collections::BTreeMap;
use std::path::Path;

use customerio::SigningKey;
use secrecy::ExposeSecret;
use service::{Problems, SecretSource};
use sources::SourceName;

/// One source.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: SourceName,
    /// All live keys; never empty.
    pub(crate) keys: Vec<SigningKey>,
}

/// All sources by name.
#[derive(Debug, Clone)]
pub(crate) struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// One source named `default`.
    pub(crate) fn single(keys: Vec<SigningKey>) -> Self {
        let name = SourceName::default();
        Self(BTreeMap::from([(name.as_str().to_owned(), Source { name, keys })]))
    }

    /// The sources of `SOURCES_FILE` with their keys.
    ///
    /// # Errors
    /// Everything that is wrong with the file and its keys.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let Some(entries) = problems.check(sources::read(path)) else { return Err(problems) };
        let mut found = BTreeMap::new();
        for (name, entry) in entries {
            let keys: Vec<SigningKey> = match &entry.signing_keys_file {
                Some(file) => problems
                    .check(SecretSource::File(file.clone()).read().map_err(|error| format!("source `{name}`: {error}")))
                    .and_then(|text| problems.check(parse_keys(text.expose_secret())))
                    .unwrap_or_default(),
                None => entry.signing_keys.iter().map(|key| SigningKey::new(key.expose_secret())).collect(),
            };
            let blank = entry.signing_keys.iter().any(|key| key.expose_secret().trim().is_empty());
            if blank || entry.signing_keys.is_empty() && entry.signing_keys_file.is_none() {
                problems.add(format!(
                    "SOURCES_FILE: source `{name}` needs signing_keys or signing_keys_file, and no key may be blank"
                ));
            }
            found.insert(name.as_str().to_owned(), Source { name, keys });
        }
        if problems.is_empty() { Ok(Self(found)) } else { Err(problems) }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Source> {
        self.0.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Reads signing keys, one a line; blank lines are passed over.
///
/// # Errors
/// A sentence naming the variable when no key is left.
pub(crate) fn parse_keys(text: &str) -> Result<Vec<SigningKey>, String> {
    let keys: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(SigningKey::new).collect();
    if keys.is_empty() {
        return Err("CUSTOMERIO_SIGNING_KEYS holds no key; copy the signing key from the Reporting Webhooks page of Customer.io, one a line".to_owned());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_one_a_line() {
        assert_eq!(parse_keys(" first \n\nsecond\n").unwrap().len(), 2);
        assert!(parse_keys(" \n").unwrap_err().contains("CUSTOMERIO_SIGNING_KEYS"));
    }

    #[test]
    fn a_file_gives_each_source_its_keys() {
        let folder = std::env::temp_dir().join(format!("gateway-sources-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("sources.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        std::fs::write(folder.join("b.key"), "k2\nk3\n").unwrap();
        write("[sources.a]\nsigning_keys = [\"k1\"]\n[sources.b]\nsigning_keys_file = \"b.key\"\n");
        let sources = Sources::from_file(&path).unwrap();
        assert_eq!(sources.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((sources.get("a").unwrap().keys.len(), sources.get("b").unwrap().keys.len()), (1, 2));
        write("[sources.a]\n[sources.b]\nsigning_keys_file = \"nowhere\"\n[sources.c]\nsigning_keys = [\" \"]\n");
        let problems = Sources::from_file(&path).unwrap_err().to_string();
        for part in ["source `a` needs", "source `b`", "nowhere", "source `c` needs"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
