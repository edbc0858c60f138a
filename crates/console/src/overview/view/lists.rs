//! The lists of the overview: dead letters, sources, flow runs and services.

use operator::rfc3339;
use operator::status::{Asked, Health, LastRun, Status};

use super::parts::{DeadLetterRow, List, RunRow, ServiceRow, SourceRow, State, asked_state};
use crate::format::{self, Moment};
use crate::links;

fn list<A, T>(asked: &Asked<A>, empty: &str, rows: impl FnOnce(&A) -> Vec<T>) -> List<T> {
    match asked {
        Asked::Answer(answer) => List { rows: rows(answer), instead: empty.to_owned() },
        Asked::NotConfigured(what) => List { rows: Vec::new(), instead: format!("Not asked: {what}.") },
        Asked::Failed(error) => List { rows: Vec::new(), instead: format!("No answer: {error}.") },
    }
}

pub(super) fn dead_letters(status: &Status) -> List<DeadLetterRow> {
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

pub(super) fn sources(status: &Status, now: i64) -> List<SourceRow> {
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

pub(super) fn runs(status: &Status) -> List<RunRow> {
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

pub(super) fn services(status: &Status) -> Vec<ServiceRow> {
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
