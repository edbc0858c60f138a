//! `check`: every dependency of the pipeline, what is wrong, and who can fix it.

use std::time::Duration;

use clap::Args;
use platform::{HttpSettings, TokenProvider};
use serde_json::{Value, json};
use settings::{DurationArg, Variables};
use setup::check::{Checks, Configured, Level, Line};
use setup::round_trip::RoundTrips;

use crate::setup::connect::Connect;
use crate::setup::options::ConnectArgs;
use crate::{CommandError, Verdict, check_config, output};

/// How often `--wait` looks again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Check every dependency: configuration, clock, Adobe, Kafka, the public URL, Customer.io
///
/// Each line says what was asked, what came back, what to do, and who can do it. All checks run, whatever the others find.
/// Exit code 1 if anything is wrong or does not respond.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    connect: ConnectArgs,

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
    platform_flow_id: Option<String>,

    /// Look again until everything is right, for example while a new role is being distributed
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "20m")]
    wait: Option<DurationArg>,
}

pub(crate) async fn run(args: &CheckArgs, variables: &Variables, json: bool) -> Result<Verdict, CommandError> {
    let end = args.wait.map(|wait| tokio::time::Instant::now() + wait.0);
    loop {
        let lines = lines(args, variables).await?;
        let is_good = lines.iter().all(|line| line.level < Level::Unanswered);
        let has_time = end.is_some_and(|end| tokio::time::Instant::now() < end);
        if is_good || !has_time {
            show(&lines, json);
            return Ok(if is_good { Verdict::Good } else { Verdict::Problem });
        }
        let wrong = lines.iter().filter(|line| line.level >= Level::Unanswered).count();
        output::progress(&format!("{wrong} findings; looking again in {} s", LOOK_AGAIN.as_secs()));
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn lines(args: &CheckArgs, variables: &Variables) -> Result<Vec<Line>, CommandError> {
    let connect = Connect::of(&args.connect)?;
    let journal = connect.read_journal()?;
    let platform = &args.connect.platform;
    let http = HttpSettings {
        timeout: setup::check::TIMEOUT,
        ca_file: platform.platform_ca_file.clone(),
        https_proxy: platform.https_proxy.clone(),
        no_proxy: platform.no_proxy.clone(),
    };
    let http = http.client()?;
    let tokens = connect.token_settings.clone();
    let tokens = tokens.map(|tokens| TokenProvider::new(tokens, http.clone(), Box::new(|_| {}))).transpose()?;
    let checks = Checks {
        desired: &connect.desired,
        clients: &connect.clients,
        journal: &journal,
        configured: Configured {
            inlet_url: args.platform_inlet_url.as_ref().map(ToString::to_string),
            schema_id: args.platform_schema_id.clone(),
            dataset_id: args.platform_dataset_id.clone(),
            flow_id: args.platform_flow_id.clone(),
        },
        tokens,
        http: Some(http),
        keys: connect.keys.clone(),
        round_trips: RoundTrips::new()?,
        kafka: args.connect.kafka.connection("customerio-aep").ok(),
    };
    let mut lines = check_config::lines(variables);
    lines.extend(checks.run().await);
    Ok(lines)
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
