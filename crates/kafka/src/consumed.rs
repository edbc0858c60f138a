//! Progress in a partition with deferred records. These stay on the topic until a person decides about them, while the
//! records after them are processed.
//!
//! The committed offset is the offset of the first deferred record, so that Kafka's lag and every monitoring tool
//! include the unprocessed records. The metadata of the same commit lists the processed records after that offset. So
//! offset and list become visible together, and the next owner of the partition neither repeats nor skips a record.

use std::fmt::Write;

use contract::Offset;

/// Maximum bytes of the list of deferred records in a commit's metadata. Brokers accept 4,096 bytes of metadata by
/// default (`offset.metadata.max.bytes`), which also contains the fingerprint of the last record. The list has room for
/// more than 800 short runs of consecutive deferred records.
const LONGEST_TEXT: usize = 3_500;

/// Prefix of the list of deferred records in the metadata.
const MARK: &str = "deferred ";

/// Ascending ranges of offsets with exclusive ends. The ranges neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ranges(Vec<(Offset, Offset)>);

impl Ranges {
    fn position(&self, offset: Offset) -> Result<usize, usize> {
        let after = self.0.partition_point(|&(_, end)| end <= offset);
        match self.0.get(after) {
            Some(&(start, _)) if start <= offset => Ok(after),
            _ => Err(after),
        }
    }

    fn contains(&self, offset: Offset) -> bool {
        self.position(offset).is_ok()
    }

    fn insert(&mut self, offset: Offset) {
        let Err(after) = self.position(offset) else { return };
        let joins_before =
            after.checked_sub(1).filter(|&before| self.0.get(before).is_some_and(|range| range.1 == offset));
        let joins_after = self.0.get(after).is_some_and(|range| range.0 == offset.next());
        match (joins_before, joins_after) {
            (Some(before), true) => {
                let (_, end) = self.0.remove(after);
                self.0[before].1 = end;
            }
            (Some(before), false) => self.0[before].1 = offset.next(),
            (None, true) => self.0[after].0 = offset,
            (None, false) => self.0.insert(after, (offset, offset.next())),
        }
    }

    fn remove(&mut self, offset: Offset) {
        let Ok(at) = self.position(offset) else { return };
        let (start, end) = self.0.remove(at);
        let parts = [(start, offset), (offset.next(), end)];
        let parts = parts.into_iter().filter(|(start, end)| start < end);
        self.0.splice(at..at, parts);
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|(start, end)| end.0.abs_diff(start.0)).sum()
    }
}

/// Progress in a partition: the records that are processed, and the records that are deferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// Every record before this offset is processed or deferred.
    next: Offset,
    deferred: Ranges,
}

/// State from before a record was processed, for [`Consumed::put_back`].
#[derive(Debug, Clone, Copy)]
pub struct Undo {
    offset: Offset,
    next: Offset,
}

impl Consumed {
    /// Creates a state in which every record before `next` is processed.
    #[must_use]
    pub fn at(next: Offset) -> Self {
        Self { next, deferred: Ranges::default() }
    }

    /// Offset of the first record that is not processed. This offset is committed, and a new owner of the partition
    /// starts to read there.
    #[must_use]
    pub fn frontier(&self) -> Offset {
        self.deferred.0.first().map_or(self.next, |(start, _)| *start)
    }

    /// The offset after the last record that is processed or deferred.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.next
    }

    /// Number of deferred records.
    #[must_use]
    pub fn deferred(&self) -> u64 {
        self.deferred.len()
    }

    /// Whether the record at this offset still has to be processed.
    #[must_use]
    pub fn lacks(&self, offset: Offset) -> bool {
        offset >= self.next || self.deferred.contains(offset)
    }

    /// Marks the record at this offset as processed. The record must not have been processed before. Returns the value
    /// with which [`Consumed::put_back`] undoes this call.
    pub fn process(&mut self, offset: Offset) -> Undo {
        let undo = Undo { offset, next: self.next };
        self.deferred.remove(offset);
        self.next = self.next.max(offset.next());
        undo
    }

    /// Undoes the last call of [`Consumed::process`].
    pub fn put_back(&mut self, undo: Undo) {
        if undo.offset < undo.next {
            self.deferred.insert(undo.offset);
        }
        self.next = undo.next;
    }

    /// Marks the record at this offset as deferred. Returns whether the metadata has room for it; if not, the state
    /// does not change.
    pub fn defer(&mut self, offset: Offset) -> bool {
        let (next, was_deferred) = (self.next, self.deferred.contains(offset));
        self.next = next.max(offset.next());
        self.deferred.insert(offset);
        let fits = self.note().is_none_or(|note| note.len() <= LONGEST_TEXT);
        if !fits && !was_deferred {
            self.deferred.remove(offset);
            self.next = next;
        }
        fits || was_deferred
    }

    /// Drops the records before this offset, which have expired. Returns the number of them that were not processed.
    pub fn expire(&mut self, low: Offset) -> u64 {
        let before = self.deferred();
        self.deferred.0.retain_mut(|(start, end)| {
            *start = low.max(*start);
            start < end
        });
        let unread = u64::try_from(low.0.saturating_sub(self.next.0)).unwrap_or_default();
        self.next = self.next.max(low);
        before - self.deferred() + unread
    }

    /// Returns the metadata for a commit of the frontier; `None` if no record is deferred.
    ///
    /// The text contains the lengths of the runs from the frontier on, in hexadecimal: deferred, processed, deferred
    /// and so on.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let mut at = self.frontier();
        let mut text = String::from(MARK);
        for &(start, end) in &self.deferred.0 {
            let gap = start.0 - at.0;
            let separator = if at == self.frontier() { "" } else { "." };
            // The first run starts at the frontier, so no gap comes before it.
            let gap = if separator.is_empty() { String::new() } else { format!("{gap:x}.") };
            write!(text, "{separator}{gap}{:x}", end.0 - start.0).ok()?;
            at = end;
        }
        write!(text, ".{:x}", self.next.0 - at.0).ok()?;
        (!self.deferred.0.is_empty()).then_some(text)
    }

    /// Returns the state that a commit of this offset with this metadata describes.
    #[must_use]
    pub fn read(frontier: Offset, metadata: &str) -> Self {
        metadata.split_once(MARK).and_then(|(_, text)| Self::from_lengths(frontier, text)).unwrap_or(Self::at(frontier))
    }

    fn from_lengths(frontier: Offset, text: &str) -> Option<Self> {
        let mut consumed = Self::at(frontier);
        for (index, length) in text.split('.').enumerate() {
            let length = i64::from_str_radix(length, 16).ok().filter(|length| *length >= 0)?;
            let end = Offset(consumed.next.0.checked_add(length)?);
            if index % 2 == 0 {
                consumed.deferred.0.push((consumed.next, end));
            }
            consumed.next = end;
        }
        let is_sound = consumed.deferred.0.iter().all(|(start, end)| start < end);
        is_sound.then_some(consumed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_metadata_is_empty_unless_a_record_is_deferred() {
        let mut consumed = Consumed::at(Offset(7));
        assert_eq!((consumed.frontier(), consumed.note()), (Offset(7), None));
        assert!(consumed.defer(Offset(7)));
        assert_eq!(consumed.note().as_deref(), Some("deferred 1.0"));
        consumed.process(Offset(8));
        assert!(consumed.defer(Offset(9)) && consumed.defer(Offset(10)));
        consumed.process(Offset(11));
        assert_eq!((consumed.frontier(), consumed.deferred()), (Offset(7), 3));
        assert_eq!(consumed.note().as_deref(), Some("deferred 1.1.2.1"));
        consumed.process(Offset(7));
        assert_eq!((consumed.frontier(), consumed.note().as_deref()), (Offset(9), Some("deferred 2.1")));
        consumed.process(Offset(10));
        consumed.process(Offset(9));
        assert_eq!(consumed, Consumed::at(Offset(12)));
    }

    #[test]
    fn without_valid_metadata_exactly_the_records_before_the_offset_count_as_processed() {
        for text in
            ["", "last-record 7 1 2", "note of an operator", "deferred ", "deferred x", "deferred 1.-1", "deferred 0.1"]
        {
            assert_eq!(Consumed::read(Offset(5), text), Consumed::at(Offset(5)), "{text}");
        }
        assert_eq!(Consumed::read(Offset(5), "last-record 7 1 2 deferred 1.3").next, Offset(9));
    }

    #[test]
    fn expire_returns_the_number_of_expired_records_that_were_not_processed() {
        let mut consumed = Consumed::at(Offset(0));
        for offset in 0..10 {
            if offset % 2 == 0 {
                assert!(consumed.defer(Offset(offset)));
            } else {
                consumed.process(Offset(offset));
            }
        }
        let mut later = consumed.clone();
        assert_eq!(consumed.expire(Offset(5)), 3, "0, 2 and 4");
        assert_eq!((consumed.frontier(), consumed.deferred(), consumed.next), (Offset(6), 2, Offset(10)));
        assert_eq!(later.expire(Offset(12)), 5 + 2);
        assert_eq!(later, Consumed::at(Offset(12)));
        assert_eq!(Consumed::at(Offset(3)).expire(Offset(10)), 7);
    }

    #[test]
    fn a_record_that_does_not_fit_into_the_metadata_is_not_deferred() {
        let mut consumed = Consumed::at(Offset(0));
        let mut offset = Offset(0);
        let fits = (0..).take_while(|_| {
            let fits = consumed.defer(offset);
            if fits {
                consumed.process(offset.next());
                offset = offset.next().next();
            }
            fits
        });
        let runs = fits.count();
        assert!((800..LONGEST_TEXT).contains(&runs), "{runs}");
        let full = consumed.clone();
        assert!(!consumed.defer(offset));
        assert_eq!(consumed, full);
        consumed.process(offset);
        assert_eq!(Consumed::read(consumed.frontier(), &consumed.note().unwrap()), consumed);
        let mut long = Consumed::at(Offset(0));
        assert!(
            (0..100_000).all(|offset| long.defer(Offset(offset))),
            "consecutive records are one run, however many they are"
        );
    }

    proptest! {
        #[test]
        fn progress_matches_a_model_and_is_restored_from_its_metadata(
            start in (0_i64..1000).prop_map(Offset),
            steps in prop::collection::vec((0_i64..40, any::<bool>()), 0..80),
        ) {
            let mut consumed = Consumed::at(start);
            let mut deferred = BTreeSet::new();
            let mut next = start;
            for (step, defer) in steps {
                // Uses either the next record or a deferred one.
                let offset = deferred.iter().copied().nth(usize::try_from(step).unwrap()).unwrap_or(next);
                prop_assert!(consumed.lacks(offset));
                let before = consumed.clone();
                let undo = consumed.process(offset);
                consumed.put_back(undo);
                prop_assert_eq!(&consumed, &before);
                if defer {
                    prop_assert!(consumed.defer(offset));
                    deferred.insert(offset);
                } else {
                    consumed.process(offset);
                    deferred.remove(&offset);
                }
                next = next.max(offset.next());
                prop_assert_eq!(consumed.frontier(), deferred.first().copied().unwrap_or(next));
                prop_assert_eq!(consumed.deferred(), deferred.len() as u64);
                for offset in (start.0 - 2..next.0 + 2).map(Offset) {
                    prop_assert_eq!(consumed.lacks(offset), offset >= next || deferred.contains(&offset), "{}", offset);
                }
                let note = consumed.note().unwrap_or_default();
                prop_assert_eq!(&Consumed::read(consumed.frontier(), &note), &consumed);
            }
        }
    }
}
