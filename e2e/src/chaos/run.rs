//! Executes a schedule on a running pipeline under load, and accounts for every event at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::bodies::{Sending, SentBodies};
use super::fleet::{Fleet, Ground, clock_skew};
use super::report::{Recovery, Report};
use super::{Action, Link, Plan, Service, schedule};
use crate::accounting::{DeadLetter, Place, Topics, accepted, each, raw_place};
use crate::http;
use crate::pipeline::Pipeline;
use crate::proxy::Proxy;
use crate::real_kafka::{Cluster, RealKafka};
use crate::watch::{Stall, Watch, Window};

/// Maximum time until the services are ready at the start.
const START: Duration = Duration::from_secs(120);

/// Maximum time from the end of the schedule until the sender ends. The same limit applies from then until every event
/// has an outcome.
const FINISH: Duration = Duration::from_secs(300);

/// Configuration of a run.
#[derive(Debug, Clone)]
pub struct Chaos {
    /// Plan of the schedule.
    pub plan: Plan,
    /// Number of webhooks per second.
    pub rate: usize,
    /// Folder for the services' logs. `None` is a temporary folder, which is kept only after a failed run.
    pub logs: Option<PathBuf>,
}

/// Executes the run, and prints each action to standard output.
///
/// # Panics
/// Panics if there is no real Kafka, or the pipeline cannot be started or accounted for.
#[must_use]
#[allow(clippy::print_stdout, reason = "the run is watched")]
pub fn run(chaos: &Chaos) -> Report {
    let Plan { seed, duration, brokers, .. } = chaos.plan;
    println!("SEED={seed} DURATION={}s BROKERS={brokers} RATE={}", duration.as_secs(), chaos.rate);
    if !chaos.plan.has_skew {
        println!("no clock is skewed: there is no C compiler `cc`");
    }
    let proxied = Link::TO_BROKERS.len();
    let cluster = Cluster { brokers, own_controller: brokers == 1, proxied, ..Cluster::default() };
    let mut kafka = RealKafka::start(&cluster).unwrap_or_else(|why| panic!("{why}"));
    println!("{}", kafka.description());
    let pipeline = Pipeline::new(&kafka, "chaos");
    let _simulator = pipeline.simulator();
    let logs = chaos.logs.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("{}-logs", pipeline.name)));
    let ground = Ground::new(&pipeline, &kafka);
    let mut course = Course::start(&ground, &kafka, logs.clone());
    let steps = schedule(&chaos.plan);
    let count = chaos.rate * usize::try_from(duration.as_secs()).expect("a run lasts less than 2^32 seconds");
    let arguments = ["--repeat-within", "20s", "--shuffle", "200", "--give-up", "10m", "--concurrency", "512"];
    let mut load = pipeline.load_with(count, chaos.rate, &arguments);
    course.begin();
    for step in &steps {
        course.go_on_until(step.at);
        println!("{:>7.1} s  {}", course.now().as_secs_f64(), step.action);
        course.act(&step.action, &mut kafka);
    }
    course.go_on_until(duration);
    println!("{:>7.1} s  left alone", course.now().as_secs_f64());
    pipeline.clear_faults();
    let deadline = course.now() + FINISH;
    while load.is_running() && course.now() < deadline {
        course.go_on_until(course.now() + Duration::from_millis(100));
    }
    let sent = load.sent(Duration::from_secs(5));
    let sending = course.now();
    let bodies = std::mem::take(&mut course.bodies).finish();
    let ids: Vec<String> = sent.ids.iter().cloned().chain(bodies.whole().map(str::to_owned)).collect();
    let open = course.wait_for_the_end(&kafka, &ids);
    let ended = Ended { actions: steps.len(), sent, sending, bodies, open };
    let report = course.account(chaos, &kafka, ended);
    if report.is_good() && chaos.logs.is_none() {
        std::fs::remove_dir_all(&logs).unwrap_or_default();
    } else {
        println!("the services' logs: {}", logs.display());
        show_doubled(&pipeline, &kafka, &report.balance.doubled);
    }
    report
}

/// Whether this machine can skew a process's clock.
#[must_use]
pub fn has_skew() -> bool {
    clock_skew().is_some()
}

/// The facts that are known after the load has ended.
struct Ended {
    actions: usize,
    sent: crate::pipeline::Sent,
    /// Time that the sender took.
    sending: Duration,
    bodies: SentBodies,
    /// Acknowledged ids that are neither accepted nor dead-lettered.
    open: Vec<String>,
}

/// The running pipeline, with the state of the run.
struct Course<'p> {
    pipeline: &'p Pipeline,
    platform: &'p Proxy,
    bodies: Sending,
    fleet: Fleet<'p>,
    watch: Watch,
    begun: Instant,
    /// Time on the watch's clock when the run began.
    watch_begun: Duration,
    /// Kind of each action, and its time on the watch's clock.
    acted: Vec<(&'static str, Duration)>,
    deliveries: Deliveries,
}

/// Tracks the longest pause in which Platform accepted no new event.
#[derive(Default)]
struct Deliveries {
    accepted: u64,
    last: Duration,
    longest: (Duration, Duration),
    asked: Option<Instant>,
}

impl Deliveries {
    fn look(&mut self, port: u16, now: Duration) {
        if self.asked.is_some_and(|asked| asked.elapsed() < Duration::from_millis(200)) {
            return;
        }
        self.asked = Some(Instant::now());
        let Some((_, text)) = http::get(port, "/admin/stats") else { return };
        let stats: serde_json::Value = serde_json::from_str(&text).expect("the simulator's figures");
        let accepted = stats["accepted"].as_u64().expect("a count");
        if accepted != self.accepted {
            self.accepted = accepted;
            self.longest = self.longest.max((now.saturating_sub(self.last), self.last));
            self.last = now;
        }
    }

    /// Returns the longest pause and its start. A pause that has not ended counts until `end`.
    fn longest_until(&self, end: Duration) -> (Duration, Duration) {
        self.longest.max((end.saturating_sub(self.last), self.last))
    }
}

impl<'p> Course<'p> {
    fn start(ground: &'p Ground<'p>, kafka: &RealKafka, logs: PathBuf) -> Self {
        let pipeline = ground.pipeline;
        let watch = Watch::start(&kafka.connection(), &pipeline.topic("typed"));
        let mut fleet = Fleet::new(ground, logs);
        let deadline = Instant::now() + START;
        fleet.tend();
        while !fleet.is_ready() {
            assert!(Instant::now() < deadline, "the services are not ready; {:?}", fleet.surprises);
            fleet.tend();
            std::thread::sleep(Duration::from_millis(50));
        }
        let (begun, watch_begun) = (Instant::now(), watch.now());
        Self {
            pipeline,
            platform: &ground.platform,
            bodies: Sending::default(),
            fleet,
            watch,
            begun,
            watch_begun,
            acted: Vec::new(),
            deliveries: Deliveries::default(),
        }
    }

    /// Starts the clock of the run.
    fn begin(&mut self) {
        (self.begun, self.watch_begun) = (Instant::now(), self.watch.now());
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn go_on_until(&mut self, at: Duration) {
        loop {
            self.fleet.tend();
            self.deliveries.look(self.pipeline.simulator_port, self.begun.elapsed());
            let left = at.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    fn act(&mut self, action: &Action, kafka: &mut RealKafka) {
        self.acted.push((action.kind(), self.watch.now()));
        match action {
            Action::Kill(service, after, naming) => self.fleet.kill(*service, *after, *naming),
            Action::Restart(service, naming) => self.fleet.restart(*service, *naming),
            Action::Transformers(count) => self.fleet.scale(Service::Transformer, *count),
            Action::Sinks(count) => self.fleet.scale(Service::Sink, *count),
            Action::KillBroker(broker) => kafka.kill(*broker),
            Action::StartBroker(broker) => kafka.restart(*broker),
            Action::PauseBroker(broker) => kafka.pause(*broker),
            Action::ResumeBroker(broker) => kafka.resume(*broker),
            Action::Platform(fault) => self.pipeline.fault(&fault.to_string()),
            Action::PlatformIsWell => self.pipeline.clear_faults(),
            Action::Network(link, fault) => self.proxy(*link, kafka).set(*fault),
            Action::NetworkHeals(link) => self.proxy(*link, kafka).heal(),
            Action::NetworkReset(link) => self.proxy(*link, kafka).reset(),
            Action::Skew(service, seconds) => self.fleet.skew(*service, *seconds),
            Action::Body(bytes) => self.bodies.send(self.pipeline.gateway_port, *bytes),
        }
    }

    fn proxy<'k>(&self, link: Link, kafka: &'k RealKafka) -> &'k Proxy
    where
        'p: 'k,
    {
        match Link::TO_BROKERS.iter().position(|known| *known == link) {
            Some(place) => kafka.proxy(place),
            None => self.platform,
        }
    }

    /// Waits until every id is accepted or dead-lettered. Returns the ids that are neither when the time limit is
    /// reached.
    fn wait_for_the_end(&mut self, kafka: &RealKafka, ids: &[String]) -> Vec<String> {
        kafka.wait();
        let deadline = self.now() + FINISH;
        loop {
            let accepted = accepted(self.pipeline);
            let dead = dead_events(&Topics::read_dead_letters(&kafka.connection(), self.pipeline));
            let ended = |id: &&String| !accepted.contains_key(*id) && !dead.contains(*id);
            let open: Vec<String> = ids.iter().filter(ended).cloned().collect();
            if open.is_empty() || self.now() >= deadline {
                return open;
            }
            self.go_on_until(self.now() + Duration::from_secs(2));
        }
    }

    /// Stops all processes, reads the topics, and builds the report.
    fn account(mut self, chaos: &Chaos, kafka: &RealKafka, ended: Ended) -> Report {
        let Ended { actions, sent, sending, bodies, open } = ended;
        let before = self.fleet.surprises.len();
        if !open.is_empty() {
            self.fleet.keep_metrics();
        }
        self.fleet.end();
        let clean_end = self.fleet.surprises.len() == before;
        let (code, out, problems) = self.pipeline.operate(&["audit"]);
        if !open.is_empty() {
            self.fleet.keep("audit.txt", &format!("{out}\n{problems}"));
            self.fleet.keep("open-events.txt", &open.join("\n"));
        }
        let topics = Topics::read(&kafka.connection(), self.pipeline);
        let accepted = accepted(self.pipeline);
        let watched_until = self.watch.now();
        let arrivals = self.watch.finish();
        let balance = topics.balance(&self.pipeline.topic("raw"));
        let mut recoveries: BTreeMap<&'static str, Recovery> = BTreeMap::new();
        for &(kind, at) in &self.acted {
            let recovery = recoveries.entry(kind).or_default();
            match arrivals.all_again(at) {
                Some(after) => recovery.after.push(after),
                None => recovery.never += 1,
            }
        }
        let mut dead_letters: BTreeMap<String, usize> = BTreeMap::new();
        for dead_letter in &topics.dead_letters {
            *dead_letters.entry(dead_letter.code.clone()).or_default() += 1;
        }
        let too_large = dead_letters.get("body_too_large").copied().unwrap_or_default();
        let stored: BTreeSet<&str> = topics.raw.values().flatten().map(String::as_str).collect();
        let bodies = bodies.account(&stored, too_large);
        let load = Window::of_load(self.watch_begun, self.watch_begun + sending, self.pipeline.partitions);
        let outstanding = balance.unexplained.iter().map(|(partition, _)| *partition);
        let stall = arrivals.longest_stall(&load.with_outstanding(outstanding, watched_until));
        let begun = self.watch_begun;
        let longest_stall = stall.map(|stall| Stall { began: stall.began.saturating_sub(begun), ..stall });
        Report {
            plan: chaos.plan,
            actions,
            sent: (sent.events, sending),
            acknowledged: sent.ids.len(),
            answers: sent.answers,
            raw: topics.raw.len(),
            typed: topics.typed.len(),
            balance,
            accepted: accepted.len(),
            accepted_again: accepted.values().filter(|times| **times > 1).count(),
            dead_letters,
            bodies,
            not_stored: topics.not_stored(&sent.ids).into_iter().cloned().collect(),
            unexplained: open,
            longest_stall,
            longest_pause: self.deliveries.longest_until(sending),
            recoveries,
            surprises: self.fleet.surprises,
            audit: (code, out + &problems),
            clean_end,
        }
    }
}

/// Prints the positions of duplicates on the typed topic, to help find the cause.
#[allow(clippy::print_stdout, reason = "the run is watched")]
fn show_doubled(pipeline: &Pipeline, kafka: &RealKafka, doubled: &[Place]) {
    each(&kafka.connection(), &pipeline.topic("typed"), |record| {
        let (partition, raw) = raw_place(record);
        if doubled.contains(&(partition, raw)) {
            let at = record.timestamp().unwrap_or_default();
            println!("doubled: raw {partition}:{raw} is typed {partition}:{}, produced at {at}", record.offset());
        }
    });
}

/// Returns the ids of events with a dead letter.
fn dead_events(dead_letters: &[DeadLetter]) -> BTreeSet<String> {
    dead_letters.iter().filter_map(|dead_letter| dead_letter.event_id.clone()).collect()
}
