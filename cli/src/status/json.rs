//! Formats the status as JSON.

use operator::rfc3339;
use operator::status::{Asked, Backlog, Health, Hold, Rates, ServiceState, Severity, Status, Wait, WebhookState};
use serde_json::{Value, json};

pub(super) fn of(status: &Status) -> Value {
    let is_healthy = status.worst().is_none_or(|worst| worst == Severity::Note);
    json!({
        "version": 1,
        "at": rfc3339(status.at),
        "healthy": is_healthy,
        "findings": status.findings.iter().map(|finding| json!({
            "severity": finding.severity.as_str(),
            "code": finding.code,
            "what": finding.what,
            "next": finding.next,
        })).collect::<Vec<_>>(),
        "services": status.services.iter().map(service).collect::<Vec<_>>(),
        "perSecond": rates(&status.rates),
        "waiting": {"raw": backlog(&status.raw), "typed": backlog(&status.typed)},
        "eventAge": status.event_age.map(|age| json!({
            "p50Seconds": age.p50,
            "p99Seconds": age.p99,
            "events": whole(age.events),
            "overSeconds": age.seconds,
        })),
        "holds": holds(status),
        "waits": waits(status),
        "unreadPartitions": status.unread.iter().map(|(topic, partitions)| json!({
            "topic": topic,
            "partitions": partitions,
        })).collect::<Vec<_>>(),
        "expiredRecords": whole(status.expired),
        "deadLetters": asked(&status.dead_letters, |groups| groups.iter().map(|group| json!({
            "stage": group.stage.as_str(),
            "code": group.code,
            "unresolved": group.unresolved,
            "oldest": rfc3339(group.oldest),
            "newest": rfc3339(group.newest),
        })).collect()),
        "lastWebhooks": asked(&status.last_webhooks, |last| last.iter().map(|last| json!({
            "source": last.source,
            "receivedAt": last.received_at.map(rfc3339),
        })).collect()),
        "flow": asked(&status.flow, |flow| json!({
            "id": flow.id,
            "state": flow.state,
            "lastRun": flow.last_run.as_ref().map(|run| json!({
                "status": run.status,
                "startedAt": run.started_at.map(rfc3339),
                "received": run.received,
                "ingested": run.ingested,
                "failed": run.failed,
            })),
        })),
        "webhooks": asked(&status.webhooks, |webhooks| webhooks.iter().map(webhook).collect()),
    })
}

fn webhook(webhook: &WebhookState) -> Value {
    let source = &webhook.source;
    match &webhook.is_enabled {
        Asked::NotConfigured(what) => json!({"source": source, "notConfigured": what}),
        Asked::Failed(error) => json!({"source": source, "error": error}),
        Asked::Answer(is_enabled) => json!({
            "source": source,
            "exists": is_enabled.is_some(),
            "enabled": is_enabled.unwrap_or(false),
            "paused": webhook.is_paused,
        }),
    }
}

fn holds(status: &Status) -> Vec<Value> {
    let hold = |hold: &Hold| {
        let since = hold.since.map(rfc3339);
        json!({"service": hold.service, "address": hold.address, "reason": hold.reason, "since": since})
    };
    status.holds.iter().map(hold).collect()
}

fn waits(status: &Status) -> Vec<Value> {
    let wait = |wait: &Wait| json!({"service": wait.service, "address": wait.address, "reason": wait.reason});
    status.waits.iter().map(wait).collect()
}

/// Converts a count from a metric, which is a floating-point number, to an integer.
fn whole(count: f64) -> Option<u64> {
    format!("{count:.0}").parse().ok()
}

/// The result of a query, or the reason why there is none.
fn asked<T>(asked: &Asked<T>, answer: impl Fn(&T) -> Value) -> Value {
    match asked {
        Asked::NotConfigured(what) => json!({"notConfigured": what}),
        Asked::Failed(error) => json!({"error": error}),
        Asked::Answer(found) => json!({"answer": answer(found)}),
    }
}

fn service(service: &ServiceState) -> Value {
    let (health, reason) = match &service.health {
        Health::Ready => ("ready", None),
        Health::NotReady(reason) => ("not_ready", Some(reason)),
        Health::Unanswered(reason) => ("unanswered", Some(reason)),
    };
    json!({
        "address": service.address,
        "name": service.name,
        "version": service.version,
        "health": health,
        "reason": reason,
    })
}

fn rates(rates: &Rates) -> Value {
    json!({
        "received": rates.received,
        "refused": rates.refused,
        "mapped": rates.mapped,
        "duplicates": rates.duplicates,
        "accepted": rates.accepted,
        "retried": rates.retried,
        "deadLetters": rates.dead_letters,
    })
}

fn backlog(backlog: &Backlog) -> Value {
    json!({"records": backlog.records.map(whole), "oldestSeconds": backlog.oldest_seconds})
}
