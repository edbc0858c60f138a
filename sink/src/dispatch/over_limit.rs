//! Holds the records that would exceed the dead-letter limit (`DEAD_LETTER_LIMIT`), while everything else continues.
//!
//! The limit applies to each source and code. Held records become dead letters once enough records of their source have
//! been accepted. They are also sent again periodically, because the configuration of Platform may have been corrected.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use service::RecentOutcomes;

use super::gate::Limits;
use super::queue::{Batch, Past};
use crate::work::{DeadLetterReason, Sourced};

/// Held records of one source with one code.
#[derive(Debug)]
struct Group<T> {
    source: String,
    code: &'static str,
    items: Vec<(T, DeadLetterReason)>,
}

impl<T> Group<T> {
    /// Whether the records can be sent again.
    fn can_be_sent(&self) -> bool {
        self.items.iter().all(|(_, reason)| !matches!(reason, DeadLetterReason::Unsendable(..)))
    }

    /// Returns the records as a batch to be sent again. These records were refused after others had been accepted, so
    /// another rejection is confirmed at once.
    fn again(self) -> Batch<T> {
        let items = self.items.into_iter().map(|(item, _)| item).collect();
        Batch { items, past: Past { others_accepted: true, over_limit: true, ..Past::default() } }
    }
}

/// The recent outcomes of each source, and the records that are held because of them.
#[derive(Debug)]
pub(super) struct OverLimit<T> {
    recent: RecentOutcomes,
    groups: Vec<Group<T>>,
    hold_probe: Duration,
    probe_at: Instant,
}

impl<T: Sourced> OverLimit<T> {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            recent: RecentOutcomes::new(limits.dead_letters),
            groups: Vec::new(),
            hold_probe: limits.hold_probe,
            probe_at: now,
        }
    }

    pub(super) fn is_holding(&self) -> bool {
        !self.groups.is_empty()
    }

    pub(super) fn note_accepted(&mut self, item: &T) {
        self.recent.note_good(item.source(), 1);
    }

    /// Returns the rejected records that may become dead letters now, and holds the others.
    pub(super) fn dead_letter(
        &mut self,
        rejected: Vec<(T, DeadLetterReason)>,
        now: Instant,
    ) -> Vec<(T, DeadLetterReason)> {
        let mut groups: BTreeMap<(String, &'static str), Vec<(T, DeadLetterReason)>> = BTreeMap::new();
        for (item, reason) in rejected {
            groups.entry((item.source().to_owned(), reason.code().as_str())).or_default().push((item, reason));
        }
        let mut dead_letters = Vec::new();
        for ((source, code), items) in groups {
            if self.recent.would_exceed(&source, code, items.len()) {
                if self.groups.is_empty() {
                    self.probe_at = now + self.hold_probe;
                }
                self.groups.push(Group { source, code, items });
            } else {
                self.recent.note_dead(&source, code, items.len());
                dead_letters.extend(items);
            }
        }
        dead_letters
    }

    /// Removes and returns the records of one group that was over the limit and no longer is.
    pub(super) fn within_limit(&mut self) -> Vec<(T, DeadLetterReason)> {
        let recent = &self.recent;
        let fits = |group: &Group<T>| !recent.would_exceed(&group.source, group.code, group.items.len());
        let Some(index) = self.groups.iter().position(fits) else { return Vec::new() };
        let Group { source, code, items } = self.groups.swap_remove(index);
        self.recent.note_dead(&source, code, items.len());
        items
    }

    /// Returns the time at which some of the held records are sent again; `None` if none of them can be sent.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.groups.iter().any(Group::can_be_sent).then_some(self.probe_at)
    }

    /// Returns a batch of held records if it is time to send one.
    pub(super) fn pick(&mut self, now: Instant) -> Option<Batch<T>> {
        if self.next_due()? > now {
            return None;
        }
        self.probe_at = now + self.hold_probe;
        let index = self.groups.iter().position(Group::can_be_sent)?;
        Some(self.groups.remove(index).again())
    }

    /// Removes and returns all held records that can be sent, because one of the held records was accepted.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Batch<T>> + use<T> {
        let (again, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.groups).into_iter().partition(Group::can_be_sent);
        self.groups = stay;
        again.into_iter().map(Group::again)
    }

    /// Removes and returns the records of revoked partitions, for which `stays` returns false.
    pub(super) fn remove(&mut self, stays: &mut impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        self.groups.retain_mut(|group| {
            let items = std::mem::take(&mut group.items);
            let (stay, gone): (Vec<_>, Vec<_>) = items.into_iter().partition(|(item, _)| stays(item));
            group.items = stay;
            removed.extend(gone.into_iter().map(|(item, _)| item));
            !group.items.is_empty()
        });
        removed
    }
}
