//! Which batch is sent when, and what follows from its answer: the sink's decisions as a plain value.
//!
//! A batch is offered, sent, answered, and then each of its records is accepted, condemned, or still owed; nothing else
//! can become of it. Time, randomness and answers come in from outside, so that every sequence of answers can be tested.
//!
//! A record is condemned only on evidence against that record: Platform refuses it while it takes others. As long as
//! nothing else is taken, the fault may be a setting's, and the record waits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use platform::HoldReason;
use service::{Backoff, DeadLetterLimit, RecentOutcomes};

use crate::pace::{Concurrency, Rate};
use crate::work::Code;

use over_limit::OverLimit;
pub(crate) use over_limit::Sourced;

/// How it works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most requests in flight.
    pub(crate) in_flight: usize,
    /// Requests a second of the whole group; 0 for no limit.
    pub(crate) requests_per_second: u32,
    /// Records a second of the whole group; 0 for no limit.
    pub(crate) records_per_second: u32,
    /// How long a record must have failed alone with 500 before it is condemned.
    pub(crate) condemn_after: Duration,
    /// How often it is tried while nothing can be delivered.
    pub(crate) hold_probe: Duration,
    /// How many of the recent records may be condemned.
    pub(crate) dead_letters: DeadLetterLimit,
}

/// The longest first and the longest pause of the instance, where Platform names none. The pause may have begun just
/// before an outage ended, so that it is also how late that is noticed. It ends with one request, alone: one every second
/// on average is no burden for a Platform that takes a thousand a second in good times, and a longer pause would save it
/// nothing but that one. Chance spreads the instances of a group.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// So many failures without a success between them are Platform's trouble, not a batch's.
const OUTAGE: u32 = 3;

/// How often a record must have failed alone with 500 before it is condemned.
const CONDEMNING_FAILURES: u32 = 5;

/// Why nothing is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// An answer said so.
    Platform(HoldReason),
    /// Everything is refused, so it is not the records' fault.
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
                "too many of the recent records of a source would become dead letters with one code: look at what Platform says of them; if they are meant to go there, raise DEAD_LETTER_LIMIT or set it to off"
            }
        }
    }

    /// What is held.
    pub(crate) fn extent(self) -> &'static str {
        match self {
            Self::Platform(_) | Self::RefusedAlike => "nothing is delivered, no record is lost",
            Self::DeadLetterLimit => "only these records wait, everything else is delivered, no record is lost",
        }
    }
}

/// Why a record is condemned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sentence {
    /// Platform refuses it, with this status and these words.
    Refused(u16, String),
    /// Platform fails on it, and on nothing else.
    ServerError,
    /// It cannot be sent at all.
    Unsendable(Code, String),
}

impl Sentence {
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
    pub(crate) fn reason(self) -> (Code, String) {
        match self {
            Self::Refused(413, message) => (Code::TooLarge, format!("Platform answered 413: {message}")),
            Self::Refused(status, message) => (Code::Refused, format!("Platform answered {status}: {message}")),
            Self::Unsendable(code, message) => (code, message),
            Self::ServerError => (
                Code::ServerError,
                "Platform answered 500 whenever this record was sent alone, while it took others".to_owned(),
            ),
        }
    }
}

/// What has become of a batch's records; the others are still owed.
#[derive(Debug)]
pub(crate) struct Settled<T> {
    /// Platform has them; with its id of the transaction.
    pub(crate) accepted: Vec<(T, Option<String>)>,
    /// They go to the dead letters.
    pub(crate) condemned: Vec<(T, Sentence)>,
    /// Platform's ids of inlet and batch.
    pub(crate) ids: (Option<String>, Option<String>),
}

/// A batch's past.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    /// Failures with 500, each after something else had succeeded.
    failures: u32,
    first_failure: Option<Instant>,
    /// Successes of others at the last failure.
    successes: u64,
    /// Refused as a whole before, and something else was accepted since.
    evidence: bool,
    /// How often it was put off.
    put_off: u32,
    /// It waited for the limit on dead letters.
    over_limit: bool,
}

/// A batch on its way.
#[derive(Debug)]
pub(crate) struct Sending<T> {
    items: Vec<T>,
    past: Past,
    number: u64,
    /// No further request could have been in flight beside it.
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
    /// Send this.
    Send(Sending<T>),
    /// Nothing before this time, or before an answer or a new batch.
    Wait(Option<Instant>),
}

/// Waiting batches.
#[derive(Debug)]
struct Waiting<T> {
    items: Vec<T>,
    past: Past,
}

impl<T> Waiting<T> {
    /// A lone record that failed with 500 while others succeeded: its failures are its own.
    fn is_suspect(&self) -> bool {
        self.items.len() == 1 && self.past.failures > 1
    }
}

/// A batch that nothing speaks for or against yet.
#[derive(Debug)]
struct Doubted<T> {
    waiting: Waiting<T>,
    /// Its request: what is accepted of a later one is evidence.
    number: u64,
    /// When it is asked for again, should no evidence come.
    ask_at: Instant,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Dispatch<T> {
    limits: Limits,
    ready: VecDeque<Waiting<T>>,
    /// Each with its own time.
    put_off: Vec<(Instant, Waiting<T>)>,
    /// Refused as a whole while nothing else was accepted.
    doubted: VecDeque<Doubted<T>>,
    in_flight: usize,
    next_number: u64,
    /// Answers to requests before this one say nothing new.
    round: u64,
    concurrency: Concurrency,
    requests: Rate,
    records: Rate,
    backoff: Backoff,
    paused_until: Option<Instant>,
    held: Option<(Hold, Instant)>,
    /// From this request on, a refused token is not an old one.
    fresh_token: Option<u64>,
    successes: u64,
    /// The newest request of which something was accepted.
    last_success: Option<u64>,
    failures_in_row: u32,
    /// The last answer was no success: what is new goes before what has failed, or a few bad records would be all that
    /// is ever tried.
    new_first: bool,
    recent: RecentOutcomes,
    over_limit: Vec<OverLimit<T>>,
    over_limit_probe_at: Instant,
}

impl<T: Sourced> Dispatch<T> {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self {
            ready: VecDeque::new(),
            put_off: Vec::new(),
            doubted: VecDeque::new(),
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

    /// This instance's part of the group's rates.
    pub(crate) fn set_share(&mut self, assigned: usize, all: usize) {
        self.requests.set_share(assigned, all);
        self.records.set_share(assigned, all);
    }

    /// A new batch.
    pub(crate) fn offer(&mut self, items: Vec<T>) {
        self.ready.push_back(Waiting { items, past: Past::default() });
    }

    /// Whether a further batch could be of use now.
    pub(crate) fn is_hungry(&self) -> bool {
        self.ready.is_empty()
    }

    /// Requests that may be in flight.
    pub(crate) fn allowed(&self) -> usize {
        self.concurrency.allowed()
    }

    /// Requests that are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Why nothing, or only a part, is delivered, if so.
    pub(crate) fn held(&self) -> Option<Hold> {
        let over_limit = (!self.over_limit.is_empty()).then_some(Hold::DeadLetterLimit);
        self.held.map(|(hold, _)| hold).or(over_limit)
    }

    /// What to do now.
    pub(crate) fn next(&mut self, now: Instant) -> Next<T> {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Next::Wait(Some(until));
        }
        self.paused_until = None;
        if let Some((hold, probe_at)) = self.held {
            // One request at a time shows whether it goes again.
            if self.in_flight > 0 {
                return Next::Wait(None);
            }
            // A lone doubted batch may be the only bad one: what comes new is asked at once.
            let news = hold == Hold::RefusedAlike && self.doubted.len() == 1 && !self.ready.is_empty();
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
                let put_off = self.put_off.iter().map(|(time, _)| *time);
                let doubted = self.doubted.front().map(|doubted| doubted.ask_at);
                Next::Wait(put_off.chain(doubted).chain(self.over_limit_due()).min())
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
        if let Some(due) = self.put_off.iter().position(|(time, _)| *time <= now) {
            return Some(self.put_off.swap_remove(due).1);
        }
        self.ready.pop_front().or_else(|| self.pick_doubted(now)).or_else(|| self.pick_probe())
    }

    fn pick_doubted(&mut self, now: Instant) -> Option<Waiting<T>> {
        let due = self.doubted.front().is_some_and(|doubted| self.held.is_some() || doubted.ask_at <= now);
        if due { self.doubted.pop_front().map(|doubted| doubted.waiting) } else { None }
    }

    /// In an outage the pauses set the pace, not the time of each batch: one of them shows when it is over. So do the
    /// probes while everything is held.
    fn pick_probe(&mut self) -> Option<Waiting<T>> {
        if self.failures_in_row < OUTAGE && self.held.is_none() {
            return None;
        }
        let put_off = self.put_off.iter().enumerate().filter(|(_, (_, batch))| !batch.is_suspect());
        let (next, _) = put_off.min_by_key(|(_, (time, _))| *time)?;
        Some(self.put_off.swap_remove(next).1)
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

    /// Records that have failed alone often and long enough, with successes of others between, and those that the limit kept
    /// back and keeps back no more: to be condemned.
    pub(crate) fn convicts(&mut self, now: Instant) -> Vec<(T, Sentence)> {
        let condemn_after = self.limits.condemn_after;
        let convicted = |waiting: &Waiting<T>| {
            let past = waiting.past;
            let long = past.first_failure.is_some_and(|first| now - first >= condemn_after);
            waiting.items.len() == 1 && past.failures >= CONDEMNING_FAILURES && long
        };
        while let Some(index) = self.put_off.iter().position(|(_, waiting)| convicted(waiting)) {
            let (_, waiting) = self.put_off.swap_remove(index);
            let judged = waiting.items.into_iter().map(|item| (item, Sentence::ServerError)).collect();
            let condemned = self.condemn(judged, now);
            if !condemned.is_empty() {
                return condemned;
            }
        }
        self.within_limit()
    }

    fn hold(&mut self, hold: Hold, now: Instant) {
        self.round = self.next_number;
        self.held = Some((hold, now + self.limits.hold_probe));
    }

    /// Takes out what does not stay: its partition has left.
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
        self.put_off.retain_mut(|(_, waiting)| sift(waiting));
        self.doubted.retain_mut(|doubted| sift(&mut doubted.waiting));
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
