//! Reads the facts from the topics: each topic in order, several topics at once.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use accounting::{IdHash, RawRecord, Reconciliation, TypedRecord};
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::record::header;
use kafka::{KafkaError, Record, TopicName};
use mapping::ReceivedAt;

use super::fact::{DeadLetterFact, dead_letter_fact, has, number, place, receipt_entries, typed_record};
use super::gather::{Audit, View};
use crate::topics::PATIENCE;
use crate::{CommandError, output};

/// Facts added at once.
const BATCH: usize = 1024;

/// Reads the topics into the reconciliation, several at once.
pub(super) struct Reading<'r> {
    audit: &'r Audit<'r>,
    reconciliation: Mutex<Reconciliation>,
    read: AtomicU64,
    unknown_source: AtomicU64,
}

/// The result of reading.
pub(super) struct Gathered {
    pub(super) reconciliation: Reconciliation,
    pub(super) records_read: u64,
    /// Raw records of unknown sources.
    pub(super) unknown_source: u64,
}

impl<'r> Reading<'r> {
    pub(super) fn into(audit: &'r Audit<'r>, reconciliation: Reconciliation) -> Self {
        Self {
            audit,
            reconciliation: Mutex::new(reconciliation),
            read: AtomicU64::new(0),
            unknown_source: AtomicU64::new(0),
        }
    }

    pub(super) fn end(self) -> Gathered {
        Gathered {
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
    ) -> Result<(), CommandError> {
        let topics = &self.audit.args.topics;
        // Mapping needs most of the time.
        let lanes = thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
        let lanes: Vec<Vec<OffsetRange>> =
            (0..lanes).map(|lane| raw.iter().copied().skip(lane).step_by(lanes).collect()).collect();
        thread::scope(|scope| {
            let mut readers = vec![
                scope.spawn(|| {
                    self.facts(
                        &topics.typed_topic,
                        &typed.offset_ranges(),
                        &|record, facts| {
                            facts.push(typed_record(record));
                        },
                        &|reconciliation, fact| reconciliation.typed(fact),
                    )
                }),
                scope.spawn(|| self.dead_letters(&dead_letters.offset_ranges())),
            ];
            if let (Some(view), Some(topic)) = (receipts, &topics.receipts_topic.0) {
                readers.push(scope.spawn(|| {
                    self.facts(topic, &view.offset_ranges(), &receipt_entries, &|reconciliation, fact| {
                        reconciliation.receipt(fact)
                    })
                }));
            }
            for lane in &lanes {
                readers.push(scope.spawn(|| {
                    self.facts(
                        &topics.raw_topic,
                        lane,
                        &|record, facts| facts.push(self.raw_record(record)),
                        &|reconciliation, fact| {
                            reconciliation.raw(fact);
                        },
                    )
                }));
            }
            for reader in readers {
                reader.join().map_err(|_| "a reader of the audit failed; this is a defect, please report it")??;
            }
            Ok(())
        })
    }

    /// Reads offset ranges of a topic and adds the facts that `of` finds in each record.
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
            self.audit.connection,
            topic,
            offset_ranges,
            PATIENCE,
            |record| -> Result<(), KafkaError> {
                of(record, &mut facts);
                seen += 1;
                if facts.len() >= BATCH {
                    flush(&mut facts);
                }
                if seen.is_multiple_of(10_000) {
                    let read = self.read.fetch_add(10_000, Ordering::Relaxed);
                    output::progress(&format!("{} records read", output::thousands(read)));
                }
                Ok(())
            },
        )?;
        self.read.fetch_add(seen % 10_000, Ordering::Relaxed);
        flush(&mut facts);
        Ok(())
    }

    fn dead_letters(&self, offset_ranges: &[OffsetRange]) -> Result<(), KafkaError> {
        let topics = &self.audit.args.topics;
        let of = |record: &Record<'_>, facts: &mut Vec<DeadLetterFact>| {
            facts.extend(dead_letter_fact(record, &topics.raw_topic, &topics.typed_topic));
        };
        self.facts(&topics.dead_letter_topic, offset_ranges, &of, &|reconciliation, fact| match fact {
            DeadLetterFact::DeadLetter(dead_letter) => reconciliation.dead_letter(dead_letter),
            DeadLetterFact::Closed(resolution) => reconciliation.resolution(resolution),
        })
    }

    /// Records that look lost may be duplicates of events that were typed before the first record read: searches
    /// further back.
    pub(super) fn earlier_typed(&self, typed: &View) -> Result<(), CommandError> {
        let missing: HashSet<IdHash> = self.reconciliation.lock().unwrap_or_else(PoisonError::into_inner).missing();
        let earlier: Vec<OffsetRange> = typed
            .offset_ranges()
            .into_iter()
            .filter_map(|offset_range| {
                let start = typed.extents.get(&offset_range.partition)?.start;
                (start < offset_range.start).then_some(OffsetRange { start, end: offset_range.start, ..offset_range })
            })
            .collect();
        if missing.is_empty() || earlier.is_empty() {
            return Ok(());
        }
        let of = |record: &Record<'_>, facts: &mut Vec<TypedRecord>| {
            facts.extend(Some(typed_record(record)).filter(|typed| missing.contains(&typed.id)));
        };
        Ok(self.facts(&self.audit.args.topics.typed_topic, &earlier, &of, &|reconciliation, fact| {
            reconciliation.typed(fact)
        })?)
    }

    fn raw_record(&self, record: &Record<'_>) -> RawRecord {
        RawRecord {
            place: place(record),
            id: self.mapped_id(record),
            time: record.timestamp().unwrap_or_default(),
            reprocess: has(record, header::REPROCESS),
            replay: has(record, header::REPLAY_OF),
            check: customerio::is_check(record.value()),
        }
    }

    /// Returns the id of the event that the transformer maps the record to; `None` if it writes a dead letter.
    fn mapped_id(&self, record: &Record<'_>) -> Option<IdHash> {
        let name = record.header(header::SOURCE).map(String::from_utf8_lossy);
        let Some(source) = self.audit.sources.get(name.as_deref()) else {
            self.unknown_source.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let written = number(record.header(header::RECEIVED_AT)).or(record.timestamp());
        let received_at = ReceivedAt::from_millis(written.unwrap_or_default());
        let encoding = record.header(header::CONTENT_ENCODING);
        let map = || {
            let mut buffer = Vec::new();
            let body = transformer::decoded(encoding, record.value(), self.audit.args.max_body.0, &mut buffer).ok()?;
            Some(IdHash::of(mapping::map(body, received_at, source).ok()?.event.id.as_bytes()))
        };
        // A body that panics here panicked in the transformer too, and became a dead letter.
        catch_unwind(AssertUnwindSafe(map)).unwrap_or_default()
    }
}
