//! State that all requests share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::control::Control;
use crate::faults::{Fault, FaultKind, Script};
use crate::settings::SimSettings;

/// Statistics, as `/admin/stats` returns them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Number of ingestion requests by HTTP status.
    pub requests: BTreeMap<u16, u64>,
    /// Number of accepted messages, including repeats.
    pub accepted: u64,
    /// Number of different `_id`s that were accepted; 0 if accepted events are only counted (`count_only`).
    pub distinct: u64,
    /// Number of refused messages.
    pub refused: u64,
    /// Number of issued tokens.
    pub tokens: u64,
    /// Number of messages that got a success response and never arrive. They were sent too early after a change of a
    /// flow or schema, or without an enabled flow.
    #[serde(default)]
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Inner {
    requests: BTreeMap<u16, u64>,
    refused: u64,
    /// Accepted ids with their counts, in the order of their first acceptance, so that pages are stable.
    accepted: Vec<(Arc<str>, u32)>,
    /// The index of each id in `accepted`.
    places: HashMap<Arc<str>, usize>,
    accepted_total: u64,
    last_event: Option<serde_json::Value>,
    tokens: HashMap<String, Instant>,
    issued: u64,
    script: Script,
    poisons: Vec<Poison>,
    limits: Limits,
    token_answer: Option<(u16, String)>,
    clock_behind: u32,
    batches: u64,
}

/// Rule for messages that are never accepted, from the fault [`FaultKind::Poison`].
#[derive(Debug, Clone)]
pub(crate) struct Poison {
    pub(crate) prefix: String,
    pub(crate) status: u16,
    pub(crate) whole: bool,
}

/// Limits per second, and the counts of the current second.
#[derive(Debug, Default)]
struct Limits {
    requests: Option<u64>,
    records: Option<u64>,
    second: u64,
    seen_requests: u64,
    seen_records: u64,
}

impl Limits {
    /// Returns true, and counts a request with this number of messages, if no limit has been reached in the current
    /// second. The messages of this request may exceed the limit.
    fn take(&mut self, second: u64, records: u64) -> bool {
        if self.second != second {
            (self.second, self.seen_requests, self.seen_records) = (second, 0, 0);
        }
        let fits = |limit: Option<u64>, seen: u64| limit.is_none_or(|limit| seen < limit);
        let fits = fits(self.requests, self.seen_requests) && fits(self.records, self.seen_records);
        if fits {
            self.seen_requests += 1;
            self.seen_records += records;
        }
        fits
    }
}

#[derive(Debug)]
pub(crate) struct State {
    settings: SimSettings,
    pub(crate) control: Control,
    inner: Mutex<Inner>,
}

impl State {
    pub(crate) fn new(settings: SimSettings) -> Self {
        let control = Control::new(&settings);
        Self { settings, control, inner: Mutex::default() }
    }

    pub(crate) fn settings(&self) -> &SimSettings {
        &self.settings
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> Stats {
        let inner = self.lock();
        Stats {
            requests: inner.requests.clone(),
            accepted: inner.accepted_total,
            distinct: inner.accepted.len() as u64,
            refused: inner.refused,
            tokens: inner.issued,
            lost: self.control.lost_count(),
        }
    }

    pub(crate) fn accepted(&self) -> HashMap<String, u32> {
        self.lock().accepted.iter().map(|(id, count)| (id.to_string(), *count)).collect()
    }

    pub(crate) fn accepted_count(&self, id: &str) -> u32 {
        let inner = self.lock();
        inner.places.get(id).map_or(0, |&place| inner.accepted[place].1)
    }

    pub(crate) fn last_event(&self) -> Option<serde_json::Value> {
        self.lock().last_event.clone()
    }

    pub(crate) fn add_fault(&self, fault: Fault) {
        let mut inner = self.lock();
        match fault.kind {
            FaultKind::ExpireTokens => inner.tokens.clear(),
            FaultKind::Poison { prefix, status, whole } => inner.poisons.push(Poison { prefix, status, whole }),
            FaultKind::Tokens { status, body } => inner.token_answer = Some((status, body.unwrap_or_default())),
            FaultKind::Clock { behind } => inner.clock_behind = behind,
            FaultKind::Limit { requests, records } => {
                (inner.limits.requests, inner.limits.records) = (requests, records);
            }
            _ => inner.script.add(fault),
        }
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        self.lock().script.faults()
    }

    pub(crate) fn clear_faults(&self) {
        let mut inner = self.lock();
        inner.script.clear();
        inner.poisons.clear();
        inner.limits = Limits::default();
        inner.token_answer = None;
        inner.clock_behind = 0;
    }

    pub(crate) fn reset(&self) {
        self.control.forget_seen();
        *self.lock() = Inner::default();
    }

    /// Returns the fault for the next ingestion request, and decreases the fault's remaining number of requests.
    pub(crate) fn next_fault(&self) -> Option<FaultKind> {
        self.lock().script.next(Instant::now())
    }

    /// Returns status and body of the response to token requests, if a fault sets them.
    pub(crate) fn token_answer(&self) -> Option<(u16, String)> {
        self.lock().token_answer.clone()
    }

    /// Returns the number of seconds by which the date in responses is too early.
    pub(crate) fn clock_behind(&self) -> u32 {
        self.lock().clock_behind
    }

    /// Returns the current rules for messages that are always refused.
    pub(crate) fn poisons(&self) -> Vec<Poison> {
        self.lock().poisons.clone()
    }

    /// Returns true, and counts a request with this number of messages, if no limit has been reached in this second.
    pub(crate) fn is_within_limits(&self, second: u64, records: usize) -> bool {
        self.lock().limits.take(second, records as u64)
    }

    pub(crate) fn answered(&self, status: u16) {
        *self.lock().requests.entry(status).or_default() += 1;
    }

    pub(crate) fn accept(&self, id: String, event: serde_json::Value) {
        let mut inner = self.lock();
        if self.settings.count_only {
            inner.accepted_total += 1;
            return;
        }
        if let Some(&place) = inner.places.get(id.as_str()) {
            inner.accepted[place].1 += 1;
        } else {
            let id: Arc<str> = id.into();
            let place = inner.accepted.len();
            inner.accepted.push((Arc::clone(&id), 1));
            inner.places.insert(id, place);
        }
        inner.accepted_total += 1;
        inner.last_event = Some(event);
    }

    pub(crate) fn refuse(&self) {
        self.lock().refused += 1;
    }

    pub(crate) fn next_batch(&self) -> u64 {
        let mut inner = self.lock();
        inner.batches += 1;
        inner.batches
    }

    pub(crate) fn issue_token(&self) -> String {
        let mut inner = self.lock();
        inner.issued += 1;
        let token = format!("sim-token-{}-{:016x}", inner.issued, fastrand::u64(..));
        inner.tokens.insert(token.clone(), Instant::now() + self.settings.token_lifetime);
        token
    }

    pub(crate) fn token_is_good(&self, token: &str) -> bool {
        self.lock().tokens.get(token).is_some_and(|&until| Instant::now() < until)
    }

    /// Returns a page of the accepted ids, in the order of their first acceptance, with the count of each.
    pub(crate) fn ids(&self, offset: usize, limit: usize) -> Vec<(String, u32)> {
        let inner = self.lock();
        inner.accepted.iter().skip(offset).take(limit).map(|(id, count)| (id.to_string(), *count)).collect()
    }
}
