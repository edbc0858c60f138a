use super::*;
use crate::dead_letters::Group;
use crate::status::{Answer, Backlog, FlowState, Health, LastRun, Rates, Severity, WebhookState};

/// Returns the `/metrics` page from the snapshot of a service's own test, preceded by `customerio_build_info`.
fn pinned(service: &str) -> String {
    let text = match service {
        "ingest-gateway" => {
            include_str!(
                "../../../../../ingest-gateway/src/snapshots/ingest_gateway__metrics__tests__the_metrics_exposition_matches_the_snapshot.snap"
            )
        }
        "transformer" => {
            include_str!(
                "../../../../../transformer/src/snapshots/transformer__metrics__tests__the_metrics_exposition_matches_the_snapshot.snap"
            )
        }
        _ => include_str!(
            "../../../../../sink/src/snapshots/sink__metrics__tests__the_metrics_exposition_matches_the_snapshot.snap"
        ),
    };
    let body = text.splitn(3, "---\n").nth(2).unwrap();
    format!("customerio_build_info{{commit=\"c\",service=\"{service}\",version=\"1.2.3\"}} 1\n{body}")
}

/// Returns an exposition that leads to no finding.
fn healthy(service: &str) -> String {
    let quiet = |line: &str| {
        let is_flag = ["_held{", "_held_since", "_reload_broken{", "_records_expired_total"];
        match line.rsplit_once(' ') {
            Some((name, _)) if !line.starts_with('#') && is_flag.iter().any(|flag| line.contains(flag)) => {
                format!("{name} 0\n")
            }
            _ => format!("{line}\n"),
        }
    };
    pinned(service).lines().map(quiet).collect()
}

fn answer(address: &str, text: &str) -> Answer {
    Answer { address: address.to_owned(), ready: Ok(None), metrics: Ok(Exposition::parse(text).unwrap()) }
}

fn all(at: i64, text: impl Fn(&str) -> String) -> Look {
    let services = [("a:9464", "ingest-gateway"), ("a:9465", "transformer"), ("a:9466", "sink")];
    Look { at, answers: services.map(|(address, service)| answer(address, &text(service))).to_vec() }
}

fn answers(now: Look) -> Answers {
    let nothing = || "not configured".to_owned();
    Answers {
        now,
        before: None,
        a_while_before: None,
        topics: Asked::Answer(TopicState { dead_letters: Vec::new(), last_webhooks: Vec::new(), missing: Vec::new() }),
        flow: Asked::NotConfigured(nothing()),
        webhooks: Asked::NotConfigured(nothing()),
    }
}

fn codes(status: &Status) -> Vec<(&'static str, Severity)> {
    status.findings.iter().map(|finding| (finding.code, finding.severity)).collect()
}

#[test]
fn a_status_of_ready_services_without_holds_has_no_findings() {
    let status = status(answers(all(1000, healthy)));
    assert_eq!(codes(&status), []);
    assert_eq!(status.worst(), None);
    assert!(status.services.iter().all(|service| service.health == Health::Ready));
    assert_eq!(status.services[2].version.as_deref(), Some("1.2.3"));
    let age = status.event_age.unwrap();
    assert!((age.p50 - 0.5).abs() < 1e-9 && age.seconds.is_none(), "{age:?}");
    assert_eq!(
        status.last_webhooks,
        Asked::Answer(vec![LastWebhook { source: "default".to_owned(), received_at: None }])
    );
}

#[test]
fn holds_waits_and_unread_partitions_are_findings_of_severity_bad() {
    let sick = |service: &str| match service {
        "sink" => {
            let text = pinned(service).replace(
                "customerio_kafka_partitions{topic=\"typed\"} 0",
                "customerio_kafka_partitions{topic=\"typed\"} 4",
            );
            format!("{text}customerio_sink_waiting{{reason=\"dns\"}} 1\ncustomerio_sink_waiting{{reason=\"tls\"}} 0\n")
        }
        _ => pinned(service),
    };
    let status = status(answers(all(1000, sick)));
    let held: Vec<_> =
        status.holds.iter().map(|hold| (hold.service.as_str(), hold.reason.as_str(), hold.since)).collect();
    let (since, later) = (Some(1_700_000_000_000), Some(1_700_000_120_000));
    let of_transformer = [("transformer", "dead_letter_limit", since), ("transformer", "dead_letter_size", later)];
    assert_eq!(held, [of_transformer[0], of_transformer[1], ("sink", "refused_alike", since)]);
    assert_eq!(status.waits.len(), 1);
    assert_eq!((status.waits[0].address.as_str(), status.waits[0].reason.as_str()), ("a:9466", "dns"));
    assert_eq!(status.unread, [("typed".to_owned(), 4)]);
    assert_eq!(status.reload_broken, [("a:9464".to_owned(), "signing_keys".to_owned())]);
    let codes: Vec<_> = codes(&status)
        .into_iter()
        .map(|(code, severity)| {
            assert_eq!(severity, Severity::Bad);
            code
        })
        .collect();
    assert_eq!(codes, ["held", "held", "held", "waiting", "reload_broken", "unread"]);
    assert_eq!(status.worst(), Some(Severity::Bad));
    let text = &status.findings[2].what;
    assert_eq!(text, "sink at a:9466 holds records since 2023-11-14T22:13:20.000Z: refused_alike");
}

#[test]
fn a_wait_until_platform_not_before_is_a_finding_of_severity_note() {
    let sink = |reason: &'static str| {
        move |service: &str| {
            let late = "customerio_sink_oldest_unsettled_seconds";
            match service {
                "sink" => {
                    let other_lines = healthy(service)
                        .lines()
                        .filter(|line| !line.starts_with(late))
                        .fold(String::new(), |text, line| format!("{text}{line}\n"));
                    format!("{other_lines}{late} 1000\ncustomerio_sink_waiting{{reason=\"{reason}\"}} 1\n")
                }
                _ => healthy(service),
            }
        }
    };
    let planned = status(answers(all(1000, sink("not_before"))));
    assert_eq!(codes(&planned), [("planned_wait", Severity::Note)]);
    let trouble = status(answers(all(1000, sink("dns"))));
    assert_eq!(codes(&trouble), [("waiting", Severity::Bad), ("oldest_waiting", Severity::Bad)]);
}

#[test]
fn a_hold_start_that_overflows_i64_milliseconds_is_clamped() {
    let since = "customerio_sink_held_since_timestamp_seconds{reason=\"x\"} 9e18\n";
    let held = format!("customerio_build_info{{service=\"sink\"}} 1\n{since}customerio_sink_held{{reason=\"x\"}} 1\n");
    let status = status(answers(Look { at: 1000, answers: vec![answer("a:9466", &held)] }));
    assert_eq!(status.holds[0].since, Some(i64::MAX));
}

#[test]
fn a_silent_foreign_or_missing_service_gets_the_severity_unanswered_and_an_unready_one_bad() {
    let mut now = all(1000, healthy);
    let silent = "nothing listens there".to_owned();
    now.answers[1].ready = Err(silent.clone());
    now.answers[1].metrics = Err(silent);
    let of = status(answers(now));
    assert_eq!(codes(&of), [("service_unanswered", Severity::Unanswered)]);
    assert_eq!((of.raw, of.worst()), (Backlog::default(), Some(Severity::Unanswered)));

    let mut not_ready = all(1000, healthy);
    not_ready.answers[0].ready = Ok(Some("starting".to_owned()));
    assert_eq!(codes(&status(answers(not_ready))), [("not_ready", Severity::Bad)]);

    let mut foreign = all(1000, healthy);
    foreign.answers[0].metrics = Ok(Exposition::parse("up 1").unwrap());
    assert_eq!(codes(&status(answers(foreign))), [("service_unanswered", Severity::Unanswered)]);

    let mut missing = all(1000, healthy);
    missing.answers.pop();
    assert_eq!(codes(&status(answers(missing))), [("service_missing", Severity::Unanswered)]);
}

#[test]
fn rates_are_computed_from_two_samples_of_the_counters() {
    let later = |service: &str| {
        healthy(service)
            .replace(
                "customerio_gateway_requests_total{code=\"202\",source=\"default\"} 1",
                "customerio_gateway_requests_total{code=\"202\",source=\"default\"} 21",
            )
            .replace("outcome=\"mapped\"} 2", "outcome=\"mapped\"} 12")
            .replace(
                "customerio_sink_records_total{outcome=\"accepted\"} 2",
                "customerio_sink_records_total{outcome=\"accepted\"} 1",
            )
    };
    let answers = Answers { before: Some(all(1000, healthy)), ..answers(all(3000, later)) };
    let rates = status(answers).rates;
    assert_eq!((rates.received, rates.refused, rates.mapped), (Some(10.0), Some(0.0), Some(5.0)));
    // The counter of the sink is lower than before: the sink has restarted and has accepted one event since then.
    assert_eq!((rates.accepted, rates.duplicates), (Some(0.5), Some(0.0)));
    assert_eq!(status(self::answers(all(1000, healthy))).rates, Rates::default());
}

#[test]
fn dead_letters_get_the_severity_note_and_a_failed_kafka_query_the_severity_unanswered() {
    let group = Group {
        stage: contract::dead_letter::Stage::Sink,
        code: "refused".to_owned(),
        count: 3,
        unresolved: 3,
        oldest: 1,
        newest: 2,
    };
    let nothing = || TopicState { dead_letters: Vec::new(), last_webhooks: Vec::new(), missing: Vec::new() };
    let topics = TopicState { dead_letters: vec![group], ..nothing() };
    let of = status(Answers { topics: Asked::Answer(topics), ..answers(all(1000, healthy)) });
    assert_eq!(codes(&of), [("dead_letters", Severity::Note)]);
    let of = status(Answers { topics: Asked::Failed("no broker".to_owned()), ..answers(all(1000, healthy)) });
    assert_eq!(codes(&of), [("kafka", Severity::Unanswered)]);
    let topics = TopicState { missing: vec!["raw".to_owned()], ..nothing() };
    let of = status(Answers { topics: Asked::Answer(topics), ..answers(all(1000, healthy)) });
    assert_eq!(codes(&of), [("topic_missing", Severity::Bad)]);
}

#[test]
fn a_disabled_flow_a_failed_run_and_a_disabled_webhook_are_findings_of_severity_bad() {
    let run = LastRun { status: None, started_at: None, received: Some(3), ingested: Some(2), failed: Some(1) };
    let flow =
        FlowState { id: "f".to_owned(), state: Some("disabled".to_owned()), last_run: Some(run), runs: Vec::new() };
    let of_source = |source: &str, is_enabled| WebhookState { source: source.to_owned(), is_enabled, is_paused: false };
    let webhook = |source: &str, is_enabled| of_source(source, Asked::Answer(is_enabled));
    let webhooks = vec![
        webhook("a", Some(true)),
        webhook("b", Some(false)),
        webhook("c", None),
        of_source("d", Asked::NotConfigured("no key".to_owned())),
        of_source("e", Asked::Failed("no answer".to_owned())),
    ];
    let of =
        status(Answers { flow: Asked::Answer(flow), webhooks: Asked::Answer(webhooks), ..answers(all(1000, healthy)) });
    let bad = |code| (code, Severity::Bad);
    let mut expected = ["flow_disabled", "flow_run_failed", "webhook_disabled", "webhook_missing"].map(bad).to_vec();
    expected.push(("customerio", Severity::Unanswered));
    assert_eq!(codes(&of), expected);
    let failed = || "no answer".to_owned();
    let of = status(Answers {
        flow: Asked::Failed(failed()),
        webhooks: Asked::Failed(failed()),
        ..answers(all(1000, healthy))
    });
    assert_eq!(codes(&of), [("platform", Severity::Unanswered), ("customerio", Severity::Unanswered)]);
}

#[test]
fn the_finding_of_a_paused_webhook_recommends_resume_and_of_a_never_enabled_webhook_apply() {
    let finding = |is_paused| {
        let webhook = WebhookState { source: "shop".to_owned(), is_enabled: Asked::Answer(Some(false)), is_paused };
        let of = status(Answers { webhooks: Asked::Answer(vec![webhook]), ..answers(all(1000, healthy)) });
        let [finding] = of.findings.as_slice() else { panic!("{:?}", of.findings) };
        (finding.code, finding.next.clone())
    };
    let (code, next) = finding(true);
    assert_eq!(code, "webhook_paused");
    assert!(next.starts_with("run `customerio-aep setup webhook resume --source shop`"), "{next}");
    let (code, next) = finding(false);
    assert_eq!(code, "webhook_disabled");
    assert!(next.starts_with("run `customerio-aep setup apply`"), "{next}");
}
