//! Builds the table of an audit result, in which each row has an explanation: pure functions.

use operator::PipelineTopics;
use operator::audit::{Audit, MissingReader, NamedFinding};
use reconcile::{DeadLetterCounts, FindingKind, Topic, TypedColumns};

use crate::format;
use crate::links::{self, PublicId};
use crate::mask;

/// A count with its explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) count: String,
    pub(super) remark: String,
    pub(super) meaning: &'static str,
    /// Whether the count is above 0 although it must be 0.
    pub(super) is_breach: bool,
    pub(super) link: Option<&'static str>,
}

/// The rows for one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) topic: String,
    pub(super) rows: Vec<Row>,
}

/// A row for a record with a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FindingRow {
    pub(super) topic: String,
    pub(super) position: String,
    /// The id of the event, masked if it may be personal data.
    pub(super) event_id: Option<String>,
    pub(super) href: String,
    pub(super) what: &'static str,
}

/// The result of an audit in the form that a page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) sections: Vec<Section>,
    pub(super) missing_readers: Vec<String>,
    pub(super) findings: Vec<FindingRow>,
    pub(super) findings_total: u64,
    pub(super) notes: Vec<String>,
    pub(super) partitions: usize,
}

impl Table {
    pub(super) fn of(audit: &Audit, topics: &PipelineTopics) -> Self {
        let section = |title, topic: &dyn std::fmt::Display, rows| Section { title, topic: topic.to_string(), rows };
        Self {
            sections: vec![
                section("Webhooks as received", &topics.raw, raw(audit)),
                section("Events as mapped", &topics.typed, typed(audit)),
                section("Other dead letters", &topics.dead_letters, dead_letters(audit)),
            ],
            missing_readers: audit.missing_readers.iter().map(missing_reader).collect(),
            findings: audit.findings.iter().map(|finding| finding_row(finding, topics)).collect(),
            findings_total: u64::try_from(audit.report.findings.len()).unwrap_or(u64::MAX),
            notes: audit.notes.iter().map(ToString::to_string).collect(),
            partitions: audit.partitions,
        }
    }

    pub(super) fn findings_total(&self) -> String {
        format::count(self.findings_total)
    }

    pub(super) fn has_more_findings(&self) -> bool {
        self.findings_total > self.findings.len() as u64
    }
}

/// Returns a row whose count may have any value.
fn row(name: &'static str, count: u64, meaning: &'static str) -> Row {
    Row { name, count: format::count(count), remark: String::new(), meaning, is_breach: false, link: None }
}

/// Returns a row whose count is a breach unless it is 0.
fn breach(name: &'static str, count: u64, meaning: &'static str) -> Row {
    Row { is_breach: count > 0, ..row(name, count, meaning) }
}

/// Returns a row for dead letters, with their numbers by state.
fn dead(name: &'static str, counts: DeadLetterCounts, meaning: &'static str) -> Row {
    let [open, replayed, discarded] = [counts.open, counts.replayed, counts.discarded].map(format::count);
    let remark = match counts.total() {
        0 => String::new(),
        _ => format!("{open} unresolved, {replayed} replayed, {discarded} discarded"),
    };
    Row { remark, link: Some("/dead-letters"), ..row(name, counts.total(), meaning) }
}

fn remark(row: Row, count: u64, what: &str) -> Row {
    let remark = if count == 0 { String::new() } else { format!("{} {what}", format::count(count)) };
    Row { remark, ..row }
}

fn late(row: Row, count: u64) -> Row {
    Row { is_breach: count > 0, ..remark(row, count, "late") }
}

fn raw(audit: &Audit) -> Vec<Row> {
    let raw = &audit.report.raw;
    let mut rows = vec![
        remark(
            row("Records", raw.records, "All webhooks of the range that the gateway stored."),
            raw.replays,
            "written by a replay",
        ),
        row("Typed", raw.typed, "There is an event that was mapped from this record."),
        dead(
            "Dead-lettered by the transformer",
            raw.dead_lettered,
            "A dead letter refers to this record and says why.",
        ),
        row(
            "Duplicates",
            raw.duplicates,
            "Customer.io delivered the event twice: it was mapped from an earlier record.",
        ),
        row("Checks", raw.checks, "Bodies of the check of the connection, which report nothing."),
        late(
            row("In progress", raw.ahead, "The transformer has not processed it yet. If this persists, is it on hold?"),
            raw.late,
        ),
        row(
            "Unverifiable",
            raw.expired,
            "The records that would prove the outcome may have expired before this one did.",
        ),
        breach("Unexplained", raw.unexplained, "None of these. Each one is listed below."),
        breach("Doubled", raw.doubled, "One record has more than one outcome."),
    ];
    if raw.expired_unread > 0 {
        rows.push(breach(
            "Expired before they were read",
            raw.expired_unread,
            "Kafka's retention deleted them before the transformer had read them: at most this many are lost.",
        ));
    }
    rows
}

fn typed(audit: &Audit) -> Vec<Row> {
    let typed = &audit.report.typed;
    let mut rows = vec![
        remark(row("Records", typed.records, "All events of the range."), typed.replays, "written by a replay"),
        remark(
            row("Accepted by Platform", typed.accepted, "A receipt says that Platform accepted this event."),
            typed.also_dead_lettered,
            "have a dead letter too",
        ),
        row(
            "Accepted, inferred",
            typed.inferred,
            "There are no receipts of that time; the sink has processed it, and no dead letter refers to it.",
        ),
        dead("Dead-lettered by the sink", typed.dead_lettered, "A dead letter refers to this event and says why."),
        late(
            row("In progress", typed.ahead, "The sink has not processed it yet. If this persists, is it on hold?"),
            typed.late,
        ),
        row("Unverifiable", typed.expired, "It was refused, and the dead letters of that time may have expired."),
        breach("Unexplained", typed.unexplained, "None of these. Each one is listed below."),
        breach("Without a webhook", typed.orphans, "It refers to a webhook that does not exist."),
    ];
    rows.extend(mapped_again(typed));
    rows.push(dead(
        "Rejected after acceptance",
        typed.rejected_later,
        "Platform accepted the request and rejected the event later: there is a dead letter.",
    ));
    if typed.expired_unread > 0 {
        rows.push(breach(
            "Expired before they were read",
            typed.expired_unread,
            "Kafka's retention deleted them before the sink had read them: at most this many are lost.",
        ));
    }
    rows
}

/// Returns rows for the events that have more than one typed record.
fn mapped_again(typed: &TypedColumns) -> Vec<Row> {
    vec![
        breach(
            "Mapped again within the window",
            typed.repeats_within,
            "The transformer must have known that it had mapped this event before.",
        ),
        breach(
            "… in another partition",
            typed.repeats_elsewhere,
            "The key decides the partition, so something else wrote to the raw topic, or the partitioner was changed.",
        ),
        breach(
            "… in another partition, without a key",
            typed.repeats_without_key,
            "An older gateway wrote bodies that it could not read without a key.",
        ),
        row(
            "Mapped again after partitions were added",
            typed.repeats_after_growth,
            "The _id is the same, and Platform drops the second.",
        ),
        row(
            "Repeats beyond the window",
            typed.repeats,
            "The event came again much later, or was replayed. The _id is the same, and Platform drops the second.",
        ),
        row("Mapped again on request", typed.reprocessed, "A person replayed it and asked to map it again."),
    ]
}

fn dead_letters(audit: &Audit) -> Vec<Row> {
    let found = &audit.report.dead_letters;
    vec![
        dead("By the gateway", found.gateway, "The body was too large to be stored whole."),
        dead(
            "Rejected after acceptance, the typed record has expired",
            found.rejected_rows,
            "The dead letter holds the row of Platform's failed batch.",
        ),
        row("Written twice by the sink", found.written_again, "The sink wrote it again after a crash."),
        row("Of other topics", found.elsewhere, "They name a topic that is none of these."),
    ]
}

fn missing_reader(missing: &MissingReader) -> String {
    let topic = &missing.topic;
    match &missing.group {
        Some(group) => format!(
            "The group {group} has no committed offset in {topic}, which has had records: check the name of the group, and that the service has been started."
        ),
        None => format!("The service that reads {topic} has processed none of its records."),
    }
}

fn finding_row(named: &NamedFinding, topics: &PipelineTopics) -> FindingRow {
    let NamedFinding { finding, event_id } = named;
    let (name, topic) = match finding.topic {
        Topic::Raw => ("raw", &topics.raw),
        Topic::Typed => ("typed", &topics.typed),
    };
    let id = event_id.as_deref().and_then(PublicId::of);
    let href = id.as_ref().map_or_else(|| links::record(name, finding.position), links::event);
    FindingRow {
        topic: topic.to_string(),
        position: finding.position.to_string(),
        event_id: event_id.as_deref().map(mask::code),
        href,
        what: what(finding.kind),
    }
}

fn what(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Unexplained => "no record says what became of it",
        FindingKind::Late => "it has waited for more than 15 minutes: nothing reads it",
        FindingKind::RefusedWithoutDeadLetter => "Platform refused it, but there is no dead letter",
        FindingKind::OtherEvent => "what was mapped from it is another event",
        FindingKind::Doubled => "it has more than one outcome",
        FindingKind::Orphan => "it refers to a webhook that does not exist",
        FindingKind::Repeated => "it was mapped before, within the window",
        FindingKind::RepeatedElsewhere => "it was mapped before in another partition, within the window",
        FindingKind::RepeatedWithoutKey => "it was mapped before in another partition, from a record without a key",
    }
}
