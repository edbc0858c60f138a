//! Decides which batch is sent when, and what follows from Platform's response, as a plain value without I/O.
//!
//! A batch is offered, sent and answered. Then each of its records is accepted, becomes a dead letter, or is still
//! pending. Callers pass in time, randomness and responses, so that tests can run every sequence of responses.
//!
//! A record becomes a dead letter only after a confirmed rejection: Platform refuses this record and accepts others.
//! While Platform accepts nothing else, the cause may be a wrong setting, and the record waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use platform::HoldReason;
use service::{Backoff, DeadLetterLimit, RecentOutcomes};

use crate::pace::{Concurrency, Rate};
use crate::work::{Code, Sourced};

use over_limit::OverLimit;

/// The limits and intervals that the operator configures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum requests in flight.
    pub(crate) in_flight: usize,
    /// Requests per second of the whole consumer group; 0 for no limit.
    pub(crate) requests_per_second: u32,
    /// Records per second of the whole consumer group; 0 for no limit.
    pub(crate) records_per_second: u32,
    /// How long a record must have failed alone with 500 before it becomes a dead letter.
    pub(crate) dead_letter_after: Duration,
    /// How often to send a request while nothing can be delivered.
    pub(crate) hold_probe: Duration,
    /// How many of the recent records may become dead letters.
    pub(crate) dead_letters: DeadLetterLimit,
}

/// The maximum of the instance's first pause and of every later one, unless Platform asks for a longer one. A pause may
/// have begun just before the end of an outage, so the second value is also the longest time until the sink notices
/// that end. After a pause the sink sends only one request. One request per second on average is no load for Platform,
/// which takes a thousand per second otherwise, so a longer pause would save nothing. Jitter spreads the instances of a
/// group.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// After this many failures without a success between them, the cause is Platform and not one of the batches.
const OUTAGE: u32 = 3;

/// How often a record must have failed alone with 500 before it becomes a dead letter.
const DEAD_LETTER_FAILURES: u32 = 5;

/// Why nothing is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// A response of Platform is the reason.
    Platform(HoldReason),
    /// Platform refuses every record, so the records are not the cause.
    RefusedAlike,
    /// `DEAD_LETTER_LIMIT`.
    DeadLetterLimit,
}

impl Hold {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        HoldReason::ALL.iter().copied().map(Self::Platform).chain([Self::RefusedAlike, Self::DeadLetterLimit])
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Platform(reason) => reason.as_str(),
            Self::RefusedAlike => "refused_alike",
            Self::DeadLetterLimit => "dead_letter_limit",
        }
    }

    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Platform(reason) => reason.advice(),
            Self::RefusedAlike => {
                "Platform refuses every record: check PLATFORM_IMS_ORG, PLATFORM_SCHEMA_ID, PLATFORM_DATASET_ID and PLATFORM_TENANT, and that the dataset's schema is schemas/xdm"
            }
            Self::DeadLetterLimit => {
                "too many of the recent records of a source would become dead letters with one code: check the reasons that Platform gives; if these records are expected to become dead letters, raise DEAD_LETTER_LIMIT or set it to off"
            }
        }
    }

    /// Which records are held.
    pub(crate) fn scope(self) -> &'static str {
        match self {
            Self::Platform(_) | Self::RefusedAlike => "nothing is delivered, no record is lost",
            Self::DeadLetterLimit => "only these records wait, everything else is delivered, no record is lost",
        }
    }
}

/// Why a record becomes a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeadLetterReason {
    /// Platform refuses the record, with this status and message.
    Refused(u16, String),
    /// Platform responds with 500 to this record and to no other.
    ServerError,
    /// The record cannot be sent at all.
    Unsendable(Code, String),
}

impl DeadLetterReason {
    /// The dead letter's code.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Refused(413, _) => Code::TooLarge,
            Self::Refused(..) => Code::Refused,
            Self::ServerError => Code::ServerError,
            Self::Unsendable(code, _) => *code,
        }
    }

    /// The dead letter's code and message.
    pub(crate) fn into_parts(self) -> (Code, String) {
        match self {
            Self::Refused(413, message) => (Code::TooLarge, format!("Platform answered 413: {message}")),
            Self::Refused(status, message) => (Code::Refused, format!("Platform answered {status}: {message}")),
            Self::Unsendable(code, message) => (code, message),
            Self::ServerError => (
                Code::ServerError,
                "Platform answered 500 whenever this record was sent alone, and accepted others".to_owned(),
            ),
        }
    }
}

/// The records of a batch that have an outcome; the others are still pending.
#[derive(Debug)]
pub(crate) struct Decided<T> {
    /// Records that Platform accepted, with its transaction id.
    pub(crate) accepted: Vec<(T, Option<String>)>,
    /// Records to write to the dead-letter topic.
    pub(crate) dead_letters: Vec<(T, DeadLetterReason)>,
    /// Platform's ids of the inlet and of the batch.
    pub(crate) ids: (Option<String>, Option<String>),
}

/// What happened to a batch so far.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    /// Failures with 500, each after another request had succeeded.
    failures: u32,
    first_failure: Option<Instant>,
    /// `Dispatch::successes` at the last failure.
    successes: u64,
    /// Platform has refused the whole batch and has accepted another record since.
    others_accepted: bool,
    /// How often the batch was deferred.
    deferrals: u32,
    /// The batch was held because of the limit on dead letters.
    over_limit: bool,
}

/// A batch in flight.
#[derive(Debug)]
pub(crate) struct Sending<T> {
    items: Vec<T>,
    past: Past,
    number: u64,
    /// The limit on requests in flight was reached with this one.
    bound: bool,
}

impl<T> Sending<T> {
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }

    pub(crate) fn items_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next<T> {
    Send(Sending<T>),
    /// Nothing can be sent before this time, unless a response or a new batch arrives earlier.
    Wait(Option<Instant>),
}

/// A batch that waits to be sent.
#[derive(Debug)]
struct Waiting<T> {
    items: Vec<T>,
    past: Past,
}

impl<T> Waiting<T> {
    /// Whether this is a single record that failed with 500 while others succeeded, so that the record is the likely
    /// cause.
    fn is_suspect(&self) -> bool {
        self.items.len() == 1 && self.past.failures > 1
    }
}

/// A batch whose rejection is unconfirmed.
#[derive(Debug)]
struct Unconfirmed<T> {
    waiting: Waiting<T>,
    /// The number of its request. If a later request has an accepted record, the batch is sent once more.
    number: u64,
    /// When the batch is sent again if no other record is accepted before.
    ask_at: Instant,
}

/// Holds all batches that are not in flight and decides what to send next. See the module.
#[derive(Debug)]
pub(crate) struct Dispatch<T> {
    limits: Limits,
    ready: VecDeque<Waiting<T>>,
    /// Batches that wait, each until its own time.
    deferred: Vec<(Instant, Waiting<T>)>,
    /// Batches that Platform refused as a whole while it accepted nothing else.
    unconfirmed: VecDeque<Unconfirmed<T>>,
    in_flight: usize,
    next_number: u64,
    /// Responses to requests before this number do not change the pace any more.
    round: u64,
    concurrency: Concurrency,
    requests: Rate,
    records: Rate,
    backoff: Backoff,
    paused_until: Option<Instant>,
    held: Option<(Hold, Instant)>,
    /// Requests from this number on carry a new token. If it is refused too, an expired token is not the reason.
    fresh_token: Option<u64>,
    successes: u64,
    /// The newest request that had an accepted record.
    last_success: Option<u64>,
    failures_in_row: u32,
    /// The last response was not a success, so new batches are sent before those that have failed. Otherwise the sink
    /// might try nothing but a few bad records.
    new_first: bool,
    recent: RecentOutcomes,
    over_limit: Vec<OverLimit<T>>,
    over_limit_probe_at: Instant,
}

impl<T: Sourced> Dispatch<T> {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            ready: VecDeque::new(),
            deferred: Vec::new(),
            unconfirmed: VecDeque::new(),
            in_flight: 0,
            next_number: 0,
            round: 0,
            concurrency: Concurrency::new(limits.in_flight),
            requests: Rate::new(limits.requests_per_second, now),
            records: Rate::new(limits.records_per_second, now),
            backoff: Backoff::new(PAUSE.0, PAUSE.1),
            paused_until: None,
            held: None,
            fresh_token: None,
            successes: 0,
            last_success: None,
            failures_in_row: 0,
            new_first: false,
            recent: RecentOutcomes::new(limits.dead_letters),
            over_limit: Vec::new(),
            over_limit_probe_at: now,
            limits,
        }
    }

    /// Sends nothing before this time.
    pub(crate) fn begin_at(&mut self, time: Instant) {
        self.paused_until = Some(self.paused_until.map_or(time, |before| before.max(time)));
    }

    /// Sets this instance's share of the group's rates.
    pub(crate) fn set_share(&mut self, assigned: usize, all: usize) {
        self.requests.set_share(assigned, all);
        self.records.set_share(assigned, all);
    }

    /// Adds a new batch.
    pub(crate) fn offer(&mut self, items: Vec<T>) {
        self.ready.push_back(Waiting { items, past: Past::default() });
    }

    /// Whether another batch can be used now.
    pub(crate) fn is_hungry(&self) -> bool {
        self.ready.is_empty()
    }

    /// How many requests may be in flight.
    pub(crate) fn allowed(&self) -> usize {
        self.concurrency.allowed()
    }

    /// How many requests are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Why nothing or only a part is delivered; `None` if everything is.
    pub(crate) fn held(&self) -> Option<Hold> {
        let over_limit = (!self.over_limit.is_empty()).then_some(Hold::DeadLetterLimit);
        self.held.map(|(hold, _)| hold).or(over_limit)
    }

    /// Returns what to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Next<T> {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Next::Wait(Some(until));
        }
        self.paused_until = None;
        if let Some((hold, probe_at)) = self.held {
            // During a hold, one request at a time finds out whether Platform accepts records again.
            if self.in_flight > 0 {
                return Next::Wait(None);
            }
            // If only one batch is unconfirmed, it may be the only bad one: send a new batch at once to find out.
            let news = hold == Hold::RefusedAlike && self.unconfirmed.len() == 1 && !self.ready.is_empty();
            if now < probe_at && !news {
                return Next::Wait(Some(probe_at));
            }
        }
        if self.in_flight >= self.concurrency.allowed() {
            return Next::Wait(None);
        }
        let ready_at = self.requests.ready_at(now).max(self.records.ready_at(now));
        if ready_at > now {
            return Next::Wait(Some(ready_at));
        }
        match self.pick(now) {
            Some(waiting) => {
                if let Some((_, probe_at)) = &mut self.held {
                    *probe_at = now + self.limits.hold_probe;
                }
                Next::Send(self.send(waiting, now))
            }
            None => {
                let deferred = self.deferred.iter().map(|(time, _)| *time);
                let unconfirmed = self.unconfirmed.front().map(|unconfirmed| unconfirmed.ask_at);
                Next::Wait(deferred.chain(unconfirmed).chain(self.over_limit_due()).min())
            }
        }
    }

    fn pick(&mut self, now: Instant) -> Option<Waiting<T>> {
        if let Some(probe) = self.pick_over_limit(now) {
            return Some(probe);
        }
        let new = if self.new_first || self.held.is_some() { self.ready.pop_front() } else { None };
        if new.is_some() {
            return new;
        }
        if let Some(due) = self.deferred.iter().position(|(time, _)| *time <= now) {
            return Some(self.deferred.swap_remove(due).1);
        }
        self.ready.pop_front().or_else(|| self.pick_unconfirmed(now)).or_else(|| self.pick_probe())
    }

    fn pick_unconfirmed(&mut self, now: Instant) -> Option<Waiting<T>> {
        let due = self.unconfirmed.front().is_some_and(|unconfirmed| self.held.is_some() || unconfirmed.ask_at <= now);
        if due { self.unconfirmed.pop_front().map(|unconfirmed| unconfirmed.waiting) } else { None }
    }

    /// In an outage and during a hold, a batch is sent before its own time, whenever the pause or the probe interval
    /// ends: any batch can show that the outage is over.
    fn pick_probe(&mut self) -> Option<Waiting<T>> {
        if self.failures_in_row < OUTAGE && self.held.is_none() {
            return None;
        }
        let deferred = self.deferred.iter().enumerate().filter(|(_, (_, batch))| !batch.is_suspect());
        let (next, _) = deferred.min_by_key(|(_, (time, _))| *time)?;
        Some(self.deferred.swap_remove(next).1)
    }

    fn send(&mut self, waiting: Waiting<T>, now: Instant) -> Sending<T> {
        self.requests.take(1, now);
        self.records.take(waiting.items.len(), now);
        self.in_flight += 1;
        let number = self.next_number;
        self.next_number += 1;
        let bound = self.in_flight >= self.concurrency.allowed();
        Sending { items: waiting.items, past: waiting.past, number, bound }
    }

    /// Returns the records that must become dead letters now: those that failed alone often enough and for long enough
    /// while others succeeded, and those that were over the dead-letter limit and no longer are.
    pub(crate) fn due_dead_letters(&mut self, now: Instant) -> Vec<(T, DeadLetterReason)> {
        let dead_letter_after = self.limits.dead_letter_after;
        let is_confirmed = |waiting: &Waiting<T>| {
            let past = waiting.past;
            let long = past.first_failure.is_some_and(|first| now - first >= dead_letter_after);
            waiting.items.len() == 1 && past.failures >= DEAD_LETTER_FAILURES && long
        };
        while let Some(index) = self.deferred.iter().position(|(_, waiting)| is_confirmed(waiting)) {
            let (_, waiting) = self.deferred.swap_remove(index);
            let rejected = waiting.items.into_iter().map(|item| (item, DeadLetterReason::ServerError)).collect();
            let dead_letters = self.dead_letter(rejected, now);
            if !dead_letters.is_empty() {
                return dead_letters;
            }
        }
        self.within_limit()
    }

    fn hold(&mut self, hold: Hold, now: Instant) {
        self.round = self.next_number;
        self.held = Some((hold, now + self.limits.hold_probe));
    }

    /// Removes and returns the records of revoked partitions; `stays` is false for them.
    pub(crate) fn remove(&mut self, mut stays: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        let mut sift = |waiting: &mut Waiting<T>| {
            let items = std::mem::take(&mut waiting.items);
            let (stay, gone): (Vec<T>, Vec<T>) = items.into_iter().partition(&mut stays);
            waiting.items = stay;
            removed.extend(gone);
            !waiting.items.is_empty()
        };
        self.ready.retain_mut(&mut sift);
        self.deferred.retain_mut(|(_, waiting)| sift(waiting));
        self.unconfirmed.retain_mut(|unconfirmed| sift(&mut unconfirmed.waiting));
        self.over_limit.retain_mut(|group| {
            let items = std::mem::take(group.items());
            let (stay, gone): (Vec<_>, Vec<_>) = items.into_iter().partition(|(item, _)| stays(item));
            *group.items() = stay;
            removed.extend(gone.into_iter().map(|(item, _)| item));
            !group.items().is_empty()
        });
        removed
    }
}

mod answers;
mod over_limit;
#[cfg(test)]
mod tests;
