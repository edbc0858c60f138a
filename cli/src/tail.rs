//! `tail`: events as they end.

use clap::Args;
use operator::rfc3339;
use operator::tail::{self, Ended, Outcome};
use serde_json::{Value, json};
use service::shutdown_on_signal;
use tokio_util::sync::CancellationToken;

use crate::exit::Interrupted;
use crate::output::{GREEN, RED, paint};
use crate::pipeline::Reached;
use crate::topics::TopicArgs;
use crate::{CommandError, Verdict, output};

/// Show events as they end: accepted by Platform or dead-lettered, until Ctrl-C
///
/// One line each: time, outcome, event, source, event id, and the age since the gateway received it. A person appears only
/// as the beginning of the hash that is the record's key. With --json, one JSON object a line.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    topics: TopicArgs,
}

pub(crate) async fn run(args: TailArgs, json: bool) -> Result<Verdict, CommandError> {
    let reached = Reached::by(&args.topics)?;
    let stop = CancellationToken::new();
    shutdown_on_signal(stop.clone())?;
    let follow = move || {
        let started = |has_receipts: bool| {
            output::problem(if has_receipts {
                "following; Ctrl-C ends it"
            } else {
                "following dead letters only: there is no receipts topic (RECEIPTS_TOPIC). Ctrl-C ends it"
            });
        };
        let show = |ended: &Ended| {
            if json {
                output::line(&as_json(ended).to_string());
            } else {
                output::styled(&line(ended));
            }
        };
        tail::run(reached.pipeline(), started, || !stop.is_cancelled(), show)
    };
    tokio::task::spawn_blocking(follow).await??;
    Err(Interrupted.into())
}

fn line(ended: &Ended) -> String {
    let or_none = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
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

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
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
    fn a_line_says_what_ended_how_and_after_how_long() {
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
}
