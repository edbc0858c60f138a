//! The sink's delivery task: takes records in, sends requests, and applies the responses.
//!
//! [`crate::dispatch`] decides what to send when, and what a response leads to; this module carries it out. Waiting
//! records stay undecoded, and the consumer's budget limits them. When partitions are revoked, all their records that
//! are not in a request or a write are released at once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use contract::Partition;
use contract::receipt::{Receipt, ReceiptVerdict};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use futures_util::stream::FuturesUnordered;
use kafka::consumer::{ExternalWait, Feed, Settler};
use kafka::ledger::{Claim, Epoch};
use kafka::record::PackedRecord;
use platform::{Answer, BatchBody, Envelope, PlatformClient, Verdict, classify};
use service::TaskError;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::backlog::Backlog;
use crate::batch::{BatchLimits, Batcher};
use crate::config::Settings;
use crate::dispatch::{DeadLetterReason, Decided, Dispatch, Hold, Next, Sending};
use crate::event_json::EventJson;
use crate::health::Health;
use crate::journal::Journal;
use crate::metrics::{Metrics, UNWRITABLE};
use crate::schemas::{LookUp, NoEvent, Schemas};
use crate::work::{Code, Item, Json, Meter, ToDeadLetter};

/// Maximum records taken from the channel at once.
const INTAKE: usize = 1000;

/// How long requests and writes in progress may still take after a stop was requested.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// A finished request or write.
enum Done {
    /// A request, with its response, the verdict on that, and the time when it was sent.
    Answered(Sending<Item>, Answer, Verdict, i64),
    /// The outcome of these records is durable.
    Durable(Vec<Claim>),
}

/// What requests and writes need. The futures that carry them out share it.
struct Shared {
    client: PlatformClient,
    envelope: Envelope,
    journal: Journal,
    metrics: Metrics,
    health: Health,
}

/// The state of the delivery task. See the module.
pub(crate) struct Delivery {
    shared: Arc<Shared>,
    settler: Settler,
    external_wait: ExternalWait,
    schemas: Schemas,
    /// Number of partitions of the topic, over all instances.
    partitions: usize,
    /// Records that were read and are not decoded yet.
    backlog: Backlog<PackedRecord>,
    /// Counts the JSON that waits or is in flight. Nothing is decoded while it is more than `most_encoded`.
    encoded: Meter,
    most_encoded: usize,
    /// Buffer for the JSON of one event. It is copied from there, so that no record keeps a buffer that is too large.
    event_json: EventJson,
    batcher: Batcher<Item>,
    dispatch: Dispatch<Item>,
    in_progress: FuturesUnordered<BoxFuture<'static, Done>>,
    /// For each partition, the epoch of its newest assignment and of its newest revocation.
    seen: HashMap<Partition, Epoch>,
    left: HashMap<Partition, Epoch>,
    /// The hold that log and metrics last showed.
    shown: Option<Hold>,
    shown_unwritable: bool,
    probe: Duration,
}

/// The parts that [`Delivery::new`] takes over.
pub(crate) struct DeliveryDeps {
    pub(crate) client: PlatformClient,
    pub(crate) envelope: Envelope,
    pub(crate) journal: Journal,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) settler: Settler,
    pub(crate) external_wait: ExternalWait,
    /// Number of partitions of the topic.
    pub(crate) partitions: usize,
}

impl Delivery {
    pub(crate) fn new(settings: &Settings, deps: DeliveryDeps) -> Result<Self, TaskError> {
        let DeliveryDeps { client, envelope, journal, metrics, health, settler, external_wait, partitions } = deps;
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
            shared: Arc::new(Shared { client, envelope, journal, metrics, health }),
            settler,
            external_wait,
            partitions,
            backlog: Backlog::default(),
            encoded: Meter::default(),
            most_encoded: settings.buffer_bytes / 4,
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

    /// Runs until the consumer announces that it stops.
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

    /// Takes in one message of the consumer; returns `false` if the consumer stops.
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
                // The records that could not be decoded may have been in these partitions.
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

    /// Starts all requests that may be started; returns when to call this again.
    fn start(&mut self, now: Instant) -> Instant {
        loop {
            self.fill(now);
            let due = self.dispatch.due_dead_letters(now);
            if !due.is_empty() {
                let decided = Decided { accepted: Vec::new(), dead_letters: due, ids: (None, None) };
                self.make_durable(decided, None);
                continue;
            }
            match self.dispatch.next(now) {
                Next::Send(mut sending) => {
                    self.settler.started(claims(sending.items()));
                    let body = self.body(&mut sending);
                    let metered = self.encoded.hold(body.len());
                    let request = request(Arc::clone(&self.shared), sending, body);
                    self.in_progress.push(request.inspect(|_| drop(metered)).boxed());
                }
                Next::Wait(until) => {
                    let linger = self.batcher.due().filter(|_| self.dispatch.is_hungry());
                    return until.into_iter().chain(linger).min().unwrap_or(now + Duration::from_secs(1));
                }
            }
        }
    }

    /// Builds the body of a request. It consumes the JSON of the records; a record that was sent before has none any
    /// more and is encoded again.
    fn body(&mut self, sending: &mut Sending<Item>) -> Bytes {
        let shared = Arc::clone(&self.shared);
        let per_message = shared.envelope.overhead_per_message();
        let json = sending.items().iter().map(|item| item.json.as_ref().map_or(0, |json| json.as_bytes().len()));
        let size = json.map(|json| json + per_message).sum::<usize>() + shared.envelope.overhead_per_batch();
        let mut body = BatchBody::new(&shared.envelope, size);
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
                        let bytes = json.len() + self.shared.envelope.overhead_per_message();
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
                self.make_durable(Decided { accepted: Vec::new(), dead_letters, ids: (None, None) }, None);
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
            Done::Durable(claims) => self.settler.settle(claims),
            Done::Answered(sending, answer, verdict, sent_at) => {
                let records = sending.items().len();
                let deferred = claims(sending.items());
                let decided = self.dispatch.answered(sending, verdict, Instant::now(), fastrand::f64());
                let again = records - decided.accepted.len() - decided.dead_letters.len();
                self.shared.metrics.retried(again);
                if again > 0 {
                    // The decided records are started again below, with the write of their outcome.
                    self.settler.deferred(deferred);
                }
                let status = match answer {
                    Answer::Response(response) => response.status,
                    Answer::Failed(_) | Answer::NoToken(_) => 0,
                };
                if !(decided.accepted.is_empty() && decided.dead_letters.is_empty()) {
                    self.make_durable(decided, Some((sent_at, status)));
                }
                if again > 0 && !self.left.is_empty() {
                    self.release_left();
                }
            }
        }
    }

    /// Starts to write the outcome of records. The records have a durable outcome once that is acknowledged.
    fn make_durable(&mut self, decided: Decided<Item>, answered: Option<(i64, u16)>) {
        let items =
            decided.accepted.iter().map(|(item, _)| item).chain(decided.dead_letters.iter().map(|(item, _)| item));
        self.settler.started(items.map(|item| item.claim).collect());
        let shared = Arc::clone(&self.shared);
        self.in_progress.push(async move { Done::Durable(write_outcomes(&shared, decided, answered).await) }.boxed());
    }

    /// Updates log and metrics, once for each change of the state.
    fn show(&mut self) {
        let metrics = &self.shared.metrics;
        metrics.show_pace(self.dispatch.allowed(), self.dispatch.in_flight());
        let journal = &self.shared.journal;
        let unwritable = journal.is_failing();
        if unwritable != self.shown_unwritable {
            metrics.set_held(UNWRITABLE, unwritable);
            self.shown_unwritable = unwritable;
        }
        // Only records in a request or in a write can stall, so only repeated writes set `external_wait`.
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

/// Sends one batch.
async fn request(shared: Arc<Shared>, sending: Sending<Item>, body: Bytes) -> Done {
    let (records, bytes) = (sending.items().len(), body.len());
    let (sent_at, started) = (service::unix_millis(), tokio::time::Instant::now());
    let unanswered = shared.health.token_request();
    let token = shared.client.token().await;
    drop(unanswered);
    let answer = match token {
        Err(error) => Answer::NoToken(error),
        Ok(token) => {
            shared.health.token_received();
            let _unanswered = shared.health.request();
            shared.client.send_batch_with(body, token.as_ref()).await
        }
    };
    shared.metrics.requested(&answer, started.elapsed().as_secs_f64(), records, bytes);
    let verdict = classify(&answer, records);
    shared.health.answered(&answer, &verdict);
    if verdict.refuses_the_token() {
        shared.client.forget_token(started).await;
    }
    Done::Answered(sending, answer, verdict, sent_at)
}

/// Writes the outcome of decided records: dead letters first, then the receipt of the response, if there was one.
async fn write_outcomes(shared: &Shared, decided: Decided<Item>, answered: Option<(i64, u16)>) -> Vec<Claim> {
    let (inlet_id, batch_id) = decided.ids;
    let (sent_at, status) = answered.unwrap_or_default();
    let records = Vec::with_capacity(decided.accepted.len() + decided.dead_letters.len());
    let (inlet_id, batch_id) = (inlet_id.map(Cow::Owned), batch_id.map(Cow::Owned));
    let mut receipt = Receipt { sent_at, status, inlet_id, batch_id, records };
    for (item, _) in &decided.dead_letters {
        receipt.records.push(item.receipt_entry(None, ReceiptVerdict::Refused));
    }
    let dead_letters: Vec<ToDeadLetter> = decided
        .dead_letters
        .into_iter()
        .map(|(item, reason)| {
            let (code, message) = reason.into_parts();
            ToDeadLetter { claim: item.claim, record: item.record, code, message }
        })
        .collect();
    let mut claims = write_dead_letters(shared, dead_letters).await;
    let now = service::unix_millis();
    shared.metrics.accepted(decided.accepted.iter().map(|(item, _)| item.received_at()), now);
    for (item, xaction_id) in decided.accepted {
        receipt.records.push(item.receipt_entry(xaction_id, ReceiptVerdict::Accepted));
        claims.push(item.claim);
    }
    if answered.is_some() {
        shared.journal.receipt(&receipt).await;
    }
    claims
}

async fn write_dead_letters(shared: &Shared, records: Vec<ToDeadLetter>) -> Vec<Claim> {
    shared.journal.dead_letters(&records).await;
    for record in &records {
        shared.metrics.dead_letter(record.code);
    }
    records.into_iter().map(|record| record.claim).collect()
}

#[cfg(test)]
mod tests;
