//! The options for the Schema Registry.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use reqwest::Url;
use secrecy::SecretString;
use settings::{Problems, SecretSource, secret_source};

/// How to reach the registry; without `SCHEMA_REGISTRY_URL`, no registry is used.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Schema Registry")]
pub struct RegistryArgs {
    /// Base address of a Schema Registry with Confluent's API; without it, records carry their schema's fingerprint
    #[arg(long, env = "SCHEMA_REGISTRY_URL", value_name = "URL")]
    schema_registry_url: Option<RegistryUrl>,

    /// User name, where the registry asks for one
    #[arg(long, env = "SCHEMA_REGISTRY_USERNAME", value_name = "NAME")]
    schema_registry_username: Option<String>,

    /// Password
    #[arg(long, env = "SCHEMA_REGISTRY_PASSWORD", hide_env_values = true, value_name = "SECRET")]
    schema_registry_password: Option<SecretString>,

    /// File that holds the password; read again for each request
    #[arg(long, env = "SCHEMA_REGISTRY_PASSWORD_FILE", value_name = "PATH")]
    schema_registry_password_file: Option<PathBuf>,
}

/// The validated options.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// Address of the registry, without user name and password.
    pub url: RegistryUrl,
    /// User name and password.
    pub credential: Option<(String, SecretSource)>,
}

impl RegistryArgs {
    /// Validates the options; `None` if no registry is configured.
    ///
    /// # Errors
    /// All problems found.
    pub fn settings(&self) -> Result<Option<RegistrySettings>, Problems> {
        let mut problems = Problems::default();
        let password = problems
            .check(secret_source(
                "SCHEMA_REGISTRY_PASSWORD",
                self.schema_registry_password.as_ref(),
                self.schema_registry_password_file.as_deref(),
            ))
            .flatten();
        let credential = match (self.schema_registry_username.clone(), password) {
            (Some(name), Some(password)) => Some((name, password)),
            (None, None) => None,
            (Some(_), None) => {
                problems.add("SCHEMA_REGISTRY_USERNAME is set without SCHEMA_REGISTRY_PASSWORD; set both or neither");
                None
            }
            (None, Some(_)) => {
                problems.add("SCHEMA_REGISTRY_PASSWORD is set without SCHEMA_REGISTRY_USERNAME; set both or neither");
                None
            }
        };
        match &self.schema_registry_url {
            _ if !problems.is_empty() => Err(problems),
            Some(url) => Ok(Some(RegistrySettings { url: url.clone(), credential })),
            None if credential.is_some() => {
                problems.add("SCHEMA_REGISTRY_USERNAME is set without SCHEMA_REGISTRY_URL; set the address as well");
                Err(problems)
            }
            None => Ok(None),
        }
    }
}

/// Base address of a registry, including a path prefix such as Apicurio's `/apis/ccompat/v7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl(Url);

impl RegistryUrl {
    /// Returns the address of a resource below the base address.
    pub(crate) fn join(&self, segments: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }
}

impl FromStr for RegistryUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |what: &str| format!("{what}; write it like https://registry.example:8081");
        // The message does not repeat the text, because it may contain a password.
        let url = Url::parse(text).map_err(|_| wrong("this is not the address of a Schema Registry"))?;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            return Err(wrong("a Schema Registry's address begins with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "a password does not belong into the address: set SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("a Schema Registry's address has no query"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        registry: RegistryArgs,
    }

    fn settings(arguments: &[&str]) -> Result<Option<RegistrySettings>, String> {
        let parsed = Arguments::try_parse_from([&["test"], arguments].concat()).map_err(|error| error.to_string())?;
        parsed.registry.settings().map_err(|problems| problems.to_string())
    }

    #[test]
    fn joining_an_address_keeps_its_path_prefix_and_escapes_the_new_segments() {
        let url: RegistryUrl = "http://127.0.0.1:8081/apis/ccompat/v7/".parse().unwrap();
        assert_eq!(url.to_string(), "http://127.0.0.1:8081/apis/ccompat/v7");
        let subject = url.join(&["subjects", "a/b-value", "versions"]);
        assert_eq!(subject.as_str(), "http://127.0.0.1:8081/apis/ccompat/v7/subjects/a%2Fb-value/versions");
        assert!("ftp://x".parse::<RegistryUrl>().is_err() && "registry:8081".parse::<RegistryUrl>().is_err());
        let error = "https://me:topsecret@registry".parse::<RegistryUrl>().unwrap_err();
        assert!(error.contains("SCHEMA_REGISTRY_PASSWORD") && !error.contains("topsecret"), "{error}");
    }

    #[test]
    fn user_name_and_password_are_required_together() {
        assert!(settings(&[]).unwrap().is_none());
        let url = "--schema-registry-url=http://registry:8081";
        assert!(settings(&[url]).unwrap().unwrap().credential.is_none());
        let (name, password) = ("--schema-registry-username=me", "--schema-registry-password=topsecret");
        assert!(settings(&[url, name, password]).unwrap().unwrap().credential.is_some());
        for arguments in [&[url, name][..], &[url, password], &[name, password]] {
            let problems = settings(arguments).unwrap_err();
            assert!(problems.contains("SCHEMA_REGISTRY_") && !problems.contains("topsecret"), "{problems}");
        }
    }
}
