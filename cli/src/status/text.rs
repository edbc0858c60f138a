//! Formats the status as one screen of text.

use operator::dead_letters::Group;
use operator::status::{
    Asked, Backlog, EventAge, Finding, FlowState, Health, LastWebhook, Rates, ServiceState, Severity, Status, TAIL,
    WebhookState,
};
use operator::{rfc3339, thousands};

use crate::output::{BOLD, GREEN, RED, YELLOW, paint};
use crate::printable::printable;
use crate::table::Table;

pub(super) fn lines(status: &Status) -> Vec<String> {
    let mut lines = vec![headline(status)];
    lines.extend(status.findings.iter().flat_map(finding));
    lines.push(String::new());
    lines.extend(services(&status.services));
    lines.push(String::new());
    lines.extend(traffic(status));
    lines.push(String::new());
    lines.push(line(
        "On hold",
        &list(&status.holds, |hold| {
            let since = hold.since.map(|since| format!(" since {}", short(since))).unwrap_or_default();
            format!("{} {}{since}", hold.service, hold.reason)
        }),
    ));
    lines.push(line("Waiting for", &list(&status.waits, |wait| format!("{} {}", wait.service, wait.reason))));
    lines.push(line("Dead letters", &asked(&status.dead_letters, |groups| dead_letters(groups))));
    lines.push(line("Last webhook", &asked(&status.last_webhooks, |last| last_webhooks(last, status.at))));
    lines.push(line("Flow", &asked(&status.flow, flow)));
    lines.push(line("Webhooks", &asked(&status.webhooks, |webhooks| webhook_states(webhooks))));
    lines
}

fn headline(status: &Status) -> String {
    let count = |severity| status.findings.iter().filter(|finding| finding.severity == severity).count();
    let verdict = match status.worst() {
        Some(Severity::Bad) => paint(RED, &format!("{} wrong", count(Severity::Bad))),
        Some(Severity::Unanswered) => paint(YELLOW, &format!("{} could not be queried", count(Severity::Unanswered))),
        Some(Severity::Note) | None => paint(GREEN, "healthy"),
    };
    format!("{}  {verdict}", paint(BOLD, &short(status.at)))
}

fn finding(finding: &Finding) -> Vec<String> {
    let sign = match finding.severity {
        Severity::Bad => paint(RED, "BAD "),
        Severity::Unanswered => paint(YELLOW, "?   "),
        Severity::Note => "note".to_owned(),
    };
    vec![format!("{sign} {}", printable(&finding.what)), format!("       {}", printable(&finding.next))]
}

fn services(services: &[ServiceState]) -> Vec<String> {
    let row = |service: &ServiceState| {
        let (health, reason) = match &service.health {
            Health::Ready => ("ready", ""),
            Health::NotReady(reason) => ("NOT READY", reason.as_str()),
            Health::Unanswered(reason) => ("no answer", reason.as_str()),
        };
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            or_none(&service.name),
            health.to_owned(),
            service.address.clone(),
            or_none(&service.version),
            reason.to_owned(),
        ]
    };
    let rows = services.iter().map(row).collect();
    Table { head: &["SERVICE", "STATE", "ADDRESS", "VERSION", ""], rows, cut: &[], width: None }.lines()
}

fn traffic(status: &Status) -> Vec<String> {
    let Rates { received, refused, mapped, duplicates, accepted, retried, dead_letters } = status.rates;
    let rate = |rate: Option<f64>| rate.map_or_else(|| "?".to_owned(), |rate| format!("{rate:.1}/s"));
    let row = |name: &str, main: Option<f64>, others: String, backlog: Option<&Backlog>| {
        vec![
            name.to_owned(),
            rate(main),
            others,
            backlog.map(|backlog| number(backlog.records)).unwrap_or_default(),
            backlog.and_then(|backlog| backlog.oldest_seconds).map(oldest).unwrap_or_default(),
        ]
    };
    let rows = vec![
        row("received", received, format!("refused {}", rate(refused)), Some(&status.raw)),
        row("mapped", mapped, format!("duplicates {}", rate(duplicates)), Some(&status.typed)),
        row("accepted", accepted, format!("sent again {}, dead letters {}", rate(retried), rate(dead_letters)), None),
    ];
    let head = &["EVENTS", "RATE", "", "THEN WAITING", "OLDEST RECEIVED"];
    let mut lines = Table { head, rows, cut: &[], width: None }.lines();
    lines.push(line("Event age", &event_age(status)));
    lines
}

fn event_age(status: &Status) -> String {
    match &status.event_age {
        Some(found) => age(found),
        None if !has_sink(status) => "not known: no sink answered".to_owned(),
        None => "no event has been accepted".to_owned(),
    }
}

fn has_sink(status: &Status) -> bool {
    status.services.iter().any(|service| service.name.as_deref() == Some("sink"))
}

fn age(age: &EventAge) -> String {
    let over = match age.seconds {
        Some(seconds) => format!("in the last {seconds:.0} s"),
        None => "since the sinks started".to_owned(),
    };
    format!("p50 {}, p99 {} ({:.0} events accepted {over})", seconds(age.p50), seconds(age.p99), age.events)
}

fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

fn oldest(oldest: f64) -> String {
    if oldest <= 0.0 { "under 2 s ago".to_owned() } else { format!("{} ago", duration(oldest)) }
}

fn number(number: Option<f64>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| format!("{number:.0}"))
}

fn dead_letters(groups: &[Group]) -> String {
    list(groups, |group| format!("{} {} {}", thousands(group.unresolved), group.stage, group.code))
}

fn last_webhooks(last: &[LastWebhook], now: i64) -> String {
    list(last, |last| match last.received_at {
        Some(at) => {
            let ago = f64::from(i32::try_from(now.saturating_sub(at) / 1000).unwrap_or(i32::MAX)).max(0.0);
            format!("{} {} ({} ago)", last.source, short(at), duration(ago))
        }
        None => format!("{} none among the last {TAIL} of each partition", last.source),
    })
}

fn flow(flow: &FlowState) -> String {
    let state = flow.state.as_deref().unwrap_or("of unknown state");
    let Some(run) = &flow.last_run else { return format!("{} {state}; no run yet", flow.id) };
    let number = |number: Option<i64>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    let began = run.started_at.map(|at| format!(" of {}", short(at))).unwrap_or_default();
    format!(
        "{} {state}; last run{began} {}: received {}, ingested {}, failed {}",
        flow.id,
        run.status.as_deref().unwrap_or("of unknown state"),
        number(run.received),
        number(run.ingested),
        number(run.failed)
    )
}

fn webhook_states(webhooks: &[WebhookState]) -> String {
    list(webhooks, |webhook| {
        let state = match &webhook.is_enabled {
            Asked::NotConfigured(what) => format!("not configured ({what})"),
            Asked::Failed(_) => "could not be queried".to_owned(),
            Asked::Answer(Some(true)) => "enabled".to_owned(),
            Asked::Answer(Some(false)) if webhook.is_paused => "PAUSED".to_owned(),
            Asked::Answer(Some(false)) => "NOT ENABLED".to_owned(),
            Asked::Answer(None) => "MISSING".to_owned(),
        };
        format!("{} {state}", webhook.source)
    })
}

fn asked<T>(asked: &Asked<T>, answer: impl Fn(&T) -> String) -> String {
    match asked {
        Asked::NotConfigured(what) => format!("not configured ({what})"),
        Asked::Failed(_) => "could not be queried, see above".to_owned(),
        Asked::Answer(found) => answer(found),
    }
}

fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(text).collect::<Vec<_>>().join("; ")
}

fn line(name: &str, text: &str) -> String {
    format!("{}  {}", paint(BOLD, &format!("{name:<12}")), printable(text))
}

/// A time without fractions of a second.
fn short(millis: i64) -> String {
    rfc3339(millis.saturating_sub(millis.rem_euclid(1000))).replace(".000Z", "Z")
}

fn duration(seconds: f64) -> String {
    match seconds {
        under if under < 120.0 => format!("{under:.0} s"),
        under if under < 7200.0 => format!("{:.0} min", under / 60.0),
        under if under < 172_800.0 => format!("{:.0} h", under / 3600.0),
        more => format!("{:.0} days", more / 86400.0),
    }
}

#[cfg(test)]
mod tests {
    use operator::status::{Answer, Answers, Exposition, Look, TopicState, status};

    use super::*;
    use crate::printable::tests::{HOSTILE, is_safe};

    fn answers(services: Vec<Answer>) -> Answers {
        let not_configured = || "X is not set".to_owned();
        Answers {
            now: Look { at: 1_700_000_001_480, answers: services },
            before: None,
            a_while_before: None,
            topics: Asked::Failed("no broker\nat all".to_owned()),
            flow: Asked::NotConfigured(not_configured()),
            webhooks: Asked::NotConfigured(not_configured()),
        }
    }

    #[test]
    fn a_status_shows_which_systems_are_not_configured_and_which_could_not_be_queried() {
        let text = lines(&status(answers(Vec::new()))).join("\n");
        let text = anstream::adapter::strip_str(&text).to_string();
        let expected = [
            "2023-11-14T22:13:21Z  4 could not be queried",
            "?    Kafka could not be queried: no broker at all",
            "received  ?",
            "Event age     not known: no sink answered",
            "On hold       none",
            "Dead letters  could not be queried, see above",
            "Flow          not configured (X is not set)",
        ];
        for expected in expected {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
    }

    #[test]
    fn a_sink_that_has_accepted_nothing_is_not_reported_as_unanswered() {
        let page = Exposition::parse("customerio_build_info{service=\"sink\",version=\"1\"} 1\n").unwrap();
        let sink = Answer { address: "a:1".to_owned(), ready: Ok(None), metrics: Ok(page) };
        let text = lines(&status(answers(vec![sink]))).join("\n");
        assert!(text.contains("no event has been accepted") && !text.contains("no sink answered"), "{text}");
    }

    #[test]
    fn control_characters_in_responses_of_the_services_are_replaced() {
        let wrong = || Err(HOSTILE.to_owned());
        let answer = Answer { address: HOSTILE.to_owned(), ready: wrong(), metrics: Err(HOSTILE.to_owned()) };
        let last = LastWebhook { source: HOSTILE.to_owned(), received_at: Some(i64::MIN) };
        let topics = TopicState { dead_letters: Vec::new(), last_webhooks: vec![last], missing: Vec::new() };
        let answers = Answers { topics: Asked::Answer(topics), ..answers(vec![answer]) };
        let lines = lines(&status(answers));
        assert!(lines.iter().all(|line| is_safe(line)), "{lines:#?}");
    }

    #[test]
    fn durations_are_shown_in_one_rounded_unit() {
        assert_eq!([1.0, 180.0, 7200.0, 864_000.0].map(duration), ["1 s", "3 min", "2 h", "10 days"]);
        assert_eq!([0.25, 2.0].map(seconds), ["250 ms", "2.0 s"]);
    }
}
