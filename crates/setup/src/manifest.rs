//! The Kubernetes secrets of the services, with the names and keys that the chart (`deploy/helm`) mounts.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use secrecy::{ExposeSecret, SecretString};
use sources::SourceName;

/// Name and key of the Secret with the signing keys, for the gateway.
const SIGNING_KEYS: (&str, &str) = ("customerio-signing-keys", "signing-keys");
/// Name and key of the Secret with the client secret, for the sink.
const CLIENT_SECRET: (&str, &str) = ("adobe-ims", "client-secret");

/// A Kubernetes secret.
#[derive(Clone)]
pub struct Secret {
    name: &'static str,
    entries: Vec<(String, SecretString)>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.entries.iter().map(|(key, _)| key).collect();
        f.debug_struct("Secret").field("name", &self.name).field("keys", &keys).finish_non_exhaustive()
    }
}

impl Secret {
    /// The Secret with the signing keys; `None` if there are none. All signing keys of a source are one entry. With a
    /// sources file, the source's name is the entry's key, so the gateway finds the mounted file as
    /// `/etc/customerio-aep/signing-keys/SOURCE`.
    #[must_use]
    pub fn of_signing_keys(keys: &BTreeMap<SourceName, SecretString>, has_sources_file: bool) -> Option<Self> {
        let key = |source: &SourceName| match has_sources_file {
            true => source.to_string(),
            false => SIGNING_KEYS.1.to_owned(),
        };
        let entries: Vec<_> = keys.iter().map(|(source, text)| (key(source), text.clone())).collect();
        (!entries.is_empty()).then_some(Self { name: SIGNING_KEYS.0, entries })
    }

    /// The client secret of the sink's credential.
    #[must_use]
    pub fn of_client_secret(secret: &SecretString) -> Self {
        Self { name: CLIENT_SECRET.0, entries: vec![(CLIENT_SECRET.1.to_owned(), secret.clone())] }
    }
}

/// The secrets as YAML documents. The values are not encrypted: keep the text out of files and logs.
#[must_use]
pub fn manifest(secrets: &[Secret]) -> String {
    let mut text = String::new();
    for secret in secrets {
        let name = secret.name;
        write!(text, "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\ntype: Opaque\nstringData:\n")
            .expect("a String takes everything");
        for (key, value) in &secret.entries {
            // Every JSON string is a valid YAML string.
            let value = serde_json::Value::from(value.expose_secret());
            writeln!(text, "  {key}: {value}").expect("a String takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[(&str, &str)]) -> BTreeMap<SourceName, SecretString> {
        keys.iter().map(|(source, key)| (source.parse().unwrap(), (*key).into())).collect()
    }

    #[test]
    fn the_manifest_has_the_names_and_keys_of_the_chart() {
        let values = include_str!("../../../deploy/helm/values.yaml");
        for ((name, key), variable) in
            [(SIGNING_KEYS, "CUSTOMERIO_SIGNING_KEYS_FILE"), (CLIENT_SECRET, "IMS_CLIENT_SECRET_FILE")]
        {
            assert!(values.contains(&format!("secretName: {name}\n")), "{name}");
            assert!(values.contains(&format!("env: {{{variable}: {key}}}")), "{key}");
        }
        let secrets: Vec<Secret> = Secret::of_signing_keys(&keys(&[("default", "new\nold")]), false)
            .into_iter()
            .chain([Secret::of_client_secret(&"a: \"b\"".into())])
            .collect();
        let text = manifest(&secrets);
        let expected = "---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: customerio-signing-keys\ntype: Opaque\nstringData:\n  signing-keys: \"new\\nold\"\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.ends_with("  name: adobe-ims\ntype: Opaque\nstringData:\n  client-secret: \"a: \\\"b\\\"\"\n"),
            "{text}"
        );
        assert!(!format!("{secrets:?}").contains("old"), "Debug shows no value");
    }

    #[test]
    fn each_of_several_sources_has_one_entry_and_without_signing_keys_there_is_no_secret() {
        let secret = Secret::of_signing_keys(&keys(&[("app", "a"), ("shop", "s")]), true).unwrap();
        let text = manifest(&[secret]);
        assert!(text.ends_with("stringData:\n  app: \"a\"\n  shop: \"s\"\n"), "{text}");
        assert!(Secret::of_signing_keys(&BTreeMap::new(), true).is_none());
    }
}
