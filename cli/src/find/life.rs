//! Puts together what was found: one history for each event, in the order of time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::search::{Answer, Found, FoundDeadLetter, Raw, Typed};
use crate::when::show;

/// Something that happened to an event.
#[derive(Debug, Clone)]
struct Step {
    time: i64,
    /// Among what happened in the same millisecond.
    rank: u8,
    name: &'static str,
    /// The position of the record that this step comes from.
    place: String,
    detail: String,
    facts: Value,
}

/// The history of one event.
#[derive(Debug)]
pub(super) struct Life {
    event_id: Option<String>,
    state: &'static str,
    steps: Vec<Step>,
}

/// The records of one event.
#[derive(Debug, Default)]
struct Traces {
    raw: Vec<Raw>,
    typed: Vec<Typed>,
    dead_letters: Vec<FoundDeadLetter>,
    answers: Vec<Answer>,
}

/// Returns the histories, in the order of their first steps.
pub(super) fn lives(found: Found) -> Vec<Life> {
    // A body without an event id has its own history, by its position.
    let mut events: BTreeMap<(Option<String>, String), Traces> = BTreeMap::new();
    let group = |id: &Option<String>, place: String| match id {
        Some(id) => (Some(id.clone()), String::new()),
        None => (None, place),
    };
    let Found { raw, typed, dead_letters, answers, transformer, sink, receipts_kept } = found;
    for raw in raw {
        events.entry(group(&raw.event_id, raw.place.to_string())).or_default().raw.push(raw);
    }
    for typed in typed {
        events.entry((Some(typed.event_id.clone()), String::new())).or_default().typed.push(typed);
    }
    for dead_letter in dead_letters {
        let origin = dead_letter.dead_letter.origin.as_ref();
        let of = origin.map_or_else(|| dead_letter.place.to_string(), |of| format!("{}:{}", of.partition, of.offset));
        events.entry(group(&dead_letter.event_id, of)).or_default().dead_letters.push(dead_letter);
    }
    for answer in answers {
        events.entry((Some(answer.event_id.clone()), String::new())).or_default().answers.push(answer);
    }
    let behind = |committed: &BTreeMap<i32, i64>, partition: i32, offset: i64| {
        committed.get(&partition).is_some_and(|&committed| offset < committed)
    };
    let mut lives: Vec<Life> = events
        .into_iter()
        .map(|((event_id, _), traces)| {
            let raw_done = traces.raw.iter().all(|raw| behind(&transformer, raw.place.partition, raw.place.offset));
            let typed_done = traces.typed.iter().all(|typed| behind(&sink, typed.place.partition, typed.place.offset));
            let state = state(&traces, raw_done, typed_done, receipts_kept);
            Life { event_id, state, steps: steps(&traces, &transformer) }
        })
        .collect();
    lives.sort_by_key(|life| life.steps.first().map(|step| step.time));
    lives
}

/// Returns where the event is. `raw_done` and `typed_done` say whether the services have committed all its records.
fn state(traces: &Traces, raw_done: bool, typed_done: bool, receipts_kept: bool) -> &'static str {
    let open = traces
        .dead_letters
        .iter()
        .any(|dead_letter| dead_letter.closed.is_none() && dead_letter.dead_letter.stage.as_str() != "platform");
    if traces.answers.iter().any(|answer| answer.accepted) {
        if traces.dead_letters.iter().any(|dead_letter| dead_letter.dead_letter.stage.as_str() == "platform") {
            "rejected by Platform after acceptance"
        } else {
            "accepted"
        }
    } else if open {
        "dead letter, open"
    } else if !raw_done {
        "waiting for the transformer"
    } else if !traces.typed.is_empty() && !typed_done {
        "waiting for the sink"
    } else if traces
        .dead_letters
        .iter()
        .any(|dead_letter| dead_letter.closed.as_ref().is_some_and(|closed| closed.resolution.as_str() == "discarded"))
    {
        "dead letter, discarded"
    } else if traces.typed.is_empty() {
        "stored, but its outcome is not known: run `audit`"
    } else if receipts_kept {
        "delivered according to the sink's committed offset, but without a receipt: run `audit`"
    } else {
        "accepted, according to the sink's committed offset"
    }
}

fn steps(traces: &Traces, transformer: &BTreeMap<i32, i64>) -> Vec<Step> {
    let mut steps = Vec::new();
    for raw in &traces.raw {
        let replay = raw.replay_of.as_ref().map(|of| format!("replay of the dead letter {of}"));
        let name = if replay.is_some() { "received again" } else { "received" };
        steps.push(Step {
            time: raw.time,
            rank: 0,
            name,
            place: format!("raw {}", raw.place),
            detail: replay.unwrap_or_else(|| format!("source {}", raw.source)),
            facts: json!({"source": raw.source, "replayOf": raw.replay_of}),
        });
        let has_outcome =
            |offset: Option<i64>, partition: i32| offset == Some(raw.place.offset) && partition == raw.place.partition;
        let typed = traces.typed.iter().any(|typed| has_outcome(typed.raw_offset, typed.place.partition));
        let dead_letter = traces.dead_letters.iter().any(|dead_letter| {
            dead_letter.dead_letter.stage.as_str() == "transformer"
                && dead_letter.dead_letter.origin.as_ref().is_some_and(|of| has_outcome(Some(of.offset), of.partition))
        });
        let done = transformer.get(&raw.place.partition).is_some_and(|&committed| raw.place.offset < committed);
        let earlier = traces
            .typed
            .iter()
            .any(|typed| typed.place.partition == raw.place.partition && typed.raw_offset < Some(raw.place.offset));
        if !typed && !dead_letter && done && earlier {
            steps.push(Step {
                time: raw.time,
                rank: 1,
                name: "duplicate",
                place: format!("raw {}", raw.place),
                detail: "its event was typed before".to_owned(),
                facts: json!({}),
            });
        }
    }
    for typed in &traces.typed {
        let detail = match (&typed.replay_of, typed.raw_offset) {
            (Some(of), _) => format!("sent again, as a replay of the dead letter {of}"),
            (None, Some(offset)) => format!("of raw {}:{offset}", typed.place.partition),
            (None, None) => "without the offset of a raw record".to_owned(),
        };
        steps.push(Step {
            time: typed.time,
            rank: 2,
            name: "mapped",
            place: format!("typed {}", typed.place),
            detail,
            facts: json!({"rawOffset": typed.raw_offset, "replayOf": typed.replay_of}),
        });
    }
    steps.extend(traces.answers.iter().map(answered));
    for dead_letter in &traces.dead_letters {
        let head = &dead_letter.dead_letter;
        let cut = head.cut.as_ref();
        let of = cut.map(|cut| format!("; cut, of {} bytes with SHA-256 {}", cut.size, cut.sha256)).unwrap_or_default();
        steps.push(Step {
            time: dead_letter.time,
            rank: 4,
            name: "dead-lettered",
            place: format!("dead letter {}", dead_letter.place),
            detail: format!("by {}: {} ({}){of}", head.stage, head.code, head.message),
            facts: json!({
                "stage": head.stage.as_str(),
                "code": head.code,
                "message": head.message,
                "originalSize": cut.map(|cut| cut.size),
                "originalSha256": cut.map(|cut| cut.sha256.as_str()),
            }),
        });
        if let Some(closed) = &dead_letter.closed {
            let by = closed.by.as_deref().unwrap_or("unknown");
            let note = closed.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            steps.push(Step {
                time: closed.at.unwrap_or(dead_letter.time),
                rank: 5,
                name: closed.resolution.as_str(),
                place: format!("dead letter {}", dead_letter.place),
                detail: format!("by {by}{note}"),
                facts: json!({"by": closed.by, "note": closed.note}),
            });
        }
    }
    steps.sort_by_key(|step| (step.time, step.rank));
    steps
}

fn answered(answer: &Answer) -> Step {
    let or_none = |id: &Option<String>| id.clone().unwrap_or_else(|| "none".to_owned());
    Step {
        time: answer.time,
        rank: 3,
        name: if answer.accepted { "accepted" } else { "refused" },
        place: format!("typed {}", answer.typed),
        detail: format!(
            "status {}, batch {}, xaction {}",
            answer.status,
            or_none(&answer.batch_id),
            or_none(&answer.xaction_id)
        ),
        facts: json!({"status": answer.status, "batchId": answer.batch_id, "xactionId": answer.xaction_id}),
    }
}

impl Life {
    pub(super) fn lines(&self) -> Vec<String> {
        let id = self.event_id.as_deref().unwrap_or("(no event id)");
        let mut lines = vec![format!("{id}: {}", self.state)];
        for step in &self.steps {
            lines.push(format!("  {}  {:<14}  {:<24}  {}", show(step.time), step.name, step.place, step.detail));
        }
        lines
    }

    pub(super) fn json(&self) -> Value {
        let step = |step: &Step| json!({"at": show(step.time), "what": step.name, "record": step.place, "details": step.facts});
        json!({
            "eventId": self.event_id,
            "state": self.state,
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use kafka::dead_letter::{Closed, DeadLetter, DeadLetterOrigin, Resolution, Stage};

    use super::*;

    fn found() -> Found {
        let raw = |place: &str, time, replay_of: Option<&str>| Raw {
            place: place.parse().unwrap(),
            time,
            event_id: Some("01X".to_owned()),
            source: "default".to_owned(),
            replay_of: replay_of.map(str::to_owned),
        };
        let typed = Typed {
            place: "0:3".parse().unwrap(),
            time: 20,
            event_id: "01X".to_owned(),
            raw_offset: Some(5),
            replay_of: None,
        };
        Found {
            raw: vec![raw("0:5", 10, None), raw("0:6", 15, None)],
            typed: vec![typed],
            transformer: BTreeMap::from([(0, 10)]),
            sink: BTreeMap::from([(0, 3)]),
            receipts_kept: true,
            ..Found::default()
        }
    }

    fn names(life: &Life) -> Vec<&'static str> {
        life.steps.iter().map(|step| step.name).collect()
    }

    fn dead_letter(stage: Stage, closed: Option<Resolution>) -> FoundDeadLetter {
        let origin = DeadLetterOrigin { topic: "typed".to_owned(), partition: 0, offset: 3 };
        let closed = closed.map(|resolution| Closed {
            dead_letter: 1,
            resolution,
            by: None,
            note: Some("fixed".to_owned()),
            at: Some(40),
        });
        FoundDeadLetter {
            place: "0:1".parse().unwrap(),
            time: 30,
            event_id: Some("01X".to_owned()),
            dead_letter: DeadLetter {
                stage,
                code: "refused".to_owned(),
                message: "no".to_owned(),
                origin: Some(origin),
                at: Some(30),
                cut: None,
            },
            closed,
        }
    }

    fn only(found: Found) -> Life {
        let mut lives = lives(found);
        assert_eq!(lives.len(), 1);
        lives.remove(0)
    }

    #[test]
    fn the_steps_are_shown_in_order() {
        let life = only(found());
        assert_eq!(names(&life), ["received", "received", "duplicate", "mapped"]);
        assert_eq!(life.state, "waiting for the sink");
        assert!(life.lines()[0].contains("01X"));
        assert_eq!(life.json()["steps"][3]["what"], "mapped");

        let mut accepted = found();
        accepted.answers.push(Answer {
            typed: "0:3".parse().unwrap(),
            event_id: "01X".to_owned(),
            time: 25,
            status: 207,
            accepted: true,
            batch_id: Some("b".to_owned()),
            xaction_id: None,
        });
        let life = only(accepted);
        assert_eq!((life.state, life.steps.last().unwrap().name), ("accepted", "accepted"));
        assert!(life.lines().last().unwrap().contains("batch b"));
    }

    #[test]
    fn the_state_is_where_the_event_is() {
        let mut refused = found();
        refused.dead_letters.push(dead_letter(Stage::Sink, None));
        assert_eq!(only(refused).state, "dead letter, open");
        let (mut cut, mut whole) = (found(), dead_letter(Stage::Sink, None));
        whole.dead_letter.cut = Some(kafka::dead_letter::Cut { size: 9_437_184, sha256: "ab".repeat(32) });
        cut.dead_letters.push(whole);
        let life = only(cut);
        assert!(life.lines()[5].contains("9437184 bytes") && life.lines()[5].contains("abab"), "{:?}", life.lines());
        assert_eq!(life.json()["steps"][4]["details"]["originalSize"], 9_437_184);
        let mut closed = found();
        closed.sink.insert(0, 4);
        closed.dead_letters.push(dead_letter(Stage::Sink, Some(Resolution::Discarded)));
        let life = only(closed);
        assert_eq!(life.state, "dead letter, discarded");
        assert_eq!(names(&life)[4..], ["dead-lettered", "discarded"]);
        let mut behind = found();
        behind.transformer.insert(0, 6);
        assert_eq!(only(behind).state, "waiting for the transformer");
        let mut silent = found();
        silent.sink.insert(0, 4);
        assert!(only(silent).state.contains("audit"));
        let mut inferred = found();
        inferred.sink.insert(0, 4);
        inferred.receipts_kept = false;
        assert!(only(inferred).state.starts_with("accepted"));
        let mut lost = found();
        lost.typed.clear();
        assert!(only(lost).state.contains("not known"));
    }

    #[test]
    fn bodies_without_an_id_have_their_own_histories() {
        let mut found = found();
        for raw in &mut found.raw {
            raw.event_id = None;
        }
        found.typed.clear();
        assert_eq!(lives(found).len(), 2);
    }
}
