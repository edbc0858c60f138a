//! The configured sources of webhooks and their live signing keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use customerio::SigningKey;
use secrecy::{ExposeSecret, SecretString};
use settings::{Problems, SecretSource};
use sources::SourceName;

use settings::watched::{Loaded, Origin};

/// A source and its signing keys.
#[derive(Debug, Clone)]
pub(crate) struct SourceKeys {
    pub(crate) name: SourceName,
    /// All live signing keys; never empty.
    pub(crate) keys: Vec<SigningKey>,
}

/// The sources with their signing keys, by the name of the source.
#[derive(Debug, Clone)]
pub(crate) struct KeysBySource(BTreeMap<String, SourceKeys>);

impl KeysBySource {
    /// Creates a single source with the name `default`.
    pub(crate) fn single(keys: Vec<SigningKey>) -> Self {
        let name = SourceName::default();
        Self(BTreeMap::from([(name.as_str().to_owned(), SourceKeys { name, keys })]))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&SourceKeys> {
        self.0.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SourceKeys> {
        self.0.values()
    }
}

/// Signing keys for trials. They are published with this product, so anyone can sign webhooks with them.
const PUBLISHED_KEYS: [&str; 2] = ["trial-key-for-the-simulator-only", "demo-signing-key"];

/// Minimum length of a key in bytes. A shorter key can be guessed from one signed webhook. Customer.io's keys are
/// longer.
const SHORTEST_KEY: usize = 16;

/// The signing keys that the gateway accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// All keys are accepted, even published and short ones: in a trial, or if only this machine can reach the gateway.
    Any,
    /// Only keys that are long enough and not published are accepted.
    Secret,
}

/// The option that defines the sources, and the rule for their keys.
#[derive(Debug, Clone)]
pub(crate) struct SourcesOrigin {
    pub(crate) from: KeysFrom,
    pub(crate) keys: Keys,
}

/// The option that sets the signing keys.
#[derive(Debug, Clone)]
pub(crate) enum KeysFrom {
    /// `CUSTOMERIO_SIGNING_KEYS`: one source, unchanged while the process runs.
    Value(SecretString),
    /// `CUSTOMERIO_SIGNING_KEYS_FILE`: one source.
    KeysFile(PathBuf),
    /// `SOURCES_FILE`: several sources, with the key files that it refers to.
    SourcesFile(PathBuf),
}

impl Origin for SourcesOrigin {
    type Value = KeysBySource;

    const WHAT: &'static str = "signing keys";
    const LABEL: &'static str = "signing_keys";

    fn load(&self) -> Result<Loaded<KeysBySource>, Problems> {
        let parse = |place: &str, text: &str| parse_keys(place, text, self.keys);
        match &self.from {
            KeysFrom::Value(text) => {
                let keys = parse("CUSTOMERIO_SIGNING_KEYS", text.expose_secret())?;
                Ok(Loaded { value: KeysBySource::single(keys), files: Vec::new() })
            }
            KeysFrom::KeysFile(path) => {
                let text = SecretSource::File(path.clone()).read();
                let text = text.map_err(|error| format!("CUSTOMERIO_SIGNING_KEYS_FILE: {error}"))?;
                let place = format!("CUSTOMERIO_SIGNING_KEYS_FILE: {}", path.display());
                let keys = parse(&place, text.expose_secret())?;
                Ok(Loaded { value: KeysBySource::single(keys), files: vec![path.clone()] })
            }
            KeysFrom::SourcesFile(path) => load_sources(path, self.keys),
        }
    }
}

/// Returns the sources of `SOURCES_FILE` with their keys, or all problems of the file and of the keys.
fn load_sources(path: &Path, taken: Keys) -> Result<Loaded<KeysBySource>, Problems> {
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
                        problems.check(parse_keys(&place, text.expose_secret(), taken))
                    })
                    .unwrap_or_default()
            }
            None => {
                let place = format!("SOURCES_FILE: source `{name}`");
                let texts = entry.signing_keys.iter().map(ExposeSecret::expose_secret);
                problems.check(signing_keys(&place, texts, taken)).unwrap_or_default()
            }
        };
        let blank = entry.signing_keys.iter().any(|key| key.expose_secret().trim().is_empty());
        if blank || entry.signing_keys.is_empty() && entry.signing_keys_file.is_none() {
            problems.add(format!(
                "SOURCES_FILE: source `{name}` needs signing_keys or signing_keys_file, and no key may be blank"
            ));
        }
        found.insert(name.as_str().to_owned(), SourceKeys { name, keys });
    }
    if problems.is_empty() { Ok(Loaded { value: KeysBySource(found), files }) } else { Err(problems) }
}

/// Parses signing keys, one per line; blank lines are skipped.
///
/// # Errors
/// Fails with a message that begins with `place`, if there is no key or if a key is not accepted.
fn parse_keys(place: &str, text: &str, taken: Keys) -> Result<Vec<SigningKey>, String> {
    // If a key file was concatenated from several files, it contains a byte order mark for each of them.
    let is_no_part = |c: char| c.is_whitespace() || c == '\u{feff}';
    let lines = text.lines().map(|line| line.trim_matches(is_no_part));
    let keys = signing_keys(place, lines.filter(|line| !line.is_empty()), taken)?;
    if keys.is_empty() {
        return Err(format!(
            "{place} holds no key; copy the signing key from the Reporting Webhooks page of Customer.io, one per line"
        ));
    }
    Ok(keys)
}

fn signing_keys<'t>(place: &str, texts: impl Iterator<Item = &'t str>, taken: Keys) -> Result<Vec<SigningKey>, String> {
    let key = |text: &str| {
        if taken == Keys::Secret && (PUBLISHED_KEYS.contains(&text) || text.len() < SHORTEST_KEY) {
            return Err(format!(
                "{place}: a signing key is the published one of a trial, or is shorter than {SHORTEST_KEY} bytes, so that others could sign webhooks with it; copy the key from the Reporting Webhooks page of Customer.io. Only a trial (TRIAL=true) and a gateway on a loopback address (GATEWAY_LISTEN) take such a key"
            ));
        }
        Ok(SigningKey::new(text))
    };
    texts.map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_and_short_keys_are_refused_unless_any_key_is_accepted() {
        let long = "8f2a6c1d9e4b47f0";
        for weak in PUBLISHED_KEYS.into_iter().chain(["123456789012345"]) {
            let text = format!("{long}\n{weak}\n");
            assert_eq!(parse_keys("KEYS", &text, Keys::Any).unwrap().len(), 2);
            let problem = parse_keys("KEYS", &text, Keys::Secret).unwrap_err();
            assert!(problem.starts_with("KEYS: ") && !problem.contains(weak), "{problem}");
        }
        assert_eq!(parse_keys("KEYS", long, Keys::Secret).unwrap().len(), 1);
    }

    #[test]
    fn each_line_of_a_key_file_is_one_key_and_byte_order_marks_are_ignored() {
        assert_eq!(parse_keys("KEYS", " first \n\nsecond\n", Keys::Any).unwrap().len(), 2);
        let keys = parse_keys("KEYS", "\u{feff}first\r\n\u{feff}second\r\n", Keys::Any).unwrap();
        for (key, text) in keys.iter().zip(["first", "second"]) {
            let signature = customerio::sign(&SigningKey::new(text), "1700000000", b"{}");
            assert!(
                customerio::verify(
                    std::slice::from_ref(key),
                    customerio::SignatureTimestamp::parse(b"1700000000").unwrap(),
                    b"{}",
                    signature.as_bytes()
                )
                .is_ok()
            );
        }
        assert!(parse_keys("KEYS", " \n", Keys::Any).unwrap_err().starts_with("KEYS holds no key"));
    }

    #[test]
    fn every_source_in_the_sources_file_needs_valid_signing_keys() {
        let folder = std::env::temp_dir().join(format!("gateway-sources-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("sources.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        std::fs::write(folder.join("b.key"), "k2\nk3\n").unwrap();
        write("[sources.a]\nsigning_keys = [\"k1\"]\n[sources.b]\nsigning_keys_file = \"b.key\"\n");
        let Loaded { value: sources, files } = load_sources(&path, Keys::Any).unwrap();
        assert_eq!(sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(files, [path.clone(), folder.join("b.key")]);
        assert_eq!((sources.get("a").unwrap().keys.len(), sources.get("b").unwrap().keys.len()), (1, 2));
        write("[sources.a]\n[sources.b]\nsigning_keys_file = \"nowhere\"\n[sources.c]\nsigning_keys = [\" \"]\n");
        let problems = load_sources(&path, Keys::Any).unwrap_err().to_string();
        for part in ["source `a` needs", "source `b`: cannot read", "source `c` needs"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        write("[sources.a]\nsigning_keys = [\"short\"]\n[sources.b]\nsigning_keys_file = \"b.key\"\n");
        let problems = load_sources(&path, Keys::Secret).unwrap_err().to_string();
        assert!(
            problems.contains("source `a`: a signing key") && problems.contains("b.key: a signing key"),
            "{problems}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
