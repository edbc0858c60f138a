//! Formats the history of an event as text and as JSON.

use operator::find::{Step, StepKind, Timeline};
use operator::rfc3339;
use serde_json::{Value, json};

use crate::printable::printable;

pub(super) fn lines(timeline: &Timeline) -> Vec<String> {
    let mut lines = vec![summary(timeline)];
    lines.extend(timeline.steps.iter().map(step_line));
    lines
}

/// The event id and the state of an event.
pub(crate) fn summary(timeline: &Timeline) -> String {
    let id = timeline.event_id.as_deref().unwrap_or("(no event id)");
    format!("{}: {}", printable(id), timeline.state.as_str())
}

/// The line of one step.
pub(crate) fn step_line(step: &Step) -> String {
    let (time, name, record) = (rfc3339(step.time), step.kind.as_str(), step.record.to_string());
    format!("  {time}  {name:<14}  {record:<24}  {}", printable(&detail(step)))
}

pub(crate) fn json(timeline: &Timeline) -> Value {
    let step = |step: &Step| {
        json!({
            "at": rfc3339(step.time),
            "what": step.kind.as_str(),
            "record": step.record.to_string(),
            "details": details(&step.kind),
        })
    };
    json!({
        "eventId": timeline.event_id,
        "state": timeline.state.as_str(),
        "steps": timeline.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn detail(step: &Step) -> String {
    let or_none = |id: &Option<String>| id.clone().unwrap_or_else(|| "none".to_owned());
    match &step.kind {
        StepKind::Received { replay_of: Some(of), .. } => format!("replay of the dead letter {of}"),
        StepKind::Received { source, replay_of: None } => format!("source {source}"),
        StepKind::Duplicate => "its event was typed before".to_owned(),
        StepKind::Mapped { replay_of: Some(of), .. } => format!("sent again, as a replay of the dead letter {of}"),
        StepKind::Mapped { raw_offset: Some(offset), .. } => {
            format!("of raw {}:{offset}", step.record.position().partition)
        }
        StepKind::Mapped { .. } => "without the offset of a raw record".to_owned(),
        StepKind::Answered { status, batch_id, xaction_id, .. } => {
            format!("status {status}, batch {}, xaction {}", or_none(batch_id), or_none(xaction_id))
        }
        StepKind::DeadLettered { stage, code, message, cut } => {
            let cut = cut.as_ref();
            let of = cut.map(|cut| format!("; cut, of {} bytes with SHA-256 {}", cut.size, cut.sha256));
            format!("by {stage}: {code} ({message}){}", of.unwrap_or_default())
        }
        StepKind::Resolved { by, note, .. } => {
            let note = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            format!("by {}{note}", by.as_deref().unwrap_or("unknown"))
        }
    }
}

fn details(kind: &StepKind) -> Value {
    match kind {
        StepKind::Received { source, replay_of } => json!({"source": source, "replayOf": replay_of}),
        StepKind::Duplicate => json!({}),
        StepKind::Mapped { raw_offset, replay_of } => {
            json!({"rawOffset": raw_offset.map(|offset| offset.0), "replayOf": replay_of})
        }
        StepKind::Answered { status, batch_id, xaction_id, .. } => {
            json!({"status": status, "batchId": batch_id, "xactionId": xaction_id})
        }
        StepKind::DeadLettered { stage, code, message, cut } => json!({
            "stage": stage.as_str(),
            "code": code,
            "message": message,
            "originalSize": cut.as_ref().map(|cut| cut.size),
            "originalSha256": cut.as_ref().map(|cut| cut.sha256.as_str()),
        }),
        StepKind::Resolved { by, note, .. } => json!({"by": by, "note": note}),
    }
}

#[cfg(test)]
mod tests {
    use contract::dead_letter::{Cut, ResolutionKind, Stage};
    use contract::{Offset, Position};
    use operator::find::{State, StepRecord};

    use super::*;
    use crate::printable::tests::{HOSTILE, is_safe};

    fn timeline(record: StepRecord, kind: StepKind) -> Timeline {
        let steps = vec![Step { time: 1_700_000_001_480, record, kind }];
        Timeline { event_id: Some("01X".to_owned()), state: State::WaitingForSink, steps, is_complete: true }
    }

    #[test]
    fn each_step_of_an_event_is_shown_with_its_time_its_record_and_its_details() {
        let typed = StepRecord::Typed(Position::new(0, 3));
        let mapped = timeline(typed, StepKind::Mapped { raw_offset: Some(Offset(5)), replay_of: None });
        assert_eq!(lines(&mapped)[0], "01X: waiting for the sink");
        assert_eq!(
            lines(&mapped)[1],
            "  2023-11-14T22:13:21.480Z  mapped          typed 0:3                 of raw 0:5"
        );
        let json = json(&mapped);
        assert_eq!(
            (&json["steps"][0]["what"], &json["steps"][0]["details"]["rawOffset"]),
            (&"mapped".into(), &5.into())
        );
        let batch_id = Some("b".to_owned());
        let answered = StepKind::Answered { accepted: true, status: 207, batch_id, xaction_id: None };
        assert!(lines(&timeline(typed, answered))[1].ends_with("status 207, batch b, xaction none"));
    }

    #[test]
    fn control_characters_in_fields_of_an_event_are_replaced() {
        let text = || HOSTILE.to_owned();
        let some = || Some(text());
        let kinds = [
            StepKind::Received { source: text(), replay_of: None },
            StepKind::Received { source: text(), replay_of: some() },
            StepKind::Mapped { raw_offset: None, replay_of: some() },
            StepKind::Answered { accepted: true, status: 207, batch_id: some(), xaction_id: some() },
            StepKind::DeadLettered {
                stage: Stage::Platform,
                code: text(),
                message: text(),
                cut: Some(Cut { size: 1, sha256: text() }),
            },
            StepKind::Resolved { kind: ResolutionKind::Discarded, by: some(), note: some() },
        ];
        for kind in kinds {
            let name = kind.as_str();
            let timeline = timeline(StepRecord::Typed(Position::new(0, 3)), kind);
            let timeline = Timeline { event_id: some(), ..timeline };
            let lines = lines(&timeline);
            assert!(lines.len() == 2 && lines.iter().all(|line| is_safe(line)), "{name}: {lines:?}");
        }
    }

    #[test]
    fn a_truncated_dead_letter_shows_its_original_size_and_hash() {
        let cut = Some(Cut { size: 9_437_184, sha256: "ab".repeat(32) });
        let (code, message) = ("refused".to_owned(), "no".to_owned());
        let kind = StepKind::DeadLettered { stage: Stage::Sink, code, message, cut };
        let timeline = timeline(StepRecord::DeadLetter(Position::new(0, 1)), kind);
        let line = &lines(&timeline)[1];
        assert!(line.contains("9437184 bytes") && line.contains("abab"), "{line}");
        assert_eq!(json(&timeline)["steps"][0]["details"]["originalSize"], 9_437_184);
    }
}
