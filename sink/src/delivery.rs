//! The sink's one task: records in, batches out, verdicts applied.
//!
//! One request is under way at a time. What waits is held undecoded, bounded by the consumer's budget; when partitions
//! leave, everything of theirs that is not being sent is given back at once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt, OptionFuture};
use kafka::consumer::{Feed, Settler};
use kafka::ledger::{Claim, Epoch};
use kafka::record::OwnedRecord;
use platform::{Answer, BatchBody, Envelope, HoldReason, PlatformClient, judge};
use service::{Backoff, TaskError};
use tokio::sync::mpsc::UnboundedReceiver;
use xdm::TenantId;

use crate::batch::{BatchLimits, Batcher};
use crate::config::Settings;
use crate::journal::{Journal, Receipt};
use crate::metrics::Metrics;
use crate::plan::{Pause, Plan, plan};
use crate::schemas::{LookUp, NoEvent, Schemas};
use crate::work::{Code, Condemned, Item};

/// Records taken from the channel in one go.
const INTAKE: usize = 1000;

/// How long the request under way may still take once the stop was asked for.
const LAST_REQUEST: Duration = Duration::from_secs(10);

/// Something to be done, in order.
enum Work {
    /// Send this batch.
    Send(Vec<Item>),
    /// Write these dead letters.
    Condemn(Vec<Condemned>),
}

/// What came of a piece of work.
struct Done {
    /// Settle these.
    settled: Vec<Claim>,
    /// Do these next.
    again: Vec<Work>,
    pause: Pause,
}

/// What an attempt needs; shared with the future that makes it.
struct Outside {
    client: PlatformClient,
    envelope: Envelope,
    journal: Journal,
    metrics: Metrics,
}

/// See the module.
pub(crate) struct Delivery {
    outside: Arc<Outside>,
    settler: Settler,
    schemas: Schemas,
    tenant: TenantId,
    hold_probe: Duration,
    /// Read but not decoded yet.
    backlog: VecDeque<(Claim, OwnedRecord)>,
    batcher: Batcher<Item>,
    waiting: VecDeque<Work>,
    /// The newest assignment seen of each partition, and the newest one that has left.
    seen: HashMap<i32, Epoch>,
    left: HashMap<i32, Epoch>,
    backoff: Backoff,
    not_before: Option<Instant>,
    held: Option<HoldReason>,
    refused_tokens: u32,
}

impl Delivery {
    pub(crate) fn new(
        settings: &Settings,
        client: PlatformClient,
        envelope: Envelope,
        journal: Journal,
        settler: Settler,
        metrics: Metrics,
    ) -> Result<Self, TaskError> {
        let limits = BatchLimits {
            bytes: settings.batch_max_bytes - envelope.overhead_per_batch(),
            records: settings.batch_max_records,
            linger: settings.batch_linger,
        };
        Ok(Self {
            schemas: Schemas::new(settings, metrics.clone())?,
            outside: Arc::new(Outside { client, envelope, journal, metrics }),
            settler,
            tenant: settings.tenant.clone(),
            hold_probe: settings.hold_probe,
            backlog: VecDeque::new(),
            batcher: Batcher::new(limits),
            waiting: VecDeque::new(),
            seen: HashMap::new(),
            left: HashMap::new(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
            not_before: None,
            held: None,
            refused_tokens: 0,
        })
    }

    /// Works until the consumer says that it stops.
    pub(crate) async fn run(mut self, mut records: UnboundedReceiver<Feed>) -> Result<(), TaskError> {
        let mut under_way: Option<BoxFuture<'static, Done>> = None;
        let mut look_up: Option<LookUp> = None;
        let mut intake = Vec::with_capacity(INTAKE);
        loop {
            let now = Instant::now();
            self.fill(now);
            look_up = look_up.or_else(|| self.schemas.look_up());
            if under_way.is_none() && self.not_before.is_none_or(|time| now >= time) {
                under_way = self.waiting.pop_front().map(|work| attempt(Arc::clone(&self.outside), work));
            }
            let wake = self.wake(under_way.is_some());
            tokio::select! {
                biased;
                Some(done) = OptionFuture::from(under_way.as_mut()) => {
                    under_way = None;
                    self.apply(done);
                }
                Some(found) = OptionFuture::from(look_up.as_mut()) => {
                    look_up = None;
                    self.schemas.found(found);
                }
                received = records.recv_many(&mut intake, INTAKE) => {
                    let stopping = received == 0 || !intake.drain(..).all(|feed| self.take_in(feed));
                    if stopping {
                        return self.finish(under_way).await;
                    }
                }
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
    }

    /// When there is something to do without any news.
    fn wake(&self, busy: bool) -> Instant {
        let now = Instant::now();
        let retry = self.not_before.filter(|_| !busy && !self.waiting.is_empty());
        let linger = self.batcher.due().filter(|_| self.waiting.is_empty());
        [retry, linger].into_iter().flatten().min().unwrap_or(now + Duration::from_secs(3600))
    }

    /// `false` when the consumer stops.
    fn take_in(&mut self, feed: Feed) -> bool {
        match feed {
            Feed::Record(claim, record) => {
                self.seen.insert(claim.partition, claim.epoch);
                self.backlog.push_back((claim, record));
                true
            }
            Feed::Revoking(partitions) => {
                for partition in partitions {
                    if let Some(&epoch) = self.seen.get(&partition) {
                        self.left.insert(partition, epoch);
                    }
                }
                self.release_left();
                true
            }
            Feed::Stopping => false,
        }
    }

    fn has_left(left: &HashMap<i32, Epoch>, claim: Claim) -> bool {
        left.get(&claim.partition).is_some_and(|&epoch| claim.epoch <= epoch)
    }

    /// Gives back everything of partitions that have left, wherever it waits.
    fn release_left(&mut self) {
        let left = &self.left;
        let mut released = Vec::new();
        self.backlog.retain(|(claim, _)| {
            let gone = Self::has_left(left, *claim);
            if gone {
                released.push(*claim);
            }
            !gone
        });
        let collected = self.batcher.take().map(Work::Send);
        let waiting = std::mem::take(&mut self.waiting);
        for work in waiting.into_iter().chain(collected) {
            self.waiting.extend(keep(work, left, &mut released));
        }
        self.settler.release(released);
        // What could not be read may just have gone to a sink that can.
        self.schemas.try_again();
    }

    /// Decodes what is needed for the next batch.
    fn fill(&mut self, now: Instant) {
        while self.waiting.is_empty() && self.schemas.may_decode() {
            let Some((claim, record)) = self.backlog.pop_front() else { break };
            let largest = self.outside.envelope.largest_event();
            match self.schemas.decode(&record.value) {
                Ok(event) => {
                    let mut json = Vec::with_capacity(record.value.len() * 2);
                    xdm::write_json(&event, &self.tenant, &mut json);
                    if json.len() > largest {
                        let message = format!("the event is {} bytes of JSON; a request takes {largest}", json.len());
                        self.condemn(claim, record, Code::TooLarge, message);
                        continue;
                    }
                    let bytes = json.len() + self.outside.envelope.overhead_per_message();
                    let full = self.batcher.push(Item { claim, record, json }, bytes, now);
                    self.waiting.extend(full.map(Work::Send));
                }
                Err(NoEvent::Broken(message)) => self.condemn(claim, record, Code::Undecodable, message),
                Err(NoEvent::NotYet) => self.backlog.push_front((claim, record)),
            }
        }
        if self.waiting.is_empty() {
            let due = self.batcher.take_due(now);
            self.waiting.extend(due.map(Work::Send));
        }
    }

    fn condemn(&mut self, claim: Claim, record: OwnedRecord, code: Code, message: String) {
        self.waiting.push_back(Work::Condemn(vec![Condemned { claim, record, code, message }]));
    }

    fn apply(&mut self, done: Done) {
        self.settler.settle(done.settled);
        let mut released = Vec::new();
        for work in done.again.into_iter().rev() {
            if let Some(work) = keep(work, &self.left, &mut released) {
                self.waiting.push_front(work);
            }
        }
        if !released.is_empty() {
            self.settler.release(released);
        }
        self.pause(done.pause);
    }

    fn pause(&mut self, pause: Pause) {
        let now = Instant::now();
        match pause {
            Pause::None => {
                self.backoff.reset();
                self.refused_tokens = 0;
                self.not_before = None;
                if let Some(reason) = self.held.take() {
                    self.outside.metrics.set_held(reason.as_str(), false);
                    tracing::info!(reason = reason.as_str(), "delivering again");
                }
            }
            Pause::BackOff { after, reason } => {
                let wait = self.backoff.next_wait(fastrand::f64()).max(after.unwrap_or_default());
                if self.backoff.failures() == 1 {
                    tracing::warn!(reason = reason.as_str(), "Platform does not take records now; backing off");
                }
                self.not_before = Some(now + wait);
            }
            Pause::Hold(reason) => {
                // The token may only have expired: the client has dropped it, and the next request brings a new one.
                self.refused_tokens += 1;
                if reason == HoldReason::Unauthorized && self.refused_tokens == 1 && self.held.is_none() {
                    self.not_before = None;
                    return;
                }
                if self.held != Some(reason) {
                    if let Some(before) = self.held.replace(reason) {
                        self.outside.metrics.set_held(before.as_str(), false);
                    }
                    self.outside.metrics.set_held(reason.as_str(), true);
                    tracing::error!(reason = reason.as_str(), advice = reason.advice(), probe = ?self.hold_probe, "holding: nothing can be delivered, no record is lost");
                }
                self.not_before = Some(now + self.hold_probe);
            }
        }
    }

    /// Lets the request under way finish and gives everything else back.
    async fn finish(mut self, under_way: Option<BoxFuture<'static, Done>>) -> Result<(), TaskError> {
        self.left = self.seen.clone();
        self.release_left();
        if let Some(under_way) = under_way {
            match tokio::time::timeout(LAST_REQUEST, under_way).await {
                Ok(done) => self.apply(done),
                Err(_) => tracing::warn!("the last request did not end in time; its records are read again"),
            }
        }
        Ok(())
    }
}

/// The part of a piece of work whose partitions have not left; the rest is added to `released`.
fn keep(work: Work, left: &HashMap<i32, Epoch>, released: &mut Vec<Claim>) -> Option<Work> {
    match work {
        Work::Send(mut items) => {
            items.retain(|item| stays(item.claim, left, released));
            (!items.is_empty()).then_some(Work::Send(items))
        }
        Work::Condemn(mut letters) => {
            letters.retain(|letter| stays(letter.claim, left, released));
            (!letters.is_empty()).then_some(Work::Condemn(letters))
        }
    }
}

fn stays(claim: Claim, left: &HashMap<i32, Epoch>, released: &mut Vec<Claim>) -> bool {
    let gone = Delivery::has_left(left, claim);
    if gone {
        released.push(claim);
    }
    !gone
}

/// One piece of work, from sending to what is durable of it.
fn attempt(outside: Arc<Outside>, work: Work) -> BoxFuture<'static, Done> {
    async move {
        match work {
            Work::Send(items) => send(&outside, items).await,
            Work::Condemn(letters) => {
                let settled = condemn(&outside, letters).await;
                Done { settled, again: Vec::new(), pause: Pause::None }
            }
        }
    }
    .boxed()
}

async fn send(outside: &Outside, items: Vec<Item>) -> Done {
    let bytes: usize = items.iter().map(|item| item.json.len() + outside.envelope.overhead_per_message()).sum();
    let mut body = BatchBody::new(&outside.envelope, bytes + outside.envelope.overhead_per_batch());
    for item in &items {
        body.add(&item.json);
    }
    let body = body.finish();
    let (sent_at, started, bytes) = (service::unix_millis(), Instant::now(), body.len());
    let answer = outside.client.send_batch(body).await;
    outside.metrics.requested(&answer, started.elapsed().as_secs_f64(), items.len(), bytes);
    let verdict = judge(&answer, items.len());
    let plan = plan(verdict, items);
    let again: usize = plan.again.iter().map(Vec::len).sum();
    outside.metrics.retried(again);
    settle(outside, &answer, sent_at, plan).await
}

/// Makes durable what the plan says is final: dead letters first, then the receipt.
async fn settle(outside: &Outside, answer: &Answer, sent_at: i64, plan: Plan<Item>) -> Done {
    let again = plan.again.into_iter().map(Work::Send).collect();
    let pause = plan.pause;
    if plan.accepted.is_empty() && plan.refused.is_empty() {
        return Done { settled: Vec::new(), again, pause };
    }
    let status = match answer {
        Answer::Response(response) => response.status,
        Answer::Failed(_) | Answer::NoToken(_) => 0,
    };
    let (inlet_id, batch_id) = plan.ids;
    let records = Vec::with_capacity(plan.accepted.len() + plan.refused.len());
    let mut receipt = Receipt { sent_at, status, inlet_id, batch_id, records };
    for (item, _, _) in &plan.refused {
        receipt.add(item, None, "refused");
    }
    let letters: Vec<Condemned> = plan
        .refused
        .into_iter()
        .map(|(item, status, message)| {
            let code = if status == 413 { Code::TooLarge } else { Code::Refused };
            let message = format!("Platform answered {status}: {message}");
            Condemned { claim: item.claim, record: item.record, code, message }
        })
        .collect();
    let mut settled = condemn(outside, letters).await;
    let now = service::unix_millis();
    outside.metrics.accepted(plan.accepted.iter().map(|(item, _)| item.received_at()), now);
    for (item, xaction_id) in plan.accepted {
        receipt.add(&item, xaction_id, "accepted");
        settled.push(item.claim);
    }
    outside.journal.receipt(&receipt).await;
    Done { settled, again, pause }
}

async fn condemn(outside: &Outside, letters: Vec<Condemned>) -> Vec<Claim> {
    outside.journal.dead_letters(&letters).await;
    for letter in &letters {
        outside.metrics.dead_letter(letter.code);
    }
    letters.into_iter().map(|letter| letter.claim).collect()
}
