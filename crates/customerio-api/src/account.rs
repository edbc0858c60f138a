//! The account data of the App API: workspaces, and the IP addresses that Customer.io sends webhooks from.

use std::fmt;
use std::net::IpAddr;

use serde_json::Value;

/// The id of a workspace. Some of Customer.io's paths call a workspace an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkspaceId(pub u64);

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A workspace of the account. The API lists all workspaces of the account and does not show which one the key belongs
/// to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// The workspace's id in Customer.io.
    pub id: WorkspaceId,
    /// The workspace's name in Customer.io.
    pub name: String,
    /// Number of messages sent in the current billing period. Customer.io's count may be two hours old.
    pub messages_sent: Option<u64>,
    /// Number of people in the workspace. Customer.io's count may be an hour old.
    pub people: Option<u64>,
}

/// Parses the response of `GET /v1/workspaces`.
pub(crate) fn workspaces(value: &Value) -> Result<Vec<Workspace>, &'static str> {
    let entries = match value.get("workspaces").ok_or("it has no `workspaces`")? {
        Value::Null => return Ok(Vec::new()),
        Value::Array(entries) => entries,
        _ => return Err("`workspaces` is not a list"),
    };
    let workspace = |entry: &Value| {
        Ok(Workspace {
            id: entry.get("id").and_then(Value::as_u64).map(WorkspaceId).ok_or("a workspace has no `id`")?,
            name: entry.get("name").and_then(Value::as_str).ok_or("a workspace has no `name`")?.to_owned(),
            messages_sent: entry.get("messages_sent").and_then(Value::as_u64),
            people: entry.get("people").and_then(Value::as_u64),
        })
    };
    entries.iter().map(workspace).collect()
}

/// An IP address or range that Customer.io sends webhooks from, in the spelling of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderAddress(String);

impl SenderAddress {
    /// The address or range as text, for a firewall's allow-list.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The IP address; `None` if the text is not a single address, such as a range.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }
}

/// Parses the response of `GET /v1/info/ip_addresses`.
pub(crate) fn sender_addresses(value: &Value) -> Result<Vec<SenderAddress>, &'static str> {
    let entries = value.get("ip_addresses").and_then(Value::as_array).ok_or("it has no list `ip_addresses`")?;
    let address = |entry: &Value| match entry.as_str() {
        Some(text) => Ok(SenderAddress(text.trim().to_owned())),
        None => Err("`ip_addresses` has an entry that is not a text"),
    };
    entries.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn workspaces_with_missing_counts_are_parsed() {
        let value = json!({"workspaces": [
            {"id": 1, "name": "A", "messages_sent": 100_202, "billable_messages_sent": 1, "people": 5, "object_types": 1, "objects": 1},
            {"id": 2, "name": "B", "people": "?"},
        ]});
        let read = workspaces(&value).unwrap();
        assert_eq!((read[0].id, read[0].messages_sent, read[0].people), (WorkspaceId(1), Some(100_202), Some(5)));
        assert_eq!((read[1].name.as_str(), read[1].messages_sent, read[1].people), ("B", None, None));
        assert_eq!(workspaces(&json!({"workspaces": null})), Ok(Vec::new()));
        for wrong in [
            json!({}),
            json!({"workspaces": 1}),
            json!({"workspaces": [{"id": 1}]}),
            json!({"workspaces": [{"name": "A"}]}),
        ] {
            assert!(workspaces(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_ip_range_is_kept_as_text() {
        let read = sender_addresses(&json!({"ip_addresses": ["35.188.196.183", "34.10.0.0/24"]})).unwrap();
        assert_eq!(read[0].ip(), Some([35, 188, 196, 183].into()));
        assert_eq!((read[1].as_str(), read[1].ip()), ("34.10.0.0/24", None));
        assert!(sender_addresses(&json!({"ip_addresses": [1]})).is_err() && sender_addresses(&json!({})).is_err());
    }
}
