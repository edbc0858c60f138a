//! `status`: shows the state of the whole pipeline on one screen.

pub(crate) mod ask;
mod json;
mod text;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use operator::status::{
    AdminAddresses, Answers, Asked, History, Inquiry, Outside, Severity, Status, TopicState, status,
};
use service::shutdown_on_signal;
use settings::{DurationArg, Problems};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::exit::Interrupted;
use crate::output::Reader;
use crate::setup::options::ConnectArgs;
use crate::when::after;
use crate::{CommandError, UsageError, Verdict, output};

/// Show the state of everything: services, traffic, holds, dead letters, Platform, Customer.io
///
/// It asks each service for /readyz and /metrics, Kafka for the dead letters and the last webhooks, and, if their
/// credentials are configured, Platform for the flow and Customer.io for the webhooks. Exit code 0 if all is well, 1 if
/// something is known to be wrong, otherwise 3 if something could not be queried. Unresolved dead letters alone do not
/// change the exit code. With --watch, it ends at Ctrl-C, or with exit code 0 when no one reads its output any more.
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

impl StatusArgs {
    fn targets(&self) -> Result<ask::Targets, Problems> {
        ask::Targets::of(&self.connect, self.platform_flow_id.as_deref())
    }

    /// The problems of the options.
    pub(crate) fn problems(&self) -> Problems {
        self.targets().err().unwrap_or_default()
    }
}

/// Minimum time between two reads of the metrics from which rates are computed.
const RATES: Duration = Duration::from_secs(1);
/// Interval of the queries to Kafka with `--watch`. Each query reads the dead-letter topic.
const TOPICS_EVERY: Duration = Duration::from_secs(10);
/// Interval of the requests to Platform and Customer.io with `--watch`.
const OUTSIDE_EVERY: Duration = Duration::from_secs(60);

pub(crate) async fn run(args: StatusArgs, json: bool) -> Result<Verdict, CommandError> {
    let watch = args.watch.map(|interval| interval.0.max(RATES));
    let targets = args.targets().map_err(UsageError::from)?;
    let asking = Arc::new(targets.inquiry(args.services)?);
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
        asked = again(&asking, interval, json) => asked,
        () = stop.cancelled() => Err(Interrupted.into()),
    }
}

/// Queries Kafka, and shows the progress on the terminal. The call blocks.
fn topics(asking: &Inquiry) -> Asked<TopicState> {
    let state = asking.topics(&output::show_progress);
    output::progress_done();
    state
}

async fn once(asking: &Arc<Inquiry>) -> Status {
    let begun = Instant::now();
    let before = asking.look().await;
    let topics = tokio::task::block_in_place(|| topics(asking));
    let Outside { flow, webhooks } = asking.outside().await;
    tokio::time::sleep_until(begun + RATES).await;
    let now = asking.look().await;
    status(Answers { now, before: Some(before), a_while_before: None, topics, flow, webhooks })
}

/// Prints the status until no one reads it. Kafka is queried in the background; until a query has ended, the result of
/// the previous one is shown.
async fn again(asking: &Arc<Inquiry>, interval: Duration, json: bool) -> Result<Verdict, CommandError> {
    let mut history = History::default();
    let mut kafka = Kafka::new(asking);
    let (mut outside, mut outside_at) = (asking.outside().await, Instant::now());
    loop {
        let begun = Instant::now();
        if outside_at.elapsed() >= OUTSIDE_EVERY {
            (outside, outside_at) = (asking.outside().await, Instant::now());
        }
        let topics = kafka.answer(asking).await?;
        let now = asking.look().await;
        let (before, a_while_before) = history.before(now.clone());
        let (flow, webhooks) = (outside.flow.clone(), outside.webhooks.clone());
        let status = status(Answers { now, before, a_while_before, topics, flow, webhooks });
        let reader = if json { output::json_line(&json::of(&status)) } else { output::screen(&text::lines(&status)) };
        if reader == Reader::HasLeft {
            return Ok(Verdict::Good);
        }
        tokio::time::sleep_until(after(begun, interval)).await;
    }
}

/// The last result of a query to Kafka, and the query in progress.
struct Kafka {
    last: Option<Asked<TopicState>>,
    answered_at: Instant,
    asking: Option<JoinHandle<Asked<TopicState>>>,
}

impl Kafka {
    fn new(asking: &Arc<Inquiry>) -> Self {
        Self { last: None, answered_at: Instant::now(), asking: Some(Self::ask(asking)) }
    }

    fn ask(asking: &Arc<Inquiry>) -> JoinHandle<Asked<TopicState>> {
        let asking = Arc::clone(asking);
        tokio::task::spawn_blocking(move || topics(&asking))
    }

    /// Returns the last result. Starts a new query if this result is older than [`TOPICS_EVERY`]. Waits only for the
    /// first result.
    async fn answer(&mut self, asking: &Arc<Inquiry>) -> Result<Asked<TopicState>, CommandError> {
        if self.asking.is_none() && self.answered_at.elapsed() >= TOPICS_EVERY {
            self.asking = Some(Self::ask(asking));
        }
        if let Some(question) = self.asking.take_if(|question| question.is_finished() || self.last.is_none()) {
            (self.last, self.answered_at) = (Some(question.await?), Instant::now());
        }
        Ok(self.last.clone().unwrap_or_else(|| Asked::Failed("no answer yet".to_owned())))
    }
}

fn verdict(status: &Status) -> Verdict {
    match status.worst() {
        Some(Severity::Bad) => Verdict::Problem,
        Some(Severity::Unanswered) => Verdict::Unanswered,
        Some(Severity::Note) | None => Verdict::Good,
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        status: StatusArgs,
    }

    #[tokio::test]
    async fn all_invalid_options_of_a_status_are_reported_in_one_usage_error() {
        let wrong =
            ["status", "--kafka-bootstrap-servers=a:1", "--kafka-ssl-key=/nowhere", "--sources-file=/nowhere.toml"];
        let matches = <Command as clap::CommandFactory>::command().get_matches_from(wrong);
        let error = run(Command::from_arg_matches(&matches).unwrap().status, false).await.unwrap_err();
        assert!(error.is::<UsageError>(), "{error}");
        let text = error.to_string();
        assert!(text.contains("KAFKA_SSL_KEY") && text.contains("SOURCES_FILE"), "{text}");
    }

    #[tokio::test]
    async fn the_last_result_from_kafka_is_shown_until_the_next_query_has_ended() {
        let matches = <Command as clap::CommandFactory>::command().get_matches_from(["status"]);
        let args = Command::from_arg_matches(&matches).unwrap().status;
        let asking = Arc::new(args.targets().unwrap().inquiry(args.services).unwrap());
        let of = |error: &str| Asked::Failed(error.to_owned());
        let silent = tokio::spawn(std::future::pending());
        let mut kafka = Kafka { last: Some(of("before")), answered_at: Instant::now(), asking: Some(silent) };
        let answer = tokio::time::timeout(Duration::from_secs(10), kafka.answer(&asking)).await.unwrap();
        assert_eq!(answer.unwrap(), of("before"));
        // `answer` waits for the first result, and does not start another query at once.
        let now = tokio::spawn(async move { Asked::Failed("now".to_owned()) });
        kafka = Kafka { last: None, answered_at: Instant::now(), asking: Some(now) };
        assert_eq!(kafka.answer(&asking).await.unwrap(), of("now"));
        assert!(kafka.asking.is_none() && kafka.answer(&asking).await.unwrap() == of("now"));
    }
}
