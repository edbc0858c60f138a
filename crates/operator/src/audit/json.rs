//! Converts an audit to JSON.

use contract::PipelineTopics;
use reconcile::{DeadLetterCounts, DeadLetters, FindingKind, RawColumns, Topic, TypedColumns};
use serde_json::{Value, json};

use super::result::{Audit, MissingReader, NamedFinding};
use super::scope::AuditScope;
use crate::pipeline::Committed;
use crate::time::rfc3339;

/// Returns the `kind` of a finding in the audit's JSON.
#[must_use]
pub fn finding_code(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Unexplained => "unexplained",
        FindingKind::Late => "late",
        FindingKind::RefusedWithoutDeadLetter => "refused_without_letter",
        FindingKind::OtherEvent => "other_event",
        FindingKind::Doubled => "doubled",
        FindingKind::Orphan => "orphan",
        FindingKind::Repeated => "repeated",
        FindingKind::RepeatedElsewhere => "repeated_other_partition",
        FindingKind::RepeatedWithoutKey => "repeated_without_key",
    }
}

/// Returns the result as JSON, in the format of `customerio-aep audit --json`.
#[must_use]
pub fn as_json(audit: &Audit, topics: &PipelineTopics, scope: &AuditScope) -> Value {
    let missing_groups: Vec<Value> = audit
        .missing_readers
        .iter()
        .map(|MissingReader { group, topic }| json!({"group": group, "topic": topic.as_str()}))
        .collect();
    let committed = match scope.committed {
        Committed::Groups(_) => "groups",
        Committed::Handed(_) => "services",
    };
    json!({
        "version": 1,
        "explained": audit.is_explained(),
        "since": scope.since.map(rfc3339),
        "until": scope.until.map(rfc3339),
        "partitions": audit.partitions,
        "recordsRead": audit.records_read,
        "raw": raw(&audit.report.raw),
        "typed": typed(&audit.report.typed),
        "deadLetters": dead_letters(&audit.report.dead_letters),
        "findingsTotal": audit.report.findings.len(),
        "findings": audit.findings.iter().map(|named| finding(named, topics)).collect::<Vec<Value>>(),
        "missingGroups": missing_groups,
        "committedOffsets": committed,
        "notes": audit.notes.iter().map(ToString::to_string).collect::<Vec<String>>(),
    })
}

fn raw(raw: &RawColumns) -> Value {
    json!({
        "records": raw.records,
        "typed": raw.typed,
        "deadLettered": counts(raw.dead_lettered),
        "duplicates": raw.duplicates,
        "checks": raw.checks,
        "ahead": raw.ahead,
        "late": raw.late,
        "expired": raw.expired,
        "unexplained": raw.unexplained,
        "doubled": raw.doubled,
        "expiredUnread": raw.expired_unread,
        "replays": raw.replays,
    })
}

fn typed(typed: &TypedColumns) -> Value {
    json!({
        "records": typed.records,
        "accepted": typed.accepted,
        "acceptedInferred": typed.inferred,
        "rejectedAfterAcceptance": counts(typed.rejected_later),
        "deadLettered": counts(typed.dead_lettered),
        "ahead": typed.ahead,
        "late": typed.late,
        "expired": typed.expired,
        "unexplained": typed.unexplained,
        "orphans": typed.orphans,
        "repeatsWithinWindow": typed.repeats_within,
        "repeatsOtherPartition": typed.repeats_elsewhere,
        "repeatsWithoutKey": typed.repeats_without_key,
        "repeatsAfterGrowth": typed.repeats_after_growth,
        "repeats": typed.repeats,
        "reprocessed": typed.reprocessed,
        "alsoDeadLettered": typed.also_dead_lettered,
        "expiredUnread": typed.expired_unread,
        "replays": typed.replays,
    })
}

fn dead_letters(dead_letters: &DeadLetters) -> Value {
    json!({
        "gateway": counts(dead_letters.gateway),
        "rejectedRows": counts(dead_letters.rejected_rows),
        "writtenAgain": dead_letters.written_again,
        "otherTopics": dead_letters.elsewhere,
    })
}

fn counts(counts: DeadLetterCounts) -> Value {
    json!({
        "total": counts.total(),
        "open": counts.open,
        "replayed": counts.replayed,
        "discarded": counts.discarded,
    })
}

fn finding(NamedFinding { finding, event_id }: &NamedFinding, topics: &PipelineTopics) -> Value {
    let topic = match finding.topic {
        Topic::Raw => &topics.raw,
        Topic::Typed => &topics.typed,
    };
    json!({
        "kind": finding_code(finding.kind),
        "topic": topic.as_str(),
        "partition": finding.position.partition.0,
        "offset": finding.position.offset.0,
        "eventId": event_id,
    })
}
