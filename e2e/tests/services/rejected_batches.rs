//! Tests events that Platform rejects after it has accepted them.

use std::time::Duration;

use customerio::{SigningKey, sign};
use e2e::http;
use e2e::pipeline::{Pipeline, SIGNING_KEY, shared_kafka, with};
use e2e::process::Process;
use e2e::sender::event;
use e2e::{free_port, wait_until};
use reqwest::Method;

const SOON: Duration = Duration::from_secs(60);

fn send(pipeline: &Pipeline, id: &str) {
    let body = event(id);
    let signature = sign(&SigningKey::new(SIGNING_KEY), "1700000000", body.as_bytes());
    let headers = [("x-cio-timestamp", "1700000000"), ("x-cio-signature", signature.as_str())];
    let response = http::request(Method::POST, pipeline.gateway_port, "/webhooks/customerio", &headers, &body);
    assert_eq!(response.map(|(status, _)| status), Some(202));
}

/// Starts a sink that looks for failed batches at its start.
fn watching_sink(pipeline: &Pipeline) -> Process {
    let simulator = format!("http://127.0.0.1:{}", pipeline.simulator_port);
    let watch =
        [("PLATFORM_API_URL", simulator.as_str()), ("PLATFORM_SANDBOX", "prod"), ("SINK_FAILED_BATCHES_EVERY", "1m")];
    Process::start("sink", &with(pipeline.sink_variables(), &watch), Some(free_port()))
}

/// Whether `find` shows that Platform rejected the event after acceptance.
fn is_rejected(pipeline: &Pipeline, id: &str) -> bool {
    pipeline.operate(&["find", id]).1.contains("rejected_after_acceptance")
}

#[test]
fn p7_an_event_that_platform_rejects_after_acceptance_becomes_one_dead_letter() {
    let pipeline = Pipeline::new(shared_kafka(), "rejected-batches");
    let _simulator = pipeline.simulator();
    let fault = r#"{"fault":"fail_after_acceptance","prefix":"bad"}"#;
    let set = http::send_json(Method::POST, pipeline.simulator_port, "/admin/control/faults", fault);
    assert!(set.as_ref().is_some_and(|(status, _)| (200..300).contains(status)), "{set:?}");
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();

    for rejected in ["bad-1", "bad-2"] {
        // The event is delivered by a sink that does not look for failed batches.
        let mut sink = pipeline.sink();
        send(&pipeline, rejected);
        send(&pipeline, &format!("good-{rejected}"));
        let accepted = r#"customerio_sink_records_total{outcome="accepted"}"#;
        wait_until("acceptance of both events", SOON, || sink.metric(accepted) >= 2.0);
        assert!(!is_rejected(&pipeline, rejected));
        assert_eq!(sink.terminate(), Some(0));

        let mut sink = watching_sink(&pipeline);
        wait_until("the dead letter", SOON, || is_rejected(&pipeline, rejected));
        let counted = r#"customerio_dead_letters_total{code="rejected_after_acceptance",stage="platform"}"#;
        wait_until("the count of the dead letter", SOON, || sink.metric(counted) >= 1.0);
        assert_eq!(sink.terminate(), Some(0));
    }
    let (code, out, problems) = pipeline.operate(&["audit"]);
    assert_eq!(code, Some(0), "{out}{problems}");
    let row = out.lines().find(|line| line.contains("rejected by Platform after acceptance"));
    assert!(row.is_some_and(|row| row.contains(" 2")), "{out}");
}
