//! Receives a body. A body within the limit is kept whole. A larger body is hashed and only its beginning is kept, so
//! that an authentic one can become a dead letter without being held in memory as a whole.
//!
//! Bytes count against the budget when they arrive, not when `Content-Length` declares them: a client that declares
//! many bytes and sends none does not take budget from others.

use std::time::Duration;

use customerio::{Sha256, Verifier};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use tokio::time::{Instant, timeout_at};

use crate::answer::Answer;
use crate::budget::{InFlight, Share};

/// Maximum length of a body that is received at all, in bytes.
pub(crate) const HARD_LIMIT: u64 = contract::limits::LARGEST_BODY as u64;

/// Number of bytes that are kept of a body over the limit.
pub(crate) const KEPT: usize = 64 * 1024;

/// The limits for receiving a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum length of a body that is kept whole, in bytes.
    pub(crate) whole: usize,
    /// Maximum time for which the client may send nothing.
    pub(crate) idle: Duration,
    /// Time at which the response is due. The body must be complete by then.
    pub(crate) until: Instant,
}

/// A body that was received.
#[derive(Debug)]
pub(crate) enum Received {
    /// The body is within the limit.
    Whole(Bytes, Share),
    /// The body is over the limit.
    Oversized(Oversized),
}

/// The properties of a body over the limit, of which only the beginning was kept.
#[derive(Debug)]
pub(crate) struct Oversized {
    /// The first [`KEPT`] bytes of the body.
    pub(crate) first: Bytes,
    pub(crate) length: u64,
    /// SHA-256 of the whole body, as 64 lower-case hex digits.
    pub(crate) sha256: String,
    /// The verifier, which has processed the whole body.
    pub(crate) verifier: Verifier,
    /// The share of the budget for the kept bytes.
    pub(crate) share: Share,
}

/// Receives a body; `declared` is its length according to `Content-Length`. For a body over the limit, this function
/// also feeds all bytes to a verifier of the signature. The caller verifies the signature of a smaller body.
pub(crate) async fn receive(
    mut body: impl Body<Data = Bytes> + Unpin,
    declared: Option<u64>,
    limits: Limits,
    budget: &InFlight,
    verifier: impl Fn() -> Verifier,
) -> Result<Received, Answer> {
    let whole = u64::try_from(limits.whole).unwrap_or(u64::MAX);
    let mut length = 0;
    let mut kept = Kept::default();
    let mut hashes = None;
    if declared.is_some_and(|declared| declared > HARD_LIMIT) {
        return Err(Answer::TooLarge);
    }
    if declared.is_some_and(|declared| declared > whole) {
        hashes = Some(Hashes::begin(&verifier));
    }
    loop {
        let silent = Instant::now() + limits.idle;
        let frame = match timeout_at(silent.min(limits.until), body.frame()).await {
            Err(_) => return Err(Answer::ReadTimeout),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Answer::Unreadable),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if length > HARD_LIMIT {
            return Err(Answer::TooLarge);
        }
        if hashes.is_none() && length > whole {
            let mut begun = Hashes::begin(&verifier);
            begun.update(kept.bytes());
            hashes = Some(begun);
        }
        match &mut hashes {
            None => kept.push(data, budget)?,
            Some(hashes) => {
                hashes.update(&data);
                kept.cut();
                let room = KEPT.saturating_sub(kept.bytes().len()).min(data.len());
                kept.push(data.slice(..room), budget)?;
            }
        }
    }
    let share = kept.share(budget)?;
    let bytes = kept.into_bytes();
    Ok(match hashes {
        None => Received::Whole(bytes, share),
        Some(Hashes { verifier, sha256 }) => {
            Received::Oversized(Oversized { first: bytes, length, sha256: sha256.hex(), verifier, share })
        }
    })
}

/// The hashes of a body over the limit.
struct Hashes {
    verifier: Verifier,
    sha256: Sha256,
}

impl Hashes {
    fn begin(verifier: &impl Fn() -> Verifier) -> Self {
        Self { verifier: verifier(), sha256: Sha256::default() }
    }

    fn update(&mut self, piece: &[u8]) {
        self.verifier.update(piece);
        self.sha256.update(piece);
    }
}

/// The kept bytes and their share of the budget. Most bodies arrive in one piece and are never copied.
#[derive(Default)]
struct Kept {
    first: Bytes,
    /// All pieces, once there is a second one; empty until then.
    all: Vec<u8>,
    share: Option<Share>,
}

impl Kept {
    fn push(&mut self, data: Bytes, budget: &InFlight) -> Result<(), Answer> {
        if data.is_empty() {
            return Ok(());
        }
        let charged = match &mut self.share {
            Some(share) => budget.grow(share, data.len()),
            None => budget.take(data.len()).map(|share| self.share = Some(share)),
        };
        charged.map_err(|_| Answer::Overloaded)?;
        if self.first.is_empty() && self.all.is_empty() {
            self.first = data;
        } else {
            if self.all.is_empty() {
                self.all.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.all.extend_from_slice(&data);
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    /// Drops the bytes after the first [`KEPT`] ones, and releases their share of the budget.
    fn cut(&mut self) {
        let excess = self.bytes().len().saturating_sub(KEPT);
        if excess == 0 {
            return;
        }
        self.all = self.bytes()[..KEPT].to_vec();
        self.first = Bytes::new();
        if let Some(share) = &mut self.share {
            share.shrink(excess);
        }
    }

    /// Takes out the share of the budget. An empty body gets a share too.
    fn share(&mut self, budget: &InFlight) -> Result<Share, Answer> {
        self.share.take().map_or_else(|| budget.take(0).map_err(|_| Answer::Overloaded), Ok)
    }

    fn into_bytes(self) -> Bytes {
        if self.all.is_empty() { self.first } else { self.all.into() }
    }
}

#[cfg(test)]
mod tests;
