//! `send`: simulates Customer.io. Sends signed webhooks to a URL, with retries and duplicates like those of
//! Customer.io.

mod content;
mod follow;
mod report;
mod signing_key;

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use customerio::catalogue::{CatalogueEvent, ObjectType};
use customerio::{SigningKey, sign};
use operator::Committed;
use operator::find::{End, FindScope, Timeline, Watch, raw_ends};
use secrecy::SecretString;
use serde_json::{Value, json};
use service::Backoff;
use settings::DurationArg;
use tokio::time::Instant;

use self::content::{Content, channel_parser, event_parser};
use self::follow::Followed;
use self::report::Report;
use self::signing_key::signing_key;
use crate::find::text;
use crate::pipeline::{GroupArgs, Reached};
use crate::printable::printable;
use crate::topics::TopicArgs;
use crate::when::after;
use crate::{CommandError, UsageError, Verdict, output};

/// Customer.io's own time-out for one request (reporting-webhooks specification).
const CALL_TIMEOUT: Duration = Duration::from_secs(4);

/// Default number of events, if neither an option nor the kind of content determines the number.
const COUNT: u64 = 100;

/// Send signed webhooks, as Customer.io would
///
/// Without options it sends 100 sample events of the whole catalogue. --event and --body send one event. --follow then
/// shows what becomes of it: each step as it happens, until Platform accepts it or it is a dead letter. Exit code 0 if the
/// gateway acknowledged everything, and with --follow Platform accepted the event, or had accepted it from an earlier
/// delivery; 1 if not; 3 if the event has not ended in time.
#[derive(Debug, Args)]
#[command(mut_arg("bootstrap_servers", |arg| arg.required(false)))]
pub(crate) struct SendArgs {
    /// Where to
    #[arg(value_name = "URL", env = "GATEWAY_URL", default_value = "http://127.0.0.1:8080/webhooks/customerio")]
    url: reqwest::Url,

    /// Signing keys as the gateway has them; the first line is used
    #[arg(long = "signing-keys", env = "CUSTOMERIO_SIGNING_KEYS", hide_env_values = true, value_name = "SECRET")]
    signing_keys: Option<SecretString>,

    /// File that holds the signing keys
    #[arg(long = "signing-keys-file", env = "CUSTOMERIO_SIGNING_KEYS_FILE", value_name = "PATH")]
    signing_keys_file: Option<PathBuf>,

    /// Only these events of the catalogue, for example email_opened; a wrong name shows them all
    #[arg(
        long = "event",
        value_delimiter = ',',
        value_parser = event_parser(),
        hide_possible_values = true,
        value_name = "EVENT,..."
    )]
    events: Vec<&'static CatalogueEvent>,

    /// Send the bytes of this file instead, unchanged; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["events", "channels", "count", "people", "shuffle"])]
    body: Option<PathBuf>,

    /// Follow the event through the topics until Platform accepts it or it is a dead letter, at most this long
    /// [default: 60s]. It needs the brokers
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s"
    )]
    follow: Option<DurationArg>,

    /// Number of different events [default: 100; 1 for each of --event; 1 with --body or --follow]
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,

    /// Events per second; 0 for as fast as possible
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    rate: u32,

    /// Only events of these channels
    #[arg(long, value_delimiter = ',', value_parser = channel_parser(), value_name = "CHANNEL,...")]
    channels: Vec<ObjectType>,

    /// Percentage of events that are sent twice, as happens when a response gets lost
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
    duplicates: u32,

    /// When an event that is sent twice comes again: at random within this time after its acknowledgement
    #[arg(long, default_value = "0ms", value_name = "DURATION")]
    repeat_within: DurationArg,

    /// Send in random order within groups of this many events; 1 for in order
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    shuffle: u32,

    /// Number of people that the events are about
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    people: u64,

    /// Number of concurrent requests
    #[arg(long, default_value_t = 64, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=4096))]
    concurrency: u32,

    /// Time for which a request is retried before its event counts as failed [default: 2m; 10s for a single event]
    #[arg(long, value_name = "DURATION")]
    give_up: Option<DurationArg>,

    /// Write the ids of acknowledged events to this file, one a line
    #[arg(long, value_name = "PATH")]
    ids_to: Option<PathBuf>,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

impl SendArgs {
    /// Number of events to send.
    fn count(&self) -> u64 {
        self.count.unwrap_or(match (&self.body, self.follow, self.events.len()) {
            (Some(_), ..) | (None, Some(_), _) => 1,
            (None, None, 0) => COUNT,
            (None, None, events) => events as u64,
        })
    }

    /// Time after which an event that was not acknowledged counts as failed.
    fn give_up(&self) -> Duration {
        let default = if self.count() == 1 { Duration::from_secs(10) } else { Duration::from_secs(120) };
        self.give_up.map_or(default, |given| given.0)
    }
}

/// State that all requests share.
struct Sender {
    args: SendArgs,
    key: SigningKey,
    http: reqwest::Client,
    content: Content,
    count: u64,
    give_up: Duration,
    prefix: String,
    /// Permutation of the event numbers within one group.
    order: Vec<u32>,
    /// Tasks of the duplicates that are not sent yet.
    repeats: tokio_util::task::TaskTracker,
    next: AtomicU64,
    started: Instant,
    report: Mutex<Report>,
    ids: Mutex<Vec<String>>,
}

pub(crate) async fn run(args: SendArgs, json: bool) -> Result<Verdict, CommandError> {
    if args.follow.is_some() && args.count() != 1 {
        return Err(UsageError("--follow follows one event: leave out --count, or write --count 1".to_owned()).into());
    }
    // The brokers are queried first: if they do not respond, nothing is sent.
    let follow = match args.follow {
        Some(longest) => {
            let reached = Reached::by(&args.topics)?;
            // Only records from these offsets on belong to this delivery. The event may have been delivered before.
            let ends = tokio::task::block_in_place(|| raw_ends(reached.pipeline()))?;
            Some((longest.0, reached, args.groups.groups(), ends))
        }
        None => None,
    };
    let started = service::unix_millis();
    let sender = Arc::new(Sender::new(args)?);
    sender.send().await?;
    let verdict = sender.finish()?;
    match follow {
        Some((longest, reached, groups, ends)) if verdict == Verdict::Good => {
            let body = sender.content.body(&sender.id(0), 0, sender.args.people);
            let wanted = follow::wanted(&body.ok_or("there is nothing to send")?);
            if !json {
                output::line(&sender.summary());
            }
            // The search allows for clocks that differ: it begins `contract::limits::CLOCK_TOLERANCE_MS` earlier.
            let committed = Committed::Groups(groups);
            let scope = FindScope { all_partitions: true, since: Some(started), delivered_from: Some(ends), committed };
            let watch = Watch::new(reached.pipeline(), scope, wanted);
            let followed = follow::follow(watch, longest, !json).await?;
            Ok(sender.show_followed(&followed, longest, json))
        }
        follow => {
            if json {
                output::json(&sender.sent_as_json(follow.map(|_| &[][..])));
            } else {
                output::line(&sender.summary());
                sender.report().hint().into_iter().for_each(output::problem);
            }
            Ok(verdict)
        }
    }
}

/// Returns the number of the event that is sent at index `place` of `count`. Each group of events is shuffled; an
/// incomplete last group stays in order.
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
        let key = signing_key(args.signing_keys.as_ref(), args.signing_keys_file.as_deref()).map_err(UsageError)?;
        let http = reqwest::Client::builder().timeout(CALL_TIMEOUT).no_proxy().build()?;
        let content = match &args.body {
            Some(path) => Content::Body(content::read_body(path).map_err(UsageError)?),
            None => Content::samples(&args.events, &args.channels),
        };
        if matches!(&content, Content::Samples(pool) if pool.is_empty()) {
            return Err(UsageError("none of these events is on one of these channels".to_owned()).into());
        }
        let (count, give_up) = (args.count(), args.give_up());
        let prefix: String = (0..10).map(|_| fastrand::uppercase()).collect();
        let mut order: Vec<u32> = (0..args.shuffle).collect();
        fastrand::shuffle(&mut order);
        Ok(Self {
            order,
            repeats: tokio_util::task::TaskTracker::new(),
            args,
            key,
            http,
            content,
            count,
            give_up,
            prefix,
            next: AtomicU64::new(0),
            started: Instant::now(),
            report: Mutex::default(),
            ids: Mutex::default(),
        })
    }

    /// Sends all events, and shows the progress.
    async fn send(self: &Arc<Self>) -> Result<(), CommandError> {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..self.args.concurrency {
            let sender = Arc::clone(self);
            calls.spawn(async move { sender.work().await });
        }
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                ended = calls.join_next() => match ended {
                    None => break,
                    Some(ended) => ended?,
                },
                _ = tick.tick() => output::progress(&self.progress()),
            }
        }
        self.repeats.close();
        self.repeats.wait().await;
        output::progress_done();
        Ok(())
    }

    /// The id of the event with this number.
    fn id(&self, number: u64) -> String {
        format!("{}{number:016}", self.prefix)
    }

    /// Sends events until none are left. Each event has its own planned time, so a slow response does not delay other
    /// events.
    async fn work(self: &Arc<Self>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count {
                return;
            }
            if self.args.rate > 0 {
                let due = Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / self.args.rate;
                tokio::time::sleep_until(self.started + due).await;
            }
            self.event(shuffled(number, self.count, &self.order)).await;
        }
    }

    async fn event(self: &Arc<Self>, number: u64) {
        let id = self.id(number);
        let Some(body) = self.content.body(&id, number, self.args.people) else { return };
        let acknowledged = self.deliver(&body).await;
        let twice = acknowledged && number % 100 < u64::from(self.args.duplicates);
        if twice {
            let (sender, body) = (Arc::clone(self), body.clone().into_owned());
            let wait = self.args.repeat_within.0.mul_f64(fastrand::f64());
            self.repeats.spawn(async move {
                tokio::time::sleep(wait).await;
                sender.deliver(&body).await;
            });
        }
        let mut report = self.report();
        report.events += 1;
        report.acknowledged += u64::from(acknowledged);
        report.duplicates += u64::from(twice);
        drop(report);
        if acknowledged && self.args.ids_to.is_some() {
            let id = match &self.content {
                Content::Body(body) => content::event_id(body),
                Content::Samples(_) => Some(id),
            };
            self.ids.lock().unwrap_or_else(PoisonError::into_inner).extend(id);
        }
    }

    /// Sends an event until it gets a 2xx or the time is over. Each attempt has a new signature. Returns true for a
    /// 2xx.
    async fn deliver(&self, body: &[u8]) -> bool {
        let give_up = after(Instant::now(), self.give_up);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            let started = Instant::now();
            let timestamp = (service::unix_millis() / 1000).to_string();
            let answer = self
                .http
                .post(self.args.url.clone())
                .header("content-type", "application/json")
                .header("x-cio-timestamp", &timestamp)
                .header("x-cio-signature", sign(&self.key, &timestamp, body))
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

    /// Counts a response. Returns true for a 2xx.
    fn count_answer(&self, status: Option<reqwest::StatusCode>, took: Duration) -> bool {
        let mut report = self.report();
        let label = status.map_or_else(|| "error".to_owned(), |status| status.as_u16().to_string());
        *report.answers.entry(label).or_default() += 1;
        let acknowledged = status.is_some_and(|status| status.is_success());
        if acknowledged {
            report.slowest_ms = report.slowest_ms.max(took.as_millis());
        }
        acknowledged
    }

    fn progress(&self) -> String {
        let report = self.report();
        format!("acknowledged {} of {}  answers {:?}", report.acknowledged, self.count, report.answers)
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the file of ids. The verdict is good if every event was acknowledged.
    fn finish(&self) -> Result<Verdict, CommandError> {
        if let Some(path) = &self.args.ids_to {
            let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
            for id in ids.iter() {
                writeln!(file, "{id}")?;
            }
            file.flush()?;
        }
        let mut report = self.report();
        report.seconds = self.started.elapsed().as_secs_f64();
        Ok(if report.is_complete() { Verdict::Good } else { Verdict::Problem })
    }

    /// The report as text. For a single event, it includes the event id.
    fn summary(&self) -> String {
        let id = match &self.content {
            Content::Body(body) => content::event_id(body),
            Content::Samples(_) => Some(self.id(0)),
        };
        let id = id.filter(|_| self.count == 1).map(|id| format!("; event {}", printable(&id))).unwrap_or_default();
        format!("{}{id}", self.report().text())
    }

    /// The report as JSON; with `--follow`, it includes the history of the event.
    fn sent_as_json(&self, followed: Option<&[Timeline]>) -> Value {
        let report = &*self.report();
        match followed {
            Some(timelines) => {
                let events: Vec<Value> = timelines.iter().map(text::json).collect();
                json!({"version": 1, "sent": report, "events": events})
            }
            None => output::versioned(json!(report)),
        }
    }

    /// Prints the outcome of the followed event.
    fn show_followed(&self, followed: &Followed, longest: Duration, json: bool) -> Verdict {
        if json {
            output::json(&self.sent_as_json(Some(&followed.timelines)));
        } else {
            followed.timelines.iter().map(text::summary).for_each(|line| output::line(&line));
        }
        match followed.end {
            Some(End::Accepted) => Verdict::Good,
            Some(End::NotAccepted) => Verdict::Problem,
            None => {
                let seconds = longest.as_secs_f64();
                output::problem(&format!(
                    "not ended after {seconds} s. `customerio-aep find ID --wait 5m` looks again, and `customerio-aep status` shows what the services wait for"
                ));
                Verdict::Unanswered
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;
    use crate::printable::tests::{HOSTILE, is_safe};

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        send: SendArgs,
    }

    fn args(given: &[&str]) -> SendArgs {
        let always = ["send", "--signing-keys", "key", "--kafka-bootstrap-servers", "a:1"];
        let matches = <Command as clap::CommandFactory>::command().get_matches_from([&always, given].concat());
        Command::from_arg_matches(&matches).unwrap().send
    }

    #[test]
    fn the_default_count_is_one_for_a_body_a_followed_event_or_each_named_event() {
        let count = |given: &[&str]| args(given).count();
        assert_eq!(count(&[]), 100);
        assert_eq!(count(&["--event", "email_opened"]), 1);
        assert_eq!(count(&["--event", "email_opened,sms_sent"]), 2);
        assert_eq!(count(&["--body", "-"]), 1);
        assert_eq!(count(&["--follow"]), 1);
        assert_eq!(count(&["--event", "email_opened", "--count", "7"]), 7);
        assert_eq!(args(&["--event", "email_opened"]).give_up(), Duration::from_secs(10));
        assert_eq!(args(&[]).give_up(), Duration::from_secs(120));
    }

    #[test]
    fn control_characters_in_the_event_id_of_a_body_are_replaced() {
        let body = serde_json::json!({ "event_id": HOSTILE }).to_string();
        let mut sender = Sender::new(args(&["--event", "email_opened"])).unwrap();
        sender.content = Content::Body(body.into_bytes());
        let text = sender.summary();
        assert!(text.contains("; event a [2J") && is_safe(&text), "{text:?}");
    }

    #[test]
    fn the_json_of_an_unacknowledged_followed_event_has_the_report_and_an_empty_list_of_events() {
        let sender = Sender::new(args(&["--event", "email_opened"])).unwrap();
        let (alone, followed) = (sender.sent_as_json(None), sender.sent_as_json(Some(&[])));
        assert_eq!((&alone["version"], &alone["acknowledged"]), (&1.into(), &0.into()));
        assert_eq!((&followed["version"], &followed["events"]), (&1.into(), &json!([])));
        assert_eq!(output::versioned(followed["sent"].clone()), alone);
    }

    #[test]
    fn a_missing_or_blank_signing_key_is_a_usage_error() {
        for keys in [Some(" \n\t".into()), None] {
            let blank = SendArgs { signing_keys: keys, ..args(&[]) };
            let error = Sender::new(blank).err().unwrap();
            assert!(error.is::<UsageError>() && error.to_string().contains("CUSTOMERIO_SIGNING_KEYS"), "{error}");
        }
    }

    #[test]
    fn each_shuffled_event_is_sent_once_and_within_its_group() {
        let order = [2, 0, 3, 1];
        let sent: Vec<_> = (0..10).map(|place| shuffled(place, 10, &order)).collect();
        assert_eq!(sent, [2, 0, 3, 1, 6, 4, 7, 5, 8, 9]);
        assert_eq!((0..5).map(|place| shuffled(place, 5, &[0])).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
}
