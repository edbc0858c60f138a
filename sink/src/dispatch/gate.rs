//! Decides when the next request may be sent: requests in flight, rates, pauses and holds.

use std::time::{Duration, Instant};

use platform::HoldReason;
use service::{Backoff, DeadLetterLimit};

use crate::pace::{Concurrency, Rate};

/// The limits and intervals that the operator configures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) in_flight: usize,
    /// Limit for the whole consumer group; 0 for no limit.
    pub(crate) requests_per_second: u32,
    /// Limit for the whole consumer group; 0 for no limit.
    pub(crate) records_per_second: u32,
    /// Time for which a record must have failed alone with 500 before it becomes a dead letter.
    pub(crate) dead_letter_after: Duration,
    /// Interval between two requests while nothing can be delivered.
    pub(crate) hold_probe: Duration,
    /// The share of recent records that may become dead letters.
    pub(crate) dead_letters: DeadLetterLimit,
}

/// Maximum length of the first pause, and of every pause, unless Platform requests a longer one. A pause may begin just
/// before an outage ends, so the second value is also the maximum time until the sink notices the end. A longer pause
/// would not relieve Platform: after a pause, the sink sends only one request. Jitter spreads the requests of the
/// instances in a group.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(2));

/// Number of failures in a row after which Platform, and not one of the batches, counts as the cause.
const OUTAGE: u32 = 3;

/// The reason why nothing, or only a part, is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Platform's responses require a hold.
    Platform(HoldReason),
    /// Platform refuses every record, so the records are not the cause.
    RefusedAlike,
    /// Further dead letters would exceed `DEAD_LETTER_LIMIT`.
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

    /// Returns a text that says which records are held.
    pub(crate) fn scope(self) -> &'static str {
        match self {
            Self::Platform(_) | Self::RefusedAlike => "nothing is delivered, no record is lost",
            Self::DeadLetterLimit => "only these records wait, everything else is delivered, no record is lost",
        }
    }
}

/// The condition of Platform according to the recent responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Works,
    /// Several requests in a row have failed.
    Outage,
    /// Only one request at a time is sent, to find out whether Platform accepts records again.
    Held,
}

/// The properties of a response and of its request that the gate needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    pub(super) number: u64,
    /// Whether the limit on requests in flight was reached when the request was sent.
    pub(super) bound: bool,
    pub(super) now: Instant,
    /// A random number, uniform in `[0, 1)`.
    pub(super) jitter: f64,
}

/// The state of the limits, pauses and holds.
#[derive(Debug)]
pub(super) struct Gate {
    hold_probe: Duration,
    in_flight: usize,
    next_number: u64,
    /// Number of the first request after the last congestion, pause or hold. Responses to earlier requests show how
    /// Platform was before that event, not whether it has recovered. So they neither change the limit on requests in
    /// flight nor end a hold.
    round: u64,
    concurrency: Concurrency,
    requests: Rate,
    records: Rate,
    backoff: Backoff,
    paused_until: Option<Instant>,
    held: Option<(Hold, Instant)>,
    /// Requests with this number or a higher one contain a new token. If Platform refuses that token too, expiry is not
    /// the reason.
    fresh_token: Option<u64>,
    failures_in_row: u32,
}

impl Gate {
    pub(super) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            hold_probe: limits.hold_probe,
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
            failures_in_row: 0,
        }
    }

    /// Prevents requests before this time.
    pub(super) fn begin_at(&mut self, time: Instant) {
        self.paused_until = Some(self.paused_until.map_or(time, |before| before.max(time)));
    }

    pub(super) fn set_share(&mut self, assigned: usize, all: usize) {
        self.requests.set_share(assigned, all);
        self.records.set_share(assigned, all);
    }

    pub(super) fn allowed(&self) -> usize {
        self.concurrency.allowed()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn held(&self) -> Option<Hold> {
        self.held.map(|(hold, _)| hold)
    }

    pub(super) fn condition(&self) -> Condition {
        if self.held.is_some() {
            Condition::Held
        } else if self.is_outage() {
            Condition::Outage
        } else {
            Condition::Works
        }
    }

    pub(super) fn is_outage(&self) -> bool {
        self.failures_in_row >= OUTAGE
    }

    /// Checks whether a request may be sent now. `has_news` is true if a batch can show whether Platform refuses every
    /// record.
    ///
    /// # Errors
    /// The time before which no request may be sent; `None` if only a response changes that.
    pub(super) fn check(&mut self, has_news: bool, now: Instant) -> Result<(), Option<Instant>> {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Err(Some(until));
        }
        self.paused_until = None;
        if let Some((hold, probe_at)) = self.held {
            // During a hold, one request at a time finds out whether Platform accepts records again.
            if self.in_flight > 0 {
                return Err(None);
            }
            if now < probe_at && !(hold == Hold::RefusedAlike && has_news) {
                return Err(Some(probe_at));
            }
        }
        if self.in_flight >= self.concurrency.allowed() {
            return Err(None);
        }
        let ready_at = self.requests.ready_at(now).max(self.records.ready_at(now));
        if ready_at > now { Err(Some(ready_at)) } else { Ok(()) }
    }

    /// Notes that a request with this many records is sent. Returns the request's number, and whether it reaches the
    /// limit on requests in flight.
    pub(super) fn sent(&mut self, records: usize, now: Instant) -> (u64, bool) {
        if let Some((_, probe_at)) = &mut self.held {
            *probe_at = now + self.hold_probe;
        }
        self.requests.take(1, now);
        self.records.take(records, now);
        self.in_flight += 1;
        let number = self.next_number;
        self.next_number += 1;
        (number, self.in_flight >= self.concurrency.allowed())
    }

    /// Notes that a request in flight got its response or failed.
    pub(super) fn returned(&mut self) {
        self.in_flight -= 1;
    }

    /// Notes that a record was accepted, so Platform works, and the token and the settings are valid. Returns whether
    /// this ends an outage.
    pub(super) fn succeeded(&mut self, reply: Reply) -> bool {
        let was_outage = self.is_outage();
        self.failures_in_row = 0;
        self.fresh_token = None;
        if reply.number >= self.round {
            self.concurrency.succeeded(reply.bound);
            self.backoff.reset();
            self.held = None;
        }
        was_outage
    }

    /// Notes a failure that may mean an outage.
    pub(super) fn failed(&mut self) {
        self.failures_in_row += 1;
    }

    /// Lowers the limit on requests in flight, because a request got no response.
    pub(super) fn congested(&mut self, reply: Reply) {
        if reply.number >= self.round {
            self.concurrency.congested();
            self.round = self.next_number;
        }
    }

    /// Pauses the whole instance for at least `after`, which Platform requested. If the request was sent before the
    /// current pause, only its own `Retry-After` counts; otherwise a burst of such responses would multiply the pause.
    pub(super) fn pause(&mut self, after: Option<Duration>, reply: Reply) {
        let asked = reply.now + after.unwrap_or_default();
        let until = if reply.number >= self.round {
            self.concurrency.stopped();
            self.round = self.next_number;
            asked.max(reply.now + self.backoff.next_wait(reply.jitter))
        } else {
            asked
        };
        self.begin_at(until);
    }

    pub(super) fn hold(&mut self, hold: Hold, now: Instant) {
        self.round = self.next_number;
        self.held = Some((hold, now + self.hold_probe));
    }

    /// Handles 401, 403 and similar responses. The first refused token may only have expired: the client drops it, and
    /// the next request contains a new one.
    pub(super) fn refused_by(&mut self, reason: HoldReason, reply: Reply) {
        if reason == HoldReason::Unauthorized && self.held.is_none() {
            match self.fresh_token {
                None => {
                    self.fresh_token = Some(self.next_number);
                    return;
                }
                Some(since) if reply.number < since => return,
                Some(_) => {}
            }
        }
        self.hold(Hold::Platform(reason), reply.now);
    }
}
