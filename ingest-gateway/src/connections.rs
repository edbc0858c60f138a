//! All connections: what each is waiting for, how many there may be, and which one makes room for another.
//!
//! Whoever waits for its sender (for a head, for a body, for the next request) can be closed to make room; a request
//! that is here whole cannot. So however many senders are slow, one that is not finds a place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::ConnectionMetrics;

/// How long a connection may rest between two requests. Longer than the senders' and proxies' own patience (90 s in Go's
/// client, 60 s in common load balancers), so that it is them who close: a sender that writes into a connection which
/// is being closed sees it end without an answer, which costs an hour.
const REST: Duration = Duration::from_secs(120);

/// How long a place is waited for before others are told to make room.
const RETRY: Duration = Duration::from_millis(20);

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte of a request is here: of the first, or of the next.
    Resting { since: Instant, until: Instant },
    /// A head has begun, or the handshake before it.
    Head { since: Instant, until: Instant },
    /// The head is here, and the body being received; its time-outs are the receiver's.
    Body { since: Instant },
    /// The request is here whole.
    Answering,
    /// The answer is on its way into the socket; a sender that does not read holds it up.
    Answered { since: Instant, until: Instant },
    /// Over: what the sender still has to say is not listened to.
    Closing { since: Instant },
}

/// What is known of one connection.
#[derive(Debug)]
pub(crate) struct Watch {
    phase: Mutex<Phase>,
    evicted: Notify,
    read_timeout: Duration,
}

impl Watch {
    /// A connection that has just been accepted: a head is due.
    fn new(since: Instant, read_timeout: Duration) -> Self {
        let phase = Mutex::new(Phase::Resting { since, until: since + read_timeout });
        Self { phase, evicted: Notify::new(), read_timeout }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes have come.
    pub(crate) fn bytes_came(&self, since: Instant) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Resting { .. }) {
            *phase = Phase::Head { since, until: since + self.read_timeout };
        }
    }

    /// A head is complete.
    pub(crate) fn head_came(&self, since: Instant) {
        *self.phase() = Phase::Body { since };
    }

    /// A body is complete.
    pub(crate) fn body_came(&self) {
        *self.phase() = Phase::Answering;
    }

    /// The answer is known.
    pub(crate) fn answered(&self, since: Instant) {
        *self.phase() = Phase::Answered { since, until: since + self.read_timeout };
    }

    /// Everything written is in the socket.
    pub(crate) fn flushed(&self, since: Instant) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Answered { .. }) {
            *phase = Phase::Resting { since, until: since + REST };
        }
    }

    /// It is being closed.
    pub(crate) fn closing(&self, since: Instant) {
        *self.phase() = Phase::Closing { since };
    }

    /// Until when the sender may take its time, where that is not somebody else's business.
    pub(crate) fn until(&self) -> Option<Instant> {
        match *self.phase() {
            Phase::Resting { until, .. } | Phase::Head { until, .. } | Phase::Answered { until, .. } => Some(until),
            Phase::Body { .. } | Phase::Answering | Phase::Closing { .. } => None,
        }
    }

    /// Whether it rests before or between requests.
    pub(crate) fn is_resting(&self) -> bool {
        matches!(*self.phase(), Phase::Resting { .. })
    }

    /// Whether a request is to come or has come in part: it can be told to come again.
    pub(crate) fn awaits_request(&self) -> bool {
        matches!(*self.phase(), Phase::Resting { .. } | Phase::Head { .. } | Phase::Body { .. })
    }

    /// Whether it waits for its sender.
    pub(crate) fn waits(&self) -> bool {
        self.waiting_since().is_some()
    }

    /// Since when it waits for its sender; `None` while the sender waits for an answer.
    fn waiting_since(&self) -> Option<Instant> {
        match *self.phase() {
            Phase::Resting { since, .. }
            | Phase::Head { since, .. }
            | Phase::Body { since }
            | Phase::Answered { since, .. }
            | Phase::Closing { since } => Some(since),
            Phase::Answering => None,
        }
    }

    /// Resolves when it is to make room for another.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// All open connections. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    read_timeout: Duration,
    open: Mutex<Open>,
    freed: Notify,
    metrics: ConnectionMetrics,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    watches: HashMap<u64, Arc<Watch>>,
}

impl Connections {
    /// At most `limit` at once.
    pub(crate) fn new(limit: usize, read_timeout: Duration, metrics: ConnectionMetrics) -> Self {
        metrics.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        Self(Arc::new(Inner { limit, read_timeout, open: Mutex::default(), freed: Notify::new(), metrics }))
    }

    /// A place for one more; makes room, and waits for it, if there is none.
    pub(crate) async fn admit(&self) -> Admitted {
        loop {
            if let Some(admitted) = self.try_admit() {
                return admitted;
            }
            self.evict();
            // Those may have become busy meanwhile, so it is tried again even if nobody tells of a free place.
            if tokio::time::timeout(RETRY, self.0.freed.notified()).await.is_err() {
                tracing::debug!("no place has become free yet");
            }
        }
    }

    fn try_admit(&self) -> Option<Admitted> {
        let mut open = self.0.open();
        if open.watches.len() >= self.0.limit {
            return None;
        }
        let id = open.next;
        open.next += 1;
        let watch = Arc::new(Watch::new(Instant::now(), self.0.read_timeout));
        open.watches.insert(id, Arc::clone(&watch));
        self.0.metrics.open.inc();
        Some(Admitted { watch, id, connections: self.clone() })
    }

    /// Tells those that have waited longest for their sender to close: several at a time, so that not every new
    /// connection has to look at all of them.
    fn evict(&self) {
        let open = self.0.open();
        let mut waiting: Vec<(Instant, &Arc<Watch>)> =
            open.watches.values().filter_map(|watch| Some((watch.waiting_since()?, watch))).collect();
        let count = (self.0.limit / 64 + 1).min(waiting.len());
        waiting.sort_unstable_by_key(|(since, _)| *since);
        for (_, watch) in &waiting[..count] {
            watch.evicted.notify_one();
            self.0.metrics.evicted.inc();
        }
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place among all; dropping it gives the place to another.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) watch: Arc<Watch>,
    id: u64,
    connections: Connections,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let inner = &self.connections.0;
        inner.open().watches.remove(&self.id);
        inner.metrics.open.dec();
        inner.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn connections(limit: usize) -> Connections {
        let metrics = crate::metrics::Metrics::register(&prometheus::Registry::new(), &crate::budget::InFlight::new(1));
        Connections::new(limit, Duration::from_secs(10), metrics.unwrap().connections)
    }

    #[tokio::test]
    async fn at_the_limit_the_one_that_waits_longest_makes_room_and_one_with_a_whole_request_does_not() {
        let connections = connections(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(connections.admit().await);
        }
        open[0].watch.head_came(Instant::now());
        open[0].watch.body_came();
        let mut fourth = Box::pin(connections.admit());
        assert!(fourth.as_mut().now_or_never().is_none(), "there is no place yet");
        assert!(open[0].watch.evicted().now_or_never().is_none(), "its sender waits for an answer");
        assert!(open[1].watch.evicted().now_or_never().is_some());
        assert!(open[2].watch.evicted().now_or_never().is_none());
        drop(open.remove(1));
        let fourth = fourth.await;
        assert_eq!(connections.0.metrics.open.get(), 3);
        assert_eq!(connections.0.metrics.evicted.get(), 1);
        drop((fourth, open));
        assert_eq!(connections.0.metrics.open.get(), 0);
    }

    #[test]
    fn a_head_has_its_time_from_its_first_byte_and_a_rest_is_longer_than_the_senders() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let watch = Watch::new(start, Duration::from_secs(10));
        assert_eq!(watch.until(), Some(at(10)), "a new connection");
        watch.bytes_came(at(3));
        assert_eq!(watch.until(), Some(at(13)), "its first byte");
        watch.bytes_came(at(7));
        assert_eq!(watch.until(), Some(at(13)), "more bytes give no more time");
        watch.head_came(at(8));
        assert_eq!(watch.until(), None);
        assert!(watch.awaits_request() && watch.waits());
        watch.body_came();
        assert!(!watch.awaits_request() && !watch.waits());
        watch.flushed(at(8));
        assert!(!watch.is_resting(), "nothing was answered yet");
        watch.answered(at(9));
        assert_eq!(watch.until(), Some(at(19)), "to take the answer");
        assert!(!watch.awaits_request() && watch.waits());
        watch.flushed(at(9));
        assert!(watch.is_resting());
        assert_eq!(watch.until(), Some(at(9 + 120)));
        watch.bytes_came(at(60));
        assert_eq!(watch.until(), Some(at(70)), "the next request's first byte");
    }
}
