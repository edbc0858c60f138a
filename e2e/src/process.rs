//! Starts the real binaries as a user does: a command, its environment, its log.

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

/// The path of one of the workspace's binaries, built on demand.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    static BUILD: Once = Once::new();
    // Tests are in target/<profile>/deps, and binaries in the folder above.
    let own = std::env::current_exe().expect("the test's own path");
    let own_folder = own.parent().expect("a file is in a folder");
    let folder = if own_folder.ends_with("deps") { own_folder.parent().expect("target/<profile>") } else { own_folder }
        .to_owned();
    BUILD.call_once(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--bins", "--workspace", "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
        build.arg("--target-dir").arg(folder.parent().expect("the target folder"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo").success(), "the binaries do not build");
    });
    folder.join(name)
}

/// The prefixes of the services' variables.
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

/// A command for a binary, without the variables of the tests' environment that configure it.
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
    /// Starts a service; with an admin port, waits until it is ready.
    ///
    /// # Panics
    /// When it cannot be started or does not become ready.
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
    /// When it cannot be started or does not become ready.
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

    /// Starts a service without waiting.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn(name: &str, variables: &[(&str, String)], admin: Option<u16>) -> Self {
        Self::spawn_command(name, command(name, variables), admin)
    }

    /// Starts a binary with arguments.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn_with(name: &str, arguments: &[&str], variables: &[(&str, String)]) -> Self {
        let mut command = command(name, variables);
        command.args(arguments);
        Self::spawn_command(name, command, None)
    }

    /// Sets the port of the admin pages.
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

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether `/readyz` reports that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.admin_get("/readyz").is_some_and(|(status, _)| status == 200)
    }

    /// Whether `/readyz` responds with 503. A process that has ended does not respond.
    #[must_use]
    pub fn is_unready(&self) -> bool {
        self.admin_get("/readyz").is_some_and(|(status, _)| status == 503)
    }

    /// One of the admin server's pages: status and body.
    #[must_use]
    pub fn admin_get(&self, path: &str) -> Option<(u16, String)> {
        http::get(self.admin?, path)
    }

    /// The value of a metric, summed over all labels; 0 if it does not exist.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.admin_get("/metrics").unwrap_or_default();
        text.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// The partitions assigned to a consuming service, as far as its lag metric names them.
    #[must_use]
    pub fn partitions(&self) -> BTreeSet<i32> {
        let (_, text) = self.admin_get("/metrics").unwrap_or_default();
        let lag = text.lines().filter(|line| line.starts_with("customerio_kafka_consumer_lag_records{"));
        lag.filter_map(|line| line.split_once("partition=\"")?.1.split('"').next()?.parse().ok()).collect()
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM, then waits for the end; returns the exit code.
    ///
    /// # Panics
    /// When it does not end within 60 s.
    pub fn terminate(&mut self) -> Option<i32> {
        signal(self.child.id(), Signal::TERM);
        self.wait(Duration::from_secs(60))
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("the end");
    }

    /// Waits for the end; returns the exit code.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self, timeout: Duration) -> Option<i32> {
        let mut status = None;
        let what = format!("{} to end", self.name);
        wait_until(&what, timeout, || {
            status = self.child.try_wait().expect("the process's state");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }

    /// The exit code once the process has ended, `Some(None)` if a signal ended it; `None` while it runs.
    ///
    /// # Panics
    /// When the process cannot be asked.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().expect("the process's state").map(|status| status.code())
    }

    /// Whether the process is still running.
    ///
    /// # Panics
    /// When the process cannot be asked.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the process's state").is_none()
    }

    /// Resident memory in bytes; `None` once it has ended.
    #[must_use]
    pub fn resident_bytes_if_running(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When /proc cannot be read.
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

/// Sends a signal.
///
/// # Panics
/// When there is no such process.
pub fn signal(process: u32, signal: Signal) {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(id, signal).unwrap_or_else(|error| panic!("{signal:?} to {process}: {error}"));
}
