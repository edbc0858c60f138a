//! Records that would become dead letters too many (`DEAD_LETTER_LIMIT`): they wait, and everything else goes on.
//!
//! The limit counts for each source and code. What waits is condemned once enough records of its source have come through,
//! and is asked for again from time to time: Platform may have been put right.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Dispatch, Past, Sentence, Waiting};

/// What the limit needs to know of a record.
pub(crate) trait Sourced {
    /// The source that its webhook came to.
    fn source(&self) -> &str;
}

/// Records of one source with one code, as they were judged.
#[derive(Debug)]
pub(super) struct OverLimit<T> {
    source: String,
    code: &'static str,
    items: Vec<(T, Sentence)>,
}

impl<T> OverLimit<T> {
    pub(super) fn items(&mut self) -> &mut Vec<(T, Sentence)> {
        &mut self.items
    }

    /// Whether there is a request that could be made again.
    fn can_be_sent(&self) -> bool {
        self.items.iter().all(|(_, sentence)| !matches!(sentence, Sentence::Unsendable(..)))
    }
}

impl<T: Sourced> Dispatch<T> {
    /// Those of the judged records that may be condemned now. The others wait.
    pub(crate) fn condemn(&mut self, judged: Vec<(T, Sentence)>, now: Instant) -> Vec<(T, Sentence)> {
        let mut groups: BTreeMap<(String, &'static str), Vec<(T, Sentence)>> = BTreeMap::new();
        for (item, sentence) in judged {
            groups.entry((item.source().to_owned(), sentence.code().as_str())).or_default().push((item, sentence));
        }
        let mut condemned = Vec::new();
        for ((source, code), items) in groups {
            if self.recent.would_exceed(&source, code, items.len()) {
                if self.over_limit.is_empty() {
                    self.over_limit_probe_at = now + self.limits.hold_probe;
                }
                self.over_limit.push(OverLimit { source, code, items });
            } else {
                self.recent.note_dead(&source, code, items.len());
                condemned.extend(items);
            }
        }
        condemned
    }

    /// Records that waited for the limit and are not too many any more.
    pub(super) fn within_limit(&mut self) -> Vec<(T, Sentence)> {
        let recent = &self.recent;
        let fits = |group: &OverLimit<T>| !recent.would_exceed(&group.source, group.code, group.items.len());
        let Some(index) = self.over_limit.iter().position(fits) else { return Vec::new() };
        let OverLimit { source, code, items } = self.over_limit.swap_remove(index);
        self.recent.note_dead(&source, code, items.len());
        items
    }

    /// When some of them are asked for again.
    pub(super) fn over_limit_due(&self) -> Option<Instant> {
        self.over_limit.iter().any(OverLimit::can_be_sent).then_some(self.over_limit_probe_at)
    }

    /// A batch of them, if it is time.
    pub(super) fn pick_over_limit(&mut self, now: Instant) -> Option<Waiting<T>> {
        if self.over_limit_due()? > now {
            return None;
        }
        self.over_limit_probe_at = now + self.limits.hold_probe;
        let index = self.over_limit.iter().position(OverLimit::can_be_sent)?;
        Some(again(self.over_limit.remove(index)))
    }

    /// One of them was accepted: Platform takes them now.
    pub(super) fn retry_over_limit(&mut self) {
        let (again_now, stay) = std::mem::take(&mut self.over_limit).into_iter().partition(OverLimit::can_be_sent);
        self.over_limit = stay;
        self.ready.extend(Vec::from_iter(again_now).into_iter().map(again));
    }
}

/// What was refused once others had been accepted needs no more evidence.
fn again<T>(group: OverLimit<T>) -> Waiting<T> {
    let items = group.items.into_iter().map(|(item, _)| item).collect();
    Waiting { items, past: Past { evidence: true, over_limit: true, ..Past::default() } }
}
