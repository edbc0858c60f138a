//! Runs a service from `main()` to its exit code: parses and validates the configuration, starts logging and the admin
//! server, and runs the service until a signal.

use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use settings::{Reload, Variables};

use crate::{AdminServer, OperatorHold, Readiness, ServiceConfig, TaskError, Tasks, Unusable, init_logs, registry};

/// Values that a service gets in addition to its settings.
#[derive(Debug, Clone)]
pub struct Context {
    /// Registry for the service's metrics.
    pub registry: Registry,
    /// The state that `/readyz` reports.
    pub readiness: Readiness,
    /// Cancelled when the service is to stop.
    pub stop: CancellationToken,
    /// Receives requests to read the service's files again.
    pub reload: Reload,
    /// The maximum time for a clean stop.
    pub shutdown_timeout: Duration,
    /// Whether an operator holds the service through its admin server.
    pub hold: OperatorHold,
}

impl Context {
    /// Creates a context with a new metrics registry. A process that embeds a service calls this function too.
    #[must_use]
    pub fn new(service: &str, stop: CancellationToken, shutdown_timeout: Duration) -> Self {
        let (readiness, reload, hold) = (Readiness::default(), Reload::default(), OperatorHold::default());
        Self { registry: registry(service), readiness, stop, reload, shutdown_timeout, hold }
    }
}

/// Runs a service from its command line to its exit code: 0 for a clean stop, 1 for a fatal error at run time, 2 for an
/// invalid configuration.
pub fn run_service<C, F, R>(run: F) -> ExitCode
where
    C: ServiceConfig,
    F: FnOnce(C::Settings, Context) -> R + Send + 'static,
    R: Future<Output = Result<(), TaskError>> + Send + 'static,
{
    let variables = Variables::of_process();
    // `--health` does not validate the configuration: the running service has done so, and a file may have become
    // invalid since then.
    if let Ok(config) = C::parse_with(&variables, std::env::args_os())
        && config.service().health
    {
        return ask_health(&config);
    }
    let (config, settings) = match C::load(&variables, std::env::args_os()) {
        Ok(loaded) => loaded,
        Err(unusable) => return report_unusable(C::SERVICE, unusable),
    };
    if config.service().check_config {
        say(&format!("{}: the configuration is valid\n", C::SERVICE));
        return ExitCode::SUCCESS;
    }
    init_logs(config.service().log_format, &config.service().log_level);
    tracing::info!(service = C::SERVICE, version = crate::VERSION, ?config, "starting");
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the async runtime");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(supervise::<C, F, R>(&config, settings, run));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(()) => {
            tracing::info!(service = C::SERVICE, "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(service = C::SERVICE, %error, "stopped by an error");
            ExitCode::FAILURE
        }
    }
}

/// Asks the running service whether it is ready.
fn ask_health<C: ServiceConfig>(config: &C) -> ExitCode {
    match crate::health::ask(config.service().admin_listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{}: {error}\n", C::SERVICE));
            ExitCode::FAILURE
        }
    }
}

/// Prints why a service cannot start with its configuration, or the text that `--help` or `--version` requests.
fn report_unusable(service: &str, unusable: Unusable) -> ExitCode {
    match unusable {
        Unusable::CommandLine(error) => {
            let failed = error.use_stderr();
            match error.print() {
                Err(_) => ExitCode::FAILURE,
                Ok(()) if failed => ExitCode::from(2),
                Ok(()) => ExitCode::SUCCESS,
            }
        }
        Unusable::Configuration(problems) => {
            say(&format!("{service}: the configuration is invalid:\n{problems}"));
            ExitCode::from(2)
        }
    }
}

async fn supervise<C, F, R>(config: &C, settings: C::Settings, run: F) -> Result<(), TaskError>
where
    C: ServiceConfig,
    F: FnOnce(C::Settings, Context) -> R + Send + 'static,
    R: Future<Output = Result<(), TaskError>> + Send + 'static,
{
    let stop = CancellationToken::new();
    shutdown_on_signal(stop.clone())?;
    let shutdown_timeout = config.service().shutdown_timeout.0;
    let mut context = Context::new(C::SERVICE, stop.clone(), shutdown_timeout);
    if C::RELOADS {
        context.reload = crate::reload::on_hang_up()?;
    }
    let admin =
        AdminServer::bind(config.service().admin_listen, context.registry.clone(), context.readiness.clone()).await?;
    let admin = admin.with_hold(context.hold.clone());
    // The admin server ends after the service, so that clients can observe the drain.
    let admin_stop = CancellationToken::new();
    let admin = tokio::spawn(admin.serve(admin_stop.clone()));
    let mut tasks = Tasks::new(stop);
    tasks.spawn(C::SERVICE, run(settings, context));
    let result = tasks.join(shutdown_timeout + Duration::from_secs(1)).await;
    admin_stop.cancel();
    if tokio::time::timeout(Duration::from_secs(1), admin).await.is_err() {
        tracing::debug!("a client kept its admin connection open");
    }
    result.map_err(Into::into)
}

/// Cancels `stop` at the first SIGTERM or SIGINT; the second one ends the process at once with code 1.
///
/// # Errors
/// If the signal handlers cannot be installed.
pub fn shutdown_on_signal(stop: CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut wait = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = wait().await;
        tracing::info!(signal = name, "stopping; the same signal again ends the process at once");
        stop.cancel();
        let name = wait().await;
        tracing::warn!(signal = name, "ending at once");
        #[expect(clippy::exit, reason = "the second signal means: do not wait for anything")]
        std::process::exit(1);
    });
    Ok(())
}

/// Prints a message to standard error before logging is set up. If standard error is closed, only the exit code shows
/// the error.
fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}
