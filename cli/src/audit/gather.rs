//! What is to be read of the topics, and what is said of the result. `reading` reads.
//!
//! The order is what makes it sound beside running services: first the committed offsets, then the ends of the topics.
//! What a service had committed by then has left its traces before those ends.

use std::collections::BTreeMap;
use std::ops::Range;

use accounting::{Books, DedupReach, Evidence, Finding, FindingKind, Frame, Place, Receipts, Report, Topic};
use kafka::offsets::{Extent, Offsets};
use kafka::reader::{Stretch, first_times, read_stretches};
use kafka::{Connection, KafkaError, TopicName};
use transformer::Sources;

use super::reading::{Gathered, Reading};
use super::{AuditArgs, Positions, RawOffsets, Retention};
use crate::topics::{PATIENCE, settled};
use crate::when::show;
use crate::{CommandError, WrongUse, dead_letters, output};

/// How far the clocks of the machines that write records may differ, in milliseconds.
const CLOCK_DIFFERENCE: i64 = 5 * 60 * 1000;

/// How often an audit begins anew because something expired under it.
const ATTEMPTS: u32 = 3;

pub(super) struct Audit<'a> {
    pub(super) args: &'a AuditArgs,
    pub(super) connection: &'a Connection,
    pub(super) sources: &'a Sources,
    pub(super) retention: Retention,
    /// In place of the groups' committed offsets.
    pub(super) positions: Option<Positions>,
}

/// The result, with all that has to be said beside it.
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

/// A group that has no committed offset in a topic that holds records, or did.
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

/// What a topic's partitions hold, and from which offset on they are read.
pub(super) struct View {
    pub(super) extents: BTreeMap<i32, Extent>,
    from: BTreeMap<i32, i64>,
    evidence: BTreeMap<i32, Evidence>,
}

impl View {
    pub(super) fn stretches(&self) -> Vec<Stretch> {
        let stretch = |(&partition, extent): (&i32, &Extent)| Stretch {
            partition,
            start: self.from.get(&partition).copied().unwrap_or(extent.start),
            end: extent.end,
        };
        self.extents.iter().map(stretch).collect()
    }
}

impl Audit<'_> {
    pub(super) fn run(&self) -> Result<Found, CommandError> {
        let offsets = Offsets::new(self.connection)?;
        for _ in 0..ATTEMPTS {
            if let Some(found) = self.attempt(&offsets)? {
                return Ok(found);
            }
            output::progress("records have expired while they were read: beginning anew");
        }
        Err(CommandError::from(format!(
            "records expired while they were read, {ATTEMPTS} times in a row; audit what is younger than the retention of the topics with --since"
        )))
    }

    /// `None` if something expired while it was read: then some facts are there and others, that belong to them, are not.
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
        let letters = self.view(offsets, &topics.dead_letter_topic, CLOCK_DIFFERENCE, self.retention.dead_letters)?;
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
        let frames = frames((&raw, &raw_range, &transformer), (&typed, &typed_range, &sink), &letters);
        let receipts_exist =
            receipts.as_ref().is_some_and(|(view, _)| view.extents.values().any(|extent| extent.end > 0));
        self.note(&frames, &raw, &typed, receipts_exist, &mut notes);
        let raw_stretches: Vec<Stretch> = raw_range
            .iter()
            .map(|(&partition, range)| Stretch { partition, start: range.start, end: range.end })
            .collect();
        let late = i64::try_from(self.args.late.0.as_millis()).unwrap_or(i64::MAX);
        let late_before = service::unix_millis().saturating_sub(late);
        let kept = receipts.as_ref().map_or(Receipts::Off, |(_, evidence)| Receipts::Kept(*evidence));
        let partitions = u32::try_from(raw.extents.len()).unwrap_or(u32::MAX);
        let reach = DedupReach { window, ids: i64::from(self.args.dedup_max_ids), partitions };
        let reading = Reading::into(self, Books::new(frames, kept, reach).late_before(late_before));
        reading.all(&raw_stretches, &typed, &letters, receipts.as_ref().map(|(view, _)| view))?;
        reading.earlier_typed(&typed)?;
        let mut read = vec![
            (&topics.raw_topic, raw_stretches),
            (&topics.typed_topic, typed.stretches()),
            (&topics.dead_letter_topic, letters.stretches()),
        ];
        if let (Some((view, _)), Some(topic)) = (&receipts, &topics.receipts_topic.0) {
            read.push((topic, view.stretches()));
        }
        if expired_meanwhile(offsets, read)? {
            return Ok(None);
        }
        output::progress_done();
        let Gathered { books, records_read, unknown_source: unknown } = reading.end();
        if unknown > 0 {
            notes.push(format!(
                "{unknown} raw records are of sources that SOURCES_FILE does not name ({}): their ids are not known here",
                self.sources.names()
            ));
        }
        let report = books.close();
        let named = self.name(&report.findings)?;
        let expired = |view: &View| view.extents.values().any(|extent| extent.start > 0);
        if report.findings.iter().any(|finding| finding.kind == FindingKind::Unexplained)
            && (expired(&typed) || expired(&letters) || receipts.as_ref().is_some_and(|(view, _)| expired(view)))
        {
            notes.push(
                "what would explain a record is looked for as far back as the topics' retention says that it is there: records that were deleted by hand, or had expired before a retention was raised, leave others unexplained"
                    .to_owned(),
            );
        }
        Ok(Some(Found { report, named, notes, missing_groups, partitions: raw.extents.len(), records_read }))
    }

    /// What a topic holds; read from `reach` milliseconds before the range on.
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
        let evidence = cut
            .into_iter()
            .map(|(partition, _)| {
                let oldest = first.get(&partition).copied().unwrap_or(now);
                // What has expired is older than the retention, however rare what is left may be.
                let since = retention.map_or(oldest, |retention| oldest.min(now - retention));
                (partition, Evidence::Since(since.saturating_add(CLOCK_DIFFERENCE)))
            })
            .collect();
        Ok(View { extents, from, evidence })
    }

    /// The receipts, and since when they are all there; `None` without a topic for them.
    fn receipts(&self, offsets: &Offsets, notes: &mut Vec<String>) -> Result<Option<(View, Evidence)>, CommandError> {
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
        // A receipt may lie in any partition.
        let expired = view.evidence.values().filter_map(|evidence| match evidence {
            Evidence::Since(since) => Some(*since),
            Evidence::Whole => None,
        });
        let since = expired.chain(self.args.receipts_since).max();
        if let Some(since) = since {
            notes.push(format!(
                "receipts before {} may have expired or were off: acceptance of older records is inferred from the sink's committed offsets",
                show(since)
            ));
        }
        Ok(Some((view, since.map_or(Evidence::Whole, Evidence::Since))))
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

    /// What somebody who reads the columns has to know.
    fn note(
        &self,
        frames: &BTreeMap<i32, Frame>,
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
                    extent.start > 0 && view.evidence.get(partition).is_some_and(|evidence| evidence.may_lack(since))
                })
            });
            if expired > 0 && asked {
                notes
                    .push(format!("{topic}: {expired} offsets have expired; what they held is not part of this audit"));
            }
        }
        let mut lost = |group: &str, topic: &TopicName, partition: i32| {
            notes.push(format!(
                "the group `{group}` has no committed offset for {topic}[{partition}] although its work has been done before: its records count as ahead; see docs/operate.md, lost group"
            ));
        };
        for (&partition, frame) in frames {
            if frame.transformer.is_none() && typed.extents.get(&partition).is_some_and(|extent| extent.end > 0) {
                lost(&self.args.groups.transformer_group, &topics.raw_topic, partition);
            }
        }
        let sink_began = receipts_exist || frames.values().any(|frame| frame.sink.is_some());
        for (&partition, frame) in frames.iter().filter(|_| sink_began) {
            if frame.sink.is_none() && typed.extents.get(&partition).is_some_and(|extent| extent.end > 0) {
                lost(&self.args.groups.sink_group, &topics.typed_topic, partition);
            }
        }
    }

    /// The ids of the first findings' events: the books have only their hashes.
    fn name(&self, findings: &[Finding]) -> Result<Vec<(Finding, Option<String>)>, CommandError> {
        let findings = findings.get(..self.args.limit.min(findings.len())).unwrap_or_default();
        let mut ids = BTreeMap::new();
        for (topic, name) in [(Topic::Raw, &self.args.topics.raw_topic), (Topic::Typed, &self.args.topics.typed_topic)]
        {
            let places: Vec<Place> =
                findings.iter().filter(|finding| finding.topic == topic).map(|finding| finding.place).collect();
            for place in places {
                let stretch = Stretch { partition: place.partition, start: place.offset, end: place.offset + 1 };
                read_stretches(self.connection, name, &[stretch], PATIENCE, |record| -> Result<(), KafkaError> {
                    ids.insert((topic, place), dead_letters::event_id(record));
                    Ok(())
                })?;
            }
        }
        let named = findings.iter().map(|&finding| {
            let id = ids.remove(&(finding.topic, finding.place)).flatten();
            (finding, id)
        });
        Ok(named.collect())
    }
}

/// What the topics, what is audited of them, and the groups' committed offsets say of each partition.
fn frames(
    (raw, raw_range, transformer): (&View, &BTreeMap<i32, Range<i64>>, &BTreeMap<i32, i64>),
    (typed, typed_range, sink): (&View, &BTreeMap<i32, Range<i64>>, &BTreeMap<i32, i64>),
    letters: &View,
) -> BTreeMap<i32, Frame> {
    let frame = |&partition: &i32| {
        let start = |view: &View| view.extents.get(&partition).map_or(0, |extent| extent.start);
        let evidence = |view: &View| view.evidence.get(&partition).copied().unwrap_or(Evidence::Whole);
        let frame = Frame {
            raw: raw_range.get(&partition).cloned().unwrap_or(0..0),
            typed: typed_range.get(&partition).cloned().unwrap_or(0..0),
            raw_log_start: start(raw),
            typed_log_start: start(typed),
            transformer: transformer.get(&partition).copied(),
            sink: sink.get(&partition).copied(),
            typed_evidence: evidence(typed),
            typed_ever: typed.extents.get(&partition).is_some_and(|extent| extent.end > 0),
            letter_evidence: evidence(letters),
        };
        (partition, frame)
    };
    raw.extents.keys().chain(typed.extents.keys()).map(frame).collect()
}

/// Whether something of what was read has expired by now, and may have been missed therefore.
fn expired_meanwhile(offsets: &Offsets, read: Vec<(&TopicName, Vec<Stretch>)>) -> Result<bool, KafkaError> {
    for (topic, stretches) in read {
        let now = offsets.extents(topic)?;
        let expired = |stretch: &Stretch| {
            let start = now.get(&stretch.partition).map(|extent| extent.start);
            stretch.start < stretch.end && start.is_none_or(|start| start > stretch.start)
        };
        if stretches.iter().any(expired) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What of these raw offsets is retained.
fn only_offsets(only: &RawOffsets, extents: &BTreeMap<i32, Extent>) -> Result<BTreeMap<i32, Range<i64>>, CommandError> {
    let Some(extent) = extents.get(&only.partition) else {
        let (partition, count) = (only.partition, extents.len());
        return Err(WrongUse(format!("--offsets: there is no partition {partition}, the raw topic has {count}")).into());
    };
    let start = only.range.start.clamp(extent.start, extent.end);
    Ok(BTreeMap::from([(only.partition, start..only.range.end.clamp(start, extent.end))]))
}
