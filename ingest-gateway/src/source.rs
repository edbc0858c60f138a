//! The configured sources of webhooks and their live signing keys.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use customerio::SigningKey;

/// The source of `POST /webhooks/customerio`.
pub(crate) const DEFAULT_SOURCE: &str = "default";

/// Name of a source, as in the path and in the record's header: 1 to 64 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceName(String);

impl FromStr for SourceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if (1..=64).contains(&name.len()) && name.chars().all(legal) {
            Ok(Self(name.to_owned()))
        } else {
            Err(format!("`{name}` is not a source name: 1 to 64 letters, digits, `-` and `_`"))
        }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
        let name = SourceName(DEFAULT_SOURCE.to_owned());
        Self(BTreeMap::from([(DEFAULT_SOURCE.to_owned(), Source { name, keys })]))
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
    fn a_source_name_is_plain() {
        assert!("shop-eu_1".parse::<SourceName>().is_ok());
        assert!("a/b".parse::<SourceName>().is_err() && "".parse::<SourceName>().is_err());
    }
}
