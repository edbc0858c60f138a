//! Chaos: what is done to a running pipeline, and when. The whole schedule is a value computed from the seed; a run that
//! failed can be repeated with it (the processes' own timing cannot).

mod fleet;
mod report;
mod run;

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::faults::every_trouble;
use crate::real_kafka::FENCED_AFTER;

pub use report::Report;
pub use run::{Chaos, run};

/// How long the brokers are left alone between the end of one's trouble and the next: a cluster has to become whole again,
/// since two of three must be in sync.
fn rest(brokers: usize) -> Duration {
    Duration::from_secs(if brokers == 1 { 5 } else { 12 })
}

/// The most transformers and sinks at once.
pub(crate) const MOST: usize = 3;

/// What the schedule is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Everything random comes from this.
    pub seed: u64,
    /// How long things are done to the pipeline.
    pub duration: Duration,
    /// Brokers of the cluster.
    pub brokers: usize,
    /// The time between two actions, on average.
    pub pace: Duration,
}

/// One of the services' processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// The gateway.
    Gateway,
    /// A transformer, counted from 0.
    Transformer(usize),
    /// A sink, counted from 0.
    Sink(usize),
}

/// Something that is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// SIGKILL; started again after a while. A transformer comes back with `TRANSFORMER_INSTANCE` or without.
    Kill(Service, Duration, Naming),
    /// SIGTERM; started again as soon as it has ended.
    Restart(Service, Naming),
    /// So many transformers from now on; those that are too many get SIGTERM.
    Transformers(usize),
    /// So many sinks from now on.
    Sinks(usize),
    /// SIGKILL for a broker.
    KillBroker(usize),
    /// The broker is started again.
    StartBroker(usize),
    /// SIGSTOP for a broker.
    PauseBroker(usize),
    /// SIGCONT for it.
    ResumeBroker(usize),
    /// A fault of Platform, as the simulator takes it.
    Platform(Value),
    /// Platform is well again.
    PlatformIsWell,
}

/// Whether a transformer has a name that stays the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// `TRANSFORMER_INSTANCE` is set.
    Named,
    /// It is not.
    Unnamed,
}

/// An action and its moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Since the beginning.
    pub at: Duration,
    /// What is done.
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
        }
    }
}

impl Action {
    /// The kind, for figures by kind.
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
        }
    }
}

/// What may be drawn. Each is drawn once before any is drawn again.
#[derive(Debug, Clone, Copy)]
enum Card {
    KillGateway,
    KillTransformer,
    KillSink,
    RestartGateway,
    RestartTransformer,
    RestartSink,
    ScaleTransformer,
    ScaleSink,
    KillBroker,
    PauseBroker,
    Platform,
    Limit,
}

const CARDS: [Card; 16] = [
    Card::KillGateway,
    Card::KillTransformer,
    Card::KillTransformer,
    Card::KillSink,
    Card::RestartGateway,
    Card::RestartTransformer,
    Card::RestartSink,
    Card::ScaleTransformer,
    Card::ScaleSink,
    Card::KillBroker,
    Card::PauseBroker,
    Card::Platform,
    Card::Platform,
    Card::Platform,
    Card::Platform,
    Card::Limit,
];

/// Cards that come back only when all others have been drawn.
struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Clone> Deck<T> {
    fn new(all: Vec<T>) -> Self {
        Self { all, left: Vec::new() }
    }

    fn draw(&mut self, dice: &mut fastrand::Rng) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
            dice.shuffle(&mut self.left);
        }
        self.left.pop().expect("a deck has cards")
    }
}

/// What Platform can do here: every trouble, and refusals, which do condemn.
fn platform_faults() -> Vec<Value> {
    let mut faults = every_trouble();
    for shape in ["a", "b", "mixed"] {
        faults.push(json!({"fault": "partial", "shape": shape, "every": 7, "status": 400, "requests": 1}));
    }
    faults.push(json!({"fault": "delay", "millis": 3000, "requests": 5}));
    faults.push(json!({"fault": "expire_tokens"}));
    faults
}

/// All that is done, in the order of time. It begins with one transformer and one sink. Every broker that is killed or
/// paused comes back, if need be after the duration.
#[must_use]
pub fn schedule(plan: &Plan) -> Vec<Step> {
    let mut composer = Composer {
        plan: *plan,
        dice: fastrand::Rng::with_seed(plan.seed),
        cards: Deck::new(CARDS.to_vec()),
        faults: Deck::new(platform_faults()),
        transformers: 1,
        sinks: 1,
        brokers_rest_until: Duration::ZERO,
        steps: Vec::new(),
    };
    let mut at = Duration::ZERO;
    loop {
        at += plan.pace.mul_f64(0.25 + 1.5 * composer.dice.f64());
        if at >= plan.duration {
            break;
        }
        composer.play(at);
    }
    composer.steps.sort_by_key(|step| step.at);
    composer.steps
}

/// A schedule in the making.
struct Composer {
    plan: Plan,
    dice: fastrand::Rng,
    cards: Deck<Card>,
    faults: Deck<Value>,
    transformers: usize,
    sinks: usize,
    brokers_rest_until: Duration,
    steps: Vec<Step>,
}

impl Composer {
    fn add(&mut self, at: Duration, action: Action) {
        self.steps.push(Step { at, action });
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.dice.u64(range))
    }

    /// Draws a card and does what it says.
    fn play(&mut self, at: Duration) {
        let naming = if self.dice.bool() { Naming::Named } else { Naming::Unnamed };
        let transformer = Service::Transformer(self.dice.usize(..self.transformers));
        let sink = Service::Sink(self.dice.usize(..self.sinks));
        // Half of the time it is back at once: an orchestrator is quick, and that is where two lives meet.
        let away = if self.dice.bool() { Duration::ZERO } else { self.millis(0..3000) };
        match self.cards.draw(&mut self.dice) {
            Card::KillGateway => self.add(at, Action::Kill(Service::Gateway, away, naming)),
            Card::KillTransformer => self.add(at, Action::Kill(transformer, away, naming)),
            Card::KillSink => self.add(at, Action::Kill(sink, away, naming)),
            Card::RestartGateway => self.add(at, Action::Restart(Service::Gateway, naming)),
            Card::RestartTransformer => self.add(at, Action::Restart(transformer, naming)),
            Card::RestartSink => self.add(at, Action::Restart(sink, naming)),
            Card::ScaleTransformer => {
                self.transformers = if self.transformers == 1 { MOST } else { 1 };
                self.add(at, Action::Transformers(self.transformers));
            }
            Card::ScaleSink => {
                self.sinks = if self.sinks == 1 { MOST } else { 1 };
                self.add(at, Action::Sinks(self.sinks));
            }
            Card::KillBroker => self.trouble_a_broker(at, true),
            Card::PauseBroker => self.trouble_a_broker(at, false),
            Card::Platform => {
                let fault = self.faults.draw(&mut self.dice);
                self.add(at, Action::Platform(fault));
            }
            Card::Limit => {
                let limit = if self.dice.bool() {
                    json!({"fault": "limit", "requests": self.dice.u64(1..20)})
                } else {
                    json!({"fault": "limit", "records": self.dice.u64(200..600)})
                };
                let end = at + self.millis(1000..5000);
                self.add(at, Action::Platform(limit));
                self.add(end, Action::PlatformIsWell);
            }
        }
    }

    /// Kills or pauses one, as soon as the one before has had its rest.
    fn trouble_a_broker(&mut self, at: Duration, is_kill: bool) {
        let fenced = u64::try_from(FENCED_AFTER.as_millis()).expect("seconds");
        let broker = self.dice.usize(..self.plan.brokers);
        let away = self.millis(match (self.plan.brokers, is_kill) {
            // An only broker that is killed stays away until it is fenced, and a paused one comes back before:
            // docs/adr/0006-one-broker-is-not-enough.md.
            (1, true) => fenced + 1000..fenced + 3000,
            (1, false) => 1000..fenced - 1000,
            _ => 1000..8000,
        });
        let begin = at.max(self.brokers_rest_until);
        if begin >= self.plan.duration {
            return;
        }
        let end = begin + away;
        self.brokers_rest_until = end + rest(self.plan.brokers);
        if is_kill {
            self.add(begin, Action::KillBroker(broker));
            self.add(end, Action::StartBroker(broker));
        } else {
            self.add(begin, Action::PauseBroker(broker));
            self.add(end, Action::ResumeBroker(broker));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn plan(seed: u64) -> Plan {
        Plan { seed, duration: Duration::from_secs(600), brokers: 3, pace: Duration::from_secs(4) }
    }

    #[test]
    fn the_same_seed_is_the_same_schedule_and_another_seed_is_another() {
        assert_eq!(schedule(&plan(7)), schedule(&plan(7)));
        assert_ne!(schedule(&plan(7)), schedule(&plan(8)));
    }

    #[test]
    fn ten_minutes_hold_everything_there_is() {
        for seed in 0..20 {
            let steps = schedule(&plan(seed));
            let kinds: BTreeSet<_> = steps.iter().map(|step| step.action.kind()).collect();
            assert_eq!(kinds.len(), 15, "{kinds:?}");
            let faults: BTreeSet<_> = steps
                .iter()
                .filter_map(|step| match &step.action {
                    Action::Platform(fault) if fault["fault"] != "limit" => Some(fault.to_string()),
                    _ => None,
                })
                .collect();
            assert!(faults.len() > 25, "{}", faults.len());
        }
    }

    #[test]
    fn brokers_come_back_and_one_at_a_time_is_in_trouble() {
        for seed in 0..200 {
            let mut away = None;
            let mut last = Duration::ZERO;
            for Step { at, action } in schedule(&plan(seed)) {
                assert!(at >= last);
                last = at;
                match action {
                    Action::KillBroker(broker) | Action::PauseBroker(broker) => {
                        assert!(away.replace(broker).is_none() && broker < 3);
                    }
                    Action::StartBroker(broker) | Action::ResumeBroker(broker) => assert_eq!(away.take(), Some(broker)),
                    _ => {}
                }
            }
            assert_eq!(away, None, "seed {seed}");
        }
    }

    #[test]
    fn only_services_that_run_are_touched() {
        for seed in 0..200 {
            let (mut transformers, mut sinks) = (1, 1);
            for Step { action, .. } in schedule(&plan(seed)) {
                match action {
                    Action::Transformers(count) => transformers = count,
                    Action::Sinks(count) => sinks = count,
                    Action::Kill(Service::Transformer(number), ..)
                    | Action::Restart(Service::Transformer(number), _) => {
                        assert!(number < transformers);
                    }
                    Action::Kill(Service::Sink(number), ..) | Action::Restart(Service::Sink(number), _) => {
                        assert!(number < sinks);
                    }
                    _ => {}
                }
            }
        }
    }
}
