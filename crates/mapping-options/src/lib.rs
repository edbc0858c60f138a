//! Options of the mapping, and `SOURCES_FILE`, which gives each source its options if there are several sources. The
//! transformer and every command that maps webhooks use this crate.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mapping::{BlockedId, DropField, OnMissingIdentity, SourceOptions, Sources};
use settings::Problems;
use settings::watched::{Loaded, Origin};
use sources::{SourceEntry, SourceName};

/// Adobe's standard namespaces. The namespace of a person's id must be none of these.
const STANDARD_NAMESPACES: &[&str] = &["Email", "Email_LC_SHA256", "Phone", "ECID"];

/// Options of the mapping. With `SOURCES_FILE`, they are the defaults of every source.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Mapping")]
pub struct MappingArgs {
    /// TOML file that names several sources, each with its mapping options (docs/sources.md); the options here become
    /// the defaults. Read again on change and SIGHUP
    #[arg(long, env = "SOURCES_FILE", value_name = "PATH")]
    sources_file: Option<PathBuf>,

    /// Identity namespace of the person's own id (`identifiers.id`)
    #[arg(long, env = "IDENTITY_NAMESPACE_ID", default_value = "CustomerioID", value_name = "CODE")]
    identity_namespace_id: String,

    /// Identity namespace of Customer.io's id (`identifiers.cio_id`)
    #[arg(long, env = "IDENTITY_NAMESPACE_CIO_ID", default_value = "CustomerioCioID", value_name = "CODE")]
    identity_namespace_cio_id: String,

    /// Add the phone number of SMS and WhatsApp messages as an identity
    #[arg(long, env = "INCLUDE_PHONE")]
    include_phone: bool,

    /// Write email addresses as SHA-256 only (namespace Email_LC_SHA256)
    #[arg(long, env = "HASH_EMAIL")]
    hash_email: bool,

    /// Fields of `data` that are treated as not sent, for example `recipient,subject`
    #[arg(long, env = "DROP_FIELDS", value_name = "FIELD,...", value_delimiter = ',')]
    drop_fields: Vec<DropField>,

    /// Placeholders that are not a person's id, in any letter case; `*` stands for any text. `null`, `anonymous` and
    /// `invalid` are always blocked, as Platform blocks them
    #[arg(
        long,
        env = "BLOCKED_IDS",
        default_value = default_blocked_ids(),
        value_name = "ID,...",
        value_delimiter = ','
    )]
    blocked_ids: Vec<BlockedId>,

    /// Handling of an event that names no person: `send` it (Profile does not accept it), or `dead-letter`
    #[arg(long, env = "ON_MISSING_IDENTITY", default_value = "send", value_name = "ACTION")]
    on_missing_identity: MissingIdentity,
}

/// Returns [`BlockedId::DEFAULTS`] in the form of the variable `BLOCKED_IDS`.
fn default_blocked_ids() -> String {
    BlockedId::DEFAULTS.join(",")
}

/// Values of `ON_MISSING_IDENTITY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MissingIdentity {
    /// Send the event
    Send,
    /// Make it a dead letter
    DeadLetter,
}

impl From<MissingIdentity> for OnMissingIdentity {
    fn from(action: MissingIdentity) -> Self {
        match action {
            MissingIdentity::Send => Self::Send,
            MissingIdentity::DeadLetter => Self::DeadLetter,
        }
    }
}

/// Lets a service reload `SOURCES_FILE` when the file changes, as the gateway does.
impl Origin for MappingArgs {
    type Value = Sources;

    const WHAT: &'static str = "sources";
    const LABEL: &'static str = "sources";

    fn load(&self) -> Result<Loaded<Sources>, Problems> {
        Ok(Loaded { value: self.sources()?, files: self.sources_file.iter().cloned().collect() })
    }
}

impl MappingArgs {
    /// Checks the options, reads `SOURCES_FILE` if it is set, and returns the options of each source.
    ///
    /// # Errors
    /// Returns all problems that were found.
    pub fn sources(&self) -> Result<Sources, Problems> {
        let mut problems = Problems::default();
        let entries = match &self.sources_file {
            None => BTreeMap::from([(SourceName::default(), SourceEntry::default())]),
            Some(path) => problems.check(sources::read(path)).unwrap_or_default(),
        };
        let mut by_name: BTreeMap<String, SourceOptions> = BTreeMap::new();
        for (name, entry) in &entries {
            let source = self.source(name, entry, &mut problems);
            check_namespaces(&source, &mut problems);
            let unshared = |other: &SourceName| !(entry.shared_identity && entries[other].shared_identity);
            for (other, _) in entries.range(..name).filter(|(other, _)| unshared(other)) {
                let code = by_name.get(other.as_str()).and_then(|other| shared_namespace(&source, other));
                if let Some(code) = code {
                    problems.add(format!(
                        "SOURCES_FILE: sources `{other}` and `{name}` share the identity namespace `{code}`: equal ids of the two workspaces would merge different people permanently. Give each its own identity_namespace_id and identity_namespace_cio_id, or, if the ids mean the same people, both shared_identity = true"
                    ));
                }
            }
            by_name.insert(source.name.clone(), source);
        }
        match &self.sources_file {
            _ if !problems.is_empty() => Err(problems),
            Some(_) => Ok(Sources::named(by_name.into_values())),
            None => Ok(Sources::single(by_name.into_values().next().unwrap_or_default())),
        }
    }

    fn source(&self, name: &SourceName, entry: &SourceEntry, problems: &mut Problems) -> SourceOptions {
        let drop_fields = match &entry.drop_fields {
            None => self.drop_fields.clone(),
            Some(names) => names
                .iter()
                .filter_map(|field| problems.check(field.parse().map_err(|error| format!("source `{name}`: {error}"))))
                .collect(),
        };
        let blocked_ids = match &entry.blocked_ids {
            None => self.blocked_ids.clone(),
            Some(ids) => ids
                .iter()
                .filter_map(|id| {
                    problems.check(id.parse().map_err(|error| format!("source `{name}`: blocked_ids: {error}")))
                })
                .collect(),
        };
        let on_missing_identity = match &entry.on_missing_identity {
            None => self.on_missing_identity,
            Some(action) => problems
                .check(
                    MissingIdentity::from_str(action, false)
                        .map_err(|_| format!("source `{name}`: on_missing_identity is neither send nor dead-letter")),
                )
                .unwrap_or(self.on_missing_identity),
        };
        let or = |value: &Option<String>, default: &String| value.as_ref().unwrap_or(default).clone();
        SourceOptions {
            name: name.to_string(),
            workspace_id: entry.workspace_id.clone().filter(|id| !id.trim().is_empty()),
            namespace_id: or(&entry.identity_namespace_id, &self.identity_namespace_id),
            namespace_cio_id: or(&entry.identity_namespace_cio_id, &self.identity_namespace_cio_id),
            include_phone: entry.include_phone.unwrap_or(self.include_phone),
            hash_email: entry.hash_email.unwrap_or(self.hash_email),
            drop_fields,
            blocked_ids,
            on_missing_identity: on_missing_identity.into(),
        }
    }
}

fn check_namespaces(source: &SourceOptions, problems: &mut Problems) {
    let name = &source.name;
    if source.namespace_id.eq_ignore_ascii_case(&source.namespace_cio_id) {
        problems.add(format!(
            "source `{name}`: IDENTITY_NAMESPACE_ID and IDENTITY_NAMESPACE_CIO_ID must differ, otherwise the two kinds of ids would be mixed"
        ));
    }
    for (variable, code) in
        [("IDENTITY_NAMESPACE_ID", &source.namespace_id), ("IDENTITY_NAMESPACE_CIO_ID", &source.namespace_cio_id)]
    {
        if code.is_empty() || !code.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            problems.add(format!("source `{name}`: {variable} is not a namespace code: letters, digits and `_`"));
        }
        if STANDARD_NAMESPACES.iter().any(|standard| standard.eq_ignore_ascii_case(code)) {
            problems.add(format!(
                "source `{name}`: {variable} is `{code}`, a standard namespace of Experience Platform for other ids than those of Customer.io: different people would be merged permanently. Name a custom namespace, for example CustomerioID"
            ));
        }
    }
}

/// Returns a namespace that contains ids of both sources. The standard namespaces for email addresses and phone numbers
/// are not compared, because a value in them means the same person in every source.
fn shared_namespace<'a>(one: &'a SourceOptions, other: &SourceOptions) -> Option<&'a str> {
    [&one.namespace_id, &one.namespace_cio_id]
        .into_iter()
        .find(|code| {
            [&other.namespace_id, &other.namespace_cio_id].iter().any(|other| other.eq_ignore_ascii_case(code))
        })
        .map(String::as_str)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        mapping: MappingArgs,
    }

    fn sources(file: Option<&str>, arguments: &[&str]) -> Result<Sources, String> {
        let path = std::env::temp_dir().join(format!("sources-{}-{:x}.toml", std::process::id(), fastrand::u64(..)));
        let mut all = vec!["transformer".to_owned()];
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        if let Some(text) = file {
            std::fs::write(&path, text).unwrap();
            all.push(format!("--sources-file={}", path.display()));
        }
        let found = Arguments::try_parse_from(all).unwrap().mapping.sources().map_err(|problems| problems.to_string());
        if file.is_some() {
            std::fs::remove_file(path).unwrap();
        }
        found
    }

    #[test]
    fn without_sources_file_all_records_are_mapped_with_the_same_options() {
        let sources = sources(None, &["--hash-email", "--drop-fields=subject,href"]).unwrap();
        for name in [None, Some("default"), Some("other")] {
            let source = sources.get(name).unwrap();
            assert!(source.hash_email && source.name == "default" && source.drop_fields.len() == 2);
        }
    }

    #[test]
    fn options_that_a_source_does_not_set_come_from_the_variables() {
        let file = r#"
            [sources.a]
            identity_namespace_id = "AID"
            identity_namespace_cio_id = "ACioID"
            workspace_id = "7"
            hash_email = false
            drop_fields = []
            blocked_ids = ["test-*"]
            on_missing_identity = "dead-letter"
            [sources.b]
        "#;
        let sources = sources(Some(file), &["--hash-email", "--drop-fields=subject"]).unwrap();
        let (a, b) = (sources.get(Some("a")).unwrap(), sources.get(Some("b")).unwrap());
        assert_eq!((a.namespace_id.as_str(), a.workspace_id.as_deref(), a.hash_email), ("AID", Some("7"), false));
        assert!(a.drop_fields.is_empty() && a.on_missing_identity == OnMissingIdentity::DeadLetter);
        assert_eq!((b.namespace_id.as_str(), b.hash_email, b.drop_fields.len()), ("CustomerioID", true, 1));
        assert_eq!(a.blocked_ids, ["test-*".parse().unwrap()]);
        assert_eq!(b.blocked_ids, BlockedId::defaults(), "BLOCKED_IDS has the default of the mapping");
        assert!(sources.get(None).is_none() && sources.get(Some("c")).is_none());
    }

    #[test]
    fn two_sources_can_share_a_namespace_only_if_both_set_shared_identity() {
        let same = sources(Some("[sources.a]\n[sources.b]\n"), &[]).unwrap_err();
        assert!(same.contains("`CustomerioID`") && same.contains("shared_identity = true"), "{same}");
        let crossed = "[sources.a]\nidentity_namespace_id = \"X\"\nidentity_namespace_cio_id = \"Y\"\n[sources.b]\nidentity_namespace_id = \"Z\"\nidentity_namespace_cio_id = \"X\"\n";
        assert!(sources(Some(crossed), &[]).unwrap_err().contains("`X`"));
        let one_side = "[sources.a]\nshared_identity = true\n[sources.b]\n";
        assert!(sources(Some(one_side), &[]).is_err());
        let both = "[sources.a]\nshared_identity = true\n[sources.b]\nshared_identity = true\n";
        assert!(sources(Some(both), &[]).is_ok());
    }

    #[test]
    fn all_invalid_mapping_options_are_reported_together() {
        let file = "[sources.a]\nidentity_namespace_id = \"a b\"\ndrop_fields = [\"nonsense\"]\nblocked_ids = [\"*\"]\non_missing_identity = \"guess\"\n";
        let problems = sources(Some(file), &[]).unwrap_err();
        for part in [
            "IDENTITY_NAMESPACE_ID is not",
            "not a field of `data`",
            "on_missing_identity is neither",
            "source `a`",
            "block every id",
        ] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        assert!(sources(None, &["--identity-namespace-id=X", "--identity-namespace-cio-id=x"]).is_err());
        for standard in ["Email", "PHONE", "ecid"] {
            let words = sources(None, &["--identity-namespace-cio-id", standard]).unwrap_err();
            assert!(words.contains("a standard namespace") && words.contains(standard), "{words}");
        }
        assert!(Arguments::try_parse_from(["t", "--drop-fields=identifiers"]).is_err());
        assert!(Arguments::try_parse_from(["t", "--blocked-ids=a,*"]).is_err());
    }
}
