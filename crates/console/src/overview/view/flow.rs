//! The stations of the pipeline, and the current numbers with sparklines of the last hour.

use operator::status::{Asked, Backlog, EventAge, Health, OLDEST_SECONDS, Status, WebhookState};

use super::parts::{Chart, State, Station, asked_state};
use crate::format;
use crate::overview::hour::Sample;
use crate::overview::spark::Spark;

/// Target for the 99th percentile of the event age when Platform accepts the event, in seconds.
const TARGET_P99: f64 = 2.0;

pub(super) fn stations(status: &Status, now: i64) -> Vec<Station> {
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
        Some(oldest) if oldest > OLDEST_SECONDS => State::Bad,
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

pub(super) fn charts(status: &Status, samples: &[Sample], now: i64) -> Vec<Chart> {
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
