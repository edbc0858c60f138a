//! `tail`: shows events when they end.

use std::time::Duration;

use clap::Args;
use operator::rfc3339;
use operator::tail::{self, Ended, News, Outcome};
use serde_json::{Value, json};
use service::shutdown_on_signal;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::Interrupted;
use crate::output::{GREEN, RED, Reader, paint};
use crate::pipeline::Reached;
use crate::printable::printable;
use crate::topics::TopicArgs;
use crate::{CommandError, Verdict, output};

/// Show events as they end: accepted by Platform or dead-lettered, until Ctrl-C
///
/// It also ends, with exit code 0, when no one reads its output any more, as after `| head`. One line each: time, outcome, event, source, event id, and the age since the gateway received it. A person appears only
/// as the beginning of the hash that is the record's key. With --json, one JSON object a line.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    topics: TopicArgs,
}

/// Maximum wait after Ctrl-C for the brokers' response to the request in progress.
const LAST_ANSWER: Duration = Duration::from_millis(500);

pub(crate) async fn run(args: TailArgs, json: bool) -> Result<Verdict, CommandError> {
    let reached = Reached::by(&args.topics)?;
    let (stop, reader_has_left) = (CancellationToken::new(), CancellationToken::new());
    shutdown_on_signal(stop.clone())?;
    let goes_on = until(&stop, &reader_has_left);
    let left = reader_has_left.clone();
    let follow = move || {
        let hears = |news: &News| output::problem(&words(news));
        let show = |ended: &Ended| {
            let reader =
                if json { output::json_line(&as_json(ended)) } else { output::styled_for_a_reader(&line(ended)) };
            if reader == Reader::HasLeft {
                left.cancel();
            }
        };
        tail::run(reached.pipeline(), hears, goes_on, show)
    };
    let following = tokio::task::spawn_blocking(follow);
    finished(following, &stop, &reader_has_left).await
}

/// Returns a function that returns true until the command is stopped or no one reads its output.
fn until(stop: &CancellationToken, reader_has_left: &CancellationToken) -> impl Fn() -> bool + Send + use<> {
    let (stop, reader_has_left) = (stop.clone(), reader_has_left.clone());
    move || !stop.is_cancelled() && !reader_has_left.is_cancelled()
}

/// Waits until the task `following`, which reads the topics, has ended. After Ctrl-C, the wait is at most
/// [`LAST_ANSWER`], because the brokers may not respond.
async fn finished<E: Into<CommandError>>(
    mut following: JoinHandle<Result<(), E>>,
    stop: &CancellationToken,
    reader_has_left: &CancellationToken,
) -> Result<Verdict, CommandError> {
    let ended = tokio::select! {
        ended = &mut following => Some(ended),
        () = stop.cancelled() => tokio::time::timeout(LAST_ANSWER, &mut following).await.ok(),
    };
    if let Some(ended) = ended {
        ended?.map_err(Into::into)?;
    }
    if reader_has_left.is_cancelled() { Ok(Verdict::Good) } else { Err(Interrupted.into()) }
}

fn words(news: &News) -> String {
    match news {
        News::Started { has_receipts: true } => "following; Ctrl-C ends it".to_owned(),
        News::Started { has_receipts: false } => {
            "following dead letters only: there is no receipts topic (RECEIPTS_TOPIC). Ctrl-C ends it".to_owned()
        }
        News::Trouble(what) => format!("trying again: {}", printable(what)),
    }
}

fn line(ended: &Ended) -> String {
    let or_none =
        |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), |text| printable(text).into_owned());
    let outcome = match &ended.outcome {
        Outcome::Accepted { .. } => paint(GREEN, "accepted     "),
        Outcome::DeadLettered { .. } => paint(RED, "dead-lettered"),
    };
    let detail = match &ended.outcome {
        Outcome::Accepted { batch_id } => format!("batch {}", or_none(batch_id)),
        Outcome::DeadLettered { stage, code, position } => {
            format!("{stage}: {} (dead letter {position})", printable(code))
        }
    };
    let age = ended.age.map_or_else(|| "-".to_owned(), |age| format!("{age} ms"));
    format!(
        "{}  {outcome}  {:<22}  {:<10}  {:<26}  person {:<8}  {age:>8}  {detail}",
        rfc3339(ended.time),
        or_none(&ended.event),
        or_none(&ended.source),
        or_none(&ended.event_id),
        or_none(&ended.person),
    )
}

fn as_json(ended: &Ended) -> Value {
    let mut value = json!({
        "version": 1,
        "at": rfc3339(ended.time),
        "outcome": ended.outcome.as_str(),
        "event": ended.event,
        "source": ended.source,
        "eventId": ended.event_id,
        "person": ended.person,
        "ageMs": ended.age,
    });
    match &ended.outcome {
        Outcome::Accepted { batch_id } => value["batchId"] = json!(batch_id),
        Outcome::DeadLettered { stage, code, position } => {
            value["stage"] = json!(stage.as_str());
            value["code"] = json!(code);
            value["deadLetter"] = json!(position.to_string());
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use contract::Position;
    use contract::dead_letter::Stage;

    use super::*;
    use crate::printable::tests::{HOSTILE, is_safe};

    fn ended(outcome: Outcome) -> Ended {
        Ended {
            time: 1_700_000_001_480,
            outcome,
            event_id: Some("01X".to_owned()),
            source: Some("default".to_owned()),
            event: Some("email_opened".to_owned()),
            person: Some("bbb36600".to_owned()),
            age: Some(180),
        }
    }

    #[test]
    fn a_line_shows_the_outcome_the_event_and_its_age() {
        let shown = |outcome| anstream::adapter::strip_str(&line(&ended(outcome))).to_string();
        let accepted = shown(Outcome::Accepted { batch_id: Some("b".to_owned()) });
        let words: Vec<_> = accepted.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "2023-11-14T22:13:21.480Z",
                "accepted",
                "email_opened",
                "default",
                "01X",
                "person",
                "bbb36600",
                "180",
                "ms",
                "batch",
                "b"
            ]
        );
        let (code, position) = ("not\x1b_json".to_owned(), Position::new(3, 12));
        let dead_letter = Outcome::DeadLettered { stage: Stage::Transformer, code, position };
        assert!(shown(dead_letter.clone()).ends_with("transformer: not _json (dead letter 3:12)"));
        let json = as_json(&ended(dead_letter));
        assert_eq!((&json["outcome"], &json["deadLetter"]), (&"dead_lettered".into(), &"3:12".into()));
    }

    #[tokio::test]
    async fn tail_ends_when_its_output_is_closed_and_at_ctrl_c_even_if_the_brokers_do_not_respond() {
        let (stop, left) = (CancellationToken::new(), CancellationToken::new());
        let goes_on = until(&stop, &left);
        assert!(goes_on());
        left.cancel();
        assert!(!goes_on());
        let done = || tokio::spawn(async { Ok::<(), CommandError>(()) });
        assert_eq!(finished(done(), &stop, &left).await.unwrap(), Verdict::Good);
        let failed = tokio::spawn(async { Err::<(), CommandError>("denied".into()) });
        assert_eq!(finished(failed, &stop, &left).await.unwrap_err().to_string(), "denied");
        let (stop, left) = (CancellationToken::new(), CancellationToken::new());
        stop.cancel();
        let silent = tokio::spawn(std::future::pending::<Result<(), CommandError>>());
        let waiting = finished(silent, &stop, &left);
        let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap();
        assert!(ended.unwrap_err().is::<Interrupted>());
    }

    #[test]
    fn control_characters_in_fields_of_an_event_are_replaced() {
        let some = || Some(HOSTILE.to_owned());
        let (code, position) = (HOSTILE.to_owned(), Position::new(3, 12));
        let dead_letter = Outcome::DeadLettered { stage: Stage::Transformer, code, position };
        for outcome in [dead_letter, Outcome::Accepted { batch_id: some() }] {
            let ended = Ended { event_id: some(), source: some(), event: some(), person: some(), ..ended(outcome) };
            let line = line(&ended);
            assert!(is_safe(&line), "{line:?}");
        }
    }
}
