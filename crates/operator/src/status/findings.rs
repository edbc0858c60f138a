//! Lists what a person should know about a status.

use super::asked::Asked;
use super::outside::WebhookState;
use super::services::Health;
use super::severity::{Finding, Severity};
use super::traffic::{GATEWAY, SINK, TRANSFORMER};
use super::value::Status;

/// Maximum time that the oldest record may wait, in seconds. The alert `CustomerioOldestWaiting` has the same limit.
pub const OLDEST: f64 = 300.0;

/// Returns the findings of a status, the most severe ones first.
pub(super) fn of(status: &Status) -> Vec<Finding> {
    let mut found = Vec::new();
    services(status, &mut found);
    holds(status, &mut found);
    records(status, &mut found);
    flow(status, &mut found);
    webhooks(status, &mut found);
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

fn services(status: &Status, found: &mut Vec<Finding>) {
    let mut add = |severity, code, what: String, next: String| found.push(Finding { severity, code, what, next });
    for service in &status.services {
        let (address, name) = (&service.address, service.name.as_deref().unwrap_or("service"));
        match &service.health {
            Health::Ready => {}
            Health::NotReady(reason) => add(
                Severity::Bad,
                "not_ready",
                format!("{name} at {address} is not ready: {reason}"),
                format!("read the log of {name}; docs/runbooks.md describes each reason"),
            ),
            Health::Unanswered(error) => add(
                Severity::Unanswered,
                "service_unanswered",
                format!("the service at {address} could not be queried: {error}"),
                "check that it runs, and that CONSOLE_SERVICES has its ADMIN_LISTEN".to_owned(),
            ),
        }
    }
    // A service that did not respond has no name, so it may be the one that seems to be missing.
    let is_complete = status.services.iter().all(|service| service.name.is_some());
    for name in [GATEWAY, TRANSFORMER, SINK] {
        if is_complete && !status.services.iter().any(|service| service.name.as_deref() == Some(name)) {
            add(
                Severity::Unanswered,
                "service_missing",
                format!("no {name} is among CONSOLE_SERVICES"),
                format!("add the admin address of {name} to CONSOLE_SERVICES"),
            );
        }
    }
}

/// Adds a finding for each hold, for each wait, and for each file whose current content a service cannot use.
fn holds(status: &Status, found: &mut Vec<Finding>) {
    let mut add = |severity, code, what: String, next: String| found.push(Finding { severity, code, what, next });
    for hold in &status.holds {
        let since = hold.since.map(|since| format!(" since {}", crate::rfc3339(since))).unwrap_or_default();
        add(
            Severity::Bad,
            "held",
            format!("{} at {} holds records{since}: {}", hold.service, hold.address, hold.reason),
            "a person has to act; docs/runbooks.md describes each reason, and the log names the cause".to_owned(),
        );
    }
    for wait in &status.waits {
        if wait.is_planned() {
            add(
                Severity::Note,
                "planned_wait",
                format!("{} at {} waits for the time in PLATFORM_NOT_BEFORE", wait.service, wait.address),
                "nothing to do: Kafka keeps the records, and the service continues at that time".to_owned(),
            );
            continue;
        }
        add(
            Severity::Bad,
            "waiting",
            format!("{} at {} waits for an external system: {}", wait.service, wait.address, wait.reason),
            format!("the log of {} names the activity, the cause and the remedy", wait.service),
        );
    }
    for (address, files) in &status.reload_broken {
        add(
            Severity::Bad,
            "reload_broken",
            format!("the service at {address} cannot use the current {files} file and keeps the content before"),
            "correct the file; the log names what is wrong with it".to_owned(),
        );
    }
}

fn records(status: &Status, found: &mut Vec<Finding>) {
    let mut add = |severity, code, what: String, next: String| found.push(Finding { severity, code, what, next });
    let waiting = [(TRANSFORMER, &status.raw), (SINK, &status.typed)];
    let is_planned = |service: &str| status.waits.iter().any(|wait| wait.service == service && wait.is_planned());
    for (service, backlog) in waiting.into_iter().filter(|(service, _)| !is_planned(service)) {
        if let Some(oldest) = backlog.oldest_seconds.filter(|&oldest| oldest > OLDEST) {
            add(
                Severity::Bad,
                "oldest_waiting",
                format!("the oldest record that waits for the {service} was received {oldest:.0} s ago"),
                "see what is held or waited for; otherwise start more instances".to_owned(),
            );
        }
    }
    for (topic, partitions) in &status.unread {
        add(
            Severity::Bad,
            "unread",
            format!("{partitions} partitions of {topic} have no reader among the services that answered"),
            "if it persists, check that every instance is in CONSOLE_SERVICES, and read their logs".to_owned(),
        );
    }
    if status.expired > 0.0 {
        add(
            Severity::Bad,
            "expired",
            format!("up to {} records expired before they were read: they are lost", status.expired),
            "run `customerio-aep audit`, and raise the retention of the topics".to_owned(),
        );
    }
    for topic in &status.missing_topics {
        add(
            Severity::Bad,
            "topic_missing",
            format!("the topic {topic} does not exist"),
            contract::remedy::CREATE_IT.to_owned(),
        );
    }
    match &status.dead_letters {
        Asked::Answer(groups) if !groups.is_empty() => {
            let count: u64 = groups.iter().map(|group| group.unresolved).sum();
            add(
                Severity::Note,
                "dead_letters",
                format!("{count} dead letters are unresolved"),
                "`customerio-aep dead-letters list`".to_owned(),
            );
        }
        Asked::Answer(_) | Asked::NotConfigured(_) => {}
        Asked::Failed(error) => add(
            Severity::Unanswered,
            "kafka",
            format!("Kafka could not be queried: {error}"),
            "check the brokers and KAFKA_BOOTSTRAP_SERVERS".to_owned(),
        ),
    }
}

fn flow(status: &Status, found: &mut Vec<Finding>) {
    let mut add = |severity, code, what: String, next: &str| {
        found.push(Finding { severity, code, what, next: next.to_owned() });
    };
    match &status.flow {
        Asked::Answer(flow) => {
            if !flow.is_enabled() {
                let state = flow.state.as_deref().unwrap_or("unknown");
                add(
                    Severity::Bad,
                    "flow_disabled",
                    format!("the flow {} in Platform is not enabled: {state}", flow.id),
                    "enable it in Platform's user interface, under Sources > Dataflows",
                );
            }
            if let Some(run) = flow.last_run.as_ref().filter(|run| run.has_failed()) {
                add(
                    Severity::Bad,
                    "flow_run_failed",
                    format!("the last run of the flow failed for {} records", run.failed.unwrap_or(0)),
                    "see the run in Platform's user interface, under Sources > Dataflows",
                );
            }
        }
        Asked::Failed(error) => add(
            Severity::Unanswered,
            "platform",
            format!("Platform could not be queried: {error}"),
            "run `customerio-aep check`, which says why and who can fix it",
        ),
        Asked::NotConfigured(_) => {}
    }
}

fn webhooks(status: &Status, found: &mut Vec<Finding>) {
    let check = || "run `customerio-aep check`, which says why and who can fix it".to_owned();
    match &status.webhooks {
        Asked::Answer(webhooks) => found.extend(webhooks.iter().filter_map(webhook)),
        Asked::Failed(error) => {
            let what = format!("Customer.io could not be queried: {error}");
            found.push(Finding { severity: Severity::Unanswered, code: "customerio", what, next: check() });
        }
        Asked::NotConfigured(_) => {}
    }
}

fn webhook(webhook: &WebhookState) -> Option<Finding> {
    let source = &webhook.source;
    let (severity, code, what, next) = match &webhook.is_enabled {
        Asked::NotConfigured(_) | Asked::Answer(Some(true)) => return None,
        Asked::Failed(error) => (
            Severity::Unanswered,
            "customerio",
            format!("Customer.io could not be queried for source {source}: {error}"),
            "run `customerio-aep check`, which says why and who can fix it".to_owned(),
        ),
        Asked::Answer(Some(false)) if webhook.is_paused => (
            Severity::Bad,
            "webhook_paused",
            format!("the reporting webhook of source {source} was enabled and is now disabled: no event is sent"),
            format!(
                "run `customerio-aep setup webhook resume --source {source}`, which enables it after a signed round trip; `setup apply` leaves it disabled"
            ),
        ),
        Asked::Answer(Some(false)) => (
            Severity::Bad,
            "webhook_disabled",
            format!("the reporting webhook of source {source} is not enabled yet: no event is sent"),
            "run `customerio-aep setup apply`, which enables it after a signed round trip".to_owned(),
        ),
        Asked::Answer(None) => (
            Severity::Bad,
            "webhook_missing",
            format!("Customer.io has no reporting webhook for the endpoint of source {source}"),
            "run `customerio-aep setup apply`, which creates it".to_owned(),
        ),
    };
    Some(Finding { severity, code, what, next })
}
