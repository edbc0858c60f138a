//! The schedule: the actions of a run with their times, computed only from the plan and its seed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Action, Link, MOST, Naming, Plan, Service, Step};
use crate::faults::every_trouble;
use crate::proxy::{Direction, Fault};
use crate::real_kafka::FENCED_AFTER;

/// Returns the minimum time between two broker faults. The cluster recovers in this time: of three brokers, at least
/// two must be in sync again before the next fault.
fn rest(brokers: usize) -> Duration {
    Duration::from_secs(if brokers == 1 { 5 } else { 12 })
}

/// Minimum time between two network faults.
const NETWORK_REST: Duration = Duration::from_secs(4);

/// Kinds of actions, as cards of a deck. Each card is drawn once before any card is drawn again.
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
    Network,
    FullBudget,
    Skew,
    Body,
}

const CARDS: [Card; 26] = [
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
    Card::Network,
    Card::Network,
    Card::Network,
    Card::Network,
    Card::FullBudget,
    Card::Skew,
    Card::Body,
    Card::Body,
    Card::Body,
    Card::Body,
];

/// A deck of cards. A drawn card returns to the deck only after all other cards have been drawn.
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

/// Returns the faults of Platform that a run uses, including refusals, which lead to dead letters.
fn platform_faults() -> Vec<Value> {
    let mut faults = every_trouble();
    for shape in ["a", "b", "mixed"] {
        faults.push(json!({"fault": "partial", "shape": shape, "every": 7, "status": 400, "requests": 1}));
    }
    faults.push(json!({"fault": "delay", "millis": 3000, "requests": 5}));
    faults.push(json!({"fault": "expire_tokens"}));
    faults
}

/// Returns body sizes around every limit: a topic's default (1 MiB), the transformer's producer queue (8 MiB),
/// `GATEWAY_MAX_BODY` (10 MiB), and the largest body that the gateway receives (64 MiB).
fn body_sizes() -> Vec<usize> {
    const MIB: usize = 1024 * 1024;
    let around = |size: usize| [size - 1, size, size + 1];
    [around(MIB), around(8 * MIB), around(10 * MIB)].into_iter().flatten().chain([20 * MIB, 64 * MIB]).collect()
}

/// Returns every fault of every link; `None` is a reset of the connections.
fn network_faults() -> Vec<(Link, Option<Fault>)> {
    let faults = [
        Some(Fault::Cut),
        Some(Fault::BlackHole),
        Some(Fault::OneWay(Direction::ToServer)),
        Some(Fault::OneWay(Direction::ToClient)),
        Some(Fault::Delay(Duration::from_millis(300))),
        None,
    ];
    let of_link = |link: Link| faults.map(|fault| (link, fault));
    Link::ALL.into_iter().flat_map(of_link).collect()
}

/// Clock skews in seconds, positive if the clock is ahead. All are less than an hour, because brokers refuse records
/// whose timestamp is further in the future.
const SKEWS: [i64; 4] = [-1800, -30, 30, 1800];

/// Returns all actions, in chronological order. The schedule starts with one transformer and one sink. Every broker
/// that is killed or paused comes back, if necessary after the duration of the plan.
#[must_use]
pub fn schedule(plan: &Plan) -> Vec<Step> {
    let mut composer = Composer {
        plan: *plan,
        dice: fastrand::Rng::with_seed(plan.seed),
        cards: Deck::new(CARDS.into_iter().filter(|card| plan.has_skew || !matches!(card, Card::Skew)).collect()),
        faults: Deck::new(platform_faults()),
        networks: Deck::new(network_faults()),
        bodies: Deck::new(body_sizes()),
        skews: Deck::new(SKEWS.to_vec()),
        transformers: 1,
        sinks: 1,
        sinks_change_until: Duration::ZERO,
        brokers_rest_until: Duration::ZERO,
        network_quiet_until: Duration::ZERO,
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

/// A schedule that is being computed.
struct Composer {
    plan: Plan,
    dice: fastrand::Rng,
    cards: Deck<Card>,
    faults: Deck<Value>,
    networks: Deck<(Link, Option<Fault>)>,
    bodies: Deck<usize>,
    skews: Deck<i64>,
    transformers: usize,
    /// Number of sinks from `sinks_change_until` on. Until then, only sink 0 is certain to run.
    sinks: usize,
    sinks_change_until: Duration,
    brokers_rest_until: Duration,
    network_quiet_until: Duration,
    steps: Vec<Step>,
}

impl Composer {
    fn add(&mut self, at: Duration, action: Action) {
        self.steps.push(Step { at, action });
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.dice.u64(range))
    }

    /// Draws a card and adds its actions.
    fn play(&mut self, at: Duration) {
        let naming = if self.dice.bool() { Naming::Named } else { Naming::Unnamed };
        let transformer = Service::Transformer(self.dice.usize(..self.transformers));
        let sinks = if at < self.sinks_change_until { 1 } else { self.sinks };
        let sink = Service::Sink(self.dice.usize(..sinks));
        // In half of the cases, the process is started again at once, while the brokers still have the membership and
        // the open transaction of the killed process.
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
                // Until `sinks_change_until`, `fill_the_budget` controls the number of sinks.
                let at = at.max(self.sinks_change_until);
                if at < self.plan.duration {
                    self.sinks = if self.sinks == 1 { MOST } else { 1 };
                    self.sinks_change_until = at;
                    self.add(at, Action::Sinks(self.sinks));
                }
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
            Card::Network => self.trouble_a_network(at),
            Card::FullBudget => self.fill_the_budget(at),
            Card::Skew => {
                let service = [Service::Gateway, transformer, sink][self.dice.usize(..3)];
                let seconds = self.skews.draw(&mut self.dice);
                self.add(at, Action::Skew(service, seconds));
            }
            Card::Body => {
                let bytes = self.bodies.draw(&mut self.dice);
                self.add(at, Action::Body(bytes));
            }
        }
    }

    /// Adds a fault of a network link. At most one link has a fault at a time, sometimes for longer than a consumer's
    /// session.
    fn trouble_a_network(&mut self, at: Duration) {
        let (link, fault) = self.networks.draw(&mut self.dice);
        let is_short = self.dice.bool();
        let lasts = self.millis(if is_short { 500..8_000 } else { 11_000..18_000 });
        let begin = at.max(self.network_quiet_until);
        if begin >= self.plan.duration {
            return;
        }
        let Some(fault) = fault else { return self.add(begin, Action::NetworkReset(link)) };
        self.network_quiet_until = begin + lasts + NETWORK_REST;
        self.add(begin, Action::Network(link, fault));
        self.add(begin + lasts, Action::NetworkHeals(link));
    }

    /// Adds an outage of Platform that lasts until the sink's buffer is full. Then a second sink joins, Platform works
    /// again, and the second sink leaves.
    fn fill_the_budget(&mut self, at: Duration) {
        let begin = at.max(self.sinks_change_until);
        let joins = begin + self.millis(4_000..6_000);
        let well = joins + self.millis(6_000..9_000);
        let leaves = well + self.millis(4_000..6_000);
        if leaves >= self.plan.duration {
            return;
        }
        (self.sinks, self.sinks_change_until) = (1, leaves);
        self.add(begin, Action::Sinks(1));
        self.add(begin, Action::Platform(json!({"fault": "status", "status": 503, "seconds": 600})));
        self.add(joins, Action::Sinks(2));
        self.add(well, Action::PlatformIsWell);
        self.add(leaves, Action::Sinks(1));
    }

    /// Kills or pauses one broker, once the previous one has recovered.
    fn trouble_a_broker(&mut self, at: Duration, is_kill: bool) {
        let fenced = u64::try_from(FENCED_AFTER.as_millis()).expect("seconds");
        let broker = self.dice.usize(..self.plan.brokers);
        let away = self.millis(match (self.plan.brokers, is_kill) {
            // If the cluster has only one broker, a killed broker stays down until it is fenced, and a paused broker
            // comes back before it is fenced (docs/adr/0006-one-broker-is-not-enough.md).
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
        Plan { seed, duration: Duration::from_secs(600), brokers: 3, pace: Duration::from_secs(4), has_skew: true }
    }

    #[test]
    fn the_seed_determines_the_schedule() {
        assert_eq!(schedule(&plan(7)), schedule(&plan(7)));
        assert_ne!(schedule(&plan(7)), schedule(&plan(8)));
    }

    #[test]
    fn a_schedule_of_ten_minutes_has_every_kind_of_action() {
        for seed in 0..20 {
            let steps = schedule(&plan(seed));
            let kinds: BTreeSet<_> = steps.iter().map(|step| step.action.kind()).collect();
            assert_eq!(kinds.len(), 23, "{kinds:?}");
            let faults: BTreeSet<_> = steps
                .iter()
                .filter_map(|step| match &step.action {
                    Action::Platform(fault) if fault["fault"] != "limit" => Some(fault.to_string()),
                    _ => None,
                })
                .collect();
            assert!(faults.len() > 15, "{}", faults.len());
        }
    }

    #[test]
    fn without_support_for_clock_skew_no_clock_is_skewed() {
        for seed in 0..20 {
            let steps = schedule(&Plan { has_skew: false, ..plan(seed) });
            assert!(steps.iter().all(|step| !matches!(step.action, Action::Skew(..))));
        }
    }

    #[test]
    fn a_schedule_of_one_hour_sends_bodies_of_every_size() {
        let long = Plan { duration: Duration::from_secs(3600), ..plan(7) };
        let bodies = schedule(&long).into_iter().filter_map(|step| match step.action {
            Action::Body(bytes) => Some(bytes),
            _ => None,
        });
        assert_eq!(bodies.collect::<BTreeSet<_>>(), body_sizes().into_iter().collect());
    }

    #[test]
    fn at_most_one_link_has_a_fault_at_a_time_and_every_fault_ends() {
        for seed in 0..200 {
            let mut faulty = None;
            for Step { action, .. } in schedule(&plan(seed)) {
                match action {
                    Action::Network(link, _) => assert_eq!(faulty.replace(link), None),
                    Action::NetworkHeals(link) => assert_eq!(faulty.take(), Some(link)),
                    _ => {}
                }
            }
            assert_eq!(faulty, None, "seed {seed}");
        }
    }

    #[test]
    fn at_most_one_broker_is_down_at_a_time_and_every_broker_comes_back() {
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
    fn actions_only_affect_running_services() {
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
                    Action::Skew(Service::Transformer(number), _) => assert!(number < transformers),
                    Action::Skew(Service::Sink(number), _) => assert!(number < sinks),
                    Action::Kill(Service::Sink(number), ..) | Action::Restart(Service::Sink(number), _) => {
                        assert!(number < sinks);
                    }
                    _ => {}
                }
            }
        }
    }
}
