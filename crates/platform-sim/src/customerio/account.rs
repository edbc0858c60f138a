//! State of the simulated account: workspaces, webhooks, received requests.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use super::faults::Faults;
use super::webhook::Fields;

/// Maximum number of requests per second with one key of the App API.
const REQUESTS_PER_SECOND: usize = 10;
/// Maximum number of requests that are recorded.
const REMEMBERED: usize = 10_000;

#[derive(Debug, Clone, Serialize)]
pub(super) struct Workspace {
    pub(super) id: u64,
    pub(super) name: &'static str,
    pub(super) signing_key: &'static str,
}

/// Workspaces of the account. Their signing keys are on the gateway's list of published keys. Except on loopback
/// addresses, the gateway accepts such keys only in a trial.
pub(super) const WORKSPACES: [Workspace; 2] = [
    Workspace { id: 130_001, name: "Acme", signing_key: "trial-key-for-the-simulator-only" },
    Workspace { id: 130_002, name: "Acme development", signing_key: "demo-signing-key" },
];

/// The service-account token, which clients exchange for access tokens.
pub(super) const SERVICE_ACCOUNT_TOKEN: &str = "sa_live_sim";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// All rights in one workspace.
    Workspace(u64),
    /// Only the rights that every App API key has.
    SendOnly,
    /// No rights, because requests come from an address that is not allowed.
    Elsewhere,
    /// The key is not an App API key of this region.
    Refused,
}

/// Returns the rights of a bearer key.
pub(super) fn access(key: Option<&str>) -> Access {
    match key {
        Some("sim-app-key") => Access::Workspace(WORKSPACES[0].id),
        Some("sim-app-key-dev") => Access::Workspace(WORKSPACES[1].id),
        Some("sim-app-key-send-only") => Access::SendOnly,
        Some("sim-app-key-elsewhere") => Access::Elsewhere,
        // `sim-app-key-eu` and `sim-track-key` are like unknown keys: Customer.io does not say why it refuses a key.
        _ => Access::Refused,
    }
}

/// A webhook and the id of its workspace.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stored {
    pub(super) workspace: u64,
    pub(super) webhook: Fields,
}

/// A received request, without its key.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    /// Whether the request had an `Authorization` header.
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

    /// Returns whether a request with this key is within the limit. A request over the limit is not counted.
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

    /// Returns the number of the next event.
    pub(super) fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }
}

/// State that all requests share.
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
    fn an_eleventh_request_with_one_key_within_a_second_is_over_the_limit() {
        let mut inner = Inner::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!((0..10).all(|number| inner.is_within_limit("a", at(number * 50))));
        assert!(!inner.is_within_limit("a", at(999)));
        assert!(inner.is_within_limit("b", at(999)), "each key has its own limit");
        assert!(inner.is_within_limit("a", at(1000)) && !inner.is_within_limit("a", at(1040)));
    }
}
