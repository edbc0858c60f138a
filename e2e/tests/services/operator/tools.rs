//! Commands for daily work: find an event and wait for its outcome, send an event and follow it, show the status, and
//! watch events as they get their outcomes.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use e2e::pipeline::{Pipeline, SIGNING_KEY, Variables, shared_kafka};
use e2e::process::{Process, Signal, command, signal};
use e2e::{free_port, wait_until};
use serde_json::Value;

use super::{SOON, somebody};

/// Returns the variables of a person who sends events and follows them.
fn variables(pipeline: &Pipeline) -> Variables {
    let mut variables = pipeline.operator_variables();
    variables.push(("CUSTOMERIO_SIGNING_KEYS", SIGNING_KEY.to_owned()));
    variables.push(("GATEWAY_URL", format!("http://127.0.0.1:{}/webhooks/customerio", pipeline.gateway_port)));
    variables
}

/// Runs a command with these variables; returns exit code, standard output and standard error.
fn run(variables: &Variables, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command("customerio-aep", variables).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn file(pipeline: &Pipeline, name: &str, content: &[u8]) -> String {
    let path = std::env::temp_dir().join(format!("{}-{name}", pipeline.name));
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn find_wait_accepts_an_event_or_delivery_id_and_returns_when_the_event_has_an_outcome() {
    let pipeline = Pipeline::new(shared_kafka(), "find-wait");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    assert_eq!(pipeline.send(&somebody("ours")), 202);

    // No sink runs, so the event waits, and the command shows what the event waits for.
    let (code, text, problems) = pipeline.operate(&["find", "ours", "--wait", "2s"]);
    assert_eq!(code, Some(3), "{text}{problems}");
    assert!(text.contains("received") && problems.contains("not ended after 2 s: waiting for"), "{text}{problems}");
    let (code, _, problems) = pipeline.operate(&["find", "no-such-event", "--wait", "1s"]);
    assert!(code == Some(3) && problems.contains("nothing was found in 1 s"), "{problems}");

    // `find --wait` ends when the event has an outcome.
    let (waits, sink) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pipeline.operate(&["find", "delivery-ours", "--wait", "60s"]));
        let sink = pipeline.sink();
        (waiting.join().unwrap(), sink)
    });
    assert_eq!(waits.0, Some(0), "{waits:?}");
    assert!(waits.1.starts_with("ours: accepted"), "{waits:?}");
    drop(sink);
    for id in ["ours", "delivery-ours"] {
        let (code, found) = pipeline.ask(&["find", id]);
        let events = found["events"].as_array().unwrap();
        assert_eq!((code, &events[0]["eventId"], events.len()), (Some(0), &"ours".into(), 1));
    }
    let (code, lines, _) = pipeline.operate(&["find", "ours", "--json=lines"]);
    let line: Value = serde_json::from_str(lines.trim_end()).unwrap();
    assert_eq!(
        (code, lines.lines().count(), &line["eventId"], &line["version"]),
        (Some(0), 1, &"ours".into(), &1.into())
    );
    assert_eq!(pipeline.operate(&["find", "ours", "--event-id", "ours"]).0, Some(2));
    assert_eq!(pipeline.operate(&["find", " "]).0, Some(2));

    assert_eq!(pipeline.send(r#"{"event_id":"bad","object_type":"email"}"#), 202);
    let (code, text, _) = pipeline.operate(&["find", "bad", "--wait", "60s"]);
    assert!(code == Some(1) && text.contains("bad: dead letter, open"), "{text}");
}

#[test]
fn send_follow_shows_the_steps_of_an_event_until_the_event_has_ended() {
    let pipeline = Pipeline::new(shared_kafka(), "follow");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let _sink = pipeline.sink();
    let variables = variables(&pipeline);

    let (code, text, problems) = run(&variables, &["send", "--event", "email_opened", "--follow"]);
    assert_eq!(code, Some(0), "{text}{problems}");
    let place = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} in {text}"));
    assert!(place("1 acknowledged") < place("  received ") && place("  received ") < place("  mapped "), "{text}");
    assert!(place("  mapped ") < place("  accepted ") && text.trim_end().ends_with(": accepted"), "{text}");

    // The bytes of a file arrive unchanged, even if the JSON has an unusual form.
    let odd = b"{ \"event_id\" :\t\"odd\",\r\n\"object_type\":\"email\",\"metric\":\"sent\",\"timestamp\":1700000000, \"data\":{\"subject\":\"\xc3\xa9\"} }\n";
    let path = file(&pipeline, "odd.json", odd);
    let (code, text, problems) = run(&variables, &["send", "--body", &path, "--follow", "--json"]);
    assert_eq!(code, Some(0), "{text}{problems}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&value["sent"]["acknowledged"], &value["events"][0]["state"]), (&1.into(), &"accepted".into()));
    let stored = e2e::accounting::read(&shared_kafka().connection(), &pipeline.topic("raw"));
    assert!(stored.iter().any(|record| record.value == odd), "the bytes are not those of the file");

    // `--follow` finds a body without an id by its bytes, and ends with a dead letter as well.
    let path = file(&pipeline, "broken", b"\x00not json");
    let (code, text, problems) = run(&variables, &["send", "--body", &path, "--follow"]);
    assert_eq!(code, Some(1), "{text}{problems}");
    assert!(text.contains("by transformer: not_json") && text.contains("(no event id): dead letter"), "{text}");

    // A webhook that is delivered again is shown as a duplicate of an event that was accepted before.
    let path = file(&pipeline, "again.json", odd);
    let (code, text, _) = run(&variables, &["send", "--body", &path, "--follow"]);
    assert!(
        code == Some(0) && text.contains("  duplicate ") && text.contains("odd: the transformer recognised it"),
        "{text}"
    );

    // A further delivery has the same id, but its body cannot be mapped: it becomes a dead letter, although the first
    // delivery was accepted.
    let path = file(&pipeline, "broken-again.json", br#"{"event_id":"odd","object_type":"email"}"#);
    let (code, text, _) = run(&variables, &["send", "--body", &path, "--follow"]);
    assert!(code == Some(1) && text.contains("odd: dead letter, open"), "{text}");

    // The id `a:b` is mapped to a hash. The commands still find the webhook and its typed record as one event.
    let hashed = file(&pipeline, "hashed.json", somebody("a:b").as_bytes());
    let (code, text, problems) = run(&variables, &["send", "--body", &hashed, "--follow"]);
    assert!(code == Some(0) && text.contains("a:b: accepted"), "{text}{problems}");
    let (code, found) = pipeline.ask(&["find", "--event-id", "a:b", "--wait", "60s"]);
    let events = found["events"].as_array().unwrap();
    assert_eq!((code, events.len(), &events[0]["state"]), (Some(0), 1, &"accepted".into()));

    let (code, _, problems) = run(&variables, &["send", "--event", "email_open"]);
    assert!(code == Some(2) && problems.contains("a similar value exists: 'email_opened'"), "{problems}");
    assert_eq!(run(&variables, &["send", "--follow", "--count", "2"]).0, Some(2));
    let wrong = e2e::pipeline::with(variables, &[("CUSTOMERIO_SIGNING_KEYS", "a-key-of-another-workspace")]);
    let (code, _, problems) = run(&wrong, &["send", "--event", "email_opened", "--give-up", "1s", "--follow"]);
    assert!(code == Some(1) && problems.contains("does not have this signing key"), "{problems}");
}

#[test]
fn dead_letters_list_shows_a_summary_and_the_newest_20() {
    let pipeline = Pipeline::new(shared_kafka(), "dead-letter-list");
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    for number in 0..25 {
        assert_eq!(pipeline.send(&format!("not json {number}")), 202);
    }
    assert_eq!(pipeline.send(r#"{"event_id":"bad","object_type":"email"}"#), 202);
    wait_until("the dead letters", SOON, || super::dead_letters(&pipeline, &[]).len() == 26);

    let (code, text, _) = pipeline.operate(&["dead-letters", "list"]);
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = text.lines().collect();
    let words = |line: &str| line.split_whitespace().take(4).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(lines[1]), ["transformer", "not_json", "25", "25"], "{text}");
    assert_eq!(words(lines[2]), ["transformer", "missing_metric", "1", "1"], "{text}");
    assert_eq!(lines.len(), 3 + 1 + 1 + 20 + 1, "{text}");
    assert!(lines[25].starts_with("26 of 26 dead letters; the newest 20 are shown, 6 more are not: --all"), "{text}");
    assert!(!text.contains('\u{1b}'), "colour in a pipe: {text}");

    let count = |arguments: &[&str]| {
        let (_, text, _) = pipeline.operate(&[&["dead-letters", "list"], arguments].concat());
        text.lines().count()
    };
    assert_eq!(count(&["--all"]), 3 + 1 + 1 + 26 + 1);
    assert_eq!(count(&["--limit", "2"]), 3 + 1 + 1 + 2 + 1);
    assert_eq!(super::dead_letters(&pipeline, &["--limit", "2"]).len(), 2);
    let (code, _, problems) = pipeline.operate(&["dead-letters", "list", "--code", "not_jsn"]);
    assert!(code == Some(2) && problems.contains("a similar value exists: 'not_json'"), "{problems}");
    let (_, text, _) = pipeline.operate(&["dead-letters", "list", "--color", "always"]);
    assert!(text.contains("\u{1b}[1m"), "{text}");
}

#[test]
fn status_exits_0_if_healthy_1_if_bad_and_3_if_only_a_query_failed() {
    let pipeline = Pipeline::new(shared_kafka(), "status");
    let ports = [free_port(), free_port(), free_port()];
    let start = |name: &str, variables: &Variables, port: u16| Process::start(name, variables, Some(port));
    let mut simulator = pipeline.simulator();
    let _gateway = start("ingest-gateway", &pipeline.gateway_variables(), ports[0]);
    let _transformer = start("transformer", &pipeline.transformer_variables(), ports[1]);
    let mut sink = start("sink", &pipeline.sink_variables(), ports[2]);
    assert_eq!(pipeline.send(&somebody("seen")), 202);
    assert_eq!(pipeline.operate(&["find", "seen", "--wait", "60s"]).0, Some(0));
    let services = format!("127.0.0.1:{},{},{}", ports[0], ports[1], ports[2]);
    let status = || pipeline.ask(&["status", "--services", &services]);

    wait_until("the status to be healthy", SOON, || status().0 == Some(0));
    let (_, healthy) = status();
    assert_eq!(
        (&healthy["version"], &healthy["healthy"], &healthy["findings"]),
        (&1.into(), &true.into(), &Value::Array(vec![]))
    );
    let names: Vec<_> = healthy["services"].as_array().unwrap().iter().map(|service| service["name"].clone()).collect();
    assert_eq!(names, ["ingest-gateway", "transformer", "sink"]);
    assert_eq!(healthy["eventAge"]["events"], 1);
    assert_eq!(healthy["lastWebhooks"]["answer"][0]["source"], "default");
    assert_eq!(healthy["flow"]["notConfigured"], "PLATFORM_FLOW_ID is not set");
    let (code, text, _) = pipeline.operate(&["status", "--services", &services]);
    assert!(code == Some(0) && text.contains("healthy") && text.contains("Last webhook  default"), "{text}");

    // With credentials, the command queries Platform and Customer.io as well.
    let simulator_url = format!("http://127.0.0.1:{}", pipeline.simulator_port);
    let mut outside = pipeline.operator_variables();
    outside.extend([
        ("CONSOLE_SERVICES", services.clone()),
        ("PLATFORM_FLOW_ID", "5104a1ea-0000-4000-a000-000000000004".to_owned()),
        ("PLATFORM_API_URL", simulator_url.clone()),
        ("PLATFORM_SANDBOX", "prod".to_owned()),
        ("PLATFORM_IMS_ORG", "ACME@AdobeOrg".to_owned()),
        ("IMS_URL", simulator_url.clone()),
        ("IMS_CLIENT_ID", "sim-client".to_owned()),
        ("IMS_CLIENT_SECRET", "sim-secret".to_owned()),
        ("CUSTOMERIO_API_URL", format!("{simulator_url}/customerio")),
        ("CUSTOMERIO_APP_API_KEY", "sim-app-key".to_owned()),
        ("CUSTOMERIO_PUBLIC_URL", "https://events.example.com".to_owned()),
    ]);
    let (code, text, problems) = run(&outside, &["status", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{problems}"));
    assert_eq!((code, &value["findings"][0]["code"]), (Some(1), &"webhook_missing".into()), "{value:#}");
    assert_eq!(value["flow"]["answer"]["state"], "enabled", "{value:#}");
    let wrong = e2e::pipeline::with(outside, &[("IMS_CLIENT_SECRET", "another-secret")]);
    let (code, text, problems) = run(&wrong, &["status", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{problems}"));
    // There are two findings: the webhook is missing at Customer.io, and the query of Platform failed.
    let severities: Vec<_> = value["findings"].as_array().unwrap().iter().map(|of| of["severity"].clone()).collect();
    assert_eq!((code, severities), (Some(1), vec!["bad".into(), "unanswered".into()]), "{value:#}");
    assert!(value["flow"]["error"].is_string(), "{value:#}");
    let mut without_webhook = wrong;
    without_webhook.retain(|(name, _)| *name != "CUSTOMERIO_APP_API_KEY");
    let (code, text, problems) = run(&without_webhook, &["status", "--json"]);
    assert_eq!(code, Some(3), "{text}{problems}");

    // Platform does not respond, so the sink waits, and the status shows it.
    assert!(simulator.terminate().is_some());
    assert_eq!(pipeline.send(&somebody("stuck")), 202);
    wait_until("the status to say that the sink waits", SOON, || {
        let (code, sick) = status();
        let findings = sick["findings"].as_array().unwrap();
        code == Some(1) && findings.iter().any(|finding| finding["code"] == "waiting")
    });

    // Everything is healthy again, and then a service does not respond.
    let _simulator = pipeline.simulator();
    wait_until("the status to be healthy again", SOON, || status().0 == Some(0));
    sink.kill();
    let (code, silent) = status();
    assert_eq!((code, &silent["findings"][0]["code"]), (Some(3), &"service_unanswered".into()), "{silent:#}");
}

/// Reads one line of a command that does not end by itself, and closes the pipe, as `head -1` does. Returns the exit
/// code of the command. Until the command has ended, `again` is called repeatedly, so that it has lines to print.
fn read_one_line(variables: &Variables, arguments: &[&str], again: impl Fn() + Send) -> Option<i32> {
    let mut running = command("customerio-aep", variables);
    let mut running = running.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    std::thread::scope(|scope| {
        let (ended, end) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            while end.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                again();
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        lines.next().unwrap().unwrap();
        drop(lines);
        wait_until("the command to end", SOON, || running.try_wait().unwrap().is_some());
        drop(ended);
    });
    running.wait().unwrap().code()
}

#[test]
fn status_watch_and_tail_exit_0_after_the_pipe_is_closed() {
    let pipeline = Pipeline::new(shared_kafka(), "closed-pipe");
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let variables = pipeline.operator_variables();
    assert_eq!(read_one_line(&variables, &["status", "--watch=1s", "--json"], || ()), Some(0));
    assert_eq!(read_one_line(&variables, &["status", "--watch=1s"], || ()), Some(0));
    let dead_letter = || assert_eq!(pipeline.send("not json"), 202);
    assert_eq!(read_one_line(&variables, &["tail", "--json"], dead_letter), Some(0));
}

#[test]
fn tail_shows_events_as_they_end_without_personal_data() {
    let pipeline = Pipeline::new(shared_kafka(), "tail");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let _sink = pipeline.sink();
    assert_eq!(pipeline.send(&somebody("before")), 202);
    assert_eq!(pipeline.operate(&["find", "before", "--wait", "60s"]).0, Some(0));

    let mut tail = command("customerio-aep", &pipeline.operator_variables());
    let mut tail = tail.args(["tail", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut problems = BufReader::new(tail.stderr.take().unwrap()).lines();
    assert_eq!(problems.next().unwrap().unwrap(), "following; Ctrl-C ends it");
    let body = r#"{"event_id":"good","object_type":"email","metric":"opened","timestamp":1700000000,"data":{"delivery_id":"d","recipient":"somebody@example.com","identifiers":{"email":"somebody@example.com"}}}"#;
    assert_eq!(pipeline.send(body), 202);
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        assert!(!line.contains("somebody@"), "{line}");
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let good = next();
    assert_eq!((&good["outcome"], &good["eventId"]), (&"accepted".into(), &"good".into()));
    assert_eq!((&good["event"], &good["source"]), (&"email_opened".into(), &"default".into()));
    assert!(good["ageMs"].as_i64().is_some_and(|age| age >= 0), "{good}");
    assert_eq!(pipeline.send(r#"{"event_id":"bad","object_type":"email"}"#), 202);
    let bad = next();
    assert_eq!(
        (&bad["outcome"], &bad["eventId"], &bad["code"]),
        (&"dead_lettered".into(), &"bad".into(), &"missing_metric".into())
    );

    signal(tail.id(), Signal::INT);
    assert_eq!(tail.wait().unwrap().code(), Some(130));
}
