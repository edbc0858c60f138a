//! `send`: simulates Customer.io. Sends signed webhooks to a URL, with the retries and repeats of Customer.io.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use customerio::catalogue::{CatalogueEvent, ObjectType, Variant};
use customerio::sample::{Person, Sample, combinations};
use customerio::{SigningKey, sign};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use service::Backoff;
use settings::DurationArg;
use tokio::time::Instant;

use crate::{CommandError, Verdict, output};

/// Customer.io gives up on a request after this time (reporting-webhooks specification).
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// Send signed webhooks, as Customer.io would
#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    /// Where to, for example http://localhost:8080/webhooks/customerio
    #[arg(value_name = "URL")]
    url: reqwest::Url,

    /// Signing keys as the gateway has them; the first line is used
    #[arg(long = "signing-keys", env = "CUSTOMERIO_SIGNING_KEYS", hide_env_values = true, value_name = "SECRET")]
    signing_keys: SecretString,

    /// How many different events
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    count: u64,

    /// How many a second; 0 for as fast as possible
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    rate: u32,

    /// Only events of these channels: customer, email, sms, whatsapp, push, in_app, slack, webhook
    #[arg(long, value_delimiter = ',', value_parser = parse_channel, value_name = "CHANNEL,...")]
    channels: Vec<ObjectType>,

    /// How many of 100 events are sent twice, as happens when an answer gets lost
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    duplicates: u32,

    /// When an event that is sent twice comes again: at random within this time after its acknowledgement
    #[arg(long, default_value = "0ms", value_name = "DURATION")]
    repeat_within: DurationArg,

    /// Send in random order within groups of this many events; 1 for in order
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    shuffle: u32,

    /// How many people the events are about
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    people: u64,

    /// How many calls at once
    #[arg(long, default_value_t = 64, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=4096))]
    concurrency: u32,

    /// How long an event is tried again before it counts as failed
    #[arg(long, default_value = "2m", value_name = "DURATION")]
    give_up: DurationArg,

    /// Write the ids of acknowledged events to this file, one a line
    #[arg(long, value_name = "PATH")]
    ids_to: Option<PathBuf>,
}

fn parse_channel(name: &str) -> Result<ObjectType, String> {
    ObjectType::from_name(name).ok_or_else(|| {
        let names: Vec<_> = ObjectType::ALL.iter().map(|channel| channel.as_str()).collect();
        format!("no such channel; there are {}", names.join(", "))
    })
}

/// The result.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Different events sent.
    events: u64,
    /// Of these, acknowledged with a 2xx.
    acknowledged: u64,
    /// Calls beyond the first for events that were sent twice on purpose.
    duplicates: u64,
    /// Answers by HTTP status, `error` for none.
    answers: BTreeMap<String, u64>,
    /// The slowest acknowledged request.
    slowest_ms: u128,
    seconds: f64,
}

/// What all requests share.
struct Sender {
    args: SendArgs,
    key: SigningKey,
    http: reqwest::Client,
    pool: Vec<(&'static CatalogueEvent, Variant)>,
    prefix: String,
    /// Where an event stands in its group when they are sent.
    order: Vec<u32>,
    /// Repeats that are still to come.
    repeats: tokio_util::task::TaskTracker,
    next: AtomicU64,
    started: Instant,
    report: Mutex<Report>,
    ids: Mutex<Vec<String>>,
}

pub(crate) async fn run(args: SendArgs, json: bool) -> Result<Verdict, CommandError> {
    let sender = Arc::new(Sender::new(args)?);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..sender.args.concurrency {
        let sender = Arc::clone(&sender);
        calls.spawn(async move { sender.work().await });
    }
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            ended = calls.join_next() => match ended {
                None => break,
                Some(ended) => ended?,
            },
            _ = tick.tick() => output::progress(&sender.progress()),
        }
    }
    sender.repeats.close();
    sender.repeats.wait().await;
    output::progress("");
    sender.finish(json)
}

/// Returns the number of the event that is sent at `place`, of `count`: each group of events is shuffled. The last
/// group stays in order if it is not complete.
fn shuffled(place: u64, count: u64, order: &[u32]) -> u64 {
    let size = order.len() as u64;
    let (group, within) = (place / size, place % size);
    let number = usize::try_from(within).ok().and_then(|within| order.get(within)).copied();
    match number {
        Some(number) if (group + 1) * size <= count => group * size + u64::from(number),
        _ => place,
    }
}

impl Sender {
    fn new(args: SendArgs) -> Result<Self, CommandError> {
        let key = args.signing_keys.expose_secret().lines().map(str::trim).find(|line| !line.is_empty());
        let key = SigningKey::new(key.ok_or("CUSTOMERIO_SIGNING_KEYS contains no key")?);
        let http = reqwest::Client::builder().timeout(CALL_TIMEOUT).no_proxy().build()?;
        let pool: Vec<_> = combinations()
            .filter(|(event, _)| args.channels.is_empty() || args.channels.contains(&event.object_type))
            .collect();
        let prefix: String = (0..10).map(|_| fastrand::uppercase()).collect();
        let mut order: Vec<u32> = (0..args.shuffle).collect();
        fastrand::shuffle(&mut order);
        Ok(Self {
            order,
            repeats: tokio_util::task::TaskTracker::new(),
            args,
            key,
            http,
            pool,
            prefix,
            next: AtomicU64::new(0),
            started: Instant::now(),
            report: Mutex::default(),
            ids: Mutex::default(),
        })
    }

    /// Sends events until there are none left. Each has its own time, so that a slow response does not delay other
    /// events.
    async fn work(self: &Arc<Self>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.args.count {
                return;
            }
            if self.args.rate > 0 {
                let due = Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / self.args.rate;
                tokio::time::sleep_until(self.started + due).await;
            }
            self.event(shuffled(number, self.args.count, &self.order)).await;
        }
    }

    async fn event(self: &Arc<Self>, number: u64) {
        let id = format!("{}{number:016}", self.prefix);
        let person = number % self.args.people;
        let (person_id, email, cio_id) =
            (format!("u-{person}"), format!("person{person}@example.com"), format!("d9c1{person:08x}"));
        let index = usize::try_from(number).unwrap_or(0) % self.pool.len();
        let Some(&(event, variant)) = self.pool.get(index) else { return };
        let timestamp = service::unix_millis() / 1000;
        let person = Person { id: &person_id, email: &email, cio_id: &cio_id };
        let body = Sample { event, variant, event_id: &id, timestamp, person, number }.body();
        let acknowledged = self.deliver(&body).await;
        let twice = acknowledged && number % 100 < u64::from(self.args.duplicates);
        if twice {
            let (sender, wait) = (Arc::clone(self), self.args.repeat_within.0.mul_f64(fastrand::f64()));
            self.repeats.spawn(async move {
                tokio::time::sleep(wait).await;
                sender.deliver(&body).await;
            });
        }
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.events += 1;
        report.acknowledged += u64::from(acknowledged);
        report.duplicates += u64::from(twice);
        drop(report);
        if acknowledged && self.args.ids_to.is_some() {
            self.ids.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        }
    }

    /// Sends an event until it gets a 2xx; each attempt is signed again.
    async fn deliver(&self, body: &str) -> bool {
        let give_up = Instant::now() + self.args.give_up.0;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            let started = Instant::now();
            let timestamp = (service::unix_millis() / 1000).to_string();
            let answer = self
                .http
                .post(self.args.url.clone())
                .header("content-type", "application/json")
                .header("x-cio-timestamp", &timestamp)
                .header("x-cio-signature", sign(&self.key, &timestamp, body.as_bytes()))
                .body(body.to_owned())
                .send()
                .await;
            let status = answer.as_ref().ok().map(reqwest::Response::status);
            if self.count_answer(status, started.elapsed()) {
                return true;
            }
            if Instant::now() >= give_up {
                return false;
            }
            tokio::time::sleep(backoff.next_wait(fastrand::f64())).await;
        }
    }

    /// Counts a response; `true` for a 2xx.
    fn count_answer(&self, status: Option<reqwest::StatusCode>, took: Duration) -> bool {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let label = status.map_or_else(|| "error".to_owned(), |status| status.as_u16().to_string());
        *report.answers.entry(label).or_default() += 1;
        let acknowledged = status.is_some_and(|status| status.is_success());
        if acknowledged {
            report.slowest_ms = report.slowest_ms.max(took.as_millis());
        }
        acknowledged
    }

    fn progress(&self) -> String {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        format!("acknowledged {} of {}  answers {:?}", report.acknowledged, self.args.count, report.answers)
    }

    fn finish(&self, json: bool) -> Result<Verdict, CommandError> {
        if let Some(path) = &self.args.ids_to {
            let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
            for id in ids.iter() {
                writeln!(file, "{id}")?;
            }
            file.flush()?;
        }
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.seconds = self.started.elapsed().as_secs_f64();
        if json {
            output::json(&*report);
        } else {
            output::line(&format!(
                "{} events, {} acknowledged, {} sent twice, in {:.1} s; slowest acknowledgement {} ms; answers {:?}",
                report.events,
                report.acknowledged,
                report.duplicates,
                report.seconds,
                report.slowest_ms,
                report.answers
            ));
        }
        Ok(if report.acknowledged == report.events { Verdict::Good } else { Verdict::Problem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffled_events_are_all_sent_once_and_stay_in_their_group() {
        let order = [2, 0, 3, 1];
        let sent: Vec<_> = (0..10).map(|place| shuffled(place, 10, &order)).collect();
        assert_eq!(sent, [2, 0, 3, 1, 6, 4, 7, 5, 8, 9]);
        assert_eq!((0..5).map(|place| shuffled(place, 5, &[0])).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
