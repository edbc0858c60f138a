//! The facts, read from the topics.
//!
//! The order is what makes it sound beside running services: first the committed offsets, then the ends of the topics.
//! What a service had committed by then has left its traces before those ends.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use accounting::{
    Books, DedupReach, Evidence, Finding, FindingKind, Frame, IdHash, Place, RawRecord, Receipts, Report, Topic,
    TypedRecord,
};
use kafka::offsets::{Extent, Offsets};
use kafka::reader::{Stretch, first_times, read_stretches};
use kafka::record::header;
use kafka::{Connection, KafkaError, Record, TopicName};
use mapping::ReceivedAt;
use transformer::Sources;

use super::fact::{LetterFact, has, letter_fact, number, place, receipt_entries, typed_record};
use super::{AuditArgs, RawOffsets, Retention};
use crate::topics::{PATIENCE, settled};
use crate::when::show;
use crate::{CommandError, WrongUse, dead_letters, output};

/// How far the clocks of the machines that write records may differ, in milliseconds.
const CLOCK_DIFFERENCE: i64 = 5 * 60 * 1000;

/// How often an audit begins anew because something expired under it.
const ATTEMPTS: u32 = 3;

/// Facts entered at once.
const BATCH: usize = 1024;

pub(super) struct Audit<'a> {
    pub(super) args: &'a AuditArgs,
    pub(super) connection: &'a Connection,
    pub(super) sources: &'a Sources,
    pub(super) retention: Retention,
}

/// The result, with all that has to be said beside it.
pub(super) struct Found {
    pub(super) report: Report,
    /// The first findings, with the ids of their events.
    pub(super) named: Vec<(Finding, Option<String>)>,
    pub(super) notes: Vec<String>,
    pub(super) partitions: usize,
    pub(super) records_read: u64,
}

/// What a topic's partitions hold, and from which offset on they are read.
struct View {
    extents: BTreeMap<i32, Extent>,
    from: BTreeMap<i32, i64>,
    evidence: BTreeMap<i32, Evidence>,
}

impl View {
    fn stretches(&self) -> Vec<Stretch> {
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
        let transformer = offsets.committed(&self.args.groups.transformer_group, &topics.raw_topic)?;
        let sink = offsets.committed(&self.args.groups.sink_group, &topics.typed_topic)?;
        let window = i64::try_from(self.args.dedup_window.0.as_millis()).unwrap_or(i64::MAX);
        let raw = self.view(offsets, &topics.raw_topic, 0, None)?;
        let reach = window.saturating_add(CLOCK_DIFFERENCE);
        let typed = self.view(offsets, &topics.typed_topic, reach, self.retention.typed)?;
        let letters = self.view(offsets, &topics.dead_letter_topic, CLOCK_DIFFERENCE, self.retention.dead_letters)?;
        let mut notes = Vec::new();
        let receipts = self.receipts(offsets, &mut notes)?;

        let (raw_range, typed_range) = match &self.args.offsets {
            Some(only) => (only_offsets(only, &raw.extents)?, BTreeMap::new()),
            None => (
                self.range(offsets, &topics.raw_topic, &raw.extents)?,
                self.range(offsets, &topics.typed_topic, &typed.extents)?,
            ),
        };
        let mut frames = BTreeMap::new();
        for &partition in raw.extents.keys().chain(typed.extents.keys()) {
            let start = |view: &View| view.extents.get(&partition).map_or(0, |extent| extent.start);
            let evidence = |view: &View| view.evidence.get(&partition).copied().unwrap_or(Evidence::Whole);
            let frame = Frame {
                raw: raw_range.get(&partition).cloned().unwrap_or(0..0),
                typed: typed_range.get(&partition).cloned().unwrap_or(0..0),
                raw_log_start: start(&raw),
                typed_log_start: start(&typed),
                transformer: transformer.get(&partition).copied(),
                sink: sink.get(&partition).copied(),
                typed_evidence: evidence(&typed),
                typed_ever: typed.extents.get(&partition).is_some_and(|extent| extent.end > 0),
                letter_evidence: evidence(&letters),
            };
            frames.insert(partition, frame);
        }
        let receipts_exist =
            receipts.as_ref().is_some_and(|(view, _)| view.extents.values().any(|extent| extent.end > 0));
        self.note(&frames, &raw, &typed, receipts_exist, &mut notes);
        let raw_stretches: Vec<Stretch> = raw_range
            .iter()
            .map(|(&partition, range)| Stretch { partition, start: range.start, end: range.end })
            .collect();
        let kept = receipts.as_ref().map_or(Receipts::Off, |(_, evidence)| Receipts::Kept(*evidence));
        let reading = Reading {
            audit: self,
            books: Mutex::new(Books::new(frames, kept, DedupReach { window, ids: i64::from(self.args.dedup_max_ids) })),
            read: AtomicU64::new(0),
            unknown_source: AtomicU64::new(0),
        };
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
        for (topic, stretches) in read {
            let now = offsets.extents(topic)?;
            let expired = |stretch: &Stretch| {
                stretch.start < stretch.end
                    && now.get(&stretch.partition).is_none_or(|extent| extent.start > stretch.start)
            };
            if stretches.iter().any(expired) {
                return Ok(None);
            }
        }
        output::progress_done();
        let unknown = reading.unknown_source.load(Ordering::Relaxed);
        if unknown > 0 {
            notes.push(format!(
                "{unknown} raw records are of sources that SOURCES_FILE does not name ({}): their ids are not known here",
                self.sources.names()
            ));
        }
        let records_read = reading.read.load(Ordering::Relaxed);
        let report = reading.books.into_inner().unwrap_or_else(PoisonError::into_inner).close();
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
        Ok(Some(Found { report, named, notes, partitions: raw.extents.len(), records_read }))
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

/// Reading the topics into the books, several at once.
struct Reading<'r> {
    audit: &'r Audit<'r>,
    books: Mutex<Books>,
    read: AtomicU64,
    unknown_source: AtomicU64,
}

impl Reading<'_> {
    fn all(&self, raw: &[Stretch], typed: &View, letters: &View, receipts: Option<&View>) -> Result<(), CommandError> {
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
    fn earlier_typed(&self, typed: &View) -> Result<(), CommandError> {
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

/// What of these raw offsets is retained.
fn only_offsets(only: &RawOffsets, extents: &BTreeMap<i32, Extent>) -> Result<BTreeMap<i32, Range<i64>>, CommandError> {
    let Some(extent) = extents.get(&only.partition) else {
        let (partition, count) = (only.partition, extents.len());
        return Err(WrongUse(format!("--offsets: there is no partition {partition}, the raw topic has {count}")).into());
    };
    let start = only.range.start.clamp(extent.start, extent.end);
    Ok(BTreeMap::from([(only.partition, start..only.range.end.clamp(start, extent.end))]))
}
