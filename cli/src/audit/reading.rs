//! The facts, read from the topics: one record after the other, several topics at once.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use accounting::{Books, IdHash, RawRecord, TypedRecord};
use kafka::reader::{Stretch, read_stretches};
use kafka::record::header;
use kafka::{KafkaError, Record, TopicName};
use mapping::ReceivedAt;

use super::fact::{LetterFact, has, letter_fact, number, place, receipt_entries, typed_record};
use super::gather::{Audit, View};
use crate::topics::PATIENCE;
use crate::{CommandError, output};

/// Facts entered at once.
const BATCH: usize = 1024;

/// Reading the topics into the books, several at once.
pub(super) struct Reading<'r> {
    audit: &'r Audit<'r>,
    books: Mutex<Books>,
    read: AtomicU64,
    unknown_source: AtomicU64,
}

/// What was read.
pub(super) struct Gathered {
    pub(super) books: Books,
    pub(super) records_read: u64,
    /// Raw records of sources that are not known here.
    pub(super) unknown_source: u64,
}

impl<'r> Reading<'r> {
    pub(super) fn into(audit: &'r Audit<'r>, books: Books) -> Self {
        Self { audit, books: Mutex::new(books), read: AtomicU64::new(0), unknown_source: AtomicU64::new(0) }
    }

    pub(super) fn end(self) -> Gathered {
        Gathered {
            books: self.books.into_inner().unwrap_or_else(PoisonError::into_inner),
            records_read: self.read.into_inner(),
            unknown_source: self.unknown_source.into_inner(),
        }
    }

    pub(super) fn all(
        &self,
        raw: &[Stretch],
        typed: &View,
        letters: &View,
        receipts: Option<&View>,
    ) -> Result<(), CommandError> {
        let topics = &self.audit.args.topics;
        // Mapping is what takes time.
        let lanes = thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
        let lanes: Vec<Vec<Stretch>> =
            (0..lanes).map(|lane| raw.iter().copied().skip(lane).step_by(lanes).collect()).collect();
        thread::scope(|scope| {
            let mut readers = vec![
                scope.spawn(|| {
                    self.facts(
                        &topics.typed_topic,
                        &typed.stretches(),
                        &|record, facts| {
                            facts.push(typed_record(record));
                        },
                        &|books, fact| books.typed(fact),
                    )
                }),
                scope.spawn(|| self.letters(&letters.stretches())),
            ];
            if let (Some(view), Some(topic)) = (receipts, &topics.receipts_topic.0) {
                readers.push(scope.spawn(|| {
                    self.facts(topic, &view.stretches(), &receipt_entries, &|books, fact| books.receipt(fact))
                }));
            }
            for lane in &lanes {
                readers.push(scope.spawn(|| {
                    self.facts(
                        &topics.raw_topic,
                        lane,
                        &|record, facts| facts.push(self.raw_record(record)),
                        &|books, fact| {
                            books.raw(fact);
                        },
                    )
                }));
            }
            for reader in readers {
                reader.join().map_err(|_| "a reader of the audit broke down; this is a defect, please report it")??;
            }
            Ok(())
        })
    }

    /// Reads stretches of a topic and enters what `of` makes of each record.
    fn facts<F>(
        &self,
        topic: &TopicName,
        stretches: &[Stretch],
        of: &dyn Fn(&Record<'_>, &mut Vec<F>),
        enter: &dyn Fn(&mut Books, F),
    ) -> Result<(), KafkaError> {
        let mut facts = Vec::with_capacity(BATCH);
        let flush = |facts: &mut Vec<F>| {
            let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
            facts.drain(..).for_each(|fact| enter(&mut books, fact));
        };
        let mut seen = 0_u64;
        read_stretches(self.audit.connection, topic, stretches, PATIENCE, |record| -> Result<(), KafkaError> {
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
        })?;
        self.read.fetch_add(seen % 10_000, Ordering::Relaxed);
        flush(&mut facts);
        Ok(())
    }

    fn letters(&self, stretches: &[Stretch]) -> Result<(), KafkaError> {
        let topics = &self.audit.args.topics;
        let of = |record: &Record<'_>, facts: &mut Vec<LetterFact>| {
            facts.extend(letter_fact(record, &topics.raw_topic, &topics.typed_topic));
        };
        self.facts(&topics.dead_letter_topic, stretches, &of, &|books, fact| match fact {
            LetterFact::Letter(letter) => books.letter(letter),
            LetterFact::Closed(resolution) => books.resolution(resolution),
        })
    }

    /// Records that look lost may be duplicates of events typed before what was read: looks further back for them.
    pub(super) fn earlier_typed(&self, typed: &View) -> Result<(), CommandError> {
        let missing: HashSet<IdHash> = self.books.lock().unwrap_or_else(PoisonError::into_inner).missing();
        let earlier: Vec<Stretch> = typed
            .stretches()
            .into_iter()
            .filter_map(|stretch| {
                let start = typed.extents.get(&stretch.partition)?.start;
                (start < stretch.start).then_some(Stretch { start, end: stretch.start, ..stretch })
            })
            .collect();
        if missing.is_empty() || earlier.is_empty() {
            return Ok(());
        }
        let of = |record: &Record<'_>, facts: &mut Vec<TypedRecord>| {
            facts.extend(Some(typed_record(record)).filter(|typed| missing.contains(&typed.id)));
        };
        Ok(self.facts(&self.audit.args.topics.typed_topic, &earlier, &of, &|books, fact| books.typed(fact))?)
    }

    fn raw_record(&self, record: &Record<'_>) -> RawRecord {
        RawRecord {
            place: place(record),
            id: self.mapped_id(record),
            time: record.timestamp().unwrap_or_default(),
            reprocess: has(record, header::REPROCESS),
            replay: has(record, header::REPLAY_OF),
        }
    }

    /// The id of the event that the transformer makes of the record; `None` if it makes a dead letter.
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
        // What panics here panicked in the transformer too, and became a dead letter.
        catch_unwind(AssertUnwindSafe(map)).unwrap_or_default()
    }
}
