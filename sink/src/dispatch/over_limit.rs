//! Holds the records that would exceed the dead-letter limit (`DEAD_LETTER_LIMIT`), while everything else continues.
//!
//! The limit applies to each source and code. Held records become dead letters once enough records of their source have
//! been accepted. They are also sent again from time to time, because the configuration of Platform may have been
//! corrected.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{DeadLetterReason, Dispatch, Past, Waiting};
use crate::work::Sourced;

/// Held records of one source with one code.
#[derive(Debug)]
pub(super) struct OverLimit<T> {
    source: String,
    code: &'static str,
    items: Vec<(T, DeadLetterReason)>,
}

impl<T> OverLimit<T> {
    pub(super) fn items(&mut self) -> &mut Vec<(T, DeadLetterReason)> {
        &mut self.items
    }

    /// Whether the records can be sent again.
    fn can_be_sent(&self) -> bool {
        self.items.iter().all(|(_, reason)| !matches!(reason, DeadLetterReason::Unsendable(..)))
    }
}

impl<T: Sourced> Dispatch<T> {
    /// Returns those of the rejected records that may become dead letters now. The others are held.
    pub(crate) fn dead_letter(
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
                if self.over_limit.is_empty() {
                    self.over_limit_probe_at = now + self.limits.hold_probe;
                }
                self.over_limit.push(OverLimit { source, code, items });
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
        let fits = |group: &OverLimit<T>| !recent.would_exceed(&group.source, group.code, group.items.len());
        let Some(index) = self.over_limit.iter().position(fits) else { return Vec::new() };
        let OverLimit { source, code, items } = self.over_limit.swap_remove(index);
        self.recent.note_dead(&source, code, items.len());
        items
    }

    /// When some of the held records are sent again.
    pub(super) fn over_limit_due(&self) -> Option<Instant> {
        self.over_limit.iter().any(OverLimit::can_be_sent).then_some(self.over_limit_probe_at)
    }

    /// Returns a batch of held records if it is time to send one.
    pub(super) fn pick_over_limit(&mut self, now: Instant) -> Option<Waiting<T>> {
        if self.over_limit_due()? > now {
            return None;
        }
        self.over_limit_probe_at = now + self.limits.hold_probe;
        let index = self.over_limit.iter().position(OverLimit::can_be_sent)?;
        Some(again(self.over_limit.remove(index)))
    }

    /// One of the held records was accepted, so all of them are sent again.
    pub(super) fn retry_over_limit(&mut self) {
        let (again_now, stay) = std::mem::take(&mut self.over_limit).into_iter().partition(OverLimit::can_be_sent);
        self.over_limit = stay;
        self.ready.extend(Vec::from_iter(again_now).into_iter().map(again));
    }
}

/// Held records were refused after others had been accepted, so another rejection is confirmed at once.
fn again<T>(group: OverLimit<T>) -> Waiting<T> {
    let items = group.items.into_iter().map(|(item, _)| item).collect();
    Waiting { items, past: Past { others_accepted: true, over_limit: true, ..Past::default() } }
}
