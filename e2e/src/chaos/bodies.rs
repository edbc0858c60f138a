//! Sends bodies with sizes around every limit in addition to the load, and checks the outcome of each body.

use std::collections::BTreeSet;
use std::fmt;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::pipeline::SIGNING_KEY;
use crate::sender::{request, send_once};

/// Value of `GATEWAY_MAX_BODY`. A longer body becomes a dead letter that keeps only its size, hash and beginning.
const WHOLE: usize = 10 * 1024 * 1024;

/// Maximum time for which a body is sent again.
const GIVE_UP: Duration = Duration::from_secs(300);
const AGAIN: Duration = Duration::from_secs(1);

/// A body that was sent until it was acknowledged or given up.
#[derive(Debug)]
struct SentBody {
    id: String,
    bytes: usize,
    attempts: usize,
    is_acknowledged: bool,
}

/// Bodies that are being sent, each in a separate thread.
#[derive(Debug, Default)]
pub(super) struct Sending(Vec<JoinHandle<SentBody>>);

impl Sending {
    /// Sends a body of this size repeatedly until the gateway responds with 202, for at most [`GIVE_UP`].
    pub(super) fn send(&mut self, port: u16, bytes: usize) {
        let id = format!("body-{:03}-{bytes}", self.0.len());
        self.0.push(std::thread::spawn(move || {
            let request = request("/webhooks/customerio", SIGNING_KEY, "", body(&id, bytes).as_bytes());
            let deadline = Instant::now() + GIVE_UP;
            let mut attempts = 0;
            let is_acknowledged = loop {
                attempts += 1;
                if send_once(port, &request).is_ok_and(|answer| answer.status == 202) {
                    break true;
                }
                if Instant::now() >= deadline {
                    break false;
                }
                std::thread::sleep(AGAIN);
            };
            SentBody { id, bytes, attempts, is_acknowledged }
        }));
    }

    /// Waits until each body is acknowledged or given up.
    pub(super) fn finish(self) -> SentBodies {
        SentBodies(self.0.into_iter().map(|thread| thread.join().expect("a thread that sends a body")).collect())
    }
}

/// Returns an email event that is padded to this size.
fn body(id: &str, bytes: usize) -> String {
    let head = format!(
        r#"{{"event_id":"{id}","object_type":"email","metric":"sent","timestamp":1700000000,"data":{{"identifiers":{{"id":"{id}"}},"content":""#
    );
    let tail = r#""}}"#;
    let padding = "x".repeat(bytes.saturating_sub(head.len() + tail.len()));
    head + &padding + tail
}

/// All bodies that a run has sent.
#[derive(Debug)]
pub(super) struct SentBodies(Vec<SentBody>);

impl SentBodies {
    /// Returns the ids of the acknowledged bodies that must be stored completely.
    pub(super) fn whole(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|body| body.is_acknowledged && body.bytes <= WHOLE).map(|body| body.id.as_str())
    }

    /// Returns the outcomes of the bodies. `raw` contains the ids on the raw topic, and `too_large` is the number of
    /// dead letters with the code `body_too_large`.
    pub(super) fn account(&self, raw: &BTreeSet<&str>, too_large: usize) -> Bodies {
        let over: Vec<_> = self.0.iter().filter(|body| body.bytes > WHOLE).collect();
        let is_missing =
            |body: &&SentBody| !body.is_acknowledged || (body.bytes <= WHOLE) != raw.contains(body.id.as_str());
        Bodies {
            sent: self.0.len(),
            over: over.len(),
            too_large,
            attempts_over: over.iter().map(|body| body.attempts).sum(),
            wrong: self.0.iter().filter(is_missing).map(|body| body.id.clone()).collect(),
        }
    }
}

/// Outcomes of the bodies around the size limits.
#[derive(Debug, Default)]
pub struct Bodies {
    /// Number of bodies sent.
    pub sent: usize,
    /// Number of bodies over `GATEWAY_MAX_BODY`.
    pub over: usize,
    /// Number of dead letters with the code `body_too_large`. An attempt that got no response may have written a dead
    /// letter as well.
    pub too_large: usize,
    /// Number of attempts to send bodies over the limit.
    pub attempts_over: usize,
    /// Ids of bodies that were not acknowledged, that are not stored although they fit, or that are stored although
    /// they do not fit.
    pub wrong: Vec<String>,
}

impl Bodies {
    /// Whether each body is stored completely, or is a dead letter if it exceeds the limit.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.wrong.is_empty() && (self.over..=self.attempts_over).contains(&self.too_large)
    }
}

impl fmt::Display for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, over, too_large, attempts_over, wrong } = self;
        write!(
            f,
            "{sent} sent, {over} of them over the limit (in {attempts_over} attempts), dead letters {too_large}"
        )?;
        if !wrong.is_empty() {
            write!(f, "; WRONG {wrong:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bytes: usize, attempts: usize) -> SentBody {
        SentBody { id: bytes.to_string(), bytes, attempts, is_acknowledged: true }
    }

    #[test]
    fn a_padded_body_has_exactly_the_requested_size() {
        for bytes in [1_000, 1024 * 1024] {
            let body = body("body-000", bytes);
            assert_eq!(body.len(), bytes);
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(value["event_id"], "body-000");
        }
    }

    #[test]
    fn only_bodies_over_the_limit_may_be_dead_letters_and_all_others_must_be_stored() {
        let bodies = SentBodies(vec![sent(WHOLE, 1), sent(WHOLE + 1, 2)]);
        let fits = WHOLE.to_string();
        let raw = BTreeSet::from([fits.as_str()]);
        assert_eq!(bodies.whole().collect::<Vec<_>>(), [fits.as_str()]);
        assert!(bodies.account(&raw, 1).is_good());
        assert!(bodies.account(&raw, 2).is_good(), "an attempt without a response may have written a dead letter");
        assert!(!bodies.account(&raw, 0).is_good());
        assert!(!bodies.account(&raw, 3).is_good());
        assert!(!bodies.account(&BTreeSet::new(), 1).is_good(), "the body that fits is not stored");
    }
}
