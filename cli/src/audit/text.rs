//! Formats an audit as text.

use operator::audit::{Audit, AuditScope, MissingReader, NamedFinding};
use operator::{PipelineTopics, rfc3339, thousands};
use reconcile::{DeadLetterCounts, DeadLetters, FindingKind, RawColumns, Topic, TypedColumns};

use crate::printable::printable;

/// The last line of the output.
pub(super) fn verdict(audit: &Audit) -> &'static str {
    if audit.is_explained() { "everything is explained" } else { "NOT everything is explained" }
}

/// A row of the table: name, count and remark.
fn row(name: &str, count: u64, remark: &str) -> String {
    format!("  {name:<46}{:>14}  {remark}", thousands(count)).trim_end().to_owned()
}

fn states(counts: DeadLetterCounts) -> String {
    let [open, replayed, discarded] = [counts.open, counts.replayed, counts.discarded].map(thousands);
    format!("open {open}, replayed {replayed}, discarded {discarded}")
}

/// The audited range, and a section of rows for each topic.
pub(super) fn table(audit: &Audit, topics: &PipelineTopics, scope: &AuditScope) -> Vec<String> {
    let since = scope.since.map_or_else(|| "the oldest record retained".to_owned(), rfc3339);
    let until = scope.until.map_or_else(|| "now".to_owned(), rfc3339);
    let range = match &scope.offsets {
        Some(only) => format!("Raw offsets {only}"),
        None => format!("From {since} to {until}, {} partitions", audit.partitions),
    };
    let sections = [
        (format!("raw records ({})", topics.raw), raw(&audit.report.raw)),
        (format!("typed records ({})", topics.typed), typed(&audit.report.typed)),
        (format!("other dead letters ({})", topics.dead_letters), dead_letters(&audit.report.dead_letters)),
    ];
    let mut lines = vec![range, String::new()];
    for (title, rows) in sections {
        lines.push(title);
        lines.extend(rows);
        lines.push(String::new());
    }
    lines
}

fn raw(raw: &RawColumns) -> Vec<String> {
    let mut rows = vec![
        row("records", raw.records, &aside(raw.replays, "written by a replay")),
        row("typed", raw.typed, ""),
        row("dead-lettered by the transformer", raw.dead_lettered.total(), &states(raw.dead_lettered)),
        row("duplicates of an earlier record", raw.duplicates, ""),
        row("bodies of `customerio-aep check`", raw.checks, ""),
        row("ahead of the transformer's committed offset", raw.ahead, &late(raw.late)),
        row("unverifiable: the proof has expired", raw.expired, ""),
        row("UNEXPLAINED", raw.unexplained, ""),
        row("doubled", raw.doubled, "more than one outcome of one record"),
    ];
    if raw.expired_unread > 0 {
        rows.push(row("EXPIRED before the transformer read them", raw.expired_unread, "offsets, at most"));
    }
    rows
}

fn typed(typed: &TypedColumns) -> Vec<String> {
    let mut rows = vec![
        row("records", typed.records, &aside(typed.replays, "written by a replay")),
        row("accepted by Platform, with receipt", typed.accepted, &also(typed.also_dead_lettered)),
        row("accepted, inferred from committed offsets", typed.inferred, ""),
        row("rejected by Platform after acceptance", typed.rejected_later.total(), &states(typed.rejected_later)),
        row("dead-lettered by the sink", typed.dead_lettered.total(), &states(typed.dead_lettered)),
        row("ahead of the sink's committed offset", typed.ahead, &late(typed.late)),
        row("unverifiable: the proof has expired", typed.expired, ""),
        row("UNEXPLAINED", typed.unexplained, ""),
        row("without a raw record", typed.orphans, ""),
        row("typed again within the dedup window", typed.repeats_within, ""),
        row("  in another partition", typed.repeats_elsewhere, ""),
        row("  in another partition, without a key", typed.repeats_without_key, "written by an older gateway"),
        row(
            "typed again after partitions were added",
            typed.repeats_after_growth,
            "same _id: Platform drops the second",
        ),
        row("repeats beyond the dedup window", typed.repeats, "same _id: Platform drops the second"),
        row("typed again on request (reprocess)", typed.reprocessed, ""),
    ];
    if typed.expired_unread > 0 {
        rows.push(row("EXPIRED before the sink read them", typed.expired_unread, "offsets, at most"));
    }
    rows
}

fn dead_letters(dead_letters: &DeadLetters) -> Vec<String> {
    vec![
        row("by the gateway: too large to be stored", dead_letters.gateway.total(), &states(dead_letters.gateway)),
        row(
            "rejected after acceptance, typed record expired",
            dead_letters.rejected_rows.total(),
            &states(dead_letters.rejected_rows),
        ),
        row("written twice by the sink", dead_letters.written_again, ""),
        row("of other topics", dead_letters.elsewhere, ""),
    ]
}

fn aside(count: u64, what: &str) -> String {
    if count == 0 { String::new() } else { format!("of these {what}: {}", thousands(count)) }
}

fn late(count: u64) -> String {
    if count == 0 { String::new() } else { format!("{} LATE", thousands(count)) }
}

fn also(count: u64) -> String {
    if count == 0 { String::new() } else { format!("{} have a dead letter too", thousands(count)) }
}

fn words(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Unexplained => "unexplained",
        FindingKind::Late => "has been ahead of the committed offset for longer than --late: nothing reads it",
        FindingKind::RefusedWithoutDeadLetter => "refused by Platform, but there is no dead letter",
        FindingKind::OtherEvent => "its typed record has another event",
        FindingKind::Doubled => "has more than one outcome",
        FindingKind::Orphan => "names a raw record that does not exist",
        FindingKind::Repeated => "was typed before, within the dedup window",
        FindingKind::RepeatedElsewhere => {
            "was typed before in another partition, within the dedup window; no added partitions explain it"
        }
        FindingKind::RepeatedWithoutKey => {
            "was typed before in another partition, within the dedup window: a record without a key, as an older gateway wrote it for a body that it could not read, goes to any partition"
        }
    }
}

/// Lines about every record and every service with a problem.
pub(super) fn problems(audit: &Audit, topics: &PipelineTopics) -> Vec<String> {
    let line = |NamedFinding { finding, event_id }: &NamedFinding| {
        let topic = match finding.topic {
            Topic::Raw => &topics.raw,
            Topic::Typed => &topics.typed,
        };
        let id = printable(event_id.as_deref().unwrap_or("that cannot be read"));
        format!("{topic} {} event {id}: {}", finding.position, words(finding.kind))
    };
    let missing = audit.missing_readers.iter().map(|MissingReader { group, topic }| match group {
        Some(group) => format!(
            "the group `{group}` has no committed offset in {topic}, which has had records: check the name of the group, and that the service has been started"
        ),
        None => format!("the service that reads {topic} has processed none of its records"),
    });
    let mut lines: Vec<String> = missing.chain(audit.findings.iter().map(line)).collect();
    let more = audit.report.findings.len() - audit.findings.len();
    if more > 0 {
        lines.push(format!("and {more} more; --limit lists more of them"));
    }
    lines
}
