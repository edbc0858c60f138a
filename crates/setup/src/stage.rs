//! A stage (one deployment in one sandbox), and the marks with which `setup` recognises its own objects.

use std::fmt;
use std::str::FromStr;

use sources::SourceName;

/// The name of a deployment (`DEPLOYMENT`): 1 to 40 lower-case letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deployment(String);

impl Deployment {
    /// The default name of a deployment.
    pub const DEFAULT: &'static str = "customerio-aep";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Deployment {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl FromStr for Deployment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if (1..=40).contains(&text.len()) && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err("this is not the name of a deployment: 1 to 40 lower-case letters, digits, `-` and `_`".to_owned())
        }
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an organisation in Adobe's identity service, such as `…@AdobeOrg`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Organisation(String);

impl Organisation {
    /// The id as text, with `@AdobeOrg`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Organisation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = text.strip_suffix("@AdobeOrg");
        match id {
            Some(id) if !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric()) => {
                Ok(Self(text.to_owned()))
            }
            _ => {
                Err("this is not the id of an organisation: it has letters and digits and ends in @AdobeOrg".to_owned())
            }
        }
    }
}

impl fmt::Display for Organisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a sandbox, in the form of the header `x-sandbox-name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SandboxName(String);

impl SandboxName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SandboxName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if (1..=256).contains(&text.len()) && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err("this is not the name of a sandbox: a name has 1 to 256 lower-case letters, digits and `-` (give the name, not the title)"
                .to_owned())
        }
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One deployment in one sandbox. Two stages share no objects except identity namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Name of the deployment.
    pub deployment: Deployment,
    /// Id of the organisation that contains the sandbox.
    pub organisation: Organisation,
    /// Name of the sandbox.
    pub sandbox: SandboxName,
}

impl Stage {
    /// The mark of an object that serves one source.
    #[must_use]
    pub fn mark_of(&self, source: &SourceName) -> Mark {
        self.mark(source.as_str())
    }

    /// The mark of an object that serves all sources. No source can have the name `*`.
    #[must_use]
    pub fn shared_mark(&self) -> Mark {
        self.mark("*")
    }

    fn mark(&self, source: &str) -> Mark {
        Mark(format!("{}/{}/{}/{source}", self.deployment, self.organisation, self.sandbox))
    }

    /// The name or title of an object. It contains the deployment unless that is the default, because titles must be
    /// unique in a sandbox.
    #[must_use]
    pub fn name(&self, base: &str) -> String {
        if self.deployment.as_str() == Deployment::DEFAULT {
            base.to_owned()
        } else {
            format!("{base} ({})", self.deployment)
        }
    }

    /// The `sourceId` of the base connection, which must be unique in the organisation. Neither the deployment nor the
    /// sandbox can contain a `.`, so two stages never have the same `sourceId`.
    #[must_use]
    pub fn source_id(&self) -> String {
        format!("{}.{}", self.deployment, self.sandbox)
    }
}

/// A mark, `DEPLOYMENT/organisation/sandbox/source`. It is written in brackets within a name or description.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(String);

impl Mark {
    /// The mark without brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Adds the mark, in brackets, to a text.
    #[must_use]
    pub fn on(&self, text: &str) -> String {
        format!("{text} [{}]", self.0)
    }

    /// Returns the mark that a text contains. A person may change the text around the mark.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let inside = text.split('[').skip(1).filter_map(|rest| rest.split_once(']')).map(|(inside, _)| inside);
        inside.filter(|inside| Self::is_mark(inside)).map(|inside| Self(inside.to_owned())).next()
    }

    /// Parses the value of a tag, which contains a mark without brackets.
    #[must_use]
    pub fn of_tag(value: &str) -> Option<Self> {
        Self::is_mark(value).then(|| Self(value.to_owned()))
    }

    fn is_mark(text: &str) -> bool {
        let parts: Vec<&str> = text.split('/').collect();
        parts.len() == 4 && parts.iter().all(|part| !part.is_empty()) && parts[1].ends_with("@AdobeOrg")
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn stage(deployment: &str, sandbox: &str) -> Stage {
        Stage {
            deployment: deployment.parse().unwrap(),
            organisation: "ACME@AdobeOrg".parse().unwrap(),
            sandbox: sandbox.parse().unwrap(),
        }
    }

    #[test]
    fn a_mark_is_found_within_any_surrounding_text() {
        let mark = stage("customerio-aep", "dev").mark_of(&SourceName::default());
        assert_eq!(mark.as_str(), "customerio-aep/ACME@AdobeOrg/dev/default");
        assert_eq!(Mark::of(&mark.on("Events")), Some(mark.clone()));
        assert_eq!(Mark::of(&format!("renamed [x] by a person [{mark}] later")), Some(mark));
        for text in ["", "[]", "[a/b/c/d]", "[a/b@AdobeOrg/c]", "a/b@AdobeOrg/c/d", "[a/b@AdobeOrg//d]"] {
            assert_eq!(Mark::of(text), None, "{text}");
        }
    }

    #[test]
    fn no_two_stages_share_a_source_id_or_a_mark() {
        let stages =
            [stage("a", "b-c"), stage("a-b", "c"), stage("customerio-aep", "dev"), stage("customerio-aep", "prod")];
        for (index, one) in stages.iter().enumerate() {
            for other in &stages[index + 1..] {
                assert_ne!(one.source_id(), other.source_id());
                assert_ne!(one.shared_mark(), other.shared_mark());
            }
        }
        assert_eq!(stages[0].name("Events"), "Events (a)");
        assert_eq!(stages[2].name("Events"), "Events");
        assert!("*".parse::<SourceName>().is_err(), "no source can have the name in the shared mark");
    }

    #[test]
    fn names_that_would_break_a_mark_are_refused() {
        assert!("A".parse::<Deployment>().is_err() && "a/b".parse::<Deployment>().is_err());
        assert!("Dev".parse::<SandboxName>().unwrap_err().contains("not the title"));
        for text in ["", "ACME", "@AdobeOrg", "AC/ME@AdobeOrg", "ACME]@AdobeOrg"] {
            assert!(text.parse::<Organisation>().is_err(), "{text}");
        }
    }
}
