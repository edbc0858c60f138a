//! Executes a replay plan: writes its records in transactions.

use std::collections::{BTreeMap, BTreeSet};

use contract::dead_letter::is_original;
use contract::{Offset, Partition, Position, header};
use kafka::offsets::Offsets;
use kafka::producer::NewRecord;
use kafka::reader::{OffsetRange, read_offset_ranges};
use kafka::record::OwnedRecord;
use kafka::topic_settings::RECORD_OVERHEAD;
use kafka::{Headers, KafkaError};

use super::plan::{ReplayPlan, Target, Write};
use super::resolver::{Pace, Resolver};
use crate::error::OperatorError;
use crate::pipeline::{NEXT_RECORD, Pipeline, stable_watermarks};
use crate::progress::Progress;
use crate::record::owned_position;

/// Number of bytes of dead letters after which a transaction ends. The dead letter that reaches this number is still in
/// the transaction.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// Result of executing a plan.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Number of dead letters that were resolved.
    pub(super) resolved: u64,
    /// Dead letters that cannot be replayed, with the reason.
    pub(super) refused: Vec<(Position, String)>,
    /// Whether the observer stopped the operation before its end.
    pub(super) is_stopped: bool,
}

/// Execution of one plan.
pub(super) struct Writing<'r> {
    pipeline: Pipeline<'r>,
    resolver: &'r Resolver<'r>,
    plan: &'r ReplayPlan,
    pace: Pace,
    written: Written,
}

/// A record to write again.
struct Item<'i> {
    position: Position,
    write: &'i Write,
    /// The record to copy: the dead letter itself, or the raw record that is mapped again.
    record: &'i OwnedRecord,
}

impl<'r> Writing<'r> {
    pub(super) fn new(pipeline: Pipeline<'r>, resolver: &'r Resolver<'r>, plan: &'r ReplayPlan, pace: Pace) -> Self {
        Self { pipeline, resolver, plan, pace, written: Written::default() }
    }

    pub(super) fn run(mut self) -> Result<Written, OperatorError> {
        match self.write_all() {
            // `done` returned this error to end the read after the observer had stopped the operation.
            Err(_) if self.written.is_stopped => Ok(self.written),
            result => result.map(|()| self.written),
        }
    }

    fn write_all(&mut self) -> Result<(), OperatorError> {
        for resolves in self.plan.resolve_only.chunks(self.pace.chunk()) {
            self.resolver.writer.write(resolves.iter().map(|resolve| self.resolver.record(resolve)))?;
            self.done(resolves.len())?;
        }
        let mut partitions: BTreeMap<Partition, Vec<Offset>> = BTreeMap::new();
        for position in self.plan.writes.keys() {
            partitions.entry(position.partition).or_default().push(position.offset);
        }
        partitions.into_iter().try_for_each(|(partition, offsets)| self.partition(partition, &offsets))
    }

    /// Replays the dead letters of a partition at these sorted offsets.
    fn partition(&mut self, partition: Partition, offsets: &[Offset]) -> Result<(), OperatorError> {
        let (Some(&first), Some(&last)) = (offsets.first(), offsets.last()) else { return Ok(()) };
        let (connection, topic) = (self.pipeline.connection, &self.pipeline.topics.dead_letters);
        let offset_range = OffsetRange { partition, start: first, end: last.next() };
        let mut chunk: Vec<OwnedRecord> = Vec::new();
        let mut bytes = 0;
        read_offset_ranges(connection, topic, &[offset_range], NEXT_RECORD, |record| -> Result<(), OperatorError> {
            if offsets.binary_search(&record.offset()).is_ok() {
                chunk.push(OwnedRecord::from(record));
                bytes += record.value().len();
            }
            if chunk.len() >= self.pace.chunk() || bytes >= CHUNK_BYTES {
                bytes = 0;
                self.write(&std::mem::take(&mut chunk))?;
            }
            Ok(())
        })?;
        self.write(&chunk)
    }

    /// Writes the records of these dead letters in one transaction with the resolutions, and collects the dead letters
    /// that cannot be written.
    fn write(&mut self, dead_letters: &[OwnedRecord]) -> Result<(), OperatorError> {
        let originals = self.originals(dead_letters)?;
        let mut items = Vec::with_capacity(dead_letters.len());
        for dead_letter in dead_letters {
            let position = owned_position(dead_letter);
            let Some(write) = self.plan.writes.get(&position) else { continue };
            let record = match write.target {
                Target::ToRaw { .. } | Target::ToTyped { .. } => Some(dead_letter),
                Target::Remap { raw } => originals.get(&raw),
            };
            match record {
                Some(record) => items.push(Item { position, write, record }),
                None => self.written.refused.push((position, "its raw record has expired meanwhile".to_owned())),
            }
        }
        let (mut written, mut refused) = (0, Vec::new());
        in_halves(
            &items,
            &mut |items| {
                self.resolver.writer.write(items.iter().flat_map(|item| self.records(item)))?;
                written += items.iter().map(|item| item.write.resolves.len()).sum::<usize>();
                Ok(())
            },
            &mut |item, topic, bytes| refused.push((item.position, too_large(topic, bytes))),
        )?;
        self.written.refused.append(&mut refused);
        if written > 0 {
            self.done(written)?;
        }
        Ok(())
    }

    /// Reports that `count` more dead letters were resolved, and waits as the rate requires.
    ///
    /// # Errors
    /// [`KafkaError::GivenUp`] if the operation was stopped.
    fn done(&mut self, count: usize) -> Result<(), KafkaError> {
        self.written.resolved += count as u64;
        let (dead_letters, of) = (self.written.resolved, self.plan.resolves() as u64);
        self.pipeline.report(Progress::Resolved { dead_letters, of });
        self.pace.wait(count);
        let goes_on = self.pipeline.goes_on_after(count);
        if !goes_on && dead_letters < of {
            self.written.is_stopped = true;
            return Err(KafkaError::GivenUp("the operation was stopped".to_owned()));
        }
        Ok(())
    }

    /// Reads the raw records that must be mapped again.
    fn originals(&self, dead_letters: &[OwnedRecord]) -> Result<BTreeMap<Position, OwnedRecord>, KafkaError> {
        let raw_record = |dead_letter: &OwnedRecord| match self.plan.writes.get(&owned_position(dead_letter))?.target {
            Target::Remap { raw } => Some(raw),
            Target::ToRaw { .. } | Target::ToTyped { .. } => None,
        };
        let wanted: BTreeSet<Position> = dead_letters.iter().filter_map(raw_record).collect();
        let mut offset_ranges: BTreeMap<Partition, OffsetRange> = BTreeMap::new();
        for &Position { partition, offset } in &wanted {
            let end = offset.next();
            let offset_range = offset_ranges.entry(partition).or_insert(OffsetRange { partition, start: offset, end });
            offset_range.end = offset_range.end.max(end);
        }
        let mut found = BTreeMap::new();
        if offset_ranges.is_empty() {
            return Ok(found);
        }
        let (connection, topic) = (self.pipeline.connection, &self.pipeline.topics.raw);
        stable_watermarks(&Offsets::new(connection)?, topic)?;
        let offset_ranges: Vec<OffsetRange> = offset_ranges.into_values().collect();
        read_offset_ranges(connection, topic, &offset_ranges, NEXT_RECORD, |record| {
            let record = OwnedRecord::from(record);
            let position = owned_position(&record);
            if wanted.contains(&position) {
                found.insert(position, record);
            }
            Ok::<(), KafkaError>(())
        })?;
        Ok(found)
    }

    /// Returns the record to write, and the resolutions of its dead letters.
    fn records<'a>(&'a self, item: &Item<'a>) -> Vec<NewRecord<'a>> {
        let &Item { position, write, record } = item;
        let topics = self.pipeline.topics;
        let replay_of = format!("{}/{}/{}", topics.dead_letters, position.partition, position.offset);
        let (topic, partition, remap) = match write.target {
            Target::ToRaw { partition } => (&topics.raw, partition, false),
            Target::ToTyped { partition } => (&topics.typed, partition, false),
            Target::Remap { raw } => (&topics.raw, raw.partition, true),
        };
        let to_raw = !matches!(write.target, Target::ToTyped { .. });
        let original = record.headers().filter(|header| is_original(header.name));
        let headers = Headers::copied(original).with(header::REPLAY_OF, replay_of.as_bytes());
        // The mapping compares event times with the receive time (`received-at`). An original receive time from a slow
        // clock would make the record fail again, so the record gets the current time.
        let mut headers = if to_raw { received_at(&headers, service::unix_millis()) } else { headers };
        if remap && record.header(header::REPROCESS).is_none() {
            // The event was mapped before, so without this header the transformer would treat the record as a
            // duplicate.
            headers = headers.with(header::REPROCESS, b"1");
        }
        let (key, value) = (record.key.as_deref(), Some(record.value.as_slice()));
        let mut records = vec![NewRecord { topic, partition: Some(partition), key, value, headers }];
        records.extend(write.resolves.iter().map(|resolve| self.resolver.record(resolve)));
        records
    }
}

/// Returns the headers with `now` as the receive time (`received-at`), in milliseconds since 1970.
fn received_at(headers: &Headers, now: i64) -> Headers {
    let others = headers.iter().filter(|header| header.name != header::RECEIVED_AT);
    others.fold(Headers::with_capacity(8), Headers::with_header).with(header::RECEIVED_AT, now.to_string().as_bytes())
}

fn too_large(topic: &str, bytes: usize) -> String {
    format!(
        "`{topic}` refuses a record of {bytes} bytes: raise max.message.bytes of `{topic}` to at least {} and replay it again, or discard it with a note",
        bytes + RECORD_OVERHEAD
    )
}

/// Writes the items in one transaction. If a topic refuses one record because of its size, the whole transaction fails,
/// and the error may name another record of the same batch. The items are then split in halves, until each refused
/// record is alone in its transaction.
fn in_halves<T>(
    items: &[T],
    write: &mut impl FnMut(&[T]) -> Result<(), KafkaError>,
    refused: &mut impl FnMut(&T, &str, usize),
) -> Result<(), KafkaError> {
    match (items, if items.is_empty() { Ok(()) } else { write(items) }) {
        ([one], Err(KafkaError::RecordTooLarge { topic, bytes })) => {
            refused(one, &topic, bytes);
            Ok(())
        }
        (_, Err(KafkaError::RecordTooLarge { .. })) => {
            let (first, second) = items.split_at(items.len() / 2);
            in_halves(first, write, refused)?;
            in_halves(second, write, refused)
        }
        (_, result) => result,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_refusal_of_a_too_large_record_names_the_topic_and_the_required_max_message_bytes() {
        let text = too_large("raw", 2_000_000);
        assert!(
            text.contains("2000000 bytes") && text.contains("max.message.bytes of `raw` to at least 2065536"),
            "{text}"
        );
    }

    #[test]
    fn a_replayed_record_gets_a_new_received_at_and_keeps_its_other_headers() {
        let original = Headers::with_capacity(3)
            .with(header::RECEIVED_AT, b"1700000000000")
            .with(header::SOURCE, b"shop")
            .with(header::CONTENT_ENCODING, b"gzip");
        let headers = received_at(&original, 1_800_000_000_000);
        let mut found: Vec<_> = headers.iter().map(|header| (header.name, header.value.unwrap_or_default())).collect();
        found.sort_unstable();
        let expected: [(&str, &[u8]); 3] =
            [(header::CONTENT_ENCODING, b"gzip"), (header::RECEIVED_AT, b"1800000000000"), (header::SOURCE, b"shop")];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_write_error_that_is_not_about_size_ends_the_replay_without_a_retry() {
        let mut tries = 0;
        let mut write = |_: &[u8]| {
            tries += 1;
            Err(KafkaError::Write { id: "id".to_owned(), reason: "another command has taken over".to_owned() })
        };
        assert!(in_halves(&[1, 2, 3, 4], &mut write, &mut |_, _, _| panic!("nothing is too large")).is_err());
        assert_eq!(tries, 1);
    }

    proptest! {
        #[test]
        fn too_large_records_are_reported_and_all_other_records_are_written_once(large in prop::collection::vec(any::<bool>(), 0..40)) {
            let items: Vec<(usize, bool)> = large.iter().copied().enumerate().collect();
            let (mut written, mut refused) = (Vec::new(), Vec::new());
            let mut write = |items: &[(usize, bool)]| {
                assert!(!items.is_empty(), "no transaction is empty");
                if items.iter().any(|(_, large)| *large) {
                    return Err(KafkaError::RecordTooLarge { topic: "raw".to_owned(), bytes: 7 });
                }
                written.extend(items.iter().map(|(number, _)| *number));
                Ok(())
            };
            in_halves(&items, &mut write, &mut |(number, _), _, _| refused.push(*number)).unwrap();
            let numbers = |wanted: bool| -> Vec<usize> {
                items.iter().filter(|(_, large)| *large == wanted).map(|(number, _)| *number).collect()
            };
            prop_assert_eq!(written, numbers(false));
            prop_assert_eq!(refused, numbers(true));
        }
    }
}
