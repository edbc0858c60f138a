//! Searches for one event as a job, and keeps the result for ten minutes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use operator::find::{State, StepRecord, StoredValue, Timeline, Wanted};

use super::found_event::{Chosen, FoundEvent, Rules};
use super::source::{EventSource, Search};
use crate::jobs::Job;
use crate::links::{self, PublicId};

/// Maximum number of results that are kept.
const MOST: usize = 20;
/// Maximum memory of the kept results in bytes, without the newest result.
const HEAVIEST: usize = 8 * 1024 * 1024;
/// Time for which a result is kept, in milliseconds. It is short, because a result contains personal data.
const KEPT: i64 = 10 * 60 * 1000;
/// Time during which a page searches again automatically for an event that has not ended, in milliseconds.
const WATCHED: i64 = 2 * 60 * 1000;
/// Minimum time between two automatic searches, in milliseconds.
const PAUSE: i64 = 4 * 1000;
/// If the first search finds nothing, later searches start to read this long before the first search, in milliseconds.
const JUST_NOW: i64 = 60 * 1000;

/// The event or record that a page shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// An event by id. If `since` is set, the event was received at this time or later: milliseconds since 1970.
    Event { id: PublicId, since: Option<i64> },
    /// A record of the raw or the typed topic.
    Record(StepRecord),
}

impl Key {
    /// Returns the path of the page.
    pub(super) fn href(&self) -> String {
        match self {
            Self::Event { id, since: None } => links::event(id),
            Self::Event { id, since: Some(since) } => links::event_since(id, *since),
            Self::Record(record) => links::record(topic(*record), record.position()),
        }
    }

    /// Returns the form fields that identify the event or record.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Event { id, since } => {
                let since = since.map(|since| ("since", since.to_string()));
                [("id", id.as_str().to_owned())].into_iter().chain(since).collect()
            }
            Self::Record(record) => {
                vec![("topic", topic(*record).to_owned()), ("position", record.position().to_string())]
            }
        }
    }

    /// Returns a text for the audit log and titles. It contains no personal data.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Event { id, .. } => id.as_str().to_owned(),
            Self::Record(record) => record.to_string(),
        }
    }
}

fn topic(record: StepRecord) -> &'static str {
    match record {
        StepRecord::Raw(_) => "raw",
        StepRecord::Typed(_) => "typed",
        StepRecord::DeadLetter(_) => "dead-letters",
    }
}

/// Outcome of a search.
#[derive(Debug)]
pub(super) enum Outcome {
    Found(Box<FoundEvent>),
    Nothing,
    Stopped,
    /// The search ended with this error.
    Failed(String),
}

/// A search that has ended.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) key: Key,
    /// Start time of the first search for this key: milliseconds since 1970.
    pub(super) first_at: i64,
    /// Start time of this search: milliseconds since 1970.
    pub(super) at: i64,
    pub(super) outcome: Outcome,
}

impl Look {
    fn weight(&self) -> usize {
        match &self.outcome {
            Outcome::Found(found) => found.weight(),
            Outcome::Nothing | Outcome::Stopped | Outcome::Failed(_) => 0,
        }
    }

    /// Returns a text that changes when the outcome or the event has changed.
    pub(super) fn version(&self) -> String {
        match &self.outcome {
            Outcome::Found(found) => found.version(),
            Outcome::Nothing => "nothing".to_owned(),
            Outcome::Stopped => "stopped".to_owned(),
            Outcome::Failed(_) => "failed".to_owned(),
        }
    }

    /// Returns whether the page still searches again automatically at this time.
    pub(super) fn is_watched(&self, now: i64) -> bool {
        let may_change = match &self.outcome {
            Outcome::Found(found) => !found.has_ended(),
            Outcome::Nothing => true,
            Outcome::Stopped | Outcome::Failed(_) => false,
        };
        // Each search reads the records since the earliest step, which are many if the event is old.
        let is_recent = self.earliest().is_none_or(|earliest| now - earliest < KEPT);
        may_change && is_recent && now - self.first_at < WATCHED
    }

    /// Returns whether the next automatic search is due.
    pub(super) fn is_due(&self, now: i64) -> bool {
        self.is_watched(now) && now - self.at >= PAUSE
    }

    /// Returns the time of the earliest step.
    fn earliest(&self) -> Option<i64> {
        match &self.outcome {
            Outcome::Found(found) => found.timeline.steps.iter().map(|step| step.time).min(),
            Outcome::Nothing | Outcome::Stopped | Outcome::Failed(_) => None,
        }
    }

    /// Returns the time from which the next automatic search has to read: milliseconds since 1970.
    pub(super) fn next_since(&self) -> i64 {
        self.earliest().unwrap_or(self.first_at - JUST_NOW)
    }
}

/// Results of the last searches, the newest first.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<VecDeque<Arc<Look>>>);

impl Looks {
    fn list(&self, now: i64) -> MutexGuard<'_, VecDeque<Arc<Look>>> {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|look| now - look.at < KEPT);
        list
    }

    pub(super) fn find(&self, key: &Key, now: i64) -> Option<Arc<Look>> {
        self.list(now).iter().find(|look| look.key == *key).cloned()
    }

    pub(super) fn forget(&self, key: &Key, now: i64) {
        self.list(now).retain(|look| look.key != *key);
    }

    pub(super) fn keep(&self, look: Look, now: i64) {
        let mut list = self.list(now);
        list.retain(|other| other.key != look.key);
        list.push_front(Arc::new(look));
        list.truncate(MOST);
        let mut weight = 0;
        let heavy = list.iter().skip(1).position(|look| {
            weight += look.weight();
            weight > HEAVIEST
        });
        if let Some(heavy) = heavy {
            list.truncate(heavy + 1);
        }
    }
}

/// Searches for the event or record of a page. `since` is the time from which the search reads records. The search ends
/// early if the job is stopped.
///
/// # Errors
/// Returns the error message for the page.
pub(super) async fn look(
    source: &dyn EventSource,
    key: &Key,
    since: Option<i64>,
    job: &Job,
) -> Result<Option<FoundEvent>, String> {
    let (wanted, since, asked) = match key {
        Key::Event { id, .. } => (Some(Wanted::Event(id.as_str().to_owned())), since, None),
        Key::Record(record) => {
            let Some(stored) = source.stored(*record, job).await? else { return Ok(None) };
            let wanted = match (stored.event_id, stored.value) {
                (Some(id), _) => Some(Wanted::Event(id)),
                (None, StoredValue::Webhook(webhook)) => Some(Wanted::Body(webhook.body)),
                (None, StoredValue::Event(_)) => None,
            };
            (wanted, Some(stored.received_at), Some(*record))
        }
    };
    let timelines = match wanted {
        Some(wanted) => source.find(&Search { wanted, since, all_partitions: true }, job).await?,
        None => Vec::new(),
    };
    let Some(timeline) = choose(timelines, key) else { return Ok(None) };
    let Chosen { webhook, sent } = Chosen::of(&timeline, asked);
    let mut read = Vec::new();
    for record in [webhook, sent] {
        read.push(match record {
            Some(record) => source.stored(record, job).await?.map(|stored| (record, stored)),
            None => None,
        });
    }
    let (sent, webhook) = (read.pop().flatten(), read.pop().flatten());
    let name = webhook.as_ref().and_then(|(_, stored)| match &stored.value {
        StoredValue::Webhook(webhook) => webhook.source.as_deref(),
        StoredValue::Event(_) => None,
    });
    let options = source.options(name);
    let rules = Rules { options, tenant: source.tenant().clone(), max_body: source.max_body() };
    let found = tokio::task::spawn_blocking(move || FoundEvent::new(timeline, webhook, sent, &rules)).await;
    found.map(Some).map_err(|_| "the mapping failed on this webhook; please report it with the webhook".to_owned())
}

/// Chooses the history of the event or record that a page shows, or the first history if none has exactly this id or
/// record.
fn choose(mut timelines: Vec<Timeline>, key: &Key) -> Option<Timeline> {
    let is_it = |timeline: &Timeline| match key {
        Key::Event { id, .. } => timeline.event_id.as_deref() == Some(id.as_str()),
        Key::Record(record) => timeline.steps.iter().any(|step| step.record == *record),
    };
    let at = timelines.iter().position(is_it).or_else(|| (!timelines.is_empty()).then_some(0));
    match (at, key) {
        (Some(at), _) => Some(timelines.swap_remove(at)),
        // The record exists, but nothing else is known about it.
        (None, Key::Record(_)) => {
            Some(Timeline { event_id: None, state: State::Unknown, steps: Vec::new(), is_complete: true })
        }
        (None, Key::Event { .. }) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str) -> Key {
        Key::Event { id: PublicId::of(id).unwrap(), since: None }
    }

    fn nothing(id: &str, at: i64) -> Look {
        Look { key: key(id), first_at: at, at, outcome: Outcome::Nothing }
    }

    #[test]
    fn only_the_20_newest_search_results_are_kept_and_each_for_10_minutes() {
        let looks = Looks::default();
        for number in 0..100 {
            looks.keep(nothing(&number.to_string(), 0), 0);
        }
        assert!(looks.find(&key("99"), 0).is_some() && looks.find(&key("79"), 0).is_none());
        looks.keep(nothing("99", 5), 5);
        assert_eq!(looks.find(&key("99"), 5).unwrap().at, 5);
        looks.forget(&key("99"), 5);
        assert!(looks.find(&key("99"), 5).is_none() && looks.find(&key("98"), 5).is_some());
        assert!(looks.find(&key("98"), KEPT).is_none());
    }

    #[test]
    fn search_results_over_the_memory_limit_are_dropped_oldest_first() {
        let heavy = |id: &str| {
            let steps = Vec::with_capacity(0);
            let timeline = Timeline { event_id: None, state: State::Unknown, steps, is_complete: true };
            let text = super::super::found_event::WebhookBody::Text("x".repeat(5 * 1024 * 1024));
            let record = StepRecord::Raw(contract::Position::new(0, 0));
            let webhook = super::super::found_event::Webhook { record, source: None, size: 0, body: text };
            let today = super::super::found_event::Today::Unknown("");
            let found = FoundEvent { timeline, webhook: Some(webhook), sent: None, today };
            Look { key: key(id), first_at: 0, at: 0, outcome: Outcome::Found(Box::new(found)) }
        };
        let looks = Looks::default();
        for id in ["a", "b", "c"] {
            looks.keep(heavy(id), 0);
        }
        let kept = ["a", "b", "c"].map(|id| looks.find(&key(id), 0).is_some());
        assert_eq!(kept, [false, true, true]);
    }

    #[test]
    fn a_search_without_a_result_is_repeated_for_two_minutes_and_a_failed_search_never() {
        let look = nothing("a", 1_000_000);
        assert!(look.is_watched(1_000_000) && !look.is_due(1_000_000));
        assert!(look.is_due(1_000_000 + PAUSE) && !look.is_due(1_000_000 + WATCHED));
        assert_eq!(look.next_since(), 1_000_000 - JUST_NOW);
        let failed = Look { outcome: Outcome::Failed("no broker".to_owned()), ..nothing("a", 0) };
        assert!(!failed.is_watched(0));
    }

    #[test]
    fn the_url_of_an_event_or_record_contains_its_key() {
        let since = Key::Event { id: PublicId::of("01X").unwrap(), since: Some(5) };
        assert_eq!(since.href(), "/events/event?id=01X&since=5");
        assert_eq!(since.fields(), [("id", "01X".to_owned()), ("since", "5".to_owned())]);
        let record = Key::Record(StepRecord::Raw(contract::Position::new(3, 12)));
        assert_eq!(
            (record.href().as_str(), record.subject().as_str()),
            ("/events/record?topic=raw&position=3%3A12", "raw 3:12")
        );
        assert_eq!(key("01X").subject(), "01X");
    }
}
