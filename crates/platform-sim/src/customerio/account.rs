//! The state of the simulated account: workspaces, webhooks, requests.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::faults::Faults;
use super::webhook::Fields;

/// The App API's limit, for each key.
const REQUESTS_PER_SECOND: usize = 10;
/// The number of requests that are remembered.
const REMEMBERED: usize = 10_000;

/// A workspace.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Workspace {
    pub(super) id: u64,
    pub(super) name: &'static str,
    pub(super) signing_key: &'static str,
}

/// The account's workspaces. Their signing keys are on the gateway's list of published keys: except on loopback
/// addresses, it accepts them only in a trial.
pub(super) const WORKSPACES: [Workspace; 2] = [
    Workspace { id: 130_001, name: "Acme", signing_key: "trial-key-for-the-simulator-only" },
    Workspace { id: 130_002, name: "Acme development", signing_key: "demo-signing-key" },
];

/// The service-account token that is exchanged for access tokens.
pub(super) const SERVICE_ACCOUNT_TOKEN: &str = "sa_live_sim";

/// The rights of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everything in one workspace.
    Workspace(u64),
    /// Only the rights of every App API key.
    SendOnly,
    /// No rights from this address.
    Elsewhere,
    /// The key is not one of the App API in this region.
    Refused,
}

/// The rights of a bearer key.
pub(super) fn access(key: Option<&str>) -> Access {
    match key {
        Some("sim-app-key") => Access::Workspace(WORKSPACES[0].id),
        Some("sim-app-key-dev") => Access::Workspace(WORKSPACES[1].id),
        Some("sim-app-key-send-only") => Access::SendOnly,
        Some("sim-app-key-elsewhere") => Access::Elsewhere,
        // Among them `sim-app-key-eu` and `sim-track-key`: Customer.io does not say why it refuses a key.
        _ => Access::Refused,
    }
}

/// A webhook and the workspace it belongs to.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stored {
    pub(super) workspace: u64,
    pub(super) webhook: Fields,
}

/// A request that was received, without its key.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// True if it had an `Authorization` header.
    pub(super) with_key: bool,
    pub(super) status: u16,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) webhooks: BTreeMap<u64, Stored>,
    last_id: u64,
    pub(super) faults: Faults,
    pub(super) seen: VecDeque<Seen>,
    windows: HashMap<String, VecDeque<Instant>>,
    access_tokens: HashSet<String>,
    events: u64,
}

impl Inner {
    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Returns true if a request with this key is within the limit; it counts if it is.
    pub(super) fn is_within_limit(&mut self, key: &str, now: Instant) -> bool {
        let window = self.windows.entry(key.to_owned()).or_default();
        while window.front().is_some_and(|&first| now.duration_since(first) >= Duration::from_secs(1)) {
            window.pop_front();
        }
        let is_within = window.len() < REQUESTS_PER_SECOND;
        if is_within {
            window.push_back(now);
        }
        is_within
    }

    pub(super) fn remember(&mut self, seen: Seen) {
        if self.seen.len() == REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
    }

    pub(super) fn new_access_token(&mut self) -> String {
        let token = format!("sim-access-{:016x}", fastrand::u64(..));
        self.access_tokens.insert(token.clone());
        token
    }

    pub(super) fn has_access_token(&self, token: Option<&str>) -> bool {
        token.is_some_and(|token| self.access_tokens.contains(token))
    }

    /// The number of the next event.
    pub(super) fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }
}

/// The state of all requests.
#[derive(Debug, Default)]
pub(super) struct CustomerIo(Mutex<Inner>);

impl CustomerIo {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eleventh_request_within_a_second_is_over_the_limit() {
        let mut inner = Inner::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!((0..10).all(|number| inner.is_within_limit("a", at(number * 50))));
        assert!(!inner.is_within_limit("a", at(999)));
        assert!(inner.is_within_limit("b", at(999)), "each key has its limit");
        assert!(inner.is_within_limit("a", at(1000)) && !inner.is_within_limit("a", at(1040)));
    }
}
