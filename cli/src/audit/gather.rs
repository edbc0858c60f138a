//! Decides what to read from the topics, and adds notes to the result. `reading` does the reading.
//!
//! The order makes the result correct while the services run: first the committed offsets, then the ends of the topics.
//! All output for the offsets that a service had committed by then is before those ends.

use std::collections::BTreeMap;
use std::ops::Range;

use kafka::offsets::{Extent, Offsets};
use kafka::reader::{OffsetRange, first_times, read_offset_ranges};
use kafka::{Connection, KafkaError, TopicName};
use mapping::Sources;
use reconcile::{
    AuditScope, DedupReach, Finding, FindingKind, Place, Receipts, Reconciliation, Report, Retained, Topic,
};

use super::reading::{Gathered, Reading};
use super::{AuditArgs, Positions, RawOffsets, Retention};
use crate::topics::{PATIENCE, settled};
use crate::when::show;
use crate::{CommandError, UsageError, dead_letters, output};

/// How far the clocks of the machines that write records may differ, in milliseconds.
const CLOCK_DIFFERENCE: i64 = 5 * 60 * 1000;

/// How often an audit starts again because records expired while it read them.
const ATTEMPTS: u32 = 3;

pub(super) struct Audit<'a> {
    pub(super) args: &'a AuditArgs,
    pub(super) connection: &'a Connection,
    pub(super) sources: &'a Sources,
    pub(super) retention: Retention,
    /// Used instead of the groups' committed offsets.
    pub(super) positions: Option<Positions>,
}

/// The result, with the notes for its reader.
pub(super) struct Found {
    pub(super) report: Report,
    /// The first findings, with the ids of their events.
    pub(super) named: Vec<(Finding, Option<String>)>,
    pub(super) notes: Vec<String>,
    /// Groups that do not exist.
    pub(super) missing_groups: Vec<MissingGroup>,
    pub(super) partitions: usize,
    pub(super) records_read: u64,
}

/// A group without a committed offset in a topic that contains records, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MissingGroup {
    pub(super) group: String,
    pub(super) topic: TopicName,
}

impl MissingGroup {
    fn find(group: &str, topic: &TopicName, committed: &BTreeMap<i32, i64>, view: &View) -> Option<Self> {
        let written = view.extents.values().any(|extent| extent.end > 0);
        (written && committed.is_empty()).then(|| Self { group: group.to_owned(), topic: topic.clone() })
    }
}

/// The offsets that a topic's partitions contain, and the first offset to read.
pub(super) struct View {
    pub(super) extents: BTreeMap<i32, Extent>,
    from: BTreeMap<i32, i64>,
    retained: BTreeMap<i32, Retained>,
}

impl View {
    pub(super) fn offset_ranges(&self) -> Vec<OffsetRange> {
        let offset_range = |(&partition, extent): (&i32, &Extent)| OffsetRange {
            partition,
            start: self.from.get(&partition).copied().unwrap_or(extent.start),
            end: extent.end,
        };
        self.extents.iter().map(offset_range).collect()
    }
}

impl Audit<'_> {
    pub(super) fn run(&self) -> Result<Found, CommandError> {
        let offsets = Offsets::new(self.connection)?;
        for _ in 0..ATTEMPTS {
            if let Some(found) = self.attempt(&offsets)? {
                return Ok(found);
            }
            output::progress("records expired while they were read: starting again");
        }
        Err(CommandError::from(format!(
            "records expired while they were read, {ATTEMPTS} times in a row; use --since to audit only records that are younger than the topics' retention"
        )))
    }

    /// Returns `None` if records expired while they were read: then related records may be missing.
    fn attempt(&self, offsets: &Offsets) -> Result<Option<Found>, CommandError> {
        let topics = &self.args.topics;
        output::progress("asking for committed offsets and the ends of the topics");
        let Positions { transformer, sink } = match &self.positions {
            Some(positions) => positions.clone(),
            None => Positions {
                transformer: offsets.committed(&self.args.groups.transformer_group, &topics.raw_topic)?,
                sink: offsets.committed(&self.args.groups.sink_group, &topics.typed_topic)?,
            },
        };
        let window = i64::try_from(self.args.dedup_window.0.as_millis()).unwrap_or(i64::MAX);
        let raw = self.view(offsets, &topics.raw_topic, 0, None)?;
        let reach = window.saturating_add(CLOCK_DIFFERENCE);
        let typed = self.view(offsets, &topics.typed_topic, reach, self.retention.typed)?;
        let dead_letters =
            self.view(offsets, &topics.dead_letter_topic, CLOCK_DIFFERENCE, self.retention.dead_letters)?;
        let groups = &self.args.groups;
        let missing_groups = [
            MissingGroup::find(&groups.transformer_group, &topics.raw_topic, &transformer, &raw),
            MissingGroup::find(&groups.sink_group, &topics.typed_topic, &sink, &typed),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut notes = Vec::new();
        let receipts = self.receipts(offsets, &mut notes)?;

        let (raw_range, typed_range) = match &self.args.offsets {
            Some(only) => (only_offsets(only, &raw.extents)?, BTreeMap::new()),
            None => (
                self.range(offsets, &topics.raw_topic, &raw.extents)?,
                self.range(offsets, &topics.typed_topic, &typed.extents)?,
            ),
        };
        let scopes = scopes((&raw, &raw_range, &transformer), (&typed, &typed_range, &sink), &dead_letters);
        let receipts_exist =
            receipts.as_ref().is_some_and(|(view, _)| view.extents.values().any(|extent| extent.end > 0));
        self.note(&scopes, &raw, &typed, receipts_exist, &mut notes);
        let raw_stretches: Vec<OffsetRange> = raw_range
            .iter()
            .map(|(&partition, range)| OffsetRange { partition, start: range.start, end: range.end })
            .collect();
        let late = i64::try_from(self.args.late.0.as_millis()).unwrap_or(i64::MAX);
        let late_before = service::unix_millis().saturating_sub(late);
        let kept = receipts.as_ref().map_or(Receipts::Off, |(_, retained)| Receipts::Kept(*retained));
        let partitions = u32::try_from(raw.extents.len()).unwrap_or(u32::MAX);
        let reach = DedupReach { window, ids: i64::from(self.args.dedup_max_ids), partitions };
        let reading = Reading::into(self, Reconciliation::new(scopes, kept, reach).late_before(late_before));
        reading.all(&raw_stretches, &typed, &dead_letters, receipts.as_ref().map(|(view, _)| view))?;
        reading.earlier_typed(&typed)?;
        let mut read = vec![
            (&topics.raw_topic, raw_stretches),
            (&topics.typed_topic, typed.offset_ranges()),
            (&topics.dead_letter_topic, dead_letters.offset_ranges()),
        ];
        if let (Some((view, _)), Some(topic)) = (&receipts, &topics.receipts_topic.0) {
            read.push((topic, view.offset_ranges()));
        }
        if expired_meanwhile(offsets, read)? {
            return Ok(None);
        }
        output::progress_done();
        let Gathered { reconciliation, records_read, unknown_source: unknown } = reading.end();
        if unknown > 0 {
            notes.push(format!(
                "{unknown} raw records are of sources that SOURCES_FILE does not name ({}): their ids are not known here",
                self.sources.names()
            ));
        }
        let report = reconciliation.classify();
        let named = self.name(&report.findings)?;
        let expired = |view: &View| view.extents.values().any(|extent| extent.start > 0);
        if report.findings.iter().any(|finding| finding.kind == FindingKind::Unexplained)
            && (expired(&typed) || expired(&dead_letters) || receipts.as_ref().is_some_and(|(view, _)| expired(view)))
        {
            notes.push(
                "the audit trusts the topics' retention: if records were deleted manually, or expired before a retention was raised, related records are reported as unexplained"
                    .to_owned(),
            );
        }
        Ok(Some(Found { report, named, notes, missing_groups, partitions: raw.extents.len(), records_read }))
    }

    /// Finds the offsets of a topic; it is read from `reach` milliseconds before the range on.
    fn view(
        &self,
        offsets: &Offsets,
        topic: &TopicName,
        reach: i64,
        retention: Option<i64>,
    ) -> Result<View, CommandError> {
        let extents = settled(offsets, topic)?;
        let from = match self.args.since {
            Some(since) => offsets.at(topic, &extents, since.saturating_sub(reach))?,
            None => extents.iter().map(|(&partition, extent)| (partition, extent.start)).collect(),
        };
        let cut: Vec<(i32, i64)> = extents
            .iter()
            .filter(|(_, extent)| extent.start > 0)
            .map(|(&partition, extent)| (partition, extent.start))
            .collect();
        let first = first_times(self.connection, topic, &cut, PATIENCE)?;
        let now = service::unix_millis();
        let retained = cut
            .into_iter()
            .map(|(partition, _)| {
                let oldest = first.get(&partition).copied().unwrap_or(now);
                // Expired records are older than the retention, even if the remaining records are much younger.
                let since = retention.map_or(oldest, |retention| oldest.min(now - retention));
                (partition, Retained::Since(since.saturating_add(CLOCK_DIFFERENCE)))
            })
            .collect();
        Ok(View { extents, from, retained })
    }

    /// Finds the receipts, and since when they are complete; `None` without a receipts topic.
    fn receipts(&self, offsets: &Offsets, notes: &mut Vec<String>) -> Result<Option<(View, Retained)>, CommandError> {
        let Some(topic) = &self.args.topics.receipts_topic.0 else {
            notes.push(
                "there is no receipts topic: acceptance is inferred from the sink's committed offsets".to_owned(),
            );
            return Ok(None);
        };
        match offsets.extents(topic) {
            Err(KafkaError::NoTopic(_)) => {
                notes.push(format!(
                    "the receipts topic `{topic}` does not exist: acceptance is inferred from the sink's committed offsets"
                ));
                return Ok(None);
            }
            found => found?,
        };
        let view = self.view(offsets, topic, CLOCK_DIFFERENCE, self.retention.receipts)?;
        // A receipt may be in any partition.
        let expired = view.retained.values().filter_map(|retained| match retained {
            Retained::Since(since) => Some(*since),
            Retained::Whole => None,
        });
        let since = expired.chain(self.args.receipts_since).max();
        if let Some(since) = since {
            notes.push(format!(
                "receipts before {} may have expired or were off: acceptance of older records is inferred from the sink's committed offsets",
                show(since)
            ));
        }
        Ok(Some((view, since.map_or(Retained::Whole, Retained::Since))))
    }

    fn range(
        &self,
        offsets: &Offsets,
        topic: &TopicName,
        extents: &BTreeMap<i32, Extent>,
    ) -> Result<BTreeMap<i32, Range<i64>>, KafkaError> {
        let at = |bound: Option<i64>| bound.map(|millis| offsets.at(topic, extents, millis)).transpose();
        let (since, until) = (at(self.args.since)?, at(self.args.until)?);
        let or = |found: &Option<BTreeMap<i32, i64>>, partition: i32, default: i64| {
            found.as_ref().and_then(|found| found.get(&partition).copied()).unwrap_or(default)
        };
        let range = |(&partition, extent): (&i32, &Extent)| {
            let start = or(&since, partition, extent.start);
            (partition, start..or(&until, partition, extent.end).max(start))
        };
        Ok(extents.iter().map(range).collect())
    }

    /// Adds the notes that a reader of the columns needs.
    fn note(
        &self,
        scopes: &BTreeMap<i32, AuditScope>,
        raw: &View,
        typed: &View,
        receipts_exist: bool,
        notes: &mut Vec<String>,
    ) {
        let topics = &self.args.topics;
        let (raw_count, typed_count) = (raw.extents.len(), typed.extents.len());
        if raw_count > typed_count {
            notes.push(format!(
                "{} has {raw_count} partitions but {} has {typed_count}: the transformer will not start; grow {} first",
                topics.raw_topic, topics.typed_topic, topics.typed_topic
            ));
        }
        for (view, topic) in [(raw, &topics.raw_topic), (typed, &topics.typed_topic)] {
            let expired: i64 = view.extents.values().map(|extent| extent.start).sum();
            let asked = self.args.since.is_none_or(|since| {
                view.extents.iter().any(|(partition, extent)| {
                    extent.start > 0 && view.retained.get(partition).is_some_and(|retained| retained.may_lack(since))
                })
            });
            if expired > 0 && asked {
                notes
                    .push(format!("{topic}: {expired} offsets have expired; what they held is not part of this audit"));
            }
        }
        let mut lost = |group: &str, topic: &TopicName, partition: i32| {
            notes.push(format!(
                "the group `{group}` has no committed offset for {topic}[{partition}] although it was processed before: its records count as ahead; see docs/operate.md, lost group"
            ));
        };
        for (&partition, scope) in scopes {
            if scope.transformer.is_none() && typed.extents.get(&partition).is_some_and(|extent| extent.end > 0) {
                lost(&self.args.groups.transformer_group, &topics.raw_topic, partition);
            }
        }
        let sink_began = receipts_exist || scopes.values().any(|scope| scope.sink.is_some());
        for (&partition, scope) in scopes.iter().filter(|_| sink_began) {
            if scope.sink.is_none() && typed.extents.get(&partition).is_some_and(|extent| extent.end > 0) {
                lost(&self.args.groups.sink_group, &topics.typed_topic, partition);
            }
        }
    }

    /// Finds the ids of the events of the first findings, because the reconciliation has only their hashes.
    fn name(&self, findings: &[Finding]) -> Result<Vec<(Finding, Option<String>)>, CommandError> {
        let findings = findings.get(..self.args.limit.min(findings.len())).unwrap_or_default();
        let mut ids = BTreeMap::new();
        for (topic, name) in [(Topic::Raw, &self.args.topics.raw_topic), (Topic::Typed, &self.args.topics.typed_topic)]
        {
            let places: Vec<Place> =
                findings.iter().filter(|finding| finding.topic == topic).map(|finding| finding.place).collect();
            for place in places {
                let offset_range =
                    OffsetRange { partition: place.partition, start: place.offset, end: place.offset + 1 };
                read_offset_ranges(
                    self.connection,
                    name,
                    &[offset_range],
                    PATIENCE,
                    |record| -> Result<(), KafkaError> {
                        ids.insert((topic, place), dead_letters::event_id(record));
                        Ok(())
                    },
                )?;
            }
        }
        let named = findings.iter().map(|&finding| {
            let id = ids.remove(&(finding.topic, finding.place)).flatten();
            (finding, id)
        });
        Ok(named.collect())
    }
}

/// Combines the topics, the audited range and the groups' committed offsets for each partition.
fn scopes(
    (raw, raw_range, transformer): (&View, &BTreeMap<i32, Range<i64>>, &BTreeMap<i32, i64>),
    (typed, typed_range, sink): (&View, &BTreeMap<i32, Range<i64>>, &BTreeMap<i32, i64>),
    dead_letters: &View,
) -> BTreeMap<i32, AuditScope> {
    let scope = |&partition: &i32| {
        let start = |view: &View| view.extents.get(&partition).map_or(0, |extent| extent.start);
        let retained = |view: &View| view.retained.get(&partition).copied().unwrap_or(Retained::Whole);
        let scope = AuditScope {
            raw: raw_range.get(&partition).cloned().unwrap_or(0..0),
            typed: typed_range.get(&partition).cloned().unwrap_or(0..0),
            raw_log_start: start(raw),
            typed_log_start: start(typed),
            transformer: transformer.get(&partition).copied(),
            sink: sink.get(&partition).copied(),
            typed_retained: retained(typed),
            typed_ever: typed.extents.get(&partition).is_some_and(|extent| extent.end > 0),
            dead_letters_retained: retained(dead_letters),
        };
        (partition, scope)
    };
    raw.extents.keys().chain(typed.extents.keys()).map(scope).collect()
}

/// Whether records that were to be read have expired by now, so that some may be missing.
fn expired_meanwhile(offsets: &Offsets, read: Vec<(&TopicName, Vec<OffsetRange>)>) -> Result<bool, KafkaError> {
    for (topic, offset_ranges) in read {
        let now = offsets.extents(topic)?;
        let expired = |offset_range: &OffsetRange| {
            let start = now.get(&offset_range.partition).map(|extent| extent.start);
            offset_range.start < offset_range.end && start.is_none_or(|start| start > offset_range.start)
        };
        if offset_ranges.iter().any(expired) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the retained part of these raw offsets.
fn only_offsets(only: &RawOffsets, extents: &BTreeMap<i32, Extent>) -> Result<BTreeMap<i32, Range<i64>>, CommandError> {
    let Some(extent) = extents.get(&only.partition) else {
        let (partition, count) = (only.partition, extents.len());
        return Err(
            UsageError(format!("--offsets: there is no partition {partition}, the raw topic has {count}")).into()
        );
    };
    let start = only.range.start.clamp(extent.start, extent.end);
    Ok(BTreeMap::from([(only.partition, start..only.range.end.clamp(start, extent.end))]))
}
