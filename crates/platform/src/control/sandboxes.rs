//! Lists the sandboxes with their type, state and region.

use std::fmt;

use serde::Deserialize;

use crate::control::answer::{Answer, Unreadable, text};
use crate::control::paging::{Page, page};
use crate::control::request::{Call, Request, encode};

const BASE: &str = "/data/foundation/sandbox-management";

/// A sandbox of Platform.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Sandbox {
    /// Name in lower case, as sent in `x-sandbox-name`.
    pub name: String,
    /// Name that people see in Platform.
    #[serde(default)]
    pub title: Option<String>,
    /// State; only an active sandbox can be used.
    #[serde(default)]
    pub state: SandboxState,
    /// Type: production or development.
    #[serde(rename = "type", default)]
    pub kind: SandboxType,
    /// Region, such as `VA7`.
    #[serde(default, deserialize_with = "text")]
    pub region: Option<String>,
    /// Whether the sandbox is the organisation's default.
    #[serde(rename = "isDefault", default)]
    pub is_default: Option<bool>,
}

/// The state of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum SandboxState {
    /// The sandbox can be used.
    Active,
    /// Platform is creating the sandbox.
    Creating,
    /// Platform is emptying the sandbox.
    Resetting,
    /// Platform is removing the sandbox.
    Deleting,
    /// The sandbox has been removed.
    Deleted,
    /// Platform could not create the sandbox.
    Failed,
    /// A state that this program does not know.
    Other(String),
    /// The response does not contain the state.
    #[default]
    Unknown,
}

impl From<String> for SandboxState {
    fn from(text: String) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "active" => Self::Active,
            "creating" | "provisioning" => Self::Creating,
            "resetting" | "cleaning" => Self::Resetting,
            "deleting" | "de-provisioning" => Self::Deleting,
            "deleted" => Self::Deleted,
            "failed" => Self::Failed,
            _ => Self::Other(text),
        }
    }
}

impl fmt::Display for SandboxState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Creating => "creating",
            Self::Resetting => "resetting",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
            Self::Other(text) => text,
            Self::Unknown => "unknown",
        })
    }
}

/// The type of a sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum SandboxType {
    /// The sandbox contains real data.
    Production,
    /// The sandbox is for development and can be reset.
    Development,
    /// The response does not contain a known type. The sandbox counts as production.
    #[default]
    Unknown,
}

impl From<String> for SandboxType {
    fn from(text: String) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "production" => Self::Production,
            "development" => Self::Development,
            _ => Self::Unknown,
        }
    }
}

impl Sandbox {
    /// Whether the sandbox counts as a production sandbox, as every type except development does.
    #[must_use]
    pub fn is_production(&self) -> bool {
        self.kind != SandboxType::Development
    }
}

fn sandbox_page(_: &Request, answer: &Answer) -> Result<Page<Sandbox>, Unreadable> {
    page(answer, "sandboxes")
}

/// Lists the sandboxes that this credential may use.
#[must_use]
pub fn usable_sandboxes() -> Call<Page<Sandbox>> {
    Call::new(Request::get(format!("{BASE}/")), sandbox_page)
}

/// Lists all sandboxes of the organisation. The credential needs the permission to see them.
#[must_use]
pub fn all_sandboxes() -> Call<Page<Sandbox>> {
    Call::new(Request::get(format!("{BASE}/sandboxes")), sandbox_page)
}

/// Reads one sandbox by its name. The credential needs the permission to see it.
#[must_use]
pub fn sandbox(name: &str) -> Call<Sandbox> {
    Call::new(Request::get(format!("{BASE}/sandboxes/{}", encode(name))), |_, answer| answer.json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_of_unknown_type_counts_as_production() {
        let read = |text: &str| serde_json::from_str::<Sandbox>(text).unwrap();
        let sandbox = read(r#"{"name":"dev","state":"active","type":"development","region":"VA7","etag":1}"#);
        assert!(!sandbox.is_production() && sandbox.state == SandboxState::Active);
        let sandbox = read(r#"{"name":"x","state":"frozen","type":"staging"}"#);
        assert!(sandbox.is_production());
        assert_eq!(sandbox.state.to_string(), "frozen");
        assert!(read(r#"{"name":"x"}"#).is_production());
    }
}
