//! The configuration of a cluster that a test needs.

use std::time::Duration;

use crate::free_port;
use crate::proxy::Proxy;

/// Time from the last heartbeat of a broker until the controller fences it and chooses other leaders for its
/// partitions. Only clusters with a separate controller use this value.
pub const FENCED_AFTER: Duration = Duration::from_secs(6);

/// Configuration of the cluster that a test needs.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Number of brokers. Every partition is replicated to all of them.
    pub brokers: usize,
    /// Whether the controller is a separate node without faults; otherwise, each broker is also a controller.
    ///
    /// A single broker that is killed and must keep its transactions needs a separate controller, and must stay down
    /// for longer than [`FENCED_AFTER`]: docs/adr/0006-one-broker-is-not-enough.md.
    pub own_controller: bool,
    /// Interval at which the brokers abort transactions that have timed out; `None` is their default, 10 s.
    pub transaction_cleanup: Option<Duration>,
    /// Number of services that reach the brokers through a [`Proxy`]. Each of them has a separate listener on every
    /// broker, because clients use the addresses in the brokers' metadata.
    pub proxied: usize,
    /// Users of a listener with SASL PLAIN ([`RealKafka::sasl_bootstrap`](super::RealKafka::sasl_bootstrap)); their
    /// passwords come from [`password`], and their permissions from [`acls`](crate::acls). Clients of the other
    /// listeners have all permissions.
    pub users: &'static [&'static str],
}

/// Returns the password of one of [`Cluster::users`].
#[must_use]
pub fn password(user: &str) -> String {
    format!("{user}-password")
}

impl Default for Cluster {
    /// Returns a cluster of one broker that aborts transactions within a second of their timeout.
    fn default() -> Self {
        Self {
            brokers: 1,
            own_controller: false,
            transaction_cleanup: Some(Duration::from_secs(1)),
            proxied: 0,
            users: &[],
        }
    }
}

impl Cluster {
    /// Returns a cluster of three brokers: acknowledged records are on at least two of them.
    #[must_use]
    pub fn of_three() -> Self {
        Self { brokers: 3, ..Self::default() }
    }

    /// Starts a proxy with a route to every broker for each of the [`Cluster::proxied`] services.
    pub(super) fn proxies(&self) -> std::io::Result<Vec<Proxy>> {
        let proxy = |_| Proxy::start(&(0..self.brokers).map(|_| free_port()).collect::<Vec<_>>());
        (0..self.proxied).map(proxy).collect()
    }

    /// Returns the value of `min.insync.replicas`.
    pub(super) fn in_sync(&self) -> usize {
        if self.brokers < 3 { 1 } else { 2 }
    }
}
