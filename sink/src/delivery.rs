//! The sink's one task: records in, requests out, answers applied.
//!
//! What is sent when, and what an answer leads to, is decided by [`crate::dispatch`]; here it is carried out. What waits
//! is held undecoded, bounded by the consumer's budget; when partitions leave, everything of theirs that is not being
//! sent is given back at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use futures_util::stream::FuturesUnordered;
use kafka::consumer::{Feed, Patience, Settler};
use kafka::ledger::{Claim, Epoch};
use kafka::record::PackedRecord;
use platform::{Answer, BatchBody, Envelope, PlatformClient, Verdict, judge};
use service::TaskError;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::backlog::Backlog;
use crate::batch::{BatchLimits, Batcher};
use crate::config::Settings;
use crate::dispatch::{Dispatch, Hold, Next, Sending, Sentence, Settled};
use crate::event_json::EventJson;
use crate::health::Health;
use crate::journal::{ACCEPTED, Journal, REFUSED, Receipt};
use crate::metrics::{Metrics, UNWRITABLE};
use crate::schemas::{LookUp, NoEvent, Schemas};
use crate::work::{Code, Condemned, Item, Json, Meter};

/// Records taken from the channel in one go.
const INTAKE: usize = 1000;

/// How long what is under way may still take once the stop was asked for.
const LAST_REQUESTS: Duration = Duration::from_secs(10);

/// What came to its end.
enum Done {
    /// A request, with its answer, what that means, and when it was sent.
    Answered(Sending<Item>, Answer, Verdict, i64),
    /// What these records came to is durable.
    Durable(Vec<Claim>),
}

/// What requests and writes need; shared with the futures that make them.
struct Outside {
    client: PlatformClient,
    envelope: Envelope,
    journal: Journal,
    metrics: Metrics,
    health: Health,
}

/// See the module.
pub(crate) struct Delivery {
    outside: Arc<Outside>,
    settler: Settler,
    patience: Patience,
    schemas: Schemas,
    /// Partitions of the topic, over all instances.
    partitions: usize,
    /// Read but not decoded yet.
    backlog: Backlog<PackedRecord>,
    /// JSON that waits or is being sent, and how much of it there may be before nothing more is decoded.
    encoded: Meter,
    most_encoded: usize,
    /// One event's JSON, to be copied at its size.
    event_json: EventJson,
    batcher: Batcher<Item>,
    dispatch: Dispatch<Item>,
    under_way: FuturesUnordered<BoxFuture<'static, Done>>,
    /// The newest assignment seen of each partition, and the newest one that has left.
    seen: HashMap<i32, Epoch>,
    left: HashMap<i32, Epoch>,
    /// What was last shown in log and metrics.
    shown: Option<Hold>,
    shown_unwritable: bool,
    probe: Duration,
}

/// What the delivery works with.
pub(crate) struct Tools {
    pub(crate) client: PlatformClient,
    pub(crate) envelope: Envelope,
    pub(crate) journal: Journal,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    pub(crate) settler: Settler,
    pub(crate) patience: Patience,
    /// Partitions of the topic.
    pub(crate) partitions: usize,
}

impl Delivery {
    pub(crate) fn new(settings: &Settings, tools: Tools) -> Result<Self, TaskError> {
        let Tools { client, envelope, journal, metrics, health, settler, patience, partitions } = tools;
        let limits = BatchLimits {
            bytes: settings.batch_max_bytes - envelope.overhead_per_batch(),
            records: settings.batch_max_records,
            linger: settings.batch_linger,
        };
        let event_json = EventJson::new(settings.tenant.clone(), envelope.largest_event());
        Ok(Self {
            schemas: Schemas::new(settings, metrics.clone(), health.registry.clone())?,
            outside: Arc::new(Outside { client, envelope, journal, metrics, health }),
            settler,
            patience,
            partitions,
            backlog: Backlog::default(),
            encoded: Meter::default(),
            most_encoded: settings.buffer_bytes / 4,
            event_json,
            batcher: Batcher::new(limits),
            dispatch: Dispatch::new(settings.limits, Instant::now()),
            under_way: FuturesUnordered::new(),
            seen: HashMap::new(),
            left: HashMap::new(),
            shown: None,
            shown_unwritable: false,
            probe: settings.limits.hold_probe,
        })
    }

    /// Works until the consumer says that it stops.
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
                Some(done) = self.under_way.next(), if !self.under_way.is_empty() => self.done(done),
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

    /// `false` when the consumer stops.
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
                // What could not be read may just have gone to a sink that can.
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

    /// Gives back everything of partitions that have left, wherever it waits.
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

    /// Starts all requests that may be started; returns when to look again.
    fn start(&mut self, now: Instant) -> Instant {
        loop {
            self.fill(now);
            let convicts = self.dispatch.convicts(now);
            if !convicts.is_empty() {
                let settled = Settled { accepted: Vec::new(), condemned: convicts, ids: (None, None) };
                self.make_durable(settled, None);
                continue;
            }
            match self.dispatch.next(now) {
                Next::Send(mut sending) => {
                    self.settler.started(claims(sending.items()));
                    let body = self.body(&mut sending);
                    let metered = self.encoded.hold(body.len());
                    let request = request(Arc::clone(&self.outside), sending, body);
                    self.under_way.push(request.inspect(|_| drop(metered)).boxed());
                }
                Next::Wait(until) => {
                    let linger = self.batcher.due().filter(|_| self.dispatch.is_hungry());
                    return until.into_iter().chain(linger).min().unwrap_or(now + Duration::from_secs(1));
                }
            }
        }
    }

    /// The body of a request. It takes the events' JSON; what was sent before has none any more and is written again.
    fn body(&mut self, sending: &mut Sending<Item>) -> Bytes {
        let outside = Arc::clone(&self.outside);
        let per_message = outside.envelope.overhead_per_message();
        let json = sending.items().iter().map(|item| item.json.as_ref().map_or(0, |json| json.as_bytes().len()));
        let size = json.map(|json| json + per_message).sum::<usize>() + outside.envelope.overhead_per_batch();
        let mut body = BatchBody::new(&outside.envelope, size);
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

    /// Decodes what is needed for the next batch.
    fn fill(&mut self, now: Instant) {
        while self.dispatch.is_hungry() && self.schemas.may_decode() && self.encoded.bytes() < self.most_encoded {
            let Some((claim, record)) = self.backlog.pop() else { break };
            let (code, message) = match self.schemas.decode(record.value()) {
                Ok(event) => match self.event_json.write(&event) {
                    Ok(json) => {
                        let bytes = json.len() + self.outside.envelope.overhead_per_message();
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
            let judged = vec![(Item { claim, record, json: None }, Sentence::Unsendable(code, message))];
            let condemned = self.dispatch.condemn(judged, now);
            if !condemned.is_empty() {
                self.make_durable(Settled { accepted: Vec::new(), condemned, ids: (None, None) }, None);
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
                let settled = self.dispatch.answered(sending, verdict, Instant::now(), fastrand::f64());
                let again = records - settled.accepted.len() - settled.condemned.len();
                self.outside.metrics.retried(again);
                if again > 0 {
                    // Those that are decided are started again below, with the write of their outcome.
                    self.settler.deferred(deferred);
                }
                let status = match answer {
                    Answer::Response(response) => response.status,
                    Answer::Failed(_) | Answer::NoToken(_) => 0,
                };
                if !(settled.accepted.is_empty() && settled.condemned.is_empty()) {
                    self.make_durable(settled, Some((sent_at, status)));
                }
                if again > 0 && !self.left.is_empty() {
                    self.release_left();
                }
            }
        }
    }

    /// Writes what has become of records; only then are they settled.
    fn make_durable(&mut self, settled: Settled<Item>, answered: Option<(i64, u16)>) {
        let items = settled.accepted.iter().map(|(item, _)| item).chain(settled.condemned.iter().map(|(item, _)| item));
        self.settler.started(items.map(|item| item.claim).collect());
        let outside = Arc::clone(&self.outside);
        self.under_way.push(async move { Done::Durable(settle(&outside, settled, answered).await) }.boxed());
    }

    /// Log and metrics follow the state, once for each change.
    fn show(&mut self) {
        let metrics = &self.outside.metrics;
        metrics.show_pace(self.dispatch.allowed(), self.dispatch.in_flight());
        let journal = &self.outside.journal;
        let unwritable = journal.is_failing();
        if unwritable != self.shown_unwritable {
            metrics.set_held(UNWRITABLE, unwritable);
            self.shown_unwritable = unwritable;
        }
        // Records that wait for Platform, for a schema or for a rate limit are not started; those of a write are.
        self.patience.set(journal.is_repeating());
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
                tracing::error!(reason = hold.as_str(), advice = hold.advice(), probe = ?self.probe, "holding: {}", hold.extent());
            }
            None => tracing::info!("delivering again"),
        }
        self.shown = held;
    }

    /// Lets what is under way finish and gives everything else back.
    async fn finish(mut self) -> Result<(), TaskError> {
        self.left = self.seen.clone();
        self.release_left();
        let deadline = tokio::time::Instant::now() + LAST_REQUESTS;
        while !self.under_way.is_empty() {
            match tokio::time::timeout_at(deadline, self.under_way.next()).await {
                Ok(Some(done)) => self.done(done),
                Ok(None) => break,
                Err(_) => {
                    tracing::warn!("the last requests did not end in time; their records are read again");
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
async fn request(outside: Arc<Outside>, sending: Sending<Item>, body: Bytes) -> Done {
    let (records, bytes) = (sending.items().len(), body.len());
    let (sent_at, started) = (service::unix_millis(), tokio::time::Instant::now());
    let unanswered = outside.health.token_request();
    let token = outside.client.token().await;
    drop(unanswered);
    let answer = match token {
        Err(error) => Answer::NoToken(error),
        Ok(token) => {
            let _unanswered = outside.health.request();
            outside.client.send_batch_with(body, token.as_ref()).await
        }
    };
    outside.metrics.requested(&answer, started.elapsed().as_secs_f64(), records, bytes);
    let verdict = judge(&answer, records);
    outside.health.answered(&answer, &verdict);
    if verdict.refuses_the_token() {
        outside.client.forget_token(started).await;
    }
    Done::Answered(sending, answer, verdict, sent_at)
}

/// Makes durable what is final: dead letters first, then the receipt of the answer, if there was one.
async fn settle(outside: &Outside, settled: Settled<Item>, answered: Option<(i64, u16)>) -> Vec<Claim> {
    let (inlet_id, batch_id) = settled.ids;
    let (sent_at, status) = answered.unwrap_or_default();
    let records = Vec::with_capacity(settled.accepted.len() + settled.condemned.len());
    let mut receipt = Receipt { sent_at, status, inlet_id, batch_id, records };
    for (item, _) in &settled.condemned {
        receipt.add(item, None, REFUSED);
    }
    let letters: Vec<Condemned> = settled
        .condemned
        .into_iter()
        .map(|(item, sentence)| {
            let (code, message) = sentence.reason();
            Condemned { claim: item.claim, record: item.record, code, message }
        })
        .collect();
    let mut claims = condemn(outside, letters).await;
    let now = service::unix_millis();
    outside.metrics.accepted(settled.accepted.iter().map(|(item, _)| item.received_at()), now);
    for (item, xaction_id) in settled.accepted {
        receipt.add(&item, xaction_id, ACCEPTED);
        claims.push(item.claim);
    }
    if answered.is_some() {
        outside.journal.receipt(&receipt).await;
    }
    claims
}

async fn condemn(outside: &Outside, letters: Vec<Condemned>) -> Vec<Claim> {
    outside.journal.dead_letters(&letters).await;
    for letter in &letters {
        outside.metrics.dead_letter(letter.code);
    }
    letters.into_iter().map(|letter| letter.claim).collect()
}

#[cfg(test)]
mod tests;
