//! The sink's delivery task: takes records in, sends requests, and applies the responses.
//!
//! [`crate::dispatch`] decides which batch is sent at which time and what happens to its records after the response.
//! This module executes these decisions with [`request`] and [`outcomes`]. Waiting records stay undecoded, and the
//! consumer's budget limits them. When partitions are revoked, all their records are released at once, except those in
//! a request in flight or in a write to Kafka.

mod outcomes;
mod request;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::Partition;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use futures_util::stream::FuturesUnordered;
use kafka::consumer::{ExternalWait, Feed, Settler};
use kafka::ledger::{Claim, Epoch};
use kafka::record::PackedRecord;
use platform::{BatchBody, Envelope, PlatformClient};
use service::TaskError;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::backlog::Backlog;
use crate::batch::{BatchLimits, Batcher};
use crate::config::Settings;
use crate::dispatch::{Decided, Dispatch, Hold, Next, Sending};
use crate::event_json::EventJson;
use crate::external_hold::{ExternalHolds, LOOK_AGAIN, ShownHolds};
use crate::health::Health;
use crate::journal::Journal;
use crate::metrics::{Metrics, UNWRITABLE};
use crate::schemas::{LookUp, NoEvent, Schemas};
use crate::work::{Code, DeadLetterReason, Item, Json, Meter};

use outcomes::{Decision, Durable, Outcomes};
use request::{Answered, Sender};

/// Maximum number of records that are taken from the channel at once.
const INTAKE: usize = 1000;

/// Maximum time for requests and writes in progress after a stop was requested.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// A finished request or write.
enum Done {
    Answered(Answered),
    Durable(Durable),
}

/// The state of the delivery task.
pub(crate) struct Delivery {
    sender: Arc<Sender>,
    outcomes: Arc<Outcomes>,
    envelope: Envelope,
    metrics: Metrics,
    settler: Settler,
    external_wait: ExternalWait,
    holds: ExternalHolds,
    shown_holds: ShownHolds,
    schemas: Schemas,
    /// Number of partitions of the input topic, including those of other instances.
    partitions: usize,
    /// Records that were read and are not decoded yet.
    backlog: Backlog<PackedRecord>,
    /// Counts the bytes of JSON that wait or are in flight. No record is decoded while the count is at least
    /// `most_encoded`.
    encoded: Meter,
    most_encoded: usize,
    /// Buffer for the JSON of one event. Each record gets a copy of exactly the needed size.
    event_json: EventJson,
    batcher: Batcher<Item>,
    dispatch: Dispatch<Item>,
    in_progress: FuturesUnordered<BoxFuture<'static, Done>>,
    /// For each partition, the epoch of its newest record.
    seen: HashMap<Partition, Epoch>,
    /// For each partition, the epoch of its newest revocation.
    left: HashMap<Partition, Epoch>,
    /// The hold that log and metrics last showed.
    shown: Option<Hold>,
    shown_unwritable: bool,
    probe: Duration,
}

/// The dependencies of [`Delivery::new`].
pub(crate) struct DeliveryDeps {
    pub(crate) client: PlatformClient,
    pub(crate) envelope: Envelope,
    pub(crate) journal: Journal,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) settler: Settler,
    pub(crate) external_wait: ExternalWait,
    pub(crate) holds: ExternalHolds,
    pub(crate) partitions: usize,
}

impl Delivery {
    pub(crate) fn new(settings: &Settings, deps: DeliveryDeps) -> Result<Self, TaskError> {
        let DeliveryDeps { client, envelope, journal, metrics, health, settler, external_wait, holds, partitions } =
            deps;
        let limits = BatchLimits {
            bytes: settings.batch_max_bytes - envelope.overhead_per_batch(),
            records: settings.batch_max_records,
            linger: settings.batch_linger,
        };
        let now = Instant::now();
        let mut dispatch = Dispatch::new(settings.limits, now);
        if let Some(not_before) = settings.not_before {
            dispatch.begin_at(now + not_before.from_now());
        }
        let event_json = EventJson::new(settings.tenant.clone(), envelope.largest_event());
        Ok(Self {
            schemas: Schemas::new(settings, metrics.clone(), health.registry.clone())?,
            sender: Arc::new(Sender { client, metrics: metrics.clone(), health }),
            outcomes: Arc::new(Outcomes { journal, metrics: metrics.clone() }),
            envelope,
            metrics,
            settler,
            external_wait,
            holds,
            shown_holds: ShownHolds::default(),
            partitions,
            backlog: Backlog::default(),
            encoded: Meter::default(),
            // The body of a request counts until the response is received. With room for four bodies, a request in
            // flight does not keep the next batch from being encoded.
            most_encoded: (settings.buffer_bytes / 4).max(4 * settings.batch_max_bytes),
            event_json,
            batcher: Batcher::new(limits),
            dispatch,
            in_progress: FuturesUnordered::new(),
            seen: HashMap::new(),
            left: HashMap::new(),
            shown: None,
            shown_unwritable: false,
            probe: settings.limits.hold_probe,
        })
    }

    /// Runs until the consumer reports that it stops.
    pub(crate) async fn run(mut self, mut records: UnboundedReceiver<Feed>) -> Result<(), TaskError> {
        let mut look_up: Option<LookUp> = None;
        let mut intake = Vec::with_capacity(INTAKE);
        loop {
            let now = Instant::now();
            let wake = self.start(now);
            self.show();
            look_up = look_up.or_else(|| self.schemas.look_up());
            tokio::select! {
                biased;
                Some(done) = self.in_progress.next(), if !self.in_progress.is_empty() => self.done(done),
                Some(found) = OptionFuture::from(look_up.as_mut()) => {
                    look_up = None;
                    self.schemas.found(found);
                }
                received = records.recv_many(&mut intake, INTAKE) => {
                    let stopping = received == 0 || !intake.drain(..).all(|feed| self.take_in(feed));
                    if stopping {
                        return self.finish().await;
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// Handles one message of the consumer; returns false if the consumer stops.
    fn take_in(&mut self, feed: Feed) -> bool {
        match feed {
            Feed::Record(claim, record) => {
                self.seen.insert(claim.partition, claim.epoch);
                self.backlog.push(claim, record);
                true
            }
            Feed::Revoking(partitions) => {
                for partition in partitions {
                    if let Some(&epoch) = self.seen.get(&partition) {
                        self.left.insert(partition, epoch);
                    }
                }
                self.release_left();
                // The record that could not be decoded may have been in one of these partitions, so decoding may work
                // now.
                self.schemas.try_again();
                true
            }
            Feed::Assigned(partitions) => {
                self.dispatch.set_share(partitions, self.partitions);
                true
            }
            Feed::Stopping => false,
        }
    }

    /// Releases all waiting records of revoked partitions.
    fn release_left(&mut self) {
        let left = &self.left;
        let gone = |claim: Claim| left.get(&claim.partition).is_some_and(|&epoch| claim.epoch <= epoch);
        let mut released = self.backlog.remove(|claim| gone(*claim));
        let (away, stay): (Vec<Item>, Vec<Item>) =
            self.batcher.take().unwrap_or_default().into_iter().partition(|item| gone(item.claim));
        if !stay.is_empty() {
            self.dispatch.offer(stay);
        }
        let away = away.into_iter().chain(self.dispatch.remove(|item| !gone(item.claim)));
        released.extend(away.map(|item| item.claim));
        if !released.is_empty() {
            self.settler.release(released);
        }
    }

    /// Starts all requests that may be started; returns the time at which to call this function again.
    fn start(&mut self, now: Instant) -> Instant {
        loop {
            self.fill(now);
            let due = self.dispatch.due_dead_letters(now);
            if !due.is_empty() {
                self.make_durable(Decided::without_response(due), None);
                continue;
            }
            if self.holds.is_held() {
                return now + LOOK_AGAIN;
            }
            match self.dispatch.next(now) {
                Next::Send(mut sending) => {
                    self.settler.started(claims(sending.items()));
                    let body = self.body(&mut sending);
                    let metered = self.encoded.hold(body.len());
                    let sender = Arc::clone(&self.sender);
                    let request = async move {
                        let answered = sender.send(sending, body).await;
                        drop(metered);
                        Done::Answered(answered)
                    };
                    self.in_progress.push(request.boxed());
                }
                Next::Wait(until) => {
                    let linger = self.batcher.due().filter(|_| self.dispatch.is_hungry());
                    return until.into_iter().chain(linger).min().unwrap_or(now + Duration::from_secs(1));
                }
            }
        }
    }

    /// Builds the body of a request and removes the JSON from its records. A record that was sent before no longer has
    /// its JSON, so its event is encoded again.
    fn body(&mut self, sending: &mut Sending<Item>) -> Bytes {
        let per_message = self.envelope.overhead_per_message();
        let json = sending.items().iter().map(|item| item.json.as_ref().map_or(0, |json| json.as_bytes().len()));
        let size = json.map(|json| json + per_message).sum::<usize>() + self.envelope.overhead_per_batch();
        let mut body = BatchBody::new(&self.envelope, size);
        for item in sending.items_mut() {
            if let Some(json) = item.json.take() {
                body.add(json.as_bytes());
            } else {
                let decoded = self.schemas.decode(item.record.value());
                let event = decoded.expect("it was decoded before, and a decoder forgets no schema");
                let json = self.event_json.write(&event);
                body.add(json.expect("it was not too large before"));
            }
        }
        body.finish()
    }

    /// Decodes the records that the next batch needs.
    fn fill(&mut self, now: Instant) {
        while self.dispatch.is_hungry() && self.schemas.may_decode() && self.encoded.bytes() < self.most_encoded {
            let Some((claim, record)) = self.backlog.pop() else { break };
            let (code, message) = match self.schemas.decode(record.value()) {
                Ok(event) => match self.event_json.write(&event) {
                    Ok(json) => {
                        let bytes = json.len() + self.envelope.overhead_per_message();
                        let json = Some(Json::new(json, &self.encoded));
                        if let Some(full) = self.batcher.push(Item { claim, record, json }, bytes, now) {
                            self.dispatch.offer(full);
                        }
                        continue;
                    }
                    Err(too_large) => (Code::TooLarge, too_large.to_string()),
                },
                Err(NoEvent::Broken(message)) => (Code::Undecodable, message),
                Err(NoEvent::NotYet) => {
                    self.backlog.put_back(claim, record);
                    break;
                }
            };
            let rejected = vec![(Item { claim, record, json: None }, DeadLetterReason::Unsendable(code, message))];
            let dead_letters = self.dispatch.dead_letter(rejected, now);
            if !dead_letters.is_empty() {
                self.make_durable(Decided::without_response(dead_letters), None);
            }
        }
        if self.dispatch.is_hungry()
            && let Some(due) = self.batcher.take_due(now)
        {
            self.dispatch.offer(due);
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Durable(durable) => durable.settle(&self.settler),
            Done::Answered(answered) => self.answered(answered),
        }
    }

    fn answered(&mut self, answered: Answered) {
        let Answered { sending, verdict, status, sent_at } = answered;
        let records = sending.items().len();
        let deferred = claims(sending.items());
        let decided = self.dispatch.answered(sending, verdict, Instant::now(), fastrand::f64());
        let again = records - decided.len();
        self.metrics.retried(again);
        if again > 0 {
            // All records are reported as deferred. For the decided ones, `make_durable` below reports that a write has
            // started.
            self.settler.deferred(deferred);
        }
        if decided.len() > 0 {
            self.make_durable(decided, Some(Decision { sent_at, status }));
        }
        if again > 0 && !self.left.is_empty() {
            self.release_left();
        }
    }

    /// Starts to write the outcomes of decided records. Once they are written, the outcomes are durable.
    fn make_durable(&mut self, decided: Decided<Item>, decision: Option<Decision>) {
        self.settler.started(decided.items().map(|item| item.claim).collect());
        let outcomes = Arc::clone(&self.outcomes);
        self.in_progress.push(async move { Done::Durable(outcomes.write(decided, decision).await) }.boxed());
    }

    /// Updates log and metrics, once for each change of the state.
    fn show(&mut self) {
        let metrics = &self.metrics;
        metrics.show_pace(self.dispatch.allowed(), self.dispatch.in_flight());
        self.holds.show(&mut self.shown_holds, |reason, held| metrics.set_held(reason, held));
        let journal = &self.outcomes.journal;
        let unwritable = journal.is_failing();
        if unwritable != self.shown_unwritable {
            metrics.set_held(UNWRITABLE, unwritable);
            self.shown_unwritable = unwritable;
        }
        // The consumer reports a record in a request or a write as stalled after `STALL_AFTER`. A request ends within
        // its timeout, so only a repeated write may take longer and sets `external_wait`.
        self.external_wait.set(journal.is_repeating());
        let held = self.dispatch.held();
        if held == self.shown {
            return;
        }
        if let Some(before) = self.shown {
            metrics.set_held(before.as_str(), false);
        }
        match held {
            Some(hold) => {
                metrics.set_held(hold.as_str(), true);
                tracing::error!(reason = hold.as_str(), advice = hold.advice(), probe = ?self.probe, "holding: {}", hold.scope());
            }
            None => tracing::info!("delivering again"),
        }
        self.shown = held;
    }

    /// Waits for the requests and writes in progress, and releases everything else.
    async fn finish(mut self) -> Result<(), TaskError> {
        self.left = self.seen.clone();
        self.release_left();
        let deadline = tokio::time::Instant::now() + LAST_REQUESTS;
        while !self.in_progress.is_empty() {
            match tokio::time::timeout_at(deadline, self.in_progress.next()).await {
                Ok(Some(done)) => self.done(done),
                Ok(None) => break,
                Err(_) => {
                    tracing::warn!("the last requests did not end in time; their records will be read again");
                    break;
                }
            }
        }
        Ok(())
    }
}

fn claims(items: &[Item]) -> Vec<Claim> {
    items.iter().map(|item| item.claim).collect()
}

#[cfg(test)]
mod tests;
