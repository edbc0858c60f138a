//! The dedup window of one partition: ids with their receive times, in the order of the typed records, limited in time
//! and in number.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;

use super::{IdHash, Seconds};

#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowLimits {
    /// The value of `TRANSFORMER_DEDUP_WINDOW`, in seconds.
    pub(crate) seconds: u32,
    /// The value of `TRANSFORMER_DEDUP_MAX_IDS`.
    pub(crate) ids: usize,
}

impl WindowLimits {
    pub(crate) fn new(window: Duration, ids: usize) -> Self {
        Self { seconds: u32::try_from(window.as_secs()).unwrap_or(u32::MAX), ids }
    }
}

/// One id in the window. An entry takes 20 bytes, and 6 or 7 more in the index.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: IdHash,
    received: [u8; 4],
}

impl Entry {
    fn received(&self) -> Seconds {
        Seconds(u32::from_ne_bytes(self.received))
    }
}

/// The dedup window of one partition.
#[derive(Debug)]
pub(crate) struct Window {
    limits: WindowLimits,
    entries: VecDeque<Entry>,
    /// Number of the oldest entry. Entries are numbered consecutively, and the numbers wrap around.
    oldest: u32,
    /// The number of each id's newest entry.
    index: HashTable<u32>,
    /// The latest receive time so far.
    newest: Seconds,
    /// The latest receive time of an unexpired entry that was dropped because the window was full, or that was not
    /// restored.
    lost: Option<Seconds>,
    begins_late: bool,
}

impl Window {
    pub(super) fn new(limits: WindowLimits) -> Self {
        Self {
            limits,
            entries: VecDeque::new(),
            oldest: 0,
            index: HashTable::new(),
            newest: Seconds(0),
            lost: None,
            begins_late: false,
        }
    }

    /// Notes that the typed topic has older records that are not read, so ids are missing before the first entry.
    pub(super) fn begin_late(&mut self) {
        self.begins_late = true;
    }

    /// Whether the window contains this event with a receive time that is at most `limits.seconds` before `received`.
    pub(crate) fn contains(&self, id: IdHash, received: Seconds) -> bool {
        self.find(id).is_some_and(|seen| received.0.saturating_sub(seen.0) <= self.limits.seconds)
    }

    fn find(&self, id: IdHash) -> Option<Seconds> {
        let number = self.index.find(hash(id), |&number| self.entry(number).is_some_and(|entry| entry.id == id))?;
        self.entry(*number).map(Entry::received)
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.wrapping_sub(self.oldest)).ok()?)
    }

    /// Adds an id. A repeated id counts from its new receive time.
    pub(crate) fn insert(&mut self, id: IdHash, received: Seconds) {
        if std::mem::take(&mut self.begins_late) {
            self.lost = Some(received);
        }
        self.make_room();
        self.entries.push_back(Entry { id, received: received.0.to_ne_bytes() });
        self.note(self.entries.len() - 1);
        self.newest = self.newest.max(received);
        self.evict();
    }

    /// Allocates memory for one more entry. By default, both collections would double their capacity; the index would
    /// do so even if only removed entries use it up. A full window would then permanently be a third larger.
    fn make_room(&mut self) {
        let held = self.entries.len();
        if held == self.entries.capacity() {
            let most = self.limits.ids.saturating_add(1);
            self.entries.reserve_exact(held.max(64).min(most.saturating_sub(held)).max(1));
        }
        if self.index.len() == self.index.capacity() {
            let ids = self.index.len();
            self.index.clear();
            // If the cleared index is large enough, only removed entries had used up its capacity.
            if self.index.capacity() < ids + ids / 16 + 1 {
                self.index = HashTable::with_capacity((ids * 2).max(4));
            }
            (0..held).for_each(|place| self.note(place));
        }
    }

    /// Makes the index refer to the entry at position `place` for the id of that entry.
    fn note(&mut self, place: usize) {
        let Some(&Entry { id, .. }) = self.entries.get(place) else { return };
        let number = self.oldest.wrapping_add(u32::try_from(place).unwrap_or(u32::MAX));
        let (entries, oldest) = (&self.entries, self.oldest);
        let at = |number: u32| usize::try_from(number.wrapping_sub(oldest)).unwrap_or(usize::MAX);
        let same = |&number: &u32| entries.get(at(number)).is_some_and(|entry| entry.id == id);
        match self.index.find_mut(hash(id), same) {
            Some(found) => *found = number,
            None => {
                let hash_of = |&number: &u32| entries.get(at(number)).map_or(0, |entry| hash(entry.id));
                self.index.insert_unique(hash(id), number, hash_of);
            }
        }
    }

    fn evict(&mut self) {
        while let Some(&entry) = self.entries.front() {
            let expired = self.newest.0.saturating_sub(entry.received().0) > self.limits.seconds;
            if !expired && self.entries.len() <= self.limits.ids {
                return;
            }
            if !expired {
                self.lost = self.lost.max(Some(entry.received()));
            }
            let number = self.oldest;
            // For a repeated id, the index refers to the newer entry, which stays.
            if let Ok(found) = self.index.find_entry(hash(entry.id), |&found| found == number) {
                found.remove();
            }
            self.entries.pop_front();
            self.oldest = self.oldest.wrapping_add(1);
        }
    }

    /// Returns the number of different ids.
    pub(crate) fn ids(&self) -> usize {
        self.index.len()
    }

    /// Returns the time span within which repeats are recognised, in seconds: the configured window, or less if entries
    /// were dropped because the window was full, or were not restored.
    pub(crate) fn reach(&self) -> u32 {
        self.lost.map_or(self.limits.seconds, |lost| self.newest.0.saturating_sub(lost.0).min(self.limits.seconds))
    }

    #[cfg(test)]
    pub(super) fn set_oldest(&mut self, oldest: u32) {
        self.oldest = oldest;
    }

    /// Returns the number of allocated bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.index.allocation_size()
    }
}

/// Returns the first 8 bytes of the id, which is already a hash.
fn hash(id: IdHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}
