//! Keeps the unresolved dead letters of the topic in compact form, for a process that then reads only new records.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use contract::dead_letter::{DeadLetter, Entry, Stage};
use contract::{Offset, Partition, Position, RawRecord};
use kafka::offsets::Offsets;
use kafka::reader::OffsetRange;
use kafka::{KafkaError, Record, Watermarks};

use super::summary::Group;
use crate::error::OperatorError;
use crate::pipeline::{Pipeline, stable_watermarks};

/// Maximum number of different codes, and of different sources, that are kept. The services write far fewer.
const MOST_NAMES: usize = 1000;
/// Maximum number of different messages that are kept.
const MOST_MESSAGES: usize = 2000;
/// The longest code or source that is kept, in bytes.
const LONGEST_NAME: usize = 200;
/// The name that stands for codes and sources that are not kept.
const OTHER: &str = "(other)";

/// Function that returns the text to keep as the message of a dead letter.
pub type Message = fn(&DeadLetter) -> String;

/// The unresolved dead letters, about 32 bytes each. Equal codes, sources and messages are kept only once.
pub struct Unresolved {
    most: usize,
    message: Message,
    partitions: BTreeMap<Partition, Part>,
    kinds: Names<(Stage, String)>,
    sources: Names<String>,
    messages: Names<String>,
    count: usize,
    is_complete: bool,
}

/// The dead letters of one partition.
#[derive(Debug)]
struct Part {
    /// The offset after the last record that was read.
    next: Offset,
    /// Dead letters in the order of their offsets.
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    offset: Offset,
    time: i64,
    kind: u16,
    source: u16,
    message: Option<u16>,
    is_resolved: bool,
}

/// An unresolved dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnresolvedDeadLetter<'u> {
    /// Position of the dead letter.
    pub position: Position,
    /// The time at which the dead letter was written, in milliseconds since 1970.
    pub time: i64,
    /// The stage that wrote the dead letter.
    pub stage: Stage,
    /// The code of the reason.
    pub code: &'u str,
    /// The source of the event.
    pub source: &'u str,
    /// Result of the function [`Message`]; `None` if there are too many different messages.
    pub message: Option<&'u str>,
}

impl fmt::Debug for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unresolved").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Unresolved {
    /// Keeps at most `most` dead letters, each with the result of `message`.
    #[must_use]
    pub fn new(most: usize, message: Message) -> Self {
        Self {
            most,
            message,
            partitions: BTreeMap::new(),
            kinds: Names::new(MOST_NAMES),
            sources: Names::new(MOST_NAMES),
            messages: Names::new(MOST_MESSAGES),
            count: 0,
            is_complete: true,
        }
    }

    /// Number of unresolved dead letters.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether all unresolved dead letters are kept. If not, there are more than the limit.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Returns the unresolved dead letters that are kept, in the order of their positions.
    pub fn iter(&self) -> impl Iterator<Item = UnresolvedDeadLetter<'_>> {
        self.partitions.iter().flat_map(move |(&partition, part)| {
            let rows = part.rows.iter().filter(|row| !row.is_resolved);
            rows.filter_map(move |row| self.shown(partition, row))
        })
    }

    /// Returns the unresolved dead letter at this position.
    #[must_use]
    pub fn get(&self, position: Position) -> Option<UnresolvedDeadLetter<'_>> {
        let rows = &self.partitions.get(&position.partition)?.rows;
        let index = rows.binary_search_by_key(&position.offset, |row| row.offset).ok()?;
        rows.get(index).filter(|row| !row.is_resolved).and_then(|row| self.shown(position.partition, row))
    }

    /// Whether the record at this position was read.
    #[must_use]
    pub fn has_read(&self, position: Position) -> bool {
        self.partitions.get(&position.partition).is_some_and(|part| position.offset < part.next)
    }

    /// Returns the sources of the dead letters that were read.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.all.iter().map(String::as_str)
    }

    fn shown(&self, partition: Partition, row: &Row) -> Option<UnresolvedDeadLetter<'_>> {
        let (stage, code) = self.kinds.get(row.kind)?;
        Some(UnresolvedDeadLetter {
            position: Position::of(partition, row.offset),
            time: row.time,
            stage: *stage,
            code,
            source: self.sources.get(row.source)?,
            message: row.message.and_then(|message| self.messages.get(message)).map(String::as_str),
        })
    }

    /// Adds a dead letter. The dead letters of one partition must be added in the order of their offsets.
    pub fn add(&mut self, position: Position, dead_letter: &DeadLetter, time: i64, source: &str) {
        if self.count >= self.most {
            self.is_complete = false;
            return;
        }
        let (stage, other) = (dead_letter.stage, (dead_letter.stage, OTHER.to_owned()));
        let kind = self.kinds.number((stage, name(&dead_letter.code))).or_else(|| self.kinds.number_of_other(other));
        let source = self.sources.number(name(source)).or_else(|| self.sources.number_of_other(OTHER.to_owned()));
        let (Some(kind), Some(source)) = (kind, source) else {
            self.is_complete = false;
            return;
        };
        let message = self.messages.number((self.message)(dead_letter));
        let next = position.offset.next();
        let part = self.partitions.entry(position.partition).or_insert(Part { next, rows: Vec::new() });
        part.next = part.next.max(next);
        part.rows.push(Row { offset: position.offset, time, kind, source, message, is_resolved: false });
        self.count += 1;
    }

    /// Marks the dead letter at this position as resolved.
    pub fn resolve(&mut self, position: Position) {
        let Some(part) = self.partitions.get_mut(&position.partition) else { return };
        let Ok(index) = part.rows.binary_search_by_key(&position.offset, |row| row.offset) else { return };
        if let Some(row) = part.rows.get_mut(index).filter(|row| !row.is_resolved) {
            row.is_resolved = true;
            self.count -= 1;
        }
    }

    fn read(&mut self, record: &Record<'_>) {
        let position = record.position();
        match Entry::read(record.headers()) {
            Entry::DeadLetter(dead_letter) => {
                let raw = RawRecord::read(record.headers(), record.value(), record.timestamp());
                let time = dead_letter.at.or(record.timestamp()).unwrap_or_default();
                self.add(position, &dead_letter, time, raw.source_name());
            }
            Entry::Resolution(resolution) => self.resolve(Position::of(position.partition, resolution.dead_letter)),
            Entry::Mark(_) | Entry::Foreign => {}
        }
        self.has_read_to(position.partition, position.offset.next());
    }

    fn has_read_to(&mut self, partition: Partition, next: Offset) {
        self.partitions.entry(partition).or_insert(Part { next, rows: Vec::new() }).next = next;
    }

    /// Returns the ranges that were not read yet, and removes dead letters that have expired or whose topic was created
    /// again. If not all dead letters could be kept, returns the whole topic again once at most half of the limit is
    /// used.
    fn missing(&mut self, watermarks: &BTreeMap<Partition, Watermarks>) -> Vec<OffsetRange> {
        let is_other_topic = |(partition, at): (&Partition, &Watermarks)| {
            self.partitions.get(partition).is_some_and(|part| at.high < part.next)
        };
        // Only another read of the topic shows which of the dead letters that were not kept are unresolved.
        let has_room_again = !self.is_complete && self.count <= self.most / 2;
        if has_room_again || watermarks.iter().any(is_other_topic) {
            *self = Self::new(self.most, self.message);
        }
        let range = |(&partition, at): (&Partition, &Watermarks)| {
            let start = match self.partitions.get_mut(&partition) {
                Some(part) => {
                    let before = part.rows.iter().filter(|row| !row.is_resolved).count();
                    part.rows.retain(|row| row.offset >= at.low);
                    self.count -= before - part.rows.iter().filter(|row| !row.is_resolved).count();
                    part.next.max(at.low)
                }
                None => at.low,
            };
            OffsetRange { partition, start, end: at.high }
        };
        watermarks.iter().map(range).collect()
    }

    /// Removes the resolved dead letters and frees their memory.
    fn sweep(&mut self) {
        for part in self.partitions.values_mut() {
            part.rows.retain(|row| !row.is_resolved);
            if part.rows.capacity() > 2 * part.rows.len() {
                part.rows.shrink_to_fit();
            }
        }
    }
}

/// Returns the name, or [`OTHER`] if the name is too long.
fn name(text: &str) -> String {
    if text.len() <= LONGEST_NAME { text.to_owned() } else { OTHER.to_owned() }
}

/// Stores each different value once and gives it a number.
#[derive(Debug)]
struct Names<T> {
    most: usize,
    all: Vec<T>,
    numbers: BTreeMap<T, u16>,
}

impl<T: Ord + Clone> Names<T> {
    fn new(most: usize) -> Self {
        Self { most, all: Vec::new(), numbers: BTreeMap::new() }
    }

    fn get(&self, number: u16) -> Option<&T> {
        self.all.get(usize::from(number))
    }

    /// Returns the number of a value; `None` if the value is new and the limit is reached.
    fn number(&mut self, value: T) -> Option<u16> {
        match self.numbers.get(&value) {
            Some(number) => Some(*number),
            None if self.all.len() < self.most => self.add(value),
            None => None,
        }
    }

    /// Returns the number of the value that stands for all others. That value is added even if the limit is reached.
    fn number_of_other(&mut self, other: T) -> Option<u16> {
        self.numbers.get(&other).copied().or_else(|| self.add(other))
    }

    fn add(&mut self, value: T) -> Option<u16> {
        let number = u16::try_from(self.all.len()).ok()?;
        self.all.push(value.clone());
        self.numbers.insert(value, number);
        Some(number)
    }
}

/// Reads the records that were written to the topic since the last call; returns `false` if the topic does not exist.
/// The mutex is locked for one record at a time, so that other threads see the progress. The call blocks. After an
/// error, the next call continues after the last record that was read.
///
/// # Errors
/// [`OperatorError::Kafka`].
pub fn read_unresolved(pipeline: Pipeline<'_>, unresolved: &Mutex<Unresolved>) -> Result<bool, OperatorError> {
    let lock = || unresolved.lock().unwrap_or_else(PoisonError::into_inner);
    let topic = &pipeline.topics.dead_letters;
    let watermarks = match stable_watermarks(&Offsets::new(pipeline.connection)?, topic) {
        Err(KafkaError::NoTopic(_)) => {
            let mut unresolved = lock();
            *unresolved = Unresolved::new(unresolved.most, unresolved.message);
            return Ok(false);
        }
        watermarks => watermarks?,
    };
    let ranges = lock().missing(&watermarks);
    pipeline.read(topic, &ranges, |record| lock().read(record))?;
    let mut unresolved = lock();
    for range in ranges {
        unresolved.has_read_to(range.partition, range.end);
    }
    unresolved.sweep();
    Ok(true)
}

/// Returns the number of unresolved dead letters of each stage and code, the most frequent first. The call blocks.
///
/// # Errors
/// [`OperatorError::Kafka`], also if the topic does not exist.
pub fn unresolved_groups(pipeline: Pipeline<'_>) -> Result<Vec<Group>, OperatorError> {
    let unresolved = Mutex::new(Unresolved::new(usize::MAX, |_| String::new()));
    match read_unresolved(pipeline, &unresolved)? {
        true => Ok(groups_of(unresolved.into_inner().unwrap_or_else(PoisonError::into_inner).iter())),
        false => Err(KafkaError::NoTopic(pipeline.topics.dead_letters.to_string()).into()),
    }
}

/// Groups unresolved dead letters by stage and code; the largest group comes first.
#[must_use]
pub fn groups_of<'u>(dead_letters: impl Iterator<Item = UnresolvedDeadLetter<'u>>) -> Vec<Group> {
    let mut groups: BTreeMap<(Stage, &str), Group> = BTreeMap::new();
    for UnresolvedDeadLetter { stage, code, time, .. } in dead_letters {
        let group = groups.entry((stage, code)).or_insert_with(|| Group {
            stage,
            code: code.to_owned(),
            count: 0,
            unresolved: 0,
            oldest: time,
            newest: time,
        });
        group.count += 1;
        group.unresolved += 1;
        group.oldest = group.oldest.min(time);
        group.newest = group.newest.max(time);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

#[cfg(test)]
mod tests {
    use super::super::index::tests::indexed;
    use super::*;

    fn unresolved(most: usize) -> Unresolved {
        Unresolved::new(most, |dead_letter| dead_letter.message.clone())
    }

    fn add(unresolved: &mut Unresolved, position: &str, stage: Stage, code: &str) {
        let indexed = indexed(position, stage, code);
        unresolved.add(indexed.position, &indexed.dead_letter, indexed.time, &indexed.source);
        unresolved.has_read_to(indexed.position.partition, indexed.position.offset.next());
    }

    fn positions(unresolved: &Unresolved) -> Vec<String> {
        unresolved.iter().map(|dead_letter| dead_letter.position.to_string()).collect()
    }

    fn watermarks(low: i64, high: i64) -> BTreeMap<Partition, Watermarks> {
        BTreeMap::from([(Partition(0), Watermarks { low: Offset(low), high: Offset(high) })])
    }

    #[test]
    fn a_resolved_dead_letter_is_removed_and_its_memory_is_freed() {
        let mut unresolved = unresolved(10);
        for offset in 0..5 {
            add(&mut unresolved, &format!("0:{offset}"), Stage::Sink, "refused");
        }
        add(&mut unresolved, "1:0", Stage::Transformer, "not_json");
        for position in ["0:1", "0:1", "0:9", "7:0", "0:3"] {
            unresolved.resolve(position.parse().unwrap());
        }
        assert_eq!((unresolved.count(), positions(&unresolved).len()), (4, 4));
        unresolved.sweep();
        assert_eq!(positions(&unresolved), ["0:0", "0:2", "0:4", "1:0"]);
        assert!(unresolved.get(Position::new(0, 1)).is_none());
        let found = unresolved.get(Position::new(1, 0)).unwrap();
        assert_eq!((found.stage, found.code, found.message), (Stage::Transformer, "not_json", Some("why")));
        let groups = groups_of(unresolved.iter());
        assert_eq!((groups[0].code.as_str(), groups[0].count, groups[1].unresolved), ("refused", 3, 1));
    }

    #[test]
    fn reading_continues_after_the_last_record_read_and_expired_dead_letters_are_removed() {
        let mut unresolved = unresolved(10);
        let start = |ranges: Vec<OffsetRange>| ranges.first().map(|range| (range.start, range.end)).unwrap();
        assert_eq!(start(unresolved.missing(&watermarks(2, 9))), (Offset(2), Offset(9)));
        add(&mut unresolved, "0:2", Stage::Sink, "refused");
        add(&mut unresolved, "0:5", Stage::Sink, "refused");
        assert_eq!(start(unresolved.missing(&watermarks(2, 9))), (Offset(6), Offset(9)));
        assert_eq!(start(unresolved.missing(&watermarks(3, 9))), (Offset(6), Offset(9)));
        assert_eq!((positions(&unresolved), unresolved.count()), (vec!["0:5".to_owned()], 1));
        // The topic was created again.
        assert_eq!(start(unresolved.missing(&watermarks(0, 1))), (Offset(0), Offset(1)));
        assert_eq!(unresolved.count(), 0);
    }

    #[test]
    fn the_numbers_of_kept_dead_letters_codes_sources_and_messages_are_limited() {
        let mut unresolved = unresolved(2);
        for offset in 0..3 {
            add(&mut unresolved, &format!("0:{offset}"), Stage::Sink, "refused");
        }
        assert!(unresolved.count() == 2 && !unresolved.is_complete());
        assert_eq!(unresolved.missing(&watermarks(0, 3))[0].start, Offset(3));
        unresolved.resolve(Position::new(0, 0));
        assert_eq!(unresolved.missing(&watermarks(0, 3))[0].start, Offset(0), "the whole topic is read again");
        let mut unresolved = self::unresolved(usize::MAX);
        for offset in 0..3000 {
            let dead_letter = DeadLetter::new(Stage::Sink, &format!("code-{offset}"), &format!("{offset}"), 0);
            unresolved.add(Position::new(0, offset), &dead_letter, 0, &"x".repeat(300));
        }
        assert_eq!((unresolved.count(), unresolved.is_complete()), (3000, true));
        assert_eq!(unresolved.iter().filter(|found| found.code == OTHER).count(), 3000 - MOST_NAMES);
        assert_eq!(unresolved.iter().filter(|found| found.message.is_none()).count(), 3000 - MOST_MESSAGES);
        assert!(unresolved.iter().all(|found| found.source == OTHER));
        assert!(size_of::<Row>() <= 32);
    }
}
