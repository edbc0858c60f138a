//! Builds one chronological history for each event from the found records.

use std::collections::BTreeMap;
use std::fmt;

use contract::dead_letter::{Cut, ResolutionKind, Stage};
use contract::{Offset, Partition, Position};

use super::found::{Answer, Found, FoundDeadLetter, Raw, Typed};

/// The history of one event.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// Id of the event; `None` for a body without one.
    pub event_id: Option<String>,
    /// Current state of the event.
    pub state: State,
    /// Steps of the history, in chronological order.
    pub steps: Vec<Step>,
    /// Whether the transformer has processed every webhook that was found for the event, including repeated ones.
    pub is_complete: bool,
}

/// State of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A receipt says that Platform accepted the event.
    Accepted,
    /// The sink has committed the offset of the typed record, and there is no receipts topic.
    AcceptedInferred,
    /// Platform accepted the event and rejected it later: there is a dead letter of Platform.
    RejectedAfterAcceptance,
    /// There is an unresolved dead letter.
    DeadLetter,
    /// A person has discarded the dead letter of the event.
    Discarded,
    /// The transformer has not committed the offset of the raw record yet.
    WaitingForTransformer,
    /// The sink has not committed the offset of the typed record yet.
    WaitingForSink,
    /// The sink has committed the offset of the typed record, but the receipts topic has no receipt for it.
    WithoutReceipt,
    /// The transformer has written nothing for this delivery, because the event was delivered before. The earlier
    /// delivery was accepted, or is older than the search.
    Duplicate,
    /// The transformer has stopped the webhook, because it is a test webhook of `check`.
    Check,
    /// The transformer has committed the offset of the raw record, but there is neither a typed record nor a dead
    /// letter.
    Unknown,
}

impl State {
    /// Returns a description of the state, which is also its name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::AcceptedInferred => "accepted, according to the sink's committed offset",
            Self::RejectedAfterAcceptance => "rejected by Platform after acceptance",
            Self::DeadLetter => "dead letter, open",
            Self::Discarded => "dead letter, discarded",
            Self::WaitingForTransformer => "waiting for the transformer",
            Self::WaitingForSink => "waiting for the sink",
            Self::WithoutReceipt => {
                "delivered according to the sink's committed offset, but without a receipt: run `audit`"
            }
            Self::Duplicate => "the transformer recognised it as a webhook that was delivered again",
            Self::Check => "stopped by the transformer: it is what `check` sends, and no event",
            Self::Unknown => "stored, but its outcome is not known: run `audit`",
        }
    }
}

/// A step in the history of an event.
#[derive(Debug, Clone)]
pub struct Step {
    /// Time of the step: milliseconds since 1970.
    pub time: i64,
    /// Record from which this step is known.
    pub record: StepRecord,
    /// Kind and details of the step.
    pub kind: StepKind,
}

/// Position of a record on one of the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepRecord {
    /// Position on the raw topic.
    Raw(Position),
    /// Position on the typed topic.
    Typed(Position),
    /// Position on the dead-letter topic.
    DeadLetter(Position),
}

impl StepRecord {
    /// Returns the position without the topic.
    #[must_use]
    pub fn position(self) -> Position {
        match self {
            Self::Raw(position) | Self::Typed(position) | Self::DeadLetter(position) => position,
        }
    }
}

impl fmt::Display for StepRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(position) => write!(f, "raw {position}"),
            Self::Typed(position) => write!(f, "typed {position}"),
            Self::DeadLetter(position) => write!(f, "dead letter {position}"),
        }
    }
}

/// Kind of a step in the history of an event.
#[derive(Debug, Clone)]
pub enum StepKind {
    /// The gateway stored the webhook, or a replay wrote the raw record again.
    Received {
        /// Source of the webhook.
        source: String,
        /// Dead letter from which the record was replayed, as `topic/partition/offset`.
        replay_of: Option<String>,
    },
    /// The transformer wrote nothing, because the event was mapped before.
    Duplicate,
    /// The transformer wrote a typed record, or a replay wrote the typed record again.
    Mapped {
        /// Offset of the raw record that was mapped.
        raw_offset: Option<Offset>,
        /// Dead letter from which the record was replayed, as `topic/partition/offset`.
        replay_of: Option<String>,
    },
    /// Platform accepted or refused the event.
    Answered {
        /// Whether Platform accepted the event.
        accepted: bool,
        /// HTTP status of Platform's response.
        status: u16,
        /// Platform's id of the batch.
        batch_id: Option<String>,
        /// Platform's id of the record.
        xaction_id: Option<String>,
    },
    /// A stage wrote a dead letter.
    DeadLettered {
        /// Stage that wrote the dead letter.
        stage: Stage,
        /// Code of the reason.
        code: String,
        /// Description of the reason.
        message: String,
        /// Size and hash of the complete value, if the dead letter contains only its beginning.
        cut: Option<Cut>,
    },
    /// A person resolved the dead letter.
    Resolved {
        /// Kind of the resolution: replayed or discarded.
        kind: ResolutionKind,
        /// Person who resolved the dead letter.
        by: Option<String>,
        /// Note of the person.
        note: Option<String>,
    },
}

impl StepKind {
    /// Returns the name of the step.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Received { replay_of: None, .. } => "received",
            Self::Received { replay_of: Some(_), .. } => "received again",
            Self::Duplicate => "duplicate",
            Self::Mapped { .. } => "mapped",
            Self::Answered { accepted: true, .. } => "accepted",
            Self::Answered { accepted: false, .. } => "refused",
            Self::DeadLettered { .. } => "dead-lettered",
            Self::Resolved { kind, .. } => kind.as_str(),
        }
    }

    /// Returns the rank by which steps with the same time are sorted.
    fn rank(&self) -> u8 {
        match self {
            Self::Received { .. } => 0,
            Self::Duplicate => 1,
            Self::Mapped { .. } => 2,
            Self::Answered { .. } => 3,
            Self::DeadLettered { .. } => 4,
            Self::Resolved { .. } => 5,
        }
    }
}

/// The records of one event.
#[derive(Debug, Default)]
struct Traces {
    raw: Vec<Raw>,
    typed: Vec<Typed>,
    dead_letters: Vec<FoundDeadLetter>,
    answers: Vec<Answer>,
}

impl Traces {
    /// Returns the records that result from webhooks at or after these offsets.
    fn delivered(&self, from: &BTreeMap<Partition, Offset>) -> Self {
        let is_new = |position: Position| from.get(&position.partition).is_none_or(|&end| position.offset >= end);
        let raw: Vec<Raw> = self.raw.iter().filter(|raw| is_new(raw.position)).cloned().collect();
        let is_of_raw =
            |typed: &&Typed| typed.raw_offset.is_some_and(|offset| is_new(Position { offset, ..typed.position }));
        let typed: Vec<Typed> = self.typed.iter().filter(is_of_raw).cloned().collect();
        let has_typed = |position: Position| typed.iter().any(|typed| typed.position == position);
        let is_of_both = |found: &&FoundDeadLetter| {
            let origin = found.dead_letter.origin.as_ref().map(|of| of.position);
            let is_of = |position| match found.dead_letter.stage {
                Stage::Transformer => is_new(position),
                _ => has_typed(position),
            };
            origin.is_some_and(is_of)
        };
        let dead_letters = self.dead_letters.iter().filter(is_of_both).cloned().collect();
        let answers = self.answers.iter().filter(|answer| has_typed(answer.typed)).cloned().collect();
        Self { raw, typed, dead_letters, answers }
    }

    /// Returns the id as it was delivered, or the mapped id if no webhook was found.
    fn event_id(&self, mapped_id: Option<String>) -> Option<String> {
        let of_transformer = |found: &&FoundDeadLetter| found.dead_letter.stage == Stage::Transformer;
        let delivered = self.raw.iter().map(|raw| &raw.event_id);
        let mut known = delivered.chain(self.dead_letters.iter().filter(of_transformer).map(|found| &found.event_id));
        known.find_map(Clone::clone).or(mapped_id)
    }

    /// Whether the transformer wrote a typed record or a dead letter for a raw record.
    fn has_outcome(&self, raw: Position) -> bool {
        let is_typed =
            |typed: &Typed| typed.position.partition == raw.partition && typed.raw_offset == Some(raw.offset);
        self.typed.iter().any(is_typed) || self.is_dead_letter(raw)
    }

    fn is_dead_letter(&self, raw: Position) -> bool {
        self.dead_letters.iter().any(|found| {
            found.dead_letter.stage == Stage::Transformer
                && found.dead_letter.origin.as_ref().is_some_and(|of| of.position == raw)
        })
    }
}

/// Builds the histories, sorted by their first steps.
pub(super) fn timelines(found: Found) -> Vec<Timeline> {
    // The mapped id is the same in records of all topics. A body without an id gets a separate history, identified by
    // its position.
    let mut events: BTreeMap<(Option<String>, String), Traces> = BTreeMap::new();
    let group = |id: &Option<String>, position: String| match id {
        Some(id) => (Some(id.clone()), String::new()),
        None => (None, position),
    };
    let Found { raw, typed, dead_letters, answers, transformer, sink, receipts_kept, delivered_from } = found;
    let progress = Progress { transformer, sink, receipts_kept };
    for raw in raw {
        events.entry(group(&raw.mapped_id, raw.position.to_string())).or_default().raw.push(raw);
    }
    for typed in typed {
        events.entry((Some(typed.event_id.clone()), String::new())).or_default().typed.push(typed);
    }
    for dead_letter in dead_letters {
        let origin = dead_letter.dead_letter.origin.as_ref();
        let of = origin.map_or(dead_letter.position, |of| of.position).to_string();
        events.entry(group(&dead_letter.mapped_id, of)).or_default().dead_letters.push(dead_letter);
    }
    for answer in answers {
        events.entry((Some(answer.event_id.clone()), String::new())).or_default().answers.push(answer);
    }
    let mut timelines: Vec<Timeline> = events
        .into_iter()
        .filter_map(|((mapped_id, _), traces)| {
            let (state, is_complete) = match &delivered_from {
                Some(from) => delivery(&traces, from, &progress)?,
                None => (state(&traces, &progress), progress.is_raw_done(&traces)),
            };
            let event_id = traces.event_id(mapped_id);
            Some(Timeline { event_id, state, steps: steps(traces, &progress.transformer), is_complete })
        })
        .collect();
    timelines.sort_by_key(|timeline| timeline.steps.first().map(|step| step.time));
    timelines
}

/// Committed offsets of the services, and whether receipts exist.
struct Progress {
    transformer: BTreeMap<Partition, Offset>,
    sink: BTreeMap<Partition, Offset>,
    receipts_kept: bool,
}

impl Progress {
    /// Whether the transformer has processed each raw record. A deferred record delays the committed offset, so a
    /// record with an outcome counts as processed even if its offset is not committed.
    fn is_raw_done(&self, traces: &Traces) -> bool {
        let is_done = |raw: &Raw| is_committed(&self.transformer, raw.position) || traces.has_outcome(raw.position);
        traces.raw.iter().all(is_done)
    }
}

/// Returns the state of the requested delivery, and whether the transformer has processed it; `None` if none of its
/// webhooks was found.
fn delivery(traces: &Traces, from: &BTreeMap<Partition, Offset>, progress: &Progress) -> Option<(State, bool)> {
    let own = traces.delivered(from);
    if own.raw.is_empty() {
        return None;
    }
    let own_state = state(&own, progress);
    if own_state != State::Unknown {
        return Some((own_state, progress.is_raw_done(&own)));
    }
    // This delivery has no outcome, so the outcome of the earlier delivery counts.
    let is_known = !traces.typed.is_empty() || !traces.dead_letters.is_empty();
    Some(match state(traces, progress) {
        State::Accepted | State::AcceptedInferred => (State::Duplicate, true),
        earlier if is_known => (earlier, true),
        _ => (State::Duplicate, true),
    })
}

fn is_committed(committed: &BTreeMap<Partition, Offset>, position: Position) -> bool {
    committed.get(&position.partition).is_some_and(|&committed| position.offset < committed)
}

/// Returns the state of an event.
fn state(traces: &Traces, progress: &Progress) -> State {
    let typed_done = traces.typed.iter().all(|typed| is_committed(&progress.sink, typed.position));
    // A rejected record that was replayed has a newer outcome, so its rejection no longer counts.
    let is_platforms = |found: &FoundDeadLetter| {
        let is_replayed =
            found.resolution.as_ref().is_some_and(|resolution| resolution.kind == ResolutionKind::Replayed);
        found.dead_letter.stage == Stage::Platform && !is_replayed
    };
    let is_discarded = |found: &FoundDeadLetter| {
        found.resolution.as_ref().is_some_and(|resolution| resolution.kind == ResolutionKind::Discarded)
    };
    if traces.dead_letters.iter().any(is_platforms) {
        // Platform received the record, even if there is no receipt.
        State::RejectedAfterAcceptance
    } else if traces.answers.iter().any(|answer| answer.accepted) {
        State::Accepted
    } else if traces.dead_letters.iter().any(|found| found.resolution.is_none() && !is_platforms(found)) {
        State::DeadLetter
    } else if !progress.is_raw_done(traces) {
        State::WaitingForTransformer
    } else if !traces.typed.is_empty() && !typed_done {
        State::WaitingForSink
    } else if traces.dead_letters.iter().any(is_discarded) {
        State::Discarded
    } else if traces.typed.is_empty() {
        let is_check = !traces.raw.is_empty() && traces.raw.iter().all(|raw| raw.is_check);
        if is_check { State::Check } else { State::Unknown }
    } else if progress.receipts_kept {
        State::WithoutReceipt
    } else {
        State::AcceptedInferred
    }
}

fn steps(traces: Traces, transformer: &BTreeMap<Partition, Offset>) -> Vec<Step> {
    let duplicates = duplicates(&traces, transformer);
    let mut steps = Vec::new();
    for raw in traces.raw {
        let (time, record) = (raw.time, StepRecord::Raw(raw.position));
        steps.push(Step { time, record, kind: StepKind::Received { source: raw.source, replay_of: raw.replay_of } });
        if duplicates.contains(&raw.position) {
            steps.push(Step { time, record, kind: StepKind::Duplicate });
        }
    }
    steps.extend(traces.typed.into_iter().map(|typed| Step {
        time: typed.time,
        record: StepRecord::Typed(typed.position),
        kind: StepKind::Mapped { raw_offset: typed.raw_offset, replay_of: typed.replay_of },
    }));
    steps.extend(traces.answers.into_iter().map(|answer| Step {
        time: answer.time,
        record: StepRecord::Typed(answer.typed),
        kind: StepKind::Answered {
            accepted: answer.accepted,
            status: answer.status,
            batch_id: answer.batch_id,
            xaction_id: answer.xaction_id,
        },
    }));
    for FoundDeadLetter { position, time, dead_letter, resolution, .. } in traces.dead_letters {
        let record = StepRecord::DeadLetter(position);
        let kind = StepKind::DeadLettered {
            stage: dead_letter.stage,
            code: dead_letter.code,
            message: dead_letter.message,
            cut: dead_letter.cut,
        };
        steps.push(Step { time, record, kind });
        steps.extend(resolution.map(|resolution| Step {
            time: resolution.at.unwrap_or(time),
            record,
            kind: StepKind::Resolved { kind: resolution.kind, by: resolution.by, note: resolution.note },
        }));
    }
    steps.sort_by_key(|step| (step.time, step.kind.rank()));
    steps
}

/// Returns the raw records that the transformer has processed without an outcome, because an earlier raw record of the
/// same event was mapped.
fn duplicates(traces: &Traces, transformer: &BTreeMap<Partition, Offset>) -> Vec<Position> {
    let is_duplicate = |position: Position| {
        let typed = |typed: &&Typed| typed.position.partition == position.partition;
        let is_earlier = traces.typed.iter().filter(typed).any(|typed| typed.raw_offset < Some(position.offset));
        !traces.has_outcome(position) && is_committed(transformer, position) && is_earlier
    };
    traces.raw.iter().map(|raw| raw.position).filter(|&position| is_duplicate(position)).collect()
}

#[cfg(test)]
mod tests {
    use contract::dead_letter::{DeadLetter, Origin, Resolution};

    use super::*;

    fn found() -> Found {
        let raw = |position: &str, time, replay_of: Option<&str>| Raw {
            position: position.parse().unwrap(),
            time,
            event_id: Some("01X".to_owned()),
            mapped_id: Some("01X".to_owned()),
            is_check: false,
            source: "default".to_owned(),
            replay_of: replay_of.map(str::to_owned),
        };
        let typed = Typed {
            position: "0:3".parse().unwrap(),
            time: 20,
            event_id: "01X".to_owned(),
            raw_offset: Some(Offset(5)),
            replay_of: None,
        };
        Found {
            raw: vec![raw("0:5", 10, None), raw("0:6", 15, None)],
            typed: vec![typed],
            transformer: BTreeMap::from([(Partition(0), Offset(10))]),
            sink: BTreeMap::from([(Partition(0), Offset(3))]),
            receipts_kept: true,
            ..Found::default()
        }
    }

    fn names(timeline: &Timeline) -> Vec<&'static str> {
        timeline.steps.iter().map(|step| step.kind.as_str()).collect()
    }

    fn dead_letter(stage: Stage, kind: Option<ResolutionKind>) -> FoundDeadLetter {
        let origin = Origin { topic: "typed".to_owned(), position: Position::new(0, 3) };
        let resolution = kind.map(|kind| Resolution {
            dead_letter: Offset(1),
            kind,
            by: None,
            note: Some("fixed".to_owned()),
            at: Some(40),
        });
        FoundDeadLetter {
            position: "0:1".parse().unwrap(),
            time: 30,
            event_id: Some("01X".to_owned()),
            mapped_id: Some("01X".to_owned()),
            dead_letter: DeadLetter {
                stage,
                code: "refused".to_owned(),
                message: "no".to_owned(),
                origin: Some(origin),
                at: Some(30),
                cut: None,
                batch: None,
            },
            resolution,
        }
    }

    fn only(found: Found) -> Timeline {
        let mut timelines = timelines(found);
        assert_eq!(timelines.len(), 1);
        timelines.remove(0)
    }

    #[test]
    fn the_steps_of_a_history_are_in_chronological_order() {
        let timeline = only(found());
        assert_eq!(names(&timeline), ["received", "received", "duplicate", "mapped"]);
        assert_eq!(timeline.state, State::WaitingForSink);

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
        let timeline = only(accepted);
        assert_eq!((timeline.state, names(&timeline).last()), (State::Accepted, Some(&"accepted")));
    }

    #[test]
    fn the_state_of_an_event_follows_from_its_dead_letters_receipts_and_committed_offsets() {
        let mut refused = found();
        refused.dead_letters.push(dead_letter(Stage::Sink, None));
        assert_eq!(only(refused).state, State::DeadLetter);
        let mut resolved = found();
        resolved.sink.insert(Partition(0), Offset(4));
        resolved.dead_letters.push(dead_letter(Stage::Sink, Some(ResolutionKind::Discarded)));
        let timeline = only(resolved);
        assert_eq!(timeline.state, State::Discarded);
        assert_eq!(names(&timeline)[4..], ["dead-lettered", "discarded"]);
        let mut ahead = found();
        ahead.transformer.insert(Partition(0), Offset(6));
        assert_eq!(only(ahead).state, State::WaitingForTransformer);
        let mut silent = found();
        silent.sink.insert(Partition(0), Offset(4));
        assert_eq!(only(silent).state, State::WithoutReceipt);
        let mut inferred = found();
        inferred.sink.insert(Partition(0), Offset(4));
        inferred.receipts_kept = false;
        assert_eq!(only(inferred).state, State::AcceptedInferred);
        let mut lost = found();
        lost.typed.clear();
        assert_eq!(only(lost).state, State::Unknown);
    }

    #[test]
    fn a_history_is_complete_once_the_transformer_has_processed_every_webhook() {
        let complete = |transformer: i64, typed_from: i64| {
            let mut found = found();
            found.transformer.insert(Partition(0), Offset(transformer));
            found.typed[0].raw_offset = Some(Offset(typed_from));
            only(found).is_complete
        };
        assert!(complete(7, 5));
        assert!(!complete(6, 5));
        let mut first = found();
        first.raw.truncate(1);
        first.transformer.insert(Partition(0), Offset(5));
        assert!(only(first).is_complete);
    }

    fn accepted(typed: &str, event_id: &str) -> Answer {
        Answer {
            typed: typed.parse().unwrap(),
            event_id: event_id.to_owned(),
            time: 25,
            status: 207,
            accepted: true,
            batch_id: None,
            xaction_id: None,
        }
    }

    #[test]
    fn an_event_whose_id_was_mapped_to_a_hash_has_one_history() {
        let hash = "ab".repeat(32);
        let mut found = found();
        for raw in &mut found.raw {
            (raw.event_id, raw.mapped_id) = (Some("a:b".to_owned()), Some(hash.clone()));
        }
        found.typed[0].event_id.clone_from(&hash);
        found.answers.push(accepted("0:3", &hash));
        let refused = dead_letter(Stage::Platform, Some(ResolutionKind::Discarded));
        found.dead_letters.push(FoundDeadLetter { event_id: Some(hash.clone()), mapped_id: Some(hash), ..refused });
        let timeline = only(found);
        assert_eq!((timeline.event_id.as_deref(), timeline.state), (Some("a:b"), State::RejectedAfterAcceptance));
    }

    #[test]
    fn a_rejection_by_platform_decides_the_state_until_the_record_is_replayed() {
        let state = |kind, has_receipt: bool, has_typed: bool| {
            let mut found = found();
            found.sink.insert(Partition(0), Offset(4));
            if has_receipt {
                found.answers.push(accepted("0:3", "01X"));
            }
            if !has_typed {
                (found.typed, found.raw) = (Vec::new(), Vec::new());
            }
            let dead_letter = dead_letter(Stage::Platform, kind);
            let mapped_id = Some("01X".to_owned());
            found.dead_letters.push(FoundDeadLetter { mapped_id, ..dead_letter });
            only(found).state
        };
        let discarded = Some(ResolutionKind::Discarded);
        for (kind, has_receipt, has_typed) in
            [(None, true, true), (None, false, true), (None, false, false), (discarded, true, true)]
        {
            assert_eq!(state(kind, has_receipt, has_typed), State::RejectedAfterAcceptance);
        }
        assert_eq!(state(Some(ResolutionKind::Replayed), true, true), State::Accepted);
    }

    #[test]
    fn an_event_with_an_outcome_is_not_waiting_although_its_raw_offset_is_not_committed() {
        let mut deferred = found();
        deferred.raw.truncate(1);
        deferred.transformer.insert(Partition(0), Offset(2));
        deferred.sink.insert(Partition(0), Offset(4));
        deferred.receipts_kept = false;
        assert_eq!(only(deferred).state, State::AcceptedInferred);
    }

    #[test]
    fn a_webhook_that_the_check_command_sent_has_the_state_check() {
        let mut check = found();
        check.typed.clear();
        check.raw.truncate(1);
        check.raw[0].is_check = true;
        assert_eq!(only(check).state, State::Check);
    }

    #[test]
    fn with_delivered_from_the_state_describes_only_that_delivery_of_the_event() {
        let of = |change: &dyn Fn(&mut Found)| {
            let mut found = found();
            found.delivered_from = Some(BTreeMap::from([(Partition(0), Offset(6))]));
            change(&mut found);
            let timeline = only(found);
            (timeline.state, timeline.is_complete)
        };
        let transformers = |kind| {
            let mut found = dead_letter(Stage::Transformer, kind);
            found.dead_letter.origin = Some(Origin { topic: "raw".to_owned(), position: Position::new(0, 6) });
            found
        };
        // The event was delivered before. In these four cases, the earlier delivery was accepted, has expired, was
        // refused, and has not ended.
        assert_eq!(of(&|found| found.answers.push(accepted("0:3", "01X"))), (State::Duplicate, true));
        assert_eq!(
            of(&|found| (found.typed, found.raw) = (Vec::new(), found.raw.split_off(1))),
            (State::Duplicate, true)
        );
        assert_eq!(of(&|found| found.dead_letters.push(dead_letter(Stage::Sink, None))), (State::DeadLetter, true));
        assert_eq!(of(&|_| ()), (State::WaitingForSink, true));
        // The new delivery has a corrected body and is accepted, or has a broken body and becomes a dead letter.
        let corrected = |found: &mut Found| {
            found.dead_letters.push(dead_letter(Stage::Sink, None));
            found.typed.push(Typed {
                position: "0:4".parse().unwrap(),
                raw_offset: Some(Offset(6)),
                ..found.typed[0].clone()
            });
            found.answers.push(accepted("0:4", "01X"));
        };
        assert_eq!(of(&corrected), (State::Accepted, true));
        let broken = |found: &mut Found| {
            found.answers.push(accepted("0:3", "01X"));
            found.dead_letters.push(transformers(None));
        };
        assert_eq!(of(&broken), (State::DeadLetter, true));
        // The transformer has not processed the new delivery, or the raw topic does not contain its webhook yet.
        let waits = |found: &mut Found| {
            found.transformer.insert(Partition(0), Offset(6));
            found.answers.push(accepted("0:3", "01X"));
        };
        assert_eq!(of(&waits), (State::WaitingForTransformer, false));
        let mut absent = found();
        absent.raw.truncate(1);
        absent.delivered_from = Some(BTreeMap::from([(Partition(0), Offset(6))]));
        assert!(timelines(absent).is_empty());
    }

    #[test]
    fn each_body_without_an_event_id_has_a_separate_history() {
        let mut found = found();
        for raw in &mut found.raw {
            (raw.event_id, raw.mapped_id) = (None, None);
        }
        found.typed.clear();
        assert_eq!(timelines(found).len(), 2);
    }
}
