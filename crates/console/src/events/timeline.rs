//! The steps of an event and its state, in the form that the template needs. They are a pure function of the history,
//! and contain no values of the event.

use operator::find::{State, Step, StepKind, StepRecord, Timeline};

use crate::format::{self, Moment};
use crate::links;
use crate::mask;

/// A row for one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) time: Moment,
    pub(super) state: &'static str,
    pub(super) mark: &'static str,
    pub(super) name: String,
    pub(super) detail: String,
    pub(super) record: String,
    /// Path of the page of the record, or of the list of dead letters with the same stage and code.
    pub(super) href: Option<String>,
}

/// State of an event in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Headline {
    pub(super) state: &'static str,
    pub(super) mark: &'static str,
    pub(super) word: &'static str,
    pub(super) sentence: &'static str,
}

impl Headline {
    pub(super) fn of(state: State) -> Self {
        let (state, mark, word, sentence) = match state {
            State::Accepted => ("good", "✓", "Accepted", "Platform accepted this event."),
            State::AcceptedInferred => (
                "good",
                "✓",
                "Accepted, inferred",
                "The sink has processed this event, and there is no dead letter of it. There are no receipts that prove it.",
            ),
            State::RejectedAfterAcceptance => (
                "bad",
                "✕",
                "Rejected after acceptance",
                "Platform accepted the request and rejected the event later. The dead letter has the reason.",
            ),
            State::DeadLetter => {
                ("bad", "✕", "Dead letter", "This event is an unresolved dead letter. It can be replayed or discarded.")
            }
            State::Discarded => ("none", "■", "Discarded", "A person decided that this event is not sent to Platform."),
            State::WaitingForTransformer => (
                "warn",
                "…",
                "Waiting for the transformer",
                "The webhook is stored, and the transformer has not processed it yet. The overview says whether it is on hold.",
            ),
            State::WaitingForSink => (
                "warn",
                "…",
                "Waiting for the sink",
                "The event is mapped, and the sink has not sent it yet. The overview says whether it is on hold.",
            ),
            State::WithoutReceipt => (
                "warn",
                "!",
                "Without a receipt",
                "The sink has processed this event, and there is no receipt. An audit says whether that is a problem.",
            ),
            State::Duplicate => {
                ("none", "=", "Duplicate", "Customer.io delivered this event before, so nothing was written for it.")
            }
            State::Check => ("none", "·", "A check", "This is what the check of the connection sends, and no event."),
            State::Unknown => (
                "warn",
                "?",
                "Outcome not known",
                "It is stored, and no other record says what became of it. An audit says whether that is a problem.",
            ),
        };
        Self { state, mark, word, sentence }
    }
}

/// Returns the steps of a history as rows.
pub(super) fn rows(timeline: &Timeline) -> Vec<Row> {
    timeline.steps.iter().map(row).collect()
}

fn row(step: &Step) -> Row {
    let (state, mark) = match &step.kind {
        StepKind::Answered { accepted: true, .. } => ("good", "✓"),
        StepKind::Answered { accepted: false, .. } | StepKind::DeadLettered { .. } => ("bad", "✕"),
        StepKind::Duplicate => ("none", "="),
        StepKind::Received { .. } | StepKind::Mapped { .. } | StepKind::Resolved { .. } => ("none", "•"),
    };
    let href = match (&step.kind, step.record) {
        (StepKind::DeadLettered { stage, code, .. }, _) if mask::is_code(code) => {
            Some(links::dead_letters(stage.as_str(), code))
        }
        (_, StepRecord::Raw(position)) => Some(links::record("raw", position)),
        (_, StepRecord::Typed(position)) => Some(links::record("typed", position)),
        (_, StepRecord::DeadLetter(_)) => None,
    };
    let (name, detail) = (step.kind.as_str().to_owned(), detail(step));
    Row { time: Moment::of_millis(step.time), state, mark, name, detail, record: step.record.to_string(), href }
}

fn detail(step: &Step) -> String {
    let code = |text: &Option<String>| text.as_deref().map_or("none".to_owned(), mask::code);
    match &step.kind {
        StepKind::Received { replay_of: Some(of), .. } => format!("replay of the dead letter {}", mask::code(of)),
        StepKind::Received { source, replay_of: None } => format!("source {}", mask::code(source)),
        StepKind::Duplicate => "the event was mapped before".to_owned(),
        StepKind::Mapped { replay_of: Some(of), .. } => {
            format!("sent again, as a replay of the dead letter {}", mask::code(of))
        }
        StepKind::Mapped { raw_offset: Some(offset), .. } => {
            format!("from raw {}:{offset}", step.record.position().partition)
        }
        StepKind::Mapped { .. } => "without the offset of a raw record".to_owned(),
        StepKind::Answered { status, batch_id, xaction_id, .. } => {
            format!("status {status}, batch {}, xaction id {}", code(batch_id), code(xaction_id))
        }
        StepKind::DeadLettered { stage, code, message, cut } => {
            let cut =
                cut.as_ref().map(|cut| format!("; only its beginning is kept, of {} bytes", format::count(cut.size)));
            let cut = cut.unwrap_or_default();
            format!("by the {stage}: {} ({}){cut}", mask::code(code), mask::reason(message))
        }
        StepKind::Resolved { by, note, .. } => {
            let note = note.as_ref().map(|note| format!(": {}", mask::reason(note))).unwrap_or_default();
            format!("by {}{note}", by.as_deref().map_or("an unknown person".to_owned(), mask::reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use contract::dead_letter::{Cut, ResolutionKind, Stage};
    use contract::{Offset, Position};

    use super::*;

    fn of(record: StepRecord, kind: StepKind) -> Row {
        row(&Step { time: 1_700_000_001_480, record, kind })
    }

    #[test]
    fn a_step_shows_its_details_and_links_to_its_record_or_to_similar_dead_letters() {
        let typed = StepRecord::Typed(Position::new(3, 7));
        let mapped = of(typed, StepKind::Mapped { raw_offset: Some(Offset(5)), replay_of: None });
        assert_eq!((mapped.name.as_str(), mapped.detail.as_str()), ("mapped", "from raw 3:5"));
        assert_eq!(mapped.href.as_deref(), Some("/events/record?topic=typed&position=3%3A7"));
        let (batch_id, xaction_id) = (Some("b-1".to_owned()), Some("1700:3".to_owned()));
        let accepted = of(typed, StepKind::Answered { accepted: true, status: 207, batch_id, xaction_id });
        assert_eq!(accepted.detail, "status 207, batch b-1, xaction id 1700:3");
        let dead_letter = StepKind::DeadLettered {
            stage: Stage::Sink,
            code: "refused".to_owned(),
            message: "field of jo@example.com".to_owned(),
            cut: Some(Cut { size: 9_000_000, sha256: String::new() }),
        };
        let dead_letter = of(StepRecord::DeadLetter(Position::new(0, 1)), dead_letter);
        assert_eq!(dead_letter.href.as_deref(), Some("/dead-letters?stage=sink&code=refused"));
        assert_eq!(
            dead_letter.detail,
            "by the sink: refused (field of •••); only its beginning is kept, of 9,000,000 bytes"
        );
    }

    #[test]
    fn scripts_and_personal_data_in_a_step_are_masked() {
        for hostile in ["<script>alert(1)</script>@", "jo@example.com", "+491234567890"] {
            let (text, some) = (|| hostile.to_owned(), || Some(hostile.to_owned()));
            let kinds = [
                StepKind::Received { source: text(), replay_of: None },
                StepKind::Received { source: text(), replay_of: some() },
                StepKind::Mapped { raw_offset: None, replay_of: some() },
                StepKind::Answered { accepted: false, status: 400, batch_id: some(), xaction_id: some() },
                StepKind::DeadLettered { stage: Stage::Platform, code: text(), message: text(), cut: None },
                StepKind::Resolved { kind: ResolutionKind::Discarded, by: some(), note: some() },
            ];
            for kind in kinds {
                let row = of(StepRecord::DeadLetter(Position::new(0, 1)), kind);
                assert!(!format!("{row:?}").contains(hostile), "{row:?}");
            }
        }
    }
}
