//! `check`: checks every dependency of the pipeline, and reports each problem with the person who can fix it.

mod end_to_end;

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use platform::{HttpSettings, TokenProvider};
use serde_json::{Value, json};
use settings::{DurationArg, Problem, Variables};
use setup::check::{Checks, Configured, Level, Line, invalid_option, missing_option};
use setup::journal::Journal;
use setup::key::Target;
use setup::round_trip::RoundTrips;

use self::end_to_end::{EndToEndArgs, Tested};
use crate::setup::connect::Connect;
use crate::setup::options::{ConnectArgs, PlatformSetupArgs};
use crate::{CommandError, Verdict, check_config, output};

/// The pause between two runs of the checks with `--wait`.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Check every dependency: configuration, clock, Adobe, Kafka, the public URL, Customer.io
///
/// Each line says what was asked, what came back, what to do, and who can do it. All checks run, whatever the others find;
/// an option that is missing is a finding too. Exit code 1 if anything is wrong or does not respond. To try the permission
/// to write, it writes one record to the typed and one to the dead-letter topic, in transactions that it aborts.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,

    /// The inlet of the sink
    #[arg(long, env = "PLATFORM_INLET_URL", value_name = "URL", help_heading = "The sink's configuration")]
    platform_inlet_url: Option<platform::InletUrl>,

    /// The schema of the sink
    #[arg(long, env = "PLATFORM_SCHEMA_ID", value_name = "URI", help_heading = "The sink's configuration")]
    platform_schema_id: Option<String>,

    /// The dataset of the sink
    #[arg(long, env = "PLATFORM_DATASET_ID", value_name = "ID", help_heading = "The sink's configuration")]
    platform_dataset_id: Option<String>,

    /// The flow of the sink
    #[arg(long, env = "PLATFORM_FLOW_ID", value_name = "ID", help_heading = "The sink's configuration")]
    pub(crate) platform_flow_id: Option<String>,

    /// Look again, with a new access token, as long as there is a finding that can pass: a new role takes up to 15 minutes
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "20m")]
    wait: Option<DurationArg>,

    #[command(flatten)]
    pub(crate) end_to_end: EndToEndArgs,
}

pub(crate) async fn run(args: &CheckArgs, variables: &Variables, json: bool) -> Result<Verdict, CommandError> {
    let end = args.wait.map(|wait| crate::when::after(tokio::time::Instant::now(), wait.0));
    let mut last = BTreeSet::new();
    // With `--wait`, the checks run several times, but each source gets only one test event.
    let mut tested = Tested::new();
    loop {
        let lines = lines(args, variables, &mut tested).await?;
        let is_good = lines.iter().all(|line| line.level < Level::Unanswered);
        let open: BTreeSet<&str> = lines
            .iter()
            .filter(|line| line.may_pass() && !is_of_test(&tested, line))
            .map(|line| line.asked.as_str())
            .collect();
        let has_time = end.is_some_and(|end| tokio::time::Instant::now() < end);
        if open.is_empty() || !has_time {
            show(&lines, json);
            return Ok(if is_good { Verdict::Good } else { Verdict::Problem });
        }
        let open: BTreeSet<String> = open.into_iter().map(str::to_owned).collect();
        if open != last {
            let names: Vec<&str> = open.iter().map(String::as_str).collect();
            output::problem(&format!("looking again every {} s; open: {}", LOOK_AGAIN.as_secs(), names.join("; ")));
            last = open;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Returns true if the line is about a test event that was sent. Another run of the checks does not change this line.
fn is_of_test(tested: &Tested, line: &Line) -> bool {
    tested.values().flatten().any(|known| known == line)
}

/// Runs the checks without a test event.
pub(crate) async fn without_test(args: &CheckArgs, variables: &Variables) -> Result<Vec<Line>, CommandError> {
    let args = CheckArgs { wait: None, end_to_end: args.end_to_end.without_test(), ..args.clone() };
    lines(&args, variables, &mut Tested::new()).await
}

async fn lines(args: &CheckArgs, variables: &Variables, tested: &mut Tested) -> Result<Vec<Line>, CommandError> {
    let (connect, problems) = Connect::for_check(&args.connect);
    let mut lines: Vec<Line> = problems.each().map(|problem| of_option(problem, &problem.to_string())).collect();
    lines.extend(connect.each_source_problem().map(|(problem, text)| of_option(problem, &text)));
    let journal = connect.read_journal().unwrap_or_else(|error| {
        lines.push(invalid_option(&error.to_string()));
        Journal::in_memory()
    });
    let platform = &args.connect.platform;
    let http = http_settings(platform).client();
    if let Err(error) = &http
        && problems.each().all(|problem| problem.to_string() != error.to_string())
    {
        lines.push(invalid_option(&error.to_string()));
    }
    let http = http.ok();
    let tokens = connect.token_settings.clone().zip(http.clone());
    let tokens = tokens.map(|(tokens, http)| TokenProvider::new(tokens, http, Box::new(|_| {}))).transpose()?;
    let asks_platform = connect.parts.contains(&Target::Platform);
    let asks_customerio = connect.parts.contains(&Target::CustomerIo);
    let checks = Checks {
        desired: &connect.desired,
        sources: connect.sources.keys().filter(|_| asks_customerio).cloned().collect(),
        unreadable_keys: connect.unreadable_keys(),
        platform_api: asks_platform.then(|| platform.platform_api_url.url().clone()),
        clients: &connect.clients,
        journal: &journal,
        configured: Configured {
            inlet_url: args.platform_inlet_url.as_ref().filter(|_| asks_platform).map(ToString::to_string),
            schema_id: args.platform_schema_id.clone(),
            dataset_id: args.platform_dataset_id.clone(),
            flow_id: args.platform_flow_id.clone(),
            rates: check_config::sink_rates(variables),
        },
        tokens,
        http,
        keys: connect.keys.clone(),
        round_trips: RoundTrips::new()?,
        settling: connect.settling,
        kafka: args.connect.kafka.connection("customerio-aep").ok(),
    };
    lines.extend(check_config::lines(variables));
    let report = checks.run().await;
    lines.extend(report.lines);
    if args.end_to_end.end_to_end {
        let test = end_to_end::Test {
            args: &args.end_to_end,
            connect: &connect,
            checks: &checks,
            destination: &report.platform,
        };
        let found = test.run(&lines, tested).await;
        lines.extend(found);
    }
    Ok(lines)
}

/// The settings of requests to Platform, each with the time limit of one check.
fn http_settings(platform: &PlatformSetupArgs) -> HttpSettings {
    HttpSettings {
        timeout: setup::check::TIMEOUT,
        ca_file: platform.platform_ca_file.clone(),
        https_proxy: platform.https_proxy.clone(),
        no_proxy: platform.no_proxy.clone(),
    }
}

/// The line about a problem of the options. `text` is the text of the problem, with the source if it belongs to one.
fn of_option(problem: &Problem, text: &str) -> Line {
    match problem.missing() {
        Some(variable) => missing_option(variable, text),
        None => invalid_option(text),
    }
}

fn show(lines: &[Line], json: bool) {
    output::progress_done();
    if json {
        let lines: Vec<Value> = lines.iter().map(as_json).collect();
        output::json(&json!({"version": 1, "lines": lines}));
        return;
    }
    for line in lines {
        let sign = match line.level {
            Level::Good => "ok  ",
            Level::Note => "note",
            Level::Skipped => "skip",
            Level::Unanswered => "?   ",
            Level::Bad => "BAD ",
        };
        output::line(&format!("{sign} {}: {}", line.asked, line.found));
        if let Some(next) = &line.next {
            output::line(&format!("       {}: {}", next.who, next.step));
        }
    }
    let wrong = lines.iter().filter(|line| line.level >= Level::Unanswered).count();
    output::line(&match wrong {
        0 => "everything that was asked is right".to_owned(),
        1 => "1 finding".to_owned(),
        count => format!("{count} findings"),
    });
}

fn as_json(line: &Line) -> Value {
    let next = line.next.as_ref().map(|next| json!({"who": next.who.code(), "step": next.step}));
    json!({"id": line.id, "asked": line.asked, "found": line.found, "level": line.level.as_str(), "next": next})
}
