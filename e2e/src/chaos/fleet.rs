//! The services' processes under a supervisor, as an orchestrator keeps them: what ends is started again.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Naming, Service};
use crate::free_port;
use crate::pipeline::Pipeline;
use crate::process::Process;

/// Waited before a service that has ended by itself is started again.
const BACKOFF: Duration = Duration::from_secs(1);

/// `SHUTDOWN_TIMEOUT` is 30 s; a service that SIGTERM has not ended by then never ends.
const TERM: Duration = Duration::from_secs(40);

/// What is expected of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Runs,
    Terminating(Instant),
    Killed,
}

/// One place for a process.
struct Slot {
    wanted: bool,
    process: Option<Process>,
    fate: Fate,
    back_at: Instant,
    naming: Naming,
    port: u16,
    lives: usize,
}

/// All of them.
pub(super) struct Fleet<'p> {
    pipeline: &'p Pipeline,
    slots: BTreeMap<Service, Slot>,
    /// Where the logs of ended processes are kept.
    logs: PathBuf,
    /// What ended although nobody had asked for it, or not as it should.
    pub(super) surprises: Vec<String>,
}

impl<'p> Fleet<'p> {
    /// One gateway, one transformer, one sink, started by the first [`Fleet::tend`].
    pub(super) fn new(pipeline: &'p Pipeline, logs: PathBuf) -> Self {
        fs::create_dir_all(&logs).expect("a folder for the logs");
        let mut fleet = Self { pipeline, slots: BTreeMap::new(), logs, surprises: Vec::new() };
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
            port: free_port(),
            lives: 0,
        });
        slot.wanted = true;
    }

    /// So many of a service from now on; the others get SIGTERM.
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

    /// SIGKILL; it is started again `after` this time.
    pub(super) fn kill(&mut self, service: Service, after: Duration, naming: Naming) {
        if let Some(slot) = self.slots.get_mut(&service) {
            slot.naming = naming;
            slot.back_at = Instant::now() + after;
            if let Some(process) = &mut slot.process {
                slot.fate = Fate::Killed;
                process.kill();
            }
        }
        self.tend();
    }

    /// SIGTERM; it is started again when it has ended.
    pub(super) fn restart(&mut self, service: Service, naming: Naming) {
        if let Some(slot) = self.slots.get_mut(&service) {
            slot.naming = naming;
            slot.terminate();
        }
    }

    /// Looks after all of them, without waiting.
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
                let name = format!("{}-{}.log", service.to_string().replace(' ', "-"), slot.lives);
                fs::write(self.logs.join(name), log).expect("a log file");
                slot.process = None;
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
                slot.lives += 1;
                slot.process = Some(start(self.pipeline, *service, slot.naming, slot.port));
            }
        }
        self.slots.retain(|_, slot| slot.wanted || slot.process.is_some());
    }

    /// The processes that run.
    pub(super) fn running(&self) -> usize {
        self.slots.values().filter(|slot| slot.process.is_some()).count()
    }

    /// Whether all that should run are ready.
    pub(super) fn is_ready(&self) -> bool {
        self.slots.values().all(|slot| slot.process.as_ref().is_some_and(Process::is_ready))
    }

    /// SIGTERM for all, then waits for their end.
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
            crate::real_kafka::signal(process.id(), "TERM");
        }
    }
}

fn start(pipeline: &Pipeline, service: Service, naming: Naming, port: u16) -> Process {
    match service {
        Service::Gateway => Process::spawn("ingest-gateway", &pipeline.gateway_variables(), Some(port)),
        Service::Transformer(number) => {
            let mut variables = pipeline.transformer_variables();
            variables.retain(|(name, _)| *name != "TRANSFORMER_INSTANCE");
            if naming == Naming::Named {
                variables.push(("TRANSFORMER_INSTANCE", format!("{}-{number}", pipeline.name)));
            }
            // Readers wait this long for what an unnamed one leaves open.
            variables.push(("TRANSFORMER_TRANSACTION_TIMEOUT", "10s".to_owned()));
            Process::spawn("transformer", &variables, Some(port))
        }
        Service::Sink(_) => {
            let mut variables = pipeline.sink_variables();
            variables.push(("SINK_HOLD_PROBE", "1s".to_owned()));
            variables.push(("SINK_CONDEMN_AFTER", "5s".to_owned()));
            Process::spawn("sink", &variables, Some(port))
        }
    }
}
