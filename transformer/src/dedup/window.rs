//! The window of one partition: ids with their times in the order of the typed partition, limited in time and in
//! number.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashTable;

use super::{IdHash, Seconds};

/// The limits of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowLimits {
    /// `TRANSFORMER_DEDUP_WINDOW`, in seconds.
    pub(crate) seconds: u32,
    /// `TRANSFORMER_DEDUP_MAX_IDS`.
    pub(crate) ids: usize,
}

impl WindowLimits {
    pub(crate) fn new(window: Duration, ids: usize) -> Self {
        Self { seconds: u32::try_from(window.as_secs()).unwrap_or(u32::MAX), ids }
    }
}

/// 20 bytes; the index adds 6 or 7 for each.
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

/// The entries of one window. See the module.
#[derive(Debug)]
pub(crate) struct Window {
    limits: WindowLimits,
    entries: VecDeque<Entry>,
    /// Number of the oldest entry; numbers only grow, and wrap.
    oldest: u32,
    /// The number of each id's newest entry.
    index: HashTable<u32>,
    /// The latest time so far.
    newest: Seconds,
    /// The latest time of an entry that was dropped because the window was full, or that was never read.
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

    /// Entries before the first one are missing.
    pub(super) fn begin_late(&mut self) {
        self.begins_late = true;
    }

    /// Whether the window contains this event, received at most one window before `received`.
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

    /// Adds an id; a repeated id counts from its new time.
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

    /// Makes room for one more entry. By default both parts would double their capacity, the index even only because of
    /// removed entries, and a full window would stay a third larger permanently.
    fn make_room(&mut self) {
        let held = self.entries.len();
        if held == self.entries.capacity() {
            let most = self.limits.ids.saturating_add(1);
            self.entries.reserve_exact(held.max(64).min(most.saturating_sub(held)).max(1));
        }
        if self.index.len() == self.index.capacity() {
            let ids = self.index.len();
            self.index.clear();
            // Otherwise its capacity would be used up by removed entries.
            if self.index.capacity() < ids + ids / 16 + 1 {
                self.index = HashTable::with_capacity((ids * 2).max(4));
            }
            (0..held).for_each(|place| self.note(place));
        }
    }

    /// Makes the index of the id point to the entry at this place.
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
            // An id that was repeated has a newer entry, which stays.
            if let Ok(found) = self.index.find_entry(hash(entry.id), |&found| found == number) {
                found.remove();
            }
            self.entries.pop_front();
            self.oldest = self.oldest.wrapping_add(1);
        }
    }

    /// Number of ids.
    pub(crate) fn ids(&self) -> usize {
        self.index.len()
    }

    /// How far back repeats are recognised, in seconds: the configured window, or less if the window was full.
    pub(crate) fn reach(&self) -> u32 {
        self.lost.map_or(self.limits.seconds, |lost| self.newest.0.saturating_sub(lost.0).min(self.limits.seconds))
    }

    #[cfg(test)]
    pub(super) fn set_oldest(&mut self, oldest: u32) {
        self.oldest = oldest;
    }

    /// Allocated bytes.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.index.allocation_size()
    }
}

/// The id is already a hash.
fn hash(id: IdHash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = id.0;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}
