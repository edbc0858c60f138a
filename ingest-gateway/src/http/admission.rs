//! Tracks the phase of each connection, limits the number of connections, and chooses the connections that are closed
//! to make room for another one.
//!
//! A connection that waits for its client (for headers, a body, or the next request) can be closed to make room. A
//! connection with a complete request cannot. So a fast client is always admitted, however many slow clients there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::ConnectionMetrics;

/// Maximum idle time of a connection between two requests. It is longer than the idle timeouts of clients and proxies
/// (90 s in Go's client, 60 s in common load balancers), so that the other side closes first. A client that writes into
/// a connection while the gateway closes it gets no response, and Customer.io then waits an hour.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Maximum wait for a free slot before further connections are closed to make room.
const RETRY: Duration = Duration::from_millis(20);

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No byte of the first or the next request has been received.
    Idle { since: Instant, until: Instant },
    /// The request headers, or the TLS handshake before them, are being received.
    Head { since: Instant, until: Instant },
    /// The headers were received, and the body is being received; `body::receive` has its own timeouts.
    Body { since: Instant },
    /// The request was received completely.
    Answering,
    /// The response is being written to the socket; a client that does not read delays it.
    Answered { since: Instant, until: Instant },
    /// The connection is ending: bytes that the client still sends are ignored.
    Closing { since: Instant },
}

/// The phase of one connection, which decides whether the connection can be closed to make room for another one.
#[derive(Debug)]
struct SharedPhase {
    phase: Mutex<Phase>,
    evict: Notify,
}

impl SharedPhase {
    fn get(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time since which the connection waits for its client; `None` while the client waits for a response.
    fn waiting_since(&self) -> Option<Instant> {
        match *self.get() {
            Phase::Idle { since, .. }
            | Phase::Head { since, .. }
            | Phase::Body { since }
            | Phase::Answered { since, .. }
            | Phase::Closing { since } => Some(since),
            Phase::Answering => None,
        }
    }
}

/// The state of one connection. Only this value changes the phase, and with it the time limit of [`Self::until`].
///
/// This value belongs to the task that serves the connection. It cannot be cloned, and all other code borrows it, so
/// nothing that outlives the task can hold it. Therefore a change of the phase needs no wake-up: the task makes each
/// change itself, while it polls the connection, and reads the time limit afterwards.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    shared: Arc<SharedPhase>,
    read_timeout: Duration,
    evictions: IntCounter,
}

impl ConnectionState {
    /// Creates the state of a connection that was just accepted and whose client must now send request headers.
    fn new(since: Instant, read_timeout: Duration, evictions: IntCounter) -> Self {
        let phase = Mutex::new(Phase::Idle { since, until: since + read_timeout });
        Self { shared: Arc::new(SharedPhase { phase, evict: Notify::new() }), read_timeout, evictions }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.shared.get()
    }

    /// Notes that bytes of a request were received.
    pub(crate) fn bytes_received(&self, since: Instant) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Idle { .. }) {
            *phase = Phase::Head { since, until: since + self.read_timeout };
        }
    }

    /// Notes that the request headers were received.
    pub(crate) fn head_received(&self, since: Instant) {
        *self.phase() = Phase::Body { since };
    }

    /// Notes that the body was received completely.
    pub(crate) fn body_received(&self) {
        *self.phase() = Phase::Answering;
    }

    /// Notes that the response is decided and is now written.
    pub(crate) fn answered(&self, since: Instant) {
        *self.phase() = Phase::Answered { since, until: since + self.read_timeout };
    }

    /// Notes that all written bytes are in the socket.
    pub(crate) fn flushed(&self, since: Instant) {
        let mut phase = self.phase();
        if matches!(*phase, Phase::Answered { .. }) {
            *phase = Phase::Idle { since, until: since + IDLE_TIMEOUT };
        }
    }

    /// Notes that the connection is being closed.
    pub(crate) fn closing(&self, since: Instant) {
        *self.phase() = Phase::Closing { since };
    }

    /// Returns the time until which the connection may stay in its phase; `None` if other code handles the timeout.
    pub(crate) fn until(&self) -> Option<Instant> {
        match *self.phase() {
            Phase::Idle { until, .. } | Phase::Head { until, .. } | Phase::Answered { until, .. } => Some(until),
            Phase::Body { .. } | Phase::Answering | Phase::Closing { .. } => None,
        }
    }

    /// Whether the connection is idle before or between requests.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(*self.phase(), Phase::Idle { .. })
    }

    /// Whether no complete request has been received. A 408 then makes the client send its request again.
    pub(crate) fn awaits_request(&self) -> bool {
        matches!(*self.phase(), Phase::Idle { .. } | Phase::Head { .. } | Phase::Body { .. })
    }

    /// Whether the connection waits for its client.
    pub(crate) fn waits(&self) -> bool {
        self.shared.waiting_since().is_some()
    }

    /// Resolves when the connection must be closed at once to make room for another one, and counts the eviction.
    pub(crate) async fn evicted(&self) {
        loop {
            self.shared.evict.notified().await;
            // The connection may have received a complete request since it was chosen; then it stays open.
            if self.waits() {
                break;
            }
        }
        // The eviction of a connection that is already closing is not counted: it only frees the slot earlier.
        if !matches!(*self.phase(), Phase::Closing { .. }) {
            self.evictions.inc();
        }
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
    phases: HashMap<u64, Arc<SharedPhase>>,
}

impl Connections {
    /// Creates the set of connections, with at most `limit` at once.
    pub(crate) fn new(limit: usize, read_timeout: Duration, metrics: ConnectionMetrics) -> Self {
        metrics.limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        Self(Arc::new(Inner { limit, read_timeout, open: Mutex::default(), freed: Notify::new(), metrics }))
    }

    /// Admits one more connection. If no slot is free, closes other connections to make room and waits for a slot.
    pub(crate) async fn admit(&self) -> Admitted {
        loop {
            if let Some(admitted) = self.try_admit() {
                return admitted;
            }
            self.evict();
            // A connection that was asked to close stays open if it has received a complete request meanwhile. So the
            // loop tries again even without a notification.
            if tokio::time::timeout(RETRY, self.0.freed.notified()).await.is_err() {
                tracing::debug!("no slot has become free yet");
            }
        }
    }

    fn try_admit(&self) -> Option<Admitted> {
        let mut open = self.0.open();
        if open.phases.len() >= self.0.limit {
            return None;
        }
        let id = open.next;
        open.next += 1;
        let state = ConnectionState::new(Instant::now(), self.0.read_timeout, self.0.metrics.evicted.clone());
        open.phases.insert(id, Arc::clone(&state.shared));
        self.0.metrics.open.inc();
        Some(Admitted { state, id, connections: self.clone() })
    }

    /// Asks the connections that have waited longest for their client to close. Several are chosen at a time, so that
    /// not every new connection requires a search through all connections.
    fn evict(&self) {
        let open = self.0.open();
        let mut waiting: Vec<(Instant, &Arc<SharedPhase>)> =
            open.phases.values().filter_map(|phase| Some((phase.waiting_since()?, phase))).collect();
        let count = (self.0.limit / 64 + 1).min(waiting.len());
        waiting.sort_unstable_by_key(|(since, _)| *since);
        for (_, phase) in &waiting[..count] {
            phase.evict.notify_one();
        }
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state and the slot of an admitted connection; dropping this value frees the slot.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) state: ConnectionState,
    id: u64,
    connections: Connections,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let inner = &self.connections.0;
        inner.open().phases.remove(&self.id);
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
    async fn at_the_limit_the_longest_waiting_connection_without_a_request_is_evicted() {
        let connections = connections(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(connections.admit().await);
        }
        open[0].state.head_received(Instant::now());
        open[0].state.body_received();
        let mut fourth = Box::pin(connections.admit());
        assert!(fourth.as_mut().now_or_never().is_none(), "no slot is free yet");
        assert!(open[0].state.evicted().now_or_never().is_none(), "the client waits for a response");
        assert!(open[1].state.evicted().now_or_never().is_some());
        assert!(open[2].state.evicted().now_or_never().is_none());
        drop(open.remove(1));
        let fourth = fourth.await;
        assert_eq!(connections.0.metrics.open.get(), 3);
        assert_eq!(connections.0.metrics.evicted.get(), 1);
        drop((fourth, open));
        assert_eq!(connections.0.metrics.open.get(), 0);
    }

    #[tokio::test]
    async fn only_an_eviction_that_ends_an_open_connection_is_counted() {
        let connections = connections(1);
        let only = connections.admit().await;
        // The connection is chosen for eviction, and its request becomes complete before it closes.
        connections.evict();
        only.state.head_received(Instant::now());
        only.state.body_received();
        assert!(only.state.evicted().now_or_never().is_none(), "the client waits for a response");
        assert_eq!(connections.0.metrics.evicted.get(), 0);
        only.state.answered(Instant::now());
        (0..3).for_each(|_| connections.evict());
        assert_eq!(connections.0.metrics.evicted.get(), 0, "the connection is still open");
        assert!(only.state.evicted().now_or_never().is_some());
        assert_eq!(connections.0.metrics.evicted.get(), 1);
        // The connection is already closing; the eviction only ends its wait for the client.
        only.state.closing(Instant::now());
        connections.evict();
        assert!(only.state.evicted().now_or_never().is_some());
        assert_eq!(connections.0.metrics.evicted.get(), 1);
    }

    #[test]
    fn each_phase_of_a_connection_has_the_documented_time_limit() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let evictions = IntCounter::new("evictions", "evictions").unwrap();
        let state = ConnectionState::new(start, Duration::from_secs(10), evictions);
        assert_eq!(state.until(), Some(at(10)), "a new connection");
        state.bytes_received(at(3));
        assert_eq!(state.until(), Some(at(13)), "the first byte of a request");
        state.bytes_received(at(7));
        assert_eq!(state.until(), Some(at(13)), "more bytes give no more time");
        state.head_received(at(8));
        assert_eq!(state.until(), None);
        assert!(state.awaits_request() && state.waits());
        state.body_received();
        assert!(!state.awaits_request() && !state.waits());
        state.flushed(at(8));
        assert!(!state.is_idle(), "no response was written yet");
        state.answered(at(9));
        assert_eq!(state.until(), Some(at(19)), "the client must read the response");
        assert!(!state.awaits_request() && state.waits());
        state.flushed(at(9));
        assert!(state.is_idle());
        assert_eq!(state.until(), Some(at(9 + 120)));
        state.bytes_received(at(60));
        assert_eq!(state.until(), Some(at(70)), "the next request's first byte");
    }
}
