//! What the page shows of a status: a pure function.

use operator::rfc3339;
use operator::status::{Asked, Backlog, EventAge, Finding, Health, LastRun, Severity, Status, WebhookState};

use super::hour::Sample;
use super::spark::Spark;
use crate::format::{self, Moment};
use crate::links;

/// The target of the age of events when Platform accepts them, of 99 in 100: seconds.
const TARGET_P99: f64 = 2.0;

/// How something is. A sign and a word say it as well as the colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Good,
    Unknown,
    Warning,
    Bad,
}

impl State {
    /// The ending of a class.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "none",
            Self::Warning => "warn",
            Self::Bad => "bad",
        }
    }

    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Unknown => "?",
            Self::Warning => "!",
            Self::Bad => "✕",
        }
    }
}

/// The sentence on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Headline {
    pub(super) state: State,
    pub(super) title: &'static str,
    pub(super) sentence: String,
    /// What to do first.
    pub(super) first: Option<String>,
    pub(super) link: Option<Link>,
}

/// Where a number or a finding leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) href: &'static str,
    pub(super) text: &'static str,
}

/// A station of the flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Station {
    /// `outside`, `service` or `topic`, for its class.
    pub(super) kind: &'static str,
    pub(super) name: &'static str,
    pub(super) href: &'static str,
    pub(super) state: State,
    /// The state in words.
    pub(super) word: String,
    /// The main number, and what it counts.
    pub(super) number: String,
    pub(super) unit: &'static str,
    pub(super) notes: Vec<String>,
}

/// A number with its line of the last hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) label: &'static str,
    pub(super) href: &'static str,
    pub(super) value: String,
    pub(super) note: String,
    pub(super) spark: Spark,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FindingRow {
    pub(super) state: State,
    pub(super) word: &'static str,
    pub(super) what: String,
    pub(super) next: String,
    pub(super) link: Option<Link>,
}

/// The unresolved dead letters of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetterRow {
    pub(super) stage: String,
    pub(super) code: String,
    pub(super) href: String,
    pub(super) count: String,
    pub(super) oldest: Moment,
    pub(super) newest: Moment,
}

/// A source, and its webhook in Customer.io.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceRow {
    pub(super) source: String,
    pub(super) last: Option<Moment>,
    pub(super) ago: String,
    pub(super) state: State,
    pub(super) webhook: String,
}

/// An hour of the flow in Platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunRow {
    pub(super) began: Option<Moment>,
    pub(super) state: State,
    pub(super) status: String,
    pub(super) received: String,
    pub(super) ingested: String,
    pub(super) failed: String,
}

/// A list, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List<T> {
    pub(super) rows: Vec<T>,
    /// A sentence in place of rows.
    pub(super) instead: String,
}

/// An instance of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceRow {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) version: String,
    pub(super) state: State,
    pub(super) health: String,
}

/// Everything on the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) at: Option<Moment>,
    pub(super) headline: Headline,
    pub(super) findings: Vec<FindingRow>,
    pub(super) stations: Vec<Station>,
    pub(super) charts: Vec<Chart>,
    pub(super) dead_letters: List<DeadLetterRow>,
    pub(super) sources: List<SourceRow>,
    pub(super) runs: List<RunRow>,
    pub(super) services: Vec<ServiceRow>,
}

const CONNECT: Link = Link { href: "/connect", text: "Open Connect" };

impl View {
    pub(super) fn of(status: Option<&Status>, samples: &[Sample], now: i64) -> Self {
        let Some(status) = status else { return Self::before_the_first_answer() };
        Self {
            at: Some(Moment::of_millis(status.at)),
            headline: headline(status),
            findings: status.findings.iter().map(finding).collect(),
            stations: stations(status, now),
            charts: charts(status, samples, now),
            dead_letters: dead_letters(status),
            sources: sources(status, now),
            runs: runs(status),
            services: services(status),
        }
    }

    fn before_the_first_answer() -> Self {
        let headline = Headline {
            state: State::Unknown,
            title: "Asking the services",
            sentence: "The console has just started. The numbers come in a few seconds.".to_owned(),
            first: None,
            link: None,
        };
        let empty = || "not asked yet".to_owned();
        Self {
            at: None,
            headline,
            findings: Vec::new(),
            stations: Vec::new(),
            charts: Vec::new(),
            dead_letters: List { rows: Vec::new(), instead: empty() },
            sources: List { rows: Vec::new(), instead: empty() },
            runs: List { rows: Vec::new(), instead: empty() },
            services: Vec::new(),
        }
    }
}

/// Whether nothing is set up as far as anyone can see: then the first step is to connect.
fn is_new(status: &Status) -> bool {
    let no_service = status.services.iter().all(|service| service.name.is_none());
    let no_topics = matches!(status.dead_letters, Asked::NotConfigured(_)) || !status.missing_topics.is_empty();
    no_service && no_topics
}

fn headline(status: &Status) -> Headline {
    if is_new(status) {
        return Headline {
            state: State::Unknown,
            title: "Nothing is connected yet",
            sentence: "No service answers, and there are no topics.".to_owned(),
            first: Some("Connect shows what is needed, what is missing, and who can do it.".to_owned()),
            link: Some(CONNECT),
        };
    }
    match status.findings.first() {
        Some(worst) if worst.severity >= Severity::Unanswered => {
            let (state, title) = match worst.severity {
                Severity::Bad => (State::Bad, "Something needs a person"),
                Severity::Unanswered | Severity::Note => (State::Warning, "Something cannot be seen"),
            };
            let sentence = sentence(&worst.what);
            Headline { state, title, sentence, first: Some(sentence_of_step(&worst.next)), link: link(worst.code) }
        }
        _ => Headline {
            state: State::Good,
            title: "All is well",
            sentence: all_is_well(status),
            first: None,
            link: None,
        },
    }
}

fn all_is_well(status: &Status) -> String {
    match &status.event_age {
        Some(age) => format!(
            "Every service is ready, nothing is on hold, and Platform accepts 99 of 100 events within {}.",
            format::seconds(age.p99)
        ),
        None => "Every service is ready and nothing is on hold. No event has been accepted yet.".to_owned(),
    }
}

/// A text of the status as a sentence.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first: String = chars.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", chars.as_str().trim_end_matches('.'))
}

/// A next step as a sentence; one that begins with a command stays as it is.
fn sentence_of_step(step: &str) -> String {
    if step.starts_with('`') { format!("Run {step}.") } else { sentence(step) }
}

fn finding(finding: &Finding) -> FindingRow {
    let (state, word) = match finding.severity {
        Severity::Bad => (State::Bad, "problem"),
        Severity::Unanswered => (State::Warning, "no answer"),
        Severity::Note => (State::Unknown, "note"),
    };
    FindingRow {
        state,
        word,
        what: sentence(&finding.what),
        next: sentence_of_step(&finding.next),
        link: link(finding.code),
    }
}

/// The screen for a finding.
fn link(code: &str) -> Option<Link> {
    match code {
        "dead_letters" => Some(Link { href: "/dead-letters", text: "Open Dead letters" }),
        "expired" => Some(Link { href: "/proof", text: "Open Proof" }),
        "topic_missing" | "platform" | "customerio" | "webhook_disabled" | "webhook_missing" | "flow_disabled" => {
            Some(CONNECT)
        }
        _ => None,
    }
}

fn stations(status: &Status, now: i64) -> Vec<Station> {
    let rates = &status.rates;
    let (customerio, webhook_word) = webhooks(status);
    let (platform, flow_word) = flow(status);
    let dead = |name: &str| format!("{} {name}", format::rate(rates.dead_letters));
    vec![
        Station {
            kind: "outside",
            name: "Customer.io",
            href: "/connect",
            state: customerio,
            word: webhook_word,
            number: last_webhook(status, now),
            unit: "last webhook",
            notes: Vec::new(),
        },
        service(
            status,
            "ingest-gateway",
            "Gateway",
            format::rate(rates.received),
            "received",
            vec![format!("{} refused", format::rate(rates.refused))],
        ),
        topic("Raw topic", &status.raw),
        service(
            status,
            "transformer",
            "Transformer",
            format::rate(rates.mapped),
            "mapped",
            vec![format!("{} duplicates", format::rate(rates.duplicates)), dead("dead letters")],
        ),
        topic("Typed topic", &status.typed),
        service(
            status,
            "sink",
            "Sink",
            format::rate(rates.accepted),
            "accepted",
            vec![format!("{} sent again", format::rate(rates.retried))],
        ),
        Station {
            kind: "outside",
            name: "Platform",
            href: "/connect",
            state: platform,
            word: flow_word,
            number: status.event_age.map_or_else(|| format::UNKNOWN.to_owned(), |age| format::seconds(age.p50)),
            unit: "age when accepted, median",
            notes: status
                .event_age
                .map(|age| format!("{} for 99 of 100", format::seconds(age.p99)))
                .into_iter()
                .collect(),
        },
    ]
}

fn service(
    status: &Status,
    name: &str,
    title: &'static str,
    number: String,
    unit: &'static str,
    mut notes: Vec<String>,
) -> Station {
    let instances: Vec<_> = status.services.iter().filter(|service| service.name.as_deref() == Some(name)).collect();
    let ready = instances.iter().filter(|service| service.health == Health::Ready).count();
    let is_held = status.holds.iter().any(|hold| hold.service == name);
    let is_waiting = status.waits.iter().any(|wait| wait.service == name && !wait.is_planned());
    let (state, word) = match (ready, instances.len()) {
        (_, 0) => (State::Unknown, "no answer".to_owned()),
        _ if is_held => (State::Bad, "on hold".to_owned()),
        _ if is_waiting => (State::Warning, "waiting".to_owned()),
        (ready, all) if ready < all => (State::Bad, format!("{ready} of {all} ready")),
        (1, _) => (State::Good, "ready".to_owned()),
        (ready, _) => (State::Good, format!("{ready} ready")),
    };
    notes.extend(
        status.holds.iter().filter(|hold| hold.service == name).map(|hold| format!("on hold: {}", hold.reason)),
    );
    notes.extend(status.waits.iter().filter(|wait| wait.service == name).map(|wait| format!("waits: {}", wait.reason)));
    Station { kind: "service", name: title, href: "/events", state, word, number, unit, notes }
}

fn topic(name: &'static str, backlog: &Backlog) -> Station {
    let state = match backlog.oldest_seconds {
        None => State::Unknown,
        Some(oldest) if oldest > 300.0 => State::Bad,
        Some(oldest) if oldest > 30.0 => State::Warning,
        Some(_) => State::Good,
    };
    let word = match backlog.oldest_seconds {
        None => "not known".to_owned(),
        Some(oldest) if oldest < 2.0 => "oldest under 2 s".to_owned(),
        Some(oldest) => format!("oldest {}", format::seconds(oldest)),
    };
    let number = format::measured(backlog.records);
    Station { kind: "topic", name, href: "/events", state, word, number, unit: "waiting", notes: Vec::new() }
}

fn last_webhook(status: &Status, now: i64) -> String {
    let Asked::Answer(last) = &status.last_webhooks else { return format::UNKNOWN.to_owned() };
    let newest = last.iter().filter_map(|last| last.received_at).max();
    newest.map_or_else(|| "none".to_owned(), |at| format::ago(at, now))
}

fn webhooks(status: &Status) -> (State, String) {
    let Asked::Answer(webhooks) = &status.webhooks else { return asked_state(&status.webhooks) };
    let is = |webhook: &&WebhookState, state: Option<bool>| webhook.is_enabled == Asked::Answer(state);
    let count = |state| webhooks.iter().filter(|webhook| is(webhook, state)).count();
    match (count(Some(true)), count(Some(false)) + count(None), webhooks.len()) {
        (enabled, 0, all) if enabled == all && all > 0 => (State::Good, "webhook enabled".to_owned()),
        (_, 0, _) => (State::Unknown, "webhook not known".to_owned()),
        (_, off, all) => (State::Bad, format!("{off} of {all} webhooks off")),
    }
}

fn flow(status: &Status) -> (State, String) {
    let Asked::Answer(flow) = &status.flow else { return asked_state(&status.flow) };
    match &flow.last_run {
        _ if !flow.is_enabled() => (State::Bad, "flow not enabled".to_owned()),
        Some(run) if run.has_failed() => (State::Bad, "last run failed".to_owned()),
        _ => (State::Good, "flow enabled".to_owned()),
    }
}

fn asked_state<T>(asked: &Asked<T>) -> (State, String) {
    match asked {
        Asked::Failed(_) => (State::Warning, "no answer".to_owned()),
        Asked::NotConfigured(_) | Asked::Answer(_) => (State::Unknown, "not asked".to_owned()),
    }
}

fn charts(status: &Status, samples: &[Sample], now: i64) -> Vec<Chart> {
    let per_second = |value: f64| format::rate(Some(value));
    let spark =
        |name, value: fn(&Sample) -> Option<f64>, shown: fn(f64) -> String| Spark::of(name, samples, now, value, shown);
    let unresolved = match &status.dead_letters {
        Asked::Answer(groups) => format::count(groups.iter().map(|group| group.unresolved).sum()),
        Asked::NotConfigured(_) | Asked::Failed(_) => format::UNKNOWN.to_owned(),
    };
    let age = status.event_age;
    let waiting = status.raw.records.or(status.typed.records);
    let waiting = waiting.map(|_| status.raw.records.unwrap_or(0.0) + status.typed.records.unwrap_or(0.0));
    vec![
        Chart {
            id: "age",
            label: "Event age, 99 of 100",
            href: "/events",
            value: age.map_or_else(|| format::UNKNOWN.to_owned(), |age| format::seconds(age.p99)),
            note: age.map_or_else(|| "no event accepted yet".to_owned(), |age| age_note(&age)),
            spark: spark("Event age of 99 in 100", |sample| sample.age_p99, format::seconds),
        },
        Chart {
            id: "received",
            label: "Received",
            href: "/events",
            value: format::rate(status.rates.received),
            note: "webhooks stored by the gateway".to_owned(),
            spark: spark("Webhooks received per second", |sample| sample.received, per_second),
        },
        Chart {
            id: "accepted",
            label: "Accepted",
            href: "/events?outcome=accepted",
            value: format::rate(status.rates.accepted),
            note: "events accepted by Platform".to_owned(),
            spark: spark("Events accepted per second", |sample| sample.accepted, per_second),
        },
        Chart {
            id: "waiting",
            label: "Waiting",
            href: "/events",
            value: format::measured(waiting),
            note: "records without an outcome".to_owned(),
            spark: spark("Records waiting", |sample| sample.waiting, |value| format::measured(Some(value))),
        },
        Chart {
            id: "dead-letters",
            label: "Unresolved dead letters",
            href: "/dead-letters",
            value: unresolved,
            note: format!("{} new", format::rate(status.rates.dead_letters)),
            spark: spark("Dead letters per second", |sample| sample.dead_letters, per_second),
        },
    ]
}

fn age_note(age: &EventAge) -> String {
    let target = if age.p99 <= TARGET_P99 { "within" } else { "above" };
    format!(
        "{target} the target of {}; median {}, {} events {}",
        format::seconds(TARGET_P99),
        format::seconds(age.p50),
        format::count(format::whole(age.events)),
        age.seconds.map_or_else(|| "since the start".to_owned(), |over| format!("in {}", format::seconds(over))),
    )
}

fn list<A, T>(asked: &Asked<A>, empty: &str, rows: impl FnOnce(&A) -> Vec<T>) -> List<T> {
    match asked {
        Asked::Answer(answer) => List { rows: rows(answer), instead: empty.to_owned() },
        Asked::NotConfigured(what) => List { rows: Vec::new(), instead: format!("Not asked: {what}.") },
        Asked::Failed(error) => List { rows: Vec::new(), instead: format!("No answer: {error}.") },
    }
}

fn dead_letters(status: &Status) -> List<DeadLetterRow> {
    list(&status.dead_letters, "There is no unresolved dead letter.", |groups| {
        let row = |group: &operator::dead_letters::Group| {
            let (stage, code) = (group.stage.to_string(), group.code.clone());
            DeadLetterRow {
                href: links::dead_letters(&stage, &code),
                stage,
                code,
                count: format::count(group.unresolved),
                oldest: Moment::of_millis(group.oldest),
                newest: Moment::of_millis(group.newest),
            }
        };
        groups.iter().filter(|group| group.unresolved > 0).map(row).collect()
    })
}

fn sources(status: &Status, now: i64) -> List<SourceRow> {
    let webhook = |source: &str| {
        let Asked::Answer(webhooks) = &status.webhooks else { return asked_state(&status.webhooks) };
        let found = webhooks.iter().find(|webhook| webhook.source == source);
        match found.map(|webhook| &webhook.is_enabled) {
            Some(Asked::Answer(Some(true))) => (State::Good, "enabled".to_owned()),
            Some(Asked::Answer(Some(false))) => (State::Bad, "disabled".to_owned()),
            Some(Asked::Answer(None)) => (State::Bad, "missing".to_owned()),
            Some(Asked::Failed(_)) => (State::Warning, "no answer".to_owned()),
            Some(Asked::NotConfigured(_)) | None => (State::Unknown, "not asked".to_owned()),
        }
    };
    list(&status.last_webhooks, "No webhook has arrived yet.", |last| {
        let row = |last: &operator::status::LastWebhook| {
            let (state, webhook) = webhook(&last.source);
            SourceRow {
                source: last.source.clone(),
                last: last.received_at.map(Moment::of_millis),
                ago: last.received_at.map_or_else(|| "none among the newest".to_owned(), |at| format::ago(at, now)),
                state,
                webhook,
            }
        };
        last.iter().map(row).collect()
    })
}

fn runs(status: &Status) -> List<RunRow> {
    let number = |number: Option<i64>| match number.and_then(|number| u64::try_from(number).ok()) {
        Some(number) => format::count(number),
        None => format::UNKNOWN.to_owned(),
    };
    let row = |run: &LastRun| RunRow {
        began: run.started_at.map(Moment::of_millis),
        state: match run.status.as_deref() {
            _ if run.has_failed() => State::Bad,
            Some("success") => State::Good,
            _ => State::Unknown,
        },
        status: run.status.clone().unwrap_or_else(|| "not known".to_owned()),
        received: number(run.received),
        ingested: number(run.ingested),
        failed: number(run.failed),
    };
    list(&status.flow, "The flow has no run yet; Platform makes one for each hour with events.", |flow| {
        flow.runs.iter().map(row).collect()
    })
}

fn services(status: &Status) -> Vec<ServiceRow> {
    let row = |service: &operator::status::ServiceState| {
        let (state, health) = match &service.health {
            Health::Ready => (State::Good, "ready".to_owned()),
            Health::NotReady(reason) => (State::Bad, format!("not ready: {reason}")),
            Health::Unanswered(error) => (State::Warning, format!("no answer: {error}")),
        };
        ServiceRow {
            name: service.name.clone().unwrap_or_else(|| "not known".to_owned()),
            address: service.address.clone(),
            version: service.version.clone().unwrap_or_else(|| format::UNKNOWN.to_owned()),
            state,
            health,
        }
    };
    let mut rows: Vec<ServiceRow> = status.services.iter().map(row).collect();
    let hold = |hold: &operator::status::Hold| {
        let since = hold.since.map(|since| format!(" since {}", rfc3339(since))).unwrap_or_default();
        (hold.address.clone(), format!("on hold{since}: {}", hold.reason))
    };
    for (address, text) in status.holds.iter().map(hold) {
        if let Some(row) = rows.iter_mut().find(|row| row.address == address) {
            (row.state, row.health) = (State::Bad, text);
        }
    }
    rows
}
