//! Reads the facts from the topics: several topics in parallel, each partition in order.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use contract::RawRecord;
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::{KafkaError, Record, TopicName};
use mapping::{Sources, map_record};
use reconcile::{IdHash, Reconciliation, TypedRecord};

use super::fact::{DeadLetterFact, dead_letter_fact, receipt_entries, typed_record};
use super::view::View;
use crate::error::OperatorError;
use crate::pipeline::{NEXT_RECORD, Pipeline};
use crate::progress::Progress;
use crate::record::position;

/// Number of facts that are added to the reconciliation under one lock.
const BATCH: usize = 1024;

/// Reads several topics in parallel and adds their facts to one reconciliation.
pub(super) struct Reading<'r> {
    pipeline: Pipeline<'r>,
    sources: &'r Sources,
    /// Maximum size of a body after decompression.
    max_body: usize,
    reconciliation: Mutex<Reconciliation>,
    read: AtomicU64,
    unknown_source: AtomicU64,
}

/// Result of [`Reading`].
pub(super) struct ReadingResult {
    pub(super) reconciliation: Reconciliation,
    pub(super) records_read: u64,
    /// Number of raw records whose source is not configured.
    pub(super) unknown_source: u64,
}

impl<'r> Reading<'r> {
    pub(super) fn into(
        reconciliation: Reconciliation,
        pipeline: Pipeline<'r>,
        sources: &'r Sources,
        max_body: usize,
    ) -> Self {
        Self {
            pipeline,
            sources,
            max_body,
            reconciliation: Mutex::new(reconciliation),
            read: AtomicU64::new(0),
            unknown_source: AtomicU64::new(0),
        }
    }

    pub(super) fn end(self) -> ReadingResult {
        ReadingResult {
            reconciliation: self.reconciliation.into_inner().unwrap_or_else(PoisonError::into_inner),
            records_read: self.read.into_inner(),
            unknown_source: self.unknown_source.into_inner(),
        }
    }

    pub(super) fn all(
        &self,
        raw: &[OffsetRange],
        typed: &View,
        dead_letters: &View,
        receipts: Option<&View>,
    ) -> Result<(), OperatorError> {
        let topics = self.pipeline.topics;
        // Mapping the raw records takes most of the time, so several threads read the raw topic.
        let lanes = thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
        let lanes: Vec<Vec<OffsetRange>> =
            (0..lanes).map(|lane| raw.iter().copied().skip(lane).step_by(lanes).collect()).collect();
        thread::scope(|scope| {
            let mut readers = vec![
                scope.spawn(|| {
                    self.facts(
                        &topics.typed,
                        &typed.offset_ranges(),
                        &|record, facts| {
                            facts.push(typed_record(record));
                        },
                        &|reconciliation, fact| reconciliation.typed(fact),
                    )
                }),
                scope.spawn(|| self.dead_letters(&dead_letters.offset_ranges())),
            ];
            if let (Some(view), Some(topic)) = (receipts, &topics.receipts) {
                readers.push(scope.spawn(|| {
                    self.facts(topic, &view.offset_ranges(), &receipt_entries, &|reconciliation, fact| {
                        reconciliation.receipt(fact)
                    })
                }));
            }
            for lane in &lanes {
                readers.push(scope.spawn(|| {
                    self.facts(
                        &topics.raw,
                        lane,
                        &|record, facts| facts.push(self.raw_record(record, &mut Vec::new())),
                        &|reconciliation, fact| {
                            reconciliation.raw(fact);
                        },
                    )
                }));
            }
            for reader in readers {
                reader.join().map_err(|_| OperatorError::ReaderFailed)??;
            }
            Ok(())
        })
    }

    /// Reads offset ranges of a topic. `of` extracts the facts from each record, and `enter` adds a fact to the
    /// reconciliation.
    fn facts<F>(
        &self,
        topic: &TopicName,
        offset_ranges: &[OffsetRange],
        of: &dyn Fn(&Record<'_>, &mut Vec<F>),
        enter: &dyn Fn(&mut Reconciliation, F),
    ) -> Result<(), KafkaError> {
        let mut facts = Vec::with_capacity(BATCH);
        let flush = |facts: &mut Vec<F>| {
            let mut reconciliation = self.reconciliation.lock().unwrap_or_else(PoisonError::into_inner);
            facts.drain(..).for_each(|fact| enter(&mut reconciliation, fact));
        };
        let mut seen = 0_u64;
        read_offset_ranges(
            self.pipeline.connection,
            topic,
            offset_ranges,
            NEXT_RECORD,
            |record| -> Result<(), KafkaError> {
                of(record, &mut facts);
                seen += 1;
                self.pipeline.has_read(seen)?;
                if facts.len() >= BATCH {
                    flush(&mut facts);
                }
                if seen.is_multiple_of(10_000) {
                    let records = self.read.fetch_add(10_000, Ordering::Relaxed);
                    self.pipeline.report(Progress::Read { records });
                }
                Ok(())
            },
        )?;
        self.read.fetch_add(seen % 10_000, Ordering::Relaxed);
        flush(&mut facts);
        Ok(())
    }

    fn dead_letters(&self, offset_ranges: &[OffsetRange]) -> Result<(), KafkaError> {
        let topics = self.pipeline.topics;
        let of = |record: &Record<'_>, facts: &mut Vec<DeadLetterFact>| {
            facts.extend(dead_letter_fact(record, &topics.raw, &topics.typed));
        };
        self.facts(&topics.dead_letters, offset_ranges, &of, &|reconciliation, fact| match fact {
            DeadLetterFact::DeadLetter(dead_letter) => reconciliation.dead_letter(dead_letter),
            DeadLetterFact::Resolution(resolution) => reconciliation.resolution(resolution),
        })
    }

    /// Reads earlier typed records for raw records that have no outcome yet. Such a raw record may be a duplicate of an
    /// event whose typed record is before the range that [`Self::all`] read.
    pub(super) fn earlier_typed(&self, typed: &View) -> Result<(), OperatorError> {
        let missing: HashSet<IdHash> = self.reconciliation.lock().unwrap_or_else(PoisonError::into_inner).missing();
        let earlier: Vec<OffsetRange> = typed
            .offset_ranges()
            .into_iter()
            .filter_map(|offset_range| {
                let start = typed.watermarks.get(&offset_range.partition)?.low;
                (start < offset_range.start).then_some(OffsetRange { start, end: offset_range.start, ..offset_range })
            })
            .collect();
        if missing.is_empty() || earlier.is_empty() {
            return Ok(());
        }
        let of = |record: &Record<'_>, facts: &mut Vec<TypedRecord>| {
            facts.extend(Some(typed_record(record)).filter(|typed| missing.contains(&typed.id)));
        };
        Ok(self.facts(&self.pipeline.topics.typed, &earlier, &of, &|reconciliation, fact| reconciliation.typed(fact))?)
    }

    fn raw_record(&self, record: &Record<'_>, buffer: &mut Vec<u8>) -> reconcile::RawRecord {
        let raw = RawRecord::read(record.headers(), record.value(), record.timestamp());
        reconcile::RawRecord {
            position: position(record),
            id: self.mapped_id(&raw, buffer),
            time: record.timestamp().unwrap_or_default(),
            reprocess: raw.reprocess,
            replay: raw.replay_of.is_some(),
            check: customerio::is_check(record.value()),
        }
    }

    /// Returns the hash of the id that the mapping gives the event; `None` if the mapping rejects the record or its
    /// source is unknown.
    fn mapped_id(&self, raw: &RawRecord<'_>, buffer: &mut Vec<u8>) -> Option<IdHash> {
        let Some(source) = self.sources.get(raw.source.as_deref()) else {
            self.unknown_source.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let id = |mapped: mapping::Mapped<'_>| Ok(IdHash::of(mapped.event.id.as_bytes()));
        map_record(raw, source, self.max_body, buffer, id).ok()
    }
}
