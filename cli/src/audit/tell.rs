//! Prints the result: a table, then every record with a problem, then the notes that are needed to read it.

use accounting::{DeadLetterCounts, Finding, FindingKind, Topic};
use serde_json::{Value, json};

use super::AuditArgs;
use super::gather::{Found, MissingGroup};
use crate::when::show;
use crate::{Verdict, output};

pub(super) fn tell(args: &AuditArgs, found: &Found, json: bool) -> Verdict {
    let good = is_good(found);
    if json {
        output::json(&as_json(args, found));
    } else {
        lines(args, found).iter().for_each(|line| output::line(line));
        for note in &found.notes {
            output::line(&format!("note: {note}"));
        }
        if !good {
            wrong(args, found).iter().for_each(|line| output::problem(line));
        }
        output::line(if good { "everything is explained" } else { "NOT everything is explained" });
    }
    if good { Verdict::Good } else { Verdict::Problem }
}

/// Whether every record is where it should be, and every group exists.
pub(super) fn is_good(found: &Found) -> bool {
    found.report.balances() && found.missing_groups.is_empty()
}

/// Returns the result in one line.
pub(super) fn summary(found: &Found) -> String {
    let (raw, typed) = (found.report.raw.records, found.report.typed.records);
    let verdict = if is_good(found) { "everything is explained" } else { "NOT everything is explained" };
    format!("{} raw and {} typed records, {verdict}", output::thousands(raw), output::thousands(typed))
}

/// A row of the table, with a remark after it.
fn row(name: &str, count: u64, remark: &str) -> String {
    format!("  {name:<46}{:>14}  {remark}", output::thousands(count)).trim_end().to_owned()
}

fn states(counts: DeadLetterCounts) -> String {
    let [open, replayed, discarded] = [counts.open, counts.replayed, counts.discarded].map(output::thousands);
    format!("open {open}, replayed {replayed}, discarded {discarded}")
}

fn lines(args: &AuditArgs, found: &Found) -> Vec<String> {
    let (raw, typed, dead_letters) = (&found.report.raw, &found.report.typed, &found.report.dead_letters);
    let since = args.since.map_or_else(|| "the oldest record retained".to_owned(), show);
    let until = args.until.map_or_else(|| "now".to_owned(), show);
    let range = match &args.offsets {
        Some(only) => format!("Raw offsets {}:{}-{}", only.partition, only.range.start, only.range.end),
        None => format!("From {since} to {until}, {} partitions", found.partitions),
    };
    let mut lines = vec![
        range,
        String::new(),
        format!("raw records ({})", args.topics.raw_topic),
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
        lines.push(row("EXPIRED before the transformer read them", raw.expired_unread, "offsets, at most"));
    }
    lines.extend([
        String::new(),
        format!("typed records ({})", args.topics.typed_topic),
        row("records", typed.records, &aside(typed.replays, "written by a replay")),
        row("accepted by Platform, with receipt", typed.accepted, &also(typed.also_dead_lettered)),
        row("accepted, inferred from committed offsets", typed.inferred, ""),
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
        row("rejected by Platform after acceptance", typed.rejected_later, ""),
    ]);
    if typed.expired_unread > 0 {
        lines.push(row("EXPIRED before the sink read them", typed.expired_unread, "offsets, at most"));
    }
    lines.extend([
        String::new(),
        format!("other dead letters ({})", args.topics.dead_letter_topic),
        row("by the gateway: too large to be stored", dead_letters.gateway.total(), &states(dead_letters.gateway)),
        row("written twice by the sink", dead_letters.written_again, ""),
        row("of other topics", dead_letters.elsewhere, ""),
        String::new(),
    ]);
    lines
}

fn aside(count: u64, what: &str) -> String {
    if count == 0 { String::new() } else { format!("of these {what}: {}", output::thousands(count)) }
}

fn late(count: u64) -> String {
    if count == 0 { String::new() } else { format!("{} LATE", output::thousands(count)) }
}

fn also(count: u64) -> String {
    if count == 0 { String::new() } else { format!("{} have a dead letter too", output::thousands(count)) }
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

fn code(kind: FindingKind) -> &'static str {
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

fn topic_name(args: &AuditArgs, topic: Topic) -> &str {
    match topic {
        Topic::Raw => args.topics.raw_topic.as_str(),
        Topic::Typed => args.topics.typed_topic.as_str(),
    }
}

fn wrong(args: &AuditArgs, found: &Found) -> Vec<String> {
    let line = |(finding, id): &(Finding, Option<String>)| {
        let topic = topic_name(args, finding.topic);
        let id = id.as_deref().unwrap_or("that cannot be read");
        format!("{topic} {}:{} event {id}: {}", finding.place.partition, finding.place.offset, words(finding.kind))
    };
    let missing = found.missing_groups.iter().map(|MissingGroup { group, topic }| {
        format!(
            "the group `{group}` has no committed offset in {topic}, which has had records: check the name of the group, and that the service has been started"
        )
    });
    let mut lines: Vec<String> = missing.chain(found.named.iter().map(line)).collect();
    let more = found.report.findings.len() - found.named.len();
    if more > 0 {
        lines.push(format!("and {more} more; --limit lists more of them"));
    }
    lines
}

fn as_json(args: &AuditArgs, found: &Found) -> Value {
    let (raw, typed, dead_letters) = (&found.report.raw, &found.report.typed, &found.report.dead_letters);
    let counts = |counts: DeadLetterCounts| json!({"total": counts.total(), "open": counts.open, "replayed": counts.replayed, "discarded": counts.discarded});
    let findings: Vec<Value> = found
        .named
        .iter()
        .map(|(finding, id)| {
            json!({
                "kind": code(finding.kind),
                "topic": topic_name(args, finding.topic),
                "partition": finding.place.partition,
                "offset": finding.place.offset,
                "eventId": id,
            })
        })
        .collect();
    let missing_groups: Vec<Value> = found
        .missing_groups
        .iter()
        .map(|MissingGroup { group, topic }| json!({"group": group, "topic": topic.as_str()}))
        .collect();
    json!({
        "explained": is_good(found),
        "since": args.since.map(show),
        "until": args.until.map(show),
        "partitions": found.partitions,
        "recordsRead": found.records_read,
        "raw": {
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
        },
        "typed": {
            "records": typed.records,
            "accepted": typed.accepted,
            "acceptedInferred": typed.inferred,
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
            "rejectedAfterAcceptance": typed.rejected_later,
            "alsoDeadLettered": typed.also_dead_lettered,
            "expiredUnread": typed.expired_unread,
            "replays": typed.replays,
        },
        "deadLetters": {
            "gateway": counts(dead_letters.gateway),
            "writtenAgain": dead_letters.written_again,
            "otherTopics": dead_letters.elsewhere,
        },
        "findingsTotal": found.report.findings.len(),
        "findings": findings,
        "missingGroups": missing_groups,
        "notes": found.notes,
    })
}
