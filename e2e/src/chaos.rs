//! Chaos: the actions that a run takes against a running pipeline. `chaos/schedule.rs` computes the whole schedule from
//! the seed, so that a failed run can be repeated, except for the timing of the processes.

mod bodies;
mod fleet;
mod report;
mod run;
mod schedule;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::proxy::{Direction, Fault};

pub use bodies::Bodies;
pub use report::Report;
pub use run::{Chaos, has_skew, run};
pub use schedule::schedule;

/// Maximum number of transformers, and maximum number of sinks, at one time.
pub(crate) const MOST: usize = 3;

/// Input of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Seed of all random choices.
    pub seed: u64,
    /// Duration for which actions are executed.
    pub duration: Duration,
    /// Number of brokers of the cluster.
    pub brokers: usize,
    /// Average time between two actions.
    pub pace: Duration,
    /// Whether this machine can skew the clock of a process; if not, no clock is skewed.
    pub has_skew: bool,
}

/// A network link between one process and its servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The link between the gateway and the brokers.
    Gateway,
    /// The link between transformer 0 and the brokers.
    Transformer,
    /// The link between sink 0 and the brokers.
    Sink,
    /// The link between sink 0 and Platform.
    Platform,
}

impl Link {
    pub(crate) const ALL: [Self; 4] = [Self::Gateway, Self::Transformer, Self::Sink, Self::Platform];

    /// The links to the brokers. Each link uses the proxy with the same index (`RealKafka::proxy`).
    pub(crate) const TO_BROKERS: [Self; 3] = [Self::Gateway, Self::Transformer, Self::Sink];
}

/// A process of one of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The only gateway.
    Gateway,
    /// The transformer with this number, counted from 0.
    Transformer(usize),
    /// The sink with this number, counted from 0.
    Sink(usize),
}

/// An action against the pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Kills a process with SIGKILL, and starts it again after this time. A transformer is started with or without
    /// `TRANSFORMER_INSTANCE`.
    Kill(Service, Duration, Naming),
    /// Ends a process with SIGTERM, and starts it again as soon as it has ended.
    Restart(Service, Naming),
    /// Changes the number of transformers; surplus ones get SIGTERM.
    Transformers(usize),
    /// Changes the number of sinks; surplus ones get SIGTERM.
    Sinks(usize),
    /// Kills a broker with SIGKILL.
    KillBroker(usize),
    /// Starts a killed broker again.
    StartBroker(usize),
    /// Pauses a broker with SIGSTOP.
    PauseBroker(usize),
    /// Resumes a paused broker with SIGCONT.
    ResumeBroker(usize),
    /// Adds a fault of Platform, in the JSON format of the simulator.
    Platform(Value),
    /// Removes all faults of Platform.
    PlatformIsWell,
    /// Applies a fault to a network link.
    Network(Link, Fault),
    /// Removes the fault of a network link.
    NetworkHeals(Link),
    /// Resets all connections of a network link once.
    NetworkReset(Link),
    /// Ends a process with SIGTERM, and starts it again with a clock that is this many seconds ahead. The next `Kill`
    /// or `Restart` of the process corrects the clock.
    Skew(Service, i64),
    /// Sends a webhook with a body of this many bytes.
    Body(usize),
}

/// Whether a transformer has a name that is stable across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `TRANSFORMER_INSTANCE` is set.
    Named,
    /// `TRANSFORMER_INSTANCE` is not set.
    Unnamed,
}

/// An action with its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Time since the start of the run.
    pub at: Duration,
    /// Action to execute.
    pub action: Action,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("gateway"),
            Self::Transformer(number) => write!(f, "transformer {number}"),
            Self::Sink(number) => write!(f, "sink {number}"),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gateway => "gateway to brokers",
            Self::Transformer => "transformer 0 to brokers",
            Self::Sink => "sink 0 to brokers",
            Self::Platform => "sink 0 to Platform",
        })
    }
}

/// Describes a fault for the log.
fn describe(fault: Fault) -> String {
    match fault {
        Fault::None => "well".to_owned(),
        Fault::Cut => "cut".to_owned(),
        Fault::BlackHole => "black hole".to_owned(),
        Fault::OneWay(Direction::ToServer) => "answers swallowed".to_owned(),
        Fault::OneWay(Direction::ToClient) => "requests swallowed".to_owned(),
        Fault::Delay(latency) => format!("delay of {} ms each way", latency.as_millis()),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |service: &Service, naming: &Naming| match (service, naming) {
            (Service::Transformer(_), Naming::Named) => " with TRANSFORMER_INSTANCE",
            (Service::Transformer(_), Naming::Unnamed) => " without TRANSFORMER_INSTANCE",
            _ => "",
        };
        match self {
            Self::Kill(service, after, naming) => {
                let after = after.as_secs_f64();
                write!(f, "kill -9 {service}, back after {after:.1} s{}", suffix(service, naming))
            }
            Self::Restart(service, naming) => write!(f, "restart {service}, back{}", suffix(service, naming)),
            Self::Transformers(count) => write!(f, "scale transformer to {count}"),
            Self::Sinks(count) => write!(f, "scale sink to {count}"),
            Self::KillBroker(broker) => write!(f, "kill -9 broker {broker}"),
            Self::StartBroker(broker) => write!(f, "start broker {broker}"),
            Self::PauseBroker(broker) => write!(f, "pause broker {broker}"),
            Self::ResumeBroker(broker) => write!(f, "resume broker {broker}"),
            Self::Platform(fault) => write!(f, "Platform: {fault}"),
            Self::PlatformIsWell => f.write_str("Platform: all faults taken back"),
            Self::Network(link, fault) => write!(f, "network, {link}: {}", describe(*fault)),
            Self::NetworkHeals(link) => write!(f, "network, {link}: well again"),
            Self::NetworkReset(link) => write!(f, "network, {link}: reset"),
            Self::Skew(service, seconds) => write!(f, "restart {service}, back with its clock {seconds:+} s"),
            Self::Body(bytes) => write!(f, "send a body of {bytes} bytes"),
        }
    }
}

impl Action {
    /// Returns the kind of the action, for the statistics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kill(Service::Gateway, ..) => "kill -9 gateway",
            Self::Kill(Service::Transformer(_), _, Naming::Named) => "kill -9 transformer, back named",
            Self::Kill(Service::Transformer(_), _, Naming::Unnamed) => "kill -9 transformer, back unnamed",
            Self::Kill(Service::Sink(_), ..) => "kill -9 sink",
            Self::Restart(Service::Gateway, _) => "restart gateway",
            Self::Restart(Service::Transformer(_), _) => "restart transformer",
            Self::Restart(Service::Sink(_), _) => "restart sink",
            Self::Transformers(_) => "scale transformer",
            Self::Sinks(_) => "scale sink",
            Self::KillBroker(_) => "kill -9 broker",
            Self::StartBroker(_) => "start broker",
            Self::PauseBroker(_) => "pause broker",
            Self::ResumeBroker(_) => "resume broker",
            Self::Platform(_) => "fault of Platform",
            Self::PlatformIsWell => "Platform is well",
            Self::Network(_, Fault::None) | Self::NetworkHeals(_) => "network is well",
            Self::Network(_, Fault::Cut) => "network: cut",
            Self::Network(_, Fault::BlackHole) => "network: black hole",
            Self::Network(_, Fault::OneWay(_)) => "network: one way",
            Self::Network(_, Fault::Delay(_)) => "network: delay",
            Self::NetworkReset(_) => "network: reset",
            Self::Skew(..) => "clock skew",
            Self::Body(_) => "large body",
        }
    }
}
