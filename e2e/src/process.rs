//! Starts the real binaries as a user does: with a command, environment variables, and a log.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::http;
use crate::wait_until;

/// A running service.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    admin: Option<u16>,
    log: PathBuf,
}

/// Returns the path of one of the workspace's binaries. The first call builds all of them, unless `E2E_BINARIES` is
/// `built`: the Makefile sets this after it has built them.
///
/// # Panics
/// Panics if the binaries cannot be built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static BUILD: Once = Once::new();
    // Tests are in target/<profile>/deps, and binaries in the folder above.
    let own = std::env::current_exe().expect("the test's own path");
    let own_folder = own.parent().expect("a file is in a folder");
    let folder = if own_folder.ends_with("deps") { own_folder.parent().expect("target/<profile>") } else { own_folder }
        .to_owned();
    BUILD.call_once(|| {
        if std::env::var_os("E2E_BINARIES").is_some_and(|state| state == "built") {
            return;
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--bins", "--workspace", "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
        build.arg("--target-dir").arg(folder.parent().expect("the target folder"));
        // Tests enable additional features of some libraries, which cargo would compile once more without `--tests`.
        build.arg(if folder.ends_with("release") { "--release" } else { "--tests" });
        assert!(build.status().expect("cargo").success(), "the binaries do not build");
    });
    folder.join(name)
}

/// Prefixes of the services' variables.
const PREFIXES: [&str; 10] = [
    "KAFKA_",
    "GATEWAY_",
    "TRANSFORMER_",
    "SINK_",
    "PLATFORM_",
    "IMS_",
    "CUSTOMERIO_",
    "SOURCES_",
    "SCHEMA_REGISTRY_",
    "TRIAL",
];

/// Returns a command for a binary with these variables. If the environment of the tests contains variables of the
/// services (`PREFIXES`), the binary does not inherit them.
#[must_use]
pub fn command(name: &str, variables: &[(&str, String)]) -> Command {
    let mut command = Command::new(binary(name));
    for prefix in PREFIXES {
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with(prefix)) {
            command.env_remove(variable);
        }
    }
    command.envs(variables.iter().map(|(name, value)| (*name, value.as_str()))).stdin(Stdio::null());
    command
}

impl Process {
    /// Starts a service. With an admin port, waits until the service is ready.
    ///
    /// # Panics
    /// Panics if the service cannot be started or does not become ready.
    #[must_use]
    pub fn start(name: &str, variables: &[(&str, String)], admin: Option<u16>) -> Self {
        match admin {
            Some(port) => Self::start_command(name, command(name, variables), port),
            None => Self::spawn(name, variables, None),
        }
    }

    /// Starts a command that was built with [`command`] and waits until it is ready.
    ///
    /// # Panics
    /// Panics if the command cannot be started or does not become ready.
    #[must_use]
    pub fn start_command(name: &str, command: Command, admin: u16) -> Self {
        let process = Self::spawn_command(name, command, Some(admin));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !process.is_ready() {
            assert!(Instant::now() < deadline, "{name} is not ready; its log:\n{}", process.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        process
    }

    /// Starts a service without waiting until it is ready.
    ///
    /// # Panics
    /// Panics if the service cannot be started.
    #[must_use]
    pub fn spawn(name: &str, variables: &[(&str, String)], admin: Option<u16>) -> Self {
        Self::spawn_command(name, command(name, variables), admin)
    }

    /// Starts a binary with arguments, without an admin port.
    ///
    /// # Panics
    /// Panics if the binary cannot be started.
    #[must_use]
    pub fn spawn_with(name: &str, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        let mut command = command(name, variables);
        command.args(arguments);
        Self::spawn_command(name, command, None)
    }

    /// Sets the port of the admin server.
    pub fn set_admin(&mut self, port: u16) {
        self.admin = Some(port);
    }

    fn spawn_command(name: &str, mut command: Command, admin: Option<u16>) -> Self {
        let log =
            std::env::temp_dir().join(format!("customerio-{name}-{}-{:x}.log", std::process::id(), fastrand::u32(..)));
        let file = fs::File::create(&log).expect("a log file");
        if let Some(port) = admin {
            command.env("ADMIN_LISTEN", format!("127.0.0.1:{port}"));
        }
        let child = command.stdout(file.try_clone().expect("the log file")).stderr(file).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name: name.to_owned(), child, admin, log }
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether `/readyz` responds with 200.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.admin_get("/readyz").is_some_and(|(status, _)| status == 200)
    }

    /// Whether `/readyz` responds with 503. A process that has ended does not respond.
    #[must_use]
    pub fn is_unready(&self) -> bool {
        self.admin_get("/readyz").is_some_and(|(status, _)| status == 503)
    }

    /// Requests a page of the admin server; returns status and body.
    #[must_use]
    pub fn admin_get(&self, path: &str) -> Option<(u16, String)> {
        http::get(self.admin?, path)
    }

    /// Returns the value of a metric, summed over all its series; 0 if the metric does not exist.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.admin_get("/metrics").unwrap_or_default();
        text.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Returns the partitions that are assigned to a consuming service, according to its lag metric.
    #[must_use]
    pub fn partitions(&self) -> BTreeSet<i32> {
        let (_, text) = self.admin_get("/metrics").unwrap_or_default();
        let lag = text.lines().filter(|line| line.starts_with("customerio_kafka_consumer_lag_records{"));
        lag.filter_map(|line| line.split_once("partition=\"")?.1.split('"').next()?.parse().ok()).collect()
    }

    /// Returns the log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends the process with SIGTERM, and waits for the end; returns the exit code.
    ///
    /// # Panics
    /// Panics if the process does not end within 60 s.
    pub fn terminate(&mut self) -> Option<i32> {
        signal(self.child.id(), Signal::TERM);
        self.wait(Duration::from_secs(60))
    }

    /// Kills the process with SIGKILL, and waits for the end.
    ///
    /// # Panics
    /// Panics if the process cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("the end");
    }

    /// Waits for the end of the process; returns the exit code.
    ///
    /// # Panics
    /// Panics if the process does not end in time.
    pub fn wait(&mut self, timeout: Duration) -> Option<i32> {
        let mut status = None;
        let what = format!("{} to end", self.name);
        wait_until(&what, timeout, || {
            status = self.child.try_wait().expect("the process's state");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// Returns the exit code once the process has ended, or `Some(None)` if a signal ended it; `None` while the process
    /// runs.
    ///
    /// # Panics
    /// Panics if the state of the process cannot be read.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().expect("the process's state").map(|status| status.code())
    }

    /// Whether the process is still running.
    ///
    /// # Panics
    /// Panics if the state of the process cannot be read.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the process's state").is_none()
    }

    /// Returns the resident memory in bytes; `None` once the process has ended.
    #[must_use]
    pub fn resident_bytes_if_running(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
    }

    /// Returns the resident memory in bytes.
    ///
    /// # Panics
    /// Panics if /proc cannot be read.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.resident_bytes_if_running().expect("a running process")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.child.kill().unwrap_or_default();
            drop(self.child.wait());
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- the end of {}'s log\n{}", self.name, lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        fs::remove_file(&self.log).unwrap_or_default();
    }
}

/// Sends a signal to a process.
///
/// # Panics
/// Panics if the process does not exist.
pub fn signal(process: u32, signal: Signal) {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(id, signal).unwrap_or_else(|error| panic!("{signal:?} to {process}: {error}"));
}
