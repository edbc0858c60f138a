//! `status`: the state of everything on one screen.

mod ask;
mod json;
mod text;

use std::collections::VecDeque;
use std::time::Duration;

use clap::Args;
use operator::status::{AdminAddresses, Answers, Look, Severity, Status, status};
use service::shutdown_on_signal;
use settings::DurationArg;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::ask::{Asking, Outside};
use crate::exit::Interrupted;
use crate::setup::options::ConnectArgs;
use crate::{CommandError, Verdict, output};

/// Show the state of everything: services, traffic, holds, dead letters, Platform, Customer.io
///
/// It asks each service for /readyz and /metrics, Kafka for the dead letters and the last webhooks, and, if their
/// credentials are configured, Platform for the flow and Customer.io for the webhooks. Exit code 0 if all is well, 1 if
/// something is known to be wrong, otherwise 3 if something could not be asked. Unresolved dead letters alone do not
/// change the exit code.
#[derive(Debug, Args)]
#[command(
    mut_arg("only", |arg| arg.hide(true)),
    mut_arg("state", |arg| arg.hide(true)),
    mut_arg("partitions", |arg| arg.hide(true)),
    mut_arg("replication", |arg| arg.hide(true)),
    mut_arg("max_body", |arg| arg.hide(true)),
    mut_arg("customerio_events", |arg| arg.hide(true)),
    mut_arg("customerio_full_resolution", |arg| arg.hide(true)),
    mut_arg("customerio_with_content", |arg| arg.hide(true)),
)]
pub(crate) struct StatusArgs {
    /// Show it again and again, with this time between
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "2s")]
    watch: Option<DurationArg>,

    /// Admin addresses of the services; a port alone is on the host before it, and a name with several addresses is asked
    /// at each
    #[arg(long, env = "CONSOLE_SERVICES", default_value = "127.0.0.1:9464,9465,9466", value_name = "HOST:PORT,...")]
    services: AdminAddresses,

    /// The flow of the sink
    #[arg(long, env = "PLATFORM_FLOW_ID", value_name = "ID", help_heading = "Experience Platform")]
    platform_flow_id: Option<String>,

    #[command(flatten)]
    connect: ConnectArgs,
}

/// The shortest time between two looks, for rates.
const RATES: Duration = Duration::from_secs(1);
/// With --watch, the age of events is that of the events accepted in this time.
const A_WHILE: i64 = 60_000;
/// With --watch, how often Kafka is asked: this reads the dead-letter topic.
const TOPICS_EVERY: Duration = Duration::from_secs(10);
/// With --watch, how often Platform and Customer.io are asked.
const OUTSIDE_EVERY: Duration = Duration::from_secs(60);

pub(crate) async fn run(args: StatusArgs, json: bool) -> Result<Verdict, CommandError> {
    let watch = args.watch.map(|interval| interval.0.max(RATES));
    let asking = Asking::of(args.services, args.platform_flow_id, args.connect)?;
    let Some(interval) = watch else {
        let status = once(&asking).await;
        if json {
            output::json(&json::of(&status));
        } else {
            text::lines(&status).iter().for_each(|line| output::styled(line));
        }
        return Ok(verdict(&status));
    };
    let stop = CancellationToken::new();
    shutdown_on_signal(stop.clone())?;
    tokio::select! {
        () = again(&asking, interval, json) => Ok(Verdict::Good),
        () = stop.cancelled() => Err(Interrupted.into()),
    }
}

async fn once(asking: &Asking) -> Status {
    let begun = Instant::now();
    let before = asking.look().await;
    let topics = asking.topics();
    let Outside { flow, webhooks } = asking.outside().await;
    tokio::time::sleep_until(begun + RATES).await;
    let now = asking.look().await;
    status(Answers { now, before: Some(before), a_while_before: None, topics, flow, webhooks })
}

/// Shows the status until the process is stopped.
async fn again(asking: &Asking, interval: Duration, json: bool) {
    let mut looks: VecDeque<Look> = VecDeque::new();
    let (mut topics, mut outside) = (asking.topics(), asking.outside().await);
    let (mut topics_at, mut outside_at) = (Instant::now(), Instant::now());
    loop {
        let begun = Instant::now();
        if topics_at.elapsed() >= TOPICS_EVERY {
            (topics, topics_at) = (asking.topics(), begun);
        }
        if outside_at.elapsed() >= OUTSIDE_EVERY {
            (outside, outside_at) = (asking.outside().await, begun);
        }
        let now = asking.look().await;
        while looks.front().is_some_and(|first| now.at - first.at > A_WHILE) {
            looks.pop_front();
        }
        let answers = Answers {
            now: now.clone(),
            before: looks.back().cloned(),
            a_while_before: looks.front().cloned(),
            topics: topics.clone(),
            flow: outside.flow.clone(),
            webhooks: outside.webhooks.clone(),
        };
        looks.push_back(now);
        let status = status(answers);
        if json {
            output::line(&json::of(&status).to_string());
        } else {
            output::screen(&text::lines(&status));
        }
        tokio::time::sleep_until(begun + interval).await;
    }
}

fn verdict(status: &Status) -> Verdict {
    match status.worst() {
        Some(Severity::Bad) => Verdict::Problem,
        Some(Severity::Unanswered) => Verdict::Unanswered,
        Some(Severity::Note) | None => Verdict::Good,
    }
}
