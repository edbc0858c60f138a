//! Supervises the services' processes as an orchestrator does: it restarts each process that has ended.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{Link, Naming, Service};
use crate::free_port;
use crate::pipeline::{Pipeline, with};
use crate::process::{Process, Signal, signal};
use crate::proxy::Proxy;
use crate::real_kafka::RealKafka;

/// Time until a service that has ended by itself is started again.
const BACKOFF: Duration = Duration::from_secs(1);

/// Maximum time from SIGTERM to the end of a service. `SHUTDOWN_TIMEOUT` is 30 s.
const TERM: Duration = Duration::from_secs(40);

/// If a service still runs this long after SIGTERM, the stacks of its threads are saved: they show what delays its end.
const SLOW_END: Duration = Duration::from_secs(20);

/// What the fleet has done to a process, which decides how the process is expected to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Runs,
    Terminating(Instant),
    Killed,
}

/// State of one process of the fleet.
struct Slot {
    wanted: bool,
    process: Option<Process>,
    fate: Fate,
    back_at: Instant,
    naming: Naming,
    /// Number of seconds that the process's clock is ahead.
    skew: i64,
    port: u16,
    /// Number of the current process, counted over all processes of the service in this run.
    life: usize,
    /// Whether the stacks of the current process have been saved.
    has_stacks: bool,
}

/// Resources of the processes: topics, networks to the servers, and a library that skews a clock.
pub(super) struct Ground<'p> {
    pub(super) pipeline: &'p Pipeline,
    /// Value of `KAFKA_BOOTSTRAP_SERVERS` for each link of [`Link::TO_BROKERS`], in the same order.
    bootstrap: Vec<String>,
    /// Proxy between sink 0 and Platform.
    pub(super) platform: Proxy,
    skew: Option<PathBuf>,
}

impl<'p> Ground<'p> {
    /// Starts the proxy to Platform. [`RealKafka::start`] has already started the proxies to the brokers.
    pub(super) fn new(pipeline: &'p Pipeline, kafka: &RealKafka) -> Self {
        let bootstrap = (0..Link::TO_BROKERS.len()).map(|place| kafka.proxy(place).bootstrap()).collect();
        let platform = Proxy::start(&[pipeline.simulator_port]).expect("a proxy");
        Self { pipeline, bootstrap, platform, skew: clock_skew() }
    }
}

/// Returns a library that skews a process's clock; `None` if there is no C compiler. Debian's `faketime` is not
/// suitable: if the clock is ahead, it lengthens librdkafka's waits by the skew; if the clock is slow, it ends them at
/// once.
pub(super) fn clock_skew() -> Option<PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compile = || {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/chaos/clock_skew.c");
        let library = std::env::temp_dir().join(format!("clock-skew-{}.so", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(source);
        compiler.status().is_ok_and(|status| status.success()).then_some(library)
    };
    LIBRARY.get_or_init(compile).clone()
}

/// The processes of all services.
pub(super) struct Fleet<'p> {
    ground: &'p Ground<'p>,
    slots: BTreeMap<Service, Slot>,
    /// Number of processes that were started for each service. The number is not in [`Slot`], which is dropped when its
    /// service is scaled down: later processes must not overwrite the logs of earlier ones.
    lives: BTreeMap<Service, usize>,
    /// Folder for the logs of ended processes.
    logs: PathBuf,
    /// Processes that ended unexpectedly, or with an unexpected exit code.
    pub(super) surprises: Vec<String>,
}

impl<'p> Fleet<'p> {
    /// Creates a fleet of one gateway, one transformer and one sink. The first call of [`Fleet::tend`] starts them.
    pub(super) fn new(ground: &'p Ground<'p>, logs: PathBuf) -> Self {
        fs::create_dir_all(&logs).expect("a folder for the logs");
        let mut fleet = Self { ground, slots: BTreeMap::new(), lives: BTreeMap::new(), logs, surprises: Vec::new() };
        for service in [Service::Gateway, Service::Transformer(0), Service::Sink(0)] {
            fleet.want(service);
        }
        fleet
    }

    fn want(&mut self, service: Service) {
        let slot = self.slots.entry(service).or_insert_with(|| Slot {
            wanted: true,
            process: None,
            fate: Fate::Runs,
            back_at: Instant::now(),
            naming: Naming::Named,
            skew: 0,
            port: free_port(),
            life: 0,
            has_stacks: false,
        });
        slot.wanted = true;
    }

    /// Sets the number of processes of a service. Surplus processes get SIGTERM.
    pub(super) fn scale(&mut self, kind: fn(usize) -> Service, count: usize) {
        for number in 0..super::MOST {
            let service = kind(number);
            if number < count {
                self.want(service);
            } else if let Some(slot) = self.slots.get_mut(&service) {
                slot.wanted = false;
                slot.terminate();
            }
        }
    }

    /// Kills a process with SIGKILL, and starts it again after this time.
    pub(super) fn kill(&mut self, service: Service, after: Duration, naming: Naming) {
        if let Some(slot) = self.slots.get_mut(&service) {
            (slot.naming, slot.skew) = (naming, 0);
            slot.back_at = Instant::now() + after;
            if let Some(process) = &mut slot.process {
                slot.fate = Fate::Killed;
                process.kill();
            }
        }
        self.tend();
    }

    /// Ends a process with SIGTERM, and starts it again when it has ended.
    pub(super) fn restart(&mut self, service: Service, naming: Naming) {
        if let Some(slot) = self.slots.get_mut(&service) {
            (slot.naming, slot.skew) = (naming, 0);
            slot.terminate();
        }
    }

    /// Ends a process with SIGTERM, and starts it again with a clock that is this many seconds ahead.
    pub(super) fn skew(&mut self, service: Service, seconds: i64) {
        if let Some(slot) = self.slots.get_mut(&service) {
            slot.skew = seconds;
            slot.terminate();
        }
    }

    /// Starts missing processes and checks ended ones, without waiting.
    pub(super) fn tend(&mut self) {
        for (service, slot) in &mut self.slots {
            if let Some(process) = &mut slot.process
                && let Some(code) = process.ended()
            {
                let code = code.map_or("a signal".to_owned(), |code| code.to_string());
                let log = process.log();
                let last = log.lines().last().unwrap_or_default();
                match slot.fate {
                    Fate::Killed => {}
                    Fate::Terminating(_) if code == "0" => {}
                    Fate::Terminating(_) => {
                        self.surprises.push(format!("{service} ended with {code} after SIGTERM: {last}"));
                    }
                    Fate::Runs => {
                        self.surprises.push(format!("{service} ended by itself with {code}: {last}"));
                        slot.back_at = Instant::now() + BACKOFF;
                    }
                }
                let name = format!("{}-{}.log", service.to_string().replace(' ', "-"), slot.life);
                fs::write(self.logs.join(name), log).expect("a log file");
                slot.process = None;
            }
            if let (Some(process), Fate::Terminating(since)) = (&slot.process, slot.fate)
                && since.elapsed() >= SLOW_END
                && !slot.has_stacks
            {
                slot.has_stacks = true;
                let name = format!("{}-{}.stacks", service.to_string().replace(' ', "-"), slot.life);
                fs::write(self.logs.join(name), stacks(process.id())).expect("a file next to the logs");
            }
            if let (Some(process), Fate::Terminating(since)) = (&mut slot.process, slot.fate)
                && since.elapsed() >= TERM
            {
                self.surprises.push(format!("{service} had not ended {TERM:?} after SIGTERM"));
                slot.fate = Fate::Killed;
                process.kill();
            }
            if slot.process.is_none() && slot.wanted && Instant::now() >= slot.back_at {
                slot.fate = Fate::Runs;
                let life = self.lives.entry(*service).or_default();
                *life += 1;
                (slot.life, slot.has_stacks) = (*life, false);
                slot.process = Some(start(self.ground, *service, slot));
            }
        }
        self.slots.retain(|_, slot| slot.wanted || slot.process.is_some());
    }

    /// Returns the number of running processes.
    pub(super) fn running(&self) -> usize {
        self.slots.values().filter(|slot| slot.process.is_some()).count()
    }

    /// Whether all processes that should run are ready.
    pub(super) fn is_ready(&self) -> bool {
        self.slots.values().all(|slot| slot.process.as_ref().is_some_and(Process::is_ready))
    }

    /// Writes the metrics of each running service next to its logs: they show what the service waits for.
    pub(super) fn keep_metrics(&self) {
        for (service, slot) in &self.slots {
            let metrics = slot.process.as_ref().and_then(|process| process.admin_get("/metrics"));
            let text = metrics.map_or_else(|| "no response".to_owned(), |(_, text)| text);
            let name = format!("{}-{}.metrics", service.to_string().replace(' ', "-"), slot.life);
            self.keep(&name, &text);
        }
    }

    /// Writes a file next to the logs.
    pub(super) fn keep(&self, name: &str, text: &str) {
        fs::write(self.logs.join(name), text).expect("a file next to the logs");
    }

    /// Sends SIGTERM to all processes, and waits until they have ended.
    pub(super) fn end(&mut self) {
        for slot in self.slots.values_mut() {
            slot.wanted = false;
            slot.terminate();
        }
        while self.running() > 0 {
            self.tend();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Slot {
    fn terminate(&mut self) {
        if let Some(process) = &self.process
            && self.fate == Fate::Runs
        {
            self.fate = Fate::Terminating(Instant::now());
            signal(process.id(), Signal::TERM);
        }
    }
}

/// Returns the stacks of all threads of a process, or the reason why there are none. Functions have names only in
/// binaries with symbols.
fn stacks(process: u32) -> String {
    let mut gdb = Command::new("gdb");
    gdb.args(["-p", &process.to_string(), "-batch", "-ex", "thread apply all backtrace 30"]);
    match gdb.output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => format!("gdb could not be started: {error}"),
    }
}

fn start(ground: &Ground<'_>, service: Service, slot: &Slot) -> Process {
    let pipeline = ground.pipeline;
    let (name, mut variables, link) = match service {
        Service::Gateway => ("ingest-gateway", pipeline.gateway_variables(), Some(Link::Gateway)),
        Service::Transformer(number) => {
            let instance = match slot.naming {
                Naming::Named => format!("{}-{number}", pipeline.name),
                Naming::Unnamed => String::new(),
            };
            // If an unnamed transformer is killed, readers wait for this timeout of its open transaction.
            let changes = [("TRANSFORMER_INSTANCE", instance.as_str()), ("TRANSFORMER_TRANSACTION_TIMEOUT", "10s")];
            let variables = with(pipeline.transformer_variables(), &changes);
            ("transformer", variables, (number == 0).then_some(Link::Transformer))
        }
        Service::Sink(number) => {
            // The buffer is so small that a short outage of Platform fills it.
            let changes = [
                ("SINK_HOLD_PROBE", "1s"),
                ("SINK_DEAD_LETTER_AFTER", "5s"),
                ("SINK_BATCH_MAX_BYTES", "100KiB"),
                ("SINK_BUFFER_BYTES", "500KiB"),
            ];
            let mut variables = with(pipeline.sink_variables(), &changes);
            if number == 0 {
                let (direct, proxied) = (pipeline.simulator_port, ground.platform.port(0));
                for (_, value) in &mut variables {
                    *value = value.replace(&format!("127.0.0.1:{direct}"), &format!("127.0.0.1:{proxied}"));
                }
            }
            ("sink", variables, (number == 0).then_some(Link::Sink))
        }
    };
    if let Some(place) = Link::TO_BROKERS.iter().position(|known| Some(*known) == link) {
        variables = with(variables, &[("KAFKA_BOOTSTRAP_SERVERS", &ground.bootstrap[place])]);
    }
    if let (Some(library), seconds @ (..=-1 | 1..)) = (&ground.skew, slot.skew) {
        let (library, ahead) = (library.display().to_string(), seconds.to_string());
        let skew = [("LD_PRELOAD", library.as_str()), ("CLOCK_AHEAD_SECONDS", &ahead)];
        variables = with(variables, &skew);
    }
    Process::spawn(name, &variables, Some(slot.port))
}
