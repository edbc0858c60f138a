//! Follows a marked test event through the whole pipeline, and finds the flow run that contains the event.

use std::time::Duration;

use jiff::Timestamp;
use platform::control::{ControlClient, FlowRun, flow_runs};
use sources::SourceName;

use super::{Destination, Line};
use crate::round_trip::RoundTripError;
use crate::who::Who;

const ID: &str = "end_to_end";

/// Maximum wait for the receipt of a test event.
pub const RECEIPT: Duration = Duration::from_secs(60);

/// The reason why a test event is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// The round trip through the public URL did not succeed, and another line of the report contains the reason.
    OtherFinding,
    /// Kafka is not checked, so the receipt cannot be read.
    NoKafka,
    /// The sandbox is, or may be, a production sandbox, and its name was not confirmed.
    NotConfirmed {
        /// Name of the sandbox.
        name: String,
        /// True if it is known that the sandbox is a production sandbox.
        is_known: bool,
    },
    /// Platform would lose the event if it were sent before this time.
    TooEarly(Timestamp),
    /// The transformer writes events without an identity to the dead-letter topic, and the event would have none.
    NoIdentityAllowed,
    /// The events of this source do not have an identity in the namespace of the test identity.
    OtherNamespace {
        /// Namespaces in which the source's events have identities.
        known: Vec<String>,
    },
}

impl Destination {
    /// The reason why a test event must not be sent to this sandbox now; `None` if it may be sent.
    #[must_use]
    pub fn refuses(&self, sandbox: &str, confirmed: Option<&str>, now: Timestamp) -> Option<NotSent> {
        if self.is_production != Some(false) && confirmed != Some(sandbox) {
            let (name, is_known) = (sandbox.to_owned(), self.is_production.is_some());
            return Some(NotSent::NotConfirmed { name, is_known });
        }
        self.not_before.filter(|until| *until > now).map(NotSent::TooEarly)
    }
}

/// The outcome of a test event within [`RECEIPT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trace {
    /// Platform accepted the event: a receipt exists.
    Accepted {
        /// HTTP status of Platform's response.
        status: u16,
        /// Id of the batch in Platform's response.
        batch_id: Option<String>,
        /// Time from sending the event to the answer of Platform, according to the receipt.
        after: Duration,
    },
    /// The sink has committed the event's offset, and no receipts topic is configured.
    Inferred,
    /// The event was written to the dead-letter topic.
    DeadLetter {
        /// Machine-readable code of the reason.
        code: String,
        /// Text of the reason.
        message: String,
    },
    /// The gateway responded with 202, but the raw topic does not contain the event.
    NotStored,
    /// The transformer has not processed the event.
    BeforeTransformer,
    /// The sink has not delivered the event.
    BeforeSink,
    /// The sink has committed the event's offset, but there is no receipt.
    WithoutReceipt,
    /// The request to the public URL failed.
    Refused(RoundTripError),
    /// The topics could not be read.
    Unanswered(String),
}

fn asked(source: &SourceName) -> String {
    format!("a test event through the pipeline of source {source}")
}

/// The line about a test event that was not sent, with the reason.
#[must_use]
pub fn not_sent(source: &SourceName, reason: &NotSent) -> Line {
    let asked = asked(source);
    let bad = |found: String, step: String| Line::bad(ID, asked.clone(), format!("not sent: {found}"), Who::You, step);
    match reason {
        NotSent::OtherFinding => Line::skipped(ID, asked, "not sent: the round trip did not succeed"),
        NotSent::NoKafka => bad(
            "its receipt is in Kafka, which is not asked".to_owned(),
            "set KAFKA_BOOTSTRAP_SERVERS, and add kafka to --only".to_owned(),
        ),
        NotSent::NotConfirmed { name, is_known: true } => bad(
            format!("`{name}` is a PRODUCTION sandbox"),
            format!(
                "to send the test event anyway, add --confirm-sandbox {name}; the view in docs/use-in-platform.md leaves test events out"
            ),
        ),
        NotSent::NotConfirmed { name, is_known: false } => bad(
            "it is not known whether the event would reach a production sandbox".to_owned(),
            format!("resolve the findings about Platform first, or add --confirm-sandbox {name}"),
        ),
        NotSent::TooEarly(until) => {
            let found = format!(
                "not sent: Platform loses events until {until}, because a flow or schema was changed a moment ago"
            );
            Line::unanswered(ID, asked, found, "run this again after that time, or with --wait")
        }
        NotSent::NoIdentityAllowed => bad(
            "ON_MISSING_IDENTITY=dead-letter, and the event has no identity".to_owned(),
            "give it the identity of a test person: --test-identity NAMESPACE:VALUE".to_owned(),
        ),
        NotSent::OtherNamespace { known } => bad(
            "the namespace of --test-identity is not one of this source".to_owned(),
            format!("name one of these: {}", known.join(", ")),
        ),
    }
}

/// The line for a run in which no source is checked.
#[must_use]
pub fn no_source() -> Line {
    let step = "add customerio to --only";
    Line::bad(ID, "a test event through the pipeline", "not sent: no source is checked", Who::You, step)
}

/// The line for a check with `--wait-run` that could not wait for a flow run.
#[must_use]
pub fn run_not_searched(source: &SourceName) -> Line {
    let found = "not waited for: there is no receipt of the event, or the flow is not known";
    Line::bad(
        ID,
        format!("the flow's run with the test event of source {source}"),
        found,
        Who::You,
        "set RECEIPTS_TOPIC and resolve the findings about Platform; --only must contain platform",
    )
}

/// The line about the outcome of a test event that was sent.
#[must_use]
pub fn received(source: &SourceName, event_id: &str, trace: &Trace) -> Line {
    let asked = format!("{} ({event_id})", asked(source));
    let seconds = RECEIPT.as_secs();
    let bad = |found: String, step: &str| Line::bad(ID, asked.clone(), found, Who::You, step);
    match trace {
        Trace::Accepted { status, batch_id, after } => {
            let batch = batch_id.as_deref().map(|id| format!(", batch {id}")).unwrap_or_default();
            let found = format!("accepted by Platform after {:.1} s (HTTP {status}{batch})", after.as_secs_f64());
            Line::good(ID, asked, found)
        }
        Trace::Inferred => Line::note(
            ID,
            asked,
            "delivered according to the sink's committed offset; without RECEIPTS_TOPIC there is no proof",
        ),
        Trace::DeadLetter { code, message } => bad(
            format!("it became a dead letter: {code} ({message})"),
            "docs/dead-letters.md explains the code; `customerio-aep dead-letters list` shows it",
        ),
        Trace::NotStored => bad(
            "the public URL answered 202, and the raw topic has no such event".to_owned(),
            "compare KAFKA_BOOTSTRAP_SERVERS and RAW_TOPIC with those of the gateway that the public URL leads to",
        ),
        Trace::BeforeTransformer => bad(
            format!("the transformer has not processed it within {seconds} s"),
            "check that a transformer runs, with this RAW_TOPIC, and is not on hold (its /readyz and log)",
        ),
        Trace::BeforeSink => bad(
            format!("the sink has not delivered it within {seconds} s"),
            "check that a sink runs and is not on hold (its /readyz and log; customerio_sink_held)",
        ),
        Trace::WithoutReceipt => bad(
            "delivered according to the sink's committed offset, and there is no receipt".to_owned(),
            "check that the sink writes to this RECEIPTS_TOPIC; then run `customerio-aep audit`",
        ),
        Trace::Refused(error) => bad(error.to_string(), "as the text says"),
        Trace::Unanswered(text) => Line::unanswered(ID, asked, text.clone(), "check Kafka and this user's ACLs"),
    }
}

/// Parameters of the wait for a flow run.
#[derive(Debug)]
pub struct RunSearch<'s> {
    /// Client of Platform's APIs.
    pub client: &'s ControlClient,
    /// Id of the flow.
    pub flow_id: &'s str,
    /// Time at which Platform accepted the event, in milliseconds since 1970.
    pub at: i64,
    /// Maximum wait for the end of the run.
    pub within: Duration,
    /// Time between two requests.
    pub interval: Duration,
}

/// Maximum age, in milliseconds, of an open run that can contain an event. Platform reports runs once an hour, and some
/// runs never end, so an older open run does not count as the run of the event.
const LONGEST_RUN: i64 = 2 * 60 * 60 * 1000;

/// The run that contains an event accepted at the time `at`, in milliseconds since 1970: the earliest run that had not
/// ended by then.
fn run_at(runs: &[FlowRun], at: i64) -> Option<&FlowRun> {
    let may_have = |run: &&FlowRun| match (run.started_at, run.completed_at) {
        (None, _) => false,
        (Some(_), Some(end)) => at < end,
        (Some(start), None) => at - start < LONGEST_RUN,
    };
    runs.iter().filter(may_have).min_by_key(|run| run.started_at)
}

/// Waits until the flow run of the event has ended, and returns a line with its counts.
pub async fn run_of_flow(search: &RunSearch<'_>) -> Line {
    let asked = "the flow's run with this event";
    let end = tokio::time::Instant::now() + search.within;
    loop {
        let last = match search.client.list(&flow_runs(search.flow_id)).await {
            Err(error) => error.kind.to_string(),
            Ok(runs) => match run_at(&runs, search.at) {
                None => "there is no run yet; Platform reports them once an hour".to_owned(),
                Some(run) if run.completed_at.is_none() => {
                    "it is not over yet; Platform reports runs once an hour".to_owned()
                }
                Some(run) => return of_run(asked, run),
            },
        };
        if tokio::time::Instant::now() + search.interval > end {
            let step =
                "wait longer with --wait-run, for example 90m, or look at Sources > Dataflows on Platform's screen";
            return Line::unanswered(ID, asked, last, step);
        }
        tokio::time::sleep(search.interval).await;
    }
}

fn of_run(asked: &str, run: &FlowRun) -> Line {
    let count = |count: Option<i64>| count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    let found = format!(
        "{}: {} records received, {} ingested, {} failed",
        run.status.as_deref().unwrap_or("over"),
        count(run.received),
        count(run.ingested),
        count(run.failed)
    );
    if run.failed.unwrap_or_default() == 0 && run.status.as_deref() != Some("failed") {
        return match run.received {
            Some(1..) => Line::good(ID, asked, found),
            _ => Line::note(ID, asked, format!("{found}; Platform does not say that it has the event")),
        };
    }
    let reasons: Vec<String> = run
        .errors
        .iter()
        .map(|error| {
            format!("{} {}", error.code.as_deref().unwrap_or_default(), error.message.as_deref().unwrap_or_default())
        })
        .collect();
    let found = format!("{found}; {}", reasons.join("; "));
    let step = "records that Platform refuses after it has accepted them are in the dataset's failed batches (Datasets > the dataset > the batch); compare the schema with this version: `customerio-aep setup plan`";
    Line::bad(ID, asked, found, Who::You, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    fn destination(is_production: Option<bool>) -> Destination {
        Destination { is_production, ..Destination::default() }
    }

    #[test]
    fn a_production_or_unknown_sandbox_must_be_confirmed_by_name() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(destination(Some(false)).refuses("dev", None, now), None);
        for is_production in [Some(true), None] {
            for confirmed in [None, Some("dev")] {
                let refused = destination(is_production).refuses("prod", confirmed, now).unwrap();
                let line = not_sent(&SourceName::default(), &refused);
                assert_eq!(line.level, Level::Bad);
                assert!(line.next.unwrap().step.contains("--confirm-sandbox prod"));
            }
            assert_eq!(destination(is_production).refuses("prod", Some("prod"), now), None);
        }
    }

    #[test]
    fn an_old_run_that_never_ends_is_not_selected_for_a_new_event() {
        let hour = 3_600_000;
        let run = |id: &str, started_at: i64, completed_at: Option<i64>| FlowRun {
            id: id.to_owned(),
            started_at: Some(started_at),
            completed_at,
            ..FlowRun::default()
        };
        let runs = [run("stuck", hour, None), run("before", 8 * hour, Some(9 * hour)), run("its", 9 * hour, None)];
        let found = |at: i64| run_at(&runs, at).map(|run| run.id.clone());
        assert_eq!(found(9 * hour + 1).as_deref(), Some("its"));
        assert_eq!(found(8 * hour + 1).as_deref(), Some("before"));
        assert_eq!(found(20 * hour), None);
    }

    #[test]
    fn an_event_that_platform_would_lose_is_not_sent() {
        let until = Timestamp::from_second(10).unwrap();
        let early = Destination { not_before: Some(until), ..destination(Some(false)) };
        assert_eq!(early.refuses("dev", None, Timestamp::UNIX_EPOCH), Some(NotSent::TooEarly(until)));
        assert_eq!(early.refuses("dev", None, until), None);
        let line = not_sent(&SourceName::default(), &NotSent::TooEarly(until));
        assert!(line.may_pass() && line.found.contains("1970-01-01T00:00:10Z"), "{line:?}");
    }

    #[test]
    fn only_a_receipt_makes_the_end_to_end_check_good() {
        let line = |trace: Trace| received(&SourceName::default(), "id", &trace);
        let accepted =
            Trace::Accepted { status: 207, batch_id: Some("b".to_owned()), after: Duration::from_millis(1500) };
        let accepted = line(accepted);
        assert_eq!(
            (accepted.level, accepted.found.as_str()),
            (Level::Good, "accepted by Platform after 1.5 s (HTTP 207, batch b)")
        );
        assert_eq!(line(Trace::Inferred).level, Level::Note);
        for trace in [
            Trace::NotStored,
            Trace::BeforeTransformer,
            Trace::BeforeSink,
            Trace::WithoutReceipt,
            Trace::DeadLetter { code: "c".to_owned(), message: "m".to_owned() },
            Trace::Refused(RoundTripError::NoAnswer),
            Trace::Unanswered("x".to_owned()),
        ] {
            let line = line(trace);
            assert!(line.level >= Level::Unanswered && line.next.is_some(), "{line:?}");
        }
    }

    #[test]
    fn the_flow_run_of_an_event_is_found_by_the_events_time() {
        let run = |id: &str, start: i64, end: Option<i64>| FlowRun {
            id: id.to_owned(),
            started_at: Some(start),
            completed_at: end,
            ..FlowRun::default()
        };
        let runs = [run("open", 20, None), run("over", 10, Some(20)), FlowRun::default()];
        let found = |at| run_at(&runs, at).map(|run| run.id.as_str());
        assert_eq!([found(10), found(19), found(25)], [Some("over"), Some("over"), Some("open")]);
        assert_eq!(run_at(&runs[1..], 25), None);
        // A run can contain an event that Platform accepted before the run began.
        assert_eq!(found(9), Some("over"));
        let failed = FlowRun { failed: Some(2), received: Some(3), ..runs[1].clone() };
        let line = of_run("run", &failed);
        assert!(
            line.level == Level::Bad && line.found.contains("3 records received, unknown ingested, 2 failed"),
            "{line:?}"
        );
        let received = FlowRun { received: Some(3), ..runs[1].clone() };
        assert_eq!(of_run("run", &received).level, Level::Good);
        assert_eq!(of_run("run", &runs[1]).level, Level::Note, "the number of records is unknown");
    }
}
