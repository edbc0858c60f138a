//! Plans an audit: decides which offsets to read, and adds notes to the result.
//!
//! The audit is correct while the services run, because it reads the committed offsets before the ends of the topics. A
//! service commits an offset only after it has written all output for it. So the audit reads the output of every
//! committed offset.

use std::collections::BTreeMap;
use std::ops::Range;

use contract::limits::CLOCK_TOLERANCE_MS;
use contract::{Offset, Partition, Position};
use kafka::offsets::Offsets;
use kafka::reader::{OffsetRange, first_times, read_offset_ranges};
use kafka::topic::Topics;
use kafka::{KafkaError, TopicName, Watermarks};
use mapping::Sources;
use reconcile::{DedupReach, Finding, FindingKind, PartitionScope, Receipts, Reconciliation, Retained, Topic};
use tokio::task::block_in_place;

use super::note::Note;
use super::reading::{Reading, ReadingResult};
use super::result::{Audit, MissingReader, NamedFinding};
use super::scope::{AuditScope, RawOffsets};
use super::view::{View, Views};
use crate::error::OperatorError;
use crate::pipeline::{Committed, NEXT_RECORD, Pipeline, Positions, stable_watermarks};
use crate::progress::Progress;
use crate::record::event_id;

/// Maximum number of attempts of an audit, which starts again if records expire while it reads them.
const ATTEMPTS: u32 = 3;

/// Minimum retention times of the topics, in milliseconds; `None` if unknown.
#[derive(Debug, Clone, Copy, Default)]
struct Retention {
    typed: Option<i64>,
    dead_letters: Option<i64>,
    receipts: Option<i64>,
}

/// Audited offsets of each partition.
type Ranges = BTreeMap<Partition, Range<Offset>>;

/// Audits the records of the scope. The call blocks its thread, so it needs a multi-threaded runtime.
///
/// # Errors
/// Returns an [`OperatorError`] if Kafka fails, the scope is invalid, or records expire during every attempt.
pub async fn run(pipeline: Pipeline<'_>, sources: &Sources, scope: &AuditScope) -> Result<Audit, OperatorError> {
    if let (Some(since), Some(until)) = (scope.since, scope.until)
        && since >= until
    {
        return Err(OperatorError::EmptyRange);
    }
    let retention = match &scope.committed {
        Committed::Groups(_) => {
            let topics = Topics::new(pipeline.connection)?;
            Retention {
                typed: retention(&topics, Some(&pipeline.topics.typed)).await,
                dead_letters: retention(&topics, Some(&pipeline.topics.dead_letters)).await,
                receipts: retention(&topics, pipeline.topics.receipts.as_ref()).await,
            }
        }
        // The caller passes committed offsets only if the brokers do not keep them. Such brokers do not keep topic
        // settings either.
        Committed::Handed(_) => Retention::default(),
    };
    block_in_place(|| Plan { pipeline, sources, scope, retention }.run())
}

/// Returns the minimum time for which a topic retains records, in milliseconds. Returns `None` if the topic's size is
/// limited, or if the settings cannot be read.
async fn retention(topics: &Topics, topic: Option<&TopicName>) -> Option<i64> {
    let settings = topics.settings(topic?).await.ok()?;
    let number = |name: &str| settings.get(name)?.parse::<i64>().ok();
    (number("retention.bytes") == Some(-1)).then(|| number("retention.ms")).flatten().filter(|&millis| millis > 0)
}

/// Input of one audit.
struct Plan<'a> {
    pipeline: Pipeline<'a>,
    sources: &'a Sources,
    scope: &'a AuditScope,
    retention: Retention,
}

impl Plan<'_> {
    fn run(&self) -> Result<Audit, OperatorError> {
        let offsets = Offsets::new(self.pipeline.connection)?;
        for _ in 0..ATTEMPTS {
            if let Some(audit) = self.attempt(&offsets)? {
                return Ok(audit);
            }
            self.pipeline.report(Progress::StartingAgain);
        }
        Err(OperatorError::Expired { attempts: ATTEMPTS })
    }

    /// Runs one attempt. Returns `None` if records expired during the attempt, because the audit may not have read
    /// them.
    fn attempt(&self, offsets: &Offsets) -> Result<Option<Audit>, OperatorError> {
        self.pipeline.report(Progress::ReadingOffsets);
        // The committed offsets must be read before the ends of the topics: see the documentation of this module.
        let positions = self.scope.committed.positions(self.pipeline.topics, offsets)?;
        let mut notes = Vec::new();
        let views = self.views(offsets, &mut notes)?;
        let (raw_range, typed_range) = self.audited_ranges(offsets, &views)?;
        let scopes = scopes(
            (&views.raw, &raw_range, &positions.transformer),
            (&views.typed, &typed_range, &positions.sink),
            &views.dead_letters,
        );
        self.note(&scopes, &views, &mut notes);
        let raw_ranges: Vec<OffsetRange> = raw_range
            .iter()
            .map(|(&partition, range)| OffsetRange { partition, start: range.start, end: range.end })
            .collect();
        let reconciliation = self.reconciliation(scopes, &views);
        let reading = Reading::into(reconciliation, self.pipeline, self.sources, self.scope.max_body);
        reading.all(&raw_ranges, &views.typed, &views.dead_letters, views.receipts.as_ref().map(|(view, _)| view))?;
        reading.earlier_typed(&views.typed)?;
        if expired_meanwhile(offsets, views.read(self.pipeline.topics, raw_ranges))? {
            return Ok(None);
        }
        let ReadingResult { reconciliation, records_read, unknown_source: records } = reading.end();
        if records > 0 {
            notes.push(Note::UnknownSources { records, known: self.sources.names() });
        }
        let report = reconciliation.classify();
        if report.findings.iter().any(|finding| finding.kind == FindingKind::Unexplained) && views.outcomes_expired() {
            notes.push(Note::RetentionIsTrusted);
        }
        let findings = self.name(&report.findings)?;
        let missing_readers = self.missing_readers(&positions, &views.raw, &views.typed);
        let partitions = views.raw.watermarks.len();
        Ok(Some(Audit { report, findings, missing_readers, notes, partitions, records_read }))
    }

    /// Returns the offsets to read from each topic.
    fn views(&self, offsets: &Offsets, notes: &mut Vec<Note>) -> Result<Views, OperatorError> {
        let (topics, retention) = (self.pipeline.topics, self.retention);
        let reach = self.dedup_window().saturating_add(CLOCK_TOLERANCE_MS);
        Ok(Views {
            raw: self.view(offsets, &topics.raw, 0, None)?,
            typed: self.view(offsets, &topics.typed, reach, retention.typed)?,
            dead_letters: self.view(offsets, &topics.dead_letters, CLOCK_TOLERANCE_MS, retention.dead_letters)?,
            receipts: self.receipts(offsets, notes)?,
        })
    }

    /// Returns the audited offsets of the raw topic and of the typed topic.
    fn audited_ranges(&self, offsets: &Offsets, views: &Views) -> Result<(Ranges, Ranges), OperatorError> {
        if let Some(only) = &self.scope.offsets {
            return Ok((only_offsets(only, &views.raw.watermarks)?, Ranges::new()));
        }
        let topics = self.pipeline.topics;
        let raw = self.range(offsets, &topics.raw, &views.raw.watermarks)?;
        Ok((raw, self.range(offsets, &topics.typed, &views.typed.watermarks)?))
    }

    /// Returns a reconciliation that has no records yet.
    fn reconciliation(&self, scopes: BTreeMap<i32, PartitionScope>, views: &Views) -> Reconciliation {
        let late = i64::try_from(self.scope.late.as_millis()).unwrap_or(i64::MAX);
        let late_before = service::unix_millis().saturating_sub(late);
        let kept = views.receipts.as_ref().map_or(Receipts::Off, |(_, retained)| Receipts::Kept(*retained));
        let partitions = u32::try_from(views.raw.watermarks.len()).unwrap_or(u32::MAX);
        let reach = DedupReach { window: self.dedup_window(), ids: i64::from(self.scope.dedup_max_ids), partitions };
        Reconciliation::new(scopes, kept, reach).late_before(late_before)
    }

    /// Returns the dedup window in milliseconds.
    fn dedup_window(&self) -> i64 {
        i64::try_from(self.scope.dedup_window.as_millis()).unwrap_or(i64::MAX)
    }

    fn missing_readers(&self, positions: &Positions, raw: &View, typed: &View) -> Vec<MissingReader> {
        let (transformer, sink) = match &self.scope.committed {
            Committed::Groups(groups) => (Some(groups.transformer.clone()), Some(groups.sink.clone())),
            Committed::Handed(_) => (None, None),
        };
        let topics = self.pipeline.topics;
        let readers =
            [(transformer, &topics.raw, &positions.transformer, raw), (sink, &topics.typed, &positions.sink, typed)];
        let missing = readers.into_iter().filter(|(_, _, committed, view)| {
            committed.is_empty() && view.watermarks.values().any(|watermarks| watermarks.high > Offset(0))
        });
        missing.map(|(group, topic, ..)| MissingReader { group, topic: topic.clone() }).collect()
    }

    /// Returns the offsets to read from a topic, starting `reach` milliseconds before the audited range.
    fn view(
        &self,
        offsets: &Offsets,
        topic: &TopicName,
        reach: i64,
        retention: Option<i64>,
    ) -> Result<View, OperatorError> {
        let watermarks = stable_watermarks(offsets, topic)?;
        let from = match self.scope.since {
            Some(since) => offsets.at(topic, &watermarks, since.saturating_sub(reach))?,
            None => watermarks.iter().map(|(&partition, watermarks)| (partition, watermarks.low)).collect(),
        };
        let cut: Vec<Position> = watermarks
            .iter()
            .filter(|(_, watermarks)| watermarks.low > Offset(0))
            .map(|(&partition, watermarks)| Position::of(partition, watermarks.low))
            .collect();
        let first = first_times(self.pipeline.connection, topic, &cut, NEXT_RECORD)?;
        let now = service::unix_millis();
        let retained = cut
            .into_iter()
            .map(|Position { partition, .. }| {
                let oldest = first.get(&partition).copied().unwrap_or(now);
                // Expired records are older than the retention time, even if the oldest retained record is much
                // younger.
                let since = retention.map_or(oldest, |retention| oldest.min(now - retention));
                (partition, Retained::Since(since.saturating_add(CLOCK_TOLERANCE_MS)))
            })
            .collect();
        Ok(View { watermarks, from, retained })
    }

    /// Returns the view of the receipts topic and the time since which its receipts are complete; `None` if there is no
    /// receipts topic.
    fn receipts(&self, offsets: &Offsets, notes: &mut Vec<Note>) -> Result<Option<(View, Retained)>, OperatorError> {
        let Some(topic) = &self.pipeline.topics.receipts else {
            notes.push(Note::NoReceiptsTopic);
            return Ok(None);
        };
        match offsets.watermarks(topic) {
            Err(KafkaError::NoTopic(_)) => {
                notes.push(Note::ReceiptsTopicMissing(topic.clone()));
                return Ok(None);
            }
            found => found?,
        };
        let view = self.view(offsets, topic, CLOCK_TOLERANCE_MS, self.retention.receipts)?;
        // A receipt can be in any partition, so the partition with the latest start decides.
        let expired = view.retained.values().filter_map(|retained| match retained {
            Retained::Since(since) => Some(*since),
            Retained::Whole => None,
        });
        let since = expired.chain(self.scope.receipts_since).max();
        notes.extend(since.map(Note::ReceiptsSince));
        Ok(Some((view, since.map_or(Retained::Whole, Retained::Since))))
    }

    fn range(
        &self,
        offsets: &Offsets,
        topic: &TopicName,
        watermarks: &BTreeMap<Partition, Watermarks>,
    ) -> Result<Ranges, KafkaError> {
        let at = |bound: Option<i64>| bound.map(|millis| offsets.at(topic, watermarks, millis)).transpose();
        let (since, until) = (at(self.scope.since)?, at(self.scope.until)?);
        let or = |found: &Option<BTreeMap<Partition, Offset>>, partition: Partition, default: Offset| {
            found.as_ref().and_then(|found| found.get(&partition).copied()).unwrap_or(default)
        };
        let range = |(&partition, watermarks): (&Partition, &Watermarks)| {
            let start = or(&since, partition, watermarks.low);
            (partition, start..or(&until, partition, watermarks.high).max(start))
        };
        Ok(watermarks.iter().map(range).collect())
    }

    /// Adds notes about partition counts, expired records, and committed offsets that were passed by the caller or are
    /// missing.
    fn note(&self, scopes: &BTreeMap<i32, PartitionScope>, views: &Views, notes: &mut Vec<Note>) {
        let topics = self.pipeline.topics;
        let Views { raw, typed, receipts, .. } = views;
        let (raw_count, typed_count) = (raw.watermarks.len(), typed.watermarks.len());
        if raw_count > typed_count {
            let (raw, typed) = ((topics.raw.clone(), raw_count), (topics.typed.clone(), typed_count));
            notes.push(Note::FewerTypedPartitions { raw, typed });
        }
        for (view, topic) in [(raw, &topics.raw), (typed, &topics.typed)] {
            let offsets: i64 = view.watermarks.values().map(|watermarks| watermarks.low.0).sum();
            let asked = self.scope.since.is_none_or(|since| {
                view.watermarks.iter().any(|(partition, watermarks)| {
                    watermarks.low > Offset(0)
                        && view.retained.get(partition).is_some_and(|retained| retained.may_lack(since))
                })
            });
            if offsets > 0 && asked {
                notes.push(Note::Expired { topic: topic.clone(), offsets });
            }
        }
        let Committed::Groups(groups) = &self.scope.committed else {
            notes.push(Note::OffsetsHanded);
            return;
        };
        let typed_ever =
            |partition| typed.watermarks.get(&partition).is_some_and(|watermarks| watermarks.high > Offset(0));
        let mut lost = |group: &str, topic: &TopicName, partition: Partition| {
            let (group, topic) = (group.to_owned(), topic.clone());
            notes.push(Note::LostOffset { group, topic, partition });
        };
        for (&number, scope) in scopes {
            let partition = Partition(number);
            if scope.transformer.is_none() && typed_ever(partition) {
                lost(&groups.transformer, &topics.raw, partition);
            }
        }
        let receipts_exist = receipts
            .as_ref()
            .is_some_and(|(view, _)| view.watermarks.values().any(|watermarks| watermarks.high > Offset(0)));
        let sink_began = receipts_exist || scopes.values().any(|scope| scope.sink.is_some());
        for (&number, scope) in scopes.iter().filter(|_| sink_began) {
            let partition = Partition(number);
            if scope.sink.is_none() && typed_ever(partition) {
                lost(&groups.sink, &topics.typed, partition);
            }
        }
    }

    /// Reads the records of the first findings for their event ids, because the reconciliation has only hashes of the
    /// ids.
    fn name(&self, findings: &[Finding]) -> Result<Vec<NamedFinding>, OperatorError> {
        let findings = findings.get(..self.scope.name_at_most.min(findings.len())).unwrap_or_default();
        let topics = self.pipeline.topics;
        let mut named = Vec::with_capacity(findings.len());
        for &finding in findings {
            let topic = match finding.topic {
                Topic::Raw => &topics.raw,
                Topic::Typed => &topics.typed,
            };
            let Position { partition, offset } = finding.position;
            let range = OffsetRange { partition, start: offset, end: offset.next() };
            let mut id = None;
            read_offset_ranges(self.pipeline.connection, topic, &[range], NEXT_RECORD, |record| {
                id = event_id(record);
                Ok::<(), KafkaError>(())
            })?;
            named.push(NamedFinding { finding, event_id: id });
        }
        Ok(named)
    }
}

/// Combines watermarks, audited ranges and committed offsets into the scope of each partition.
fn scopes(
    (raw, raw_range, transformer): (&View, &Ranges, &BTreeMap<Partition, Offset>),
    (typed, typed_range, sink): (&View, &Ranges, &BTreeMap<Partition, Offset>),
    dead_letters: &View,
) -> BTreeMap<i32, PartitionScope> {
    let scope = |partition: &Partition| {
        let start = |view: &View| view.watermarks.get(partition).map_or(0, |watermarks| watermarks.low.0);
        let range = |ranges: &Ranges| ranges.get(partition).map_or(0..0, |range| range.start.0..range.end.0);
        let retained = |view: &View| view.retained.get(partition).copied().unwrap_or(Retained::Whole);
        let scope = PartitionScope {
            raw: range(raw_range),
            typed: range(typed_range),
            raw_log_start: start(raw),
            typed_log_start: start(typed),
            transformer: transformer.get(partition).map(|offset| offset.0),
            sink: sink.get(partition).map(|offset| offset.0),
            typed_retained: retained(typed),
            typed_ever: typed.watermarks.get(partition).is_some_and(|watermarks| watermarks.high > Offset(0)),
            dead_letters_retained: retained(dead_letters),
        };
        (partition.0, scope)
    };
    raw.watermarks.keys().chain(typed.watermarks.keys()).map(scope).collect()
}

/// Whether records of these ranges have expired since the ranges were planned. The audit may not have read such
/// records.
fn expired_meanwhile(offsets: &Offsets, read: Vec<(&TopicName, Vec<OffsetRange>)>) -> Result<bool, KafkaError> {
    for (topic, offset_ranges) in read {
        let now = offsets.watermarks(topic)?;
        let expired = |offset_range: &OffsetRange| {
            let start = now.get(&offset_range.partition).map(|watermarks| watermarks.low);
            offset_range.start < offset_range.end && start.is_none_or(|start| start > offset_range.start)
        };
        if offset_ranges.iter().any(expired) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the part of the requested raw offsets that the partition retains.
fn only_offsets(only: &RawOffsets, watermarks: &BTreeMap<Partition, Watermarks>) -> Result<Ranges, OperatorError> {
    let Some(&Watermarks { low, high }) = watermarks.get(&only.partition) else {
        return Err(OperatorError::NoPartition { partition: only.partition, count: watermarks.len() });
    };
    let start = only.range.start.clamp(low, high);
    Ok(BTreeMap::from([(only.partition, start..only.range.end.clamp(start, high))]))
}
