//! Tests the sink with every response that Platform can give: no record is lost, no valid record becomes a dead letter,
//! and the sink recovers by itself. The faults are the rows of docs/outcomes.md.
//!
//! `E2E_FULL=1` sends 50,000 events during the faults. `E2E_SEED=…` repeats the moments of the kills.

mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use e2e::accounting::{accepted, read};
use e2e::faults::every_trouble;
use e2e::http;
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::Process;
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::topic::Topics;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(90);

/// Returns every kind of fault, with three successful requests after each. None of the faults is caused by a record.
fn script() -> Value {
    paced(every_trouble())
}

fn paced(faults: Vec<Value>) -> Value {
    let pause = json!({"fault": "none", "requests": 3});
    faults.into_iter().flat_map(|fault| [fault, pause.clone()]).collect()
}

/// Whether the fault gives a whole request a 400 or a 413. If the request contains only one record, the sink takes this
/// response as a verdict on the record, although the record is valid.
fn rejects_a_single_record(fault: &Value) -> bool {
    fault["fault"] == "status" && (fault["status"] == 400 || fault["status"] == 413)
}

fn sink_variables(pipeline: &Pipeline) -> Vec<(&'static str, String)> {
    let mut variables = pipeline.sink_variables();
    variables.push(("SINK_HOLD_PROBE", "1s".to_owned()));
    variables.push(("SINK_DEAD_LETTER_AFTER", "3s".to_owned()));
    // The small linger leads to many small requests, so that the script advances quickly.
    variables.push(("SINK_BATCH_LINGER", "50ms".to_owned()));
    variables
}

fn sink(pipeline: &Pipeline) -> Process {
    Process::start("sink", &sink_variables(pipeline), Some(free_port()))
}

fn load() -> (usize, usize) {
    if std::env::var_os("E2E_FULL").is_some() { (50_000, 1000) } else { (8_000, 400) }
}

fn script_is_over(pipeline: &Pipeline) -> bool {
    http::get(pipeline.simulator_port, "/admin/faults").is_some_and(|(_, faults)| faults.contains("[]"))
}

/// Returns the codes of the dead letters by event id, and checks that the sink wrote each of them.
fn dead_letters(pipeline: &Pipeline) -> BTreeMap<String, String> {
    let mut dead_letters = BTreeMap::new();
    for dead_letter in read(&shared_kafka().connection(), &pipeline.topic("dead-letters")) {
        assert_eq!(dead_letter.text_header("dead-letter-stage"), Some("sink"));
        let code = dead_letter.text_header("dead-letter-code").unwrap().to_owned();
        dead_letters.insert(dead_letter.text_header("event-id").unwrap().to_owned(), code);
    }
    dead_letters
}

/// Returns how often each id is on the typed topic.
fn typed(pipeline: &Pipeline) -> BTreeMap<String, u64> {
    let mut typed = BTreeMap::new();
    for record in read(&shared_kafka().connection(), &pipeline.topic("typed")) {
        *typed.entry(record.text_header("event-id").unwrap().to_owned()).or_default() += 1;
    }
    typed
}

/// Waits until each of these ids is accepted or dead-lettered.
fn wait_for_the_end(pipeline: &Pipeline, ids: &[String]) {
    let deadline = Instant::now() + SOON * 2;
    loop {
        let (accepted, dead) = (accepted(pipeline), dead_letters(pipeline));
        let open: Vec<_> = ids.iter().filter(|id| !accepted.contains_key(*id) && !dead.contains_key(*id)).collect();
        if open.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{} events got no outcome, for example {:?}", open.len(), open.first());
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn poison(id: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","object_type":"email","metric":"sent","timestamp":1700000000,"data":{{"identifiers":{{"id":"{id}"}}}}}}"#
    )
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_under_all_platform_faults_only_poisoned_records_become_dead_letters() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "outcomes");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let sink = sink(&pipeline);
    let mut deadline = Instant::now() + SOON;
    let (alone, others): (Vec<_>, Vec<_>) = every_trouble().into_iter().partition(rejects_a_single_record);
    pipeline.fault(&paced(alone).to_string());
    let mut ids = Vec::new();
    while !script_is_over(&pipeline) {
        assert!(Instant::now() < deadline, "the script does not start");
        ids.extend(pipeline.load(1_000, 1_000).finish(SOON));
    }
    pipeline.fault(
        &json!([
            {"fault": "poison", "prefix": "poison-entry", "status": 400},
            {"fault": "poison", "prefix": "poison-whole", "status": 400, "whole": true},
            {"fault": "poison", "prefix": "poison-500", "status": 500, "whole": true},
        ])
        .to_string(),
    );
    pipeline.fault(&paced(others).to_string());
    let (count, rate) = load();
    let first = pipeline.load(count, rate);
    let mut poisoned = BTreeMap::new();
    for (name, code) in [("poison-entry", "refused"), ("poison-whole", "refused"), ("poison-500", "server_error")] {
        for number in 0..3 {
            let id = format!("{name}-{number}");
            assert_eq!(pipeline.send(&poison(&id)), 202);
            poisoned.insert(id, code.to_owned());
        }
    }
    ids.extend(first.finish(SOON * 2));
    deadline = Instant::now() + SOON * 2;
    while !script_is_over(&pipeline) {
        assert!(Instant::now() < deadline, "the script does not end");
        ids.extend(pipeline.load(rate, rate).finish(SOON));
    }
    pipeline.fault(r#"{"fault":"expire_tokens"}"#);
    // A record that gets 500 becomes a dead letter only while other records succeed.
    while !poisoned.keys().all(|id| dead_letters(&pipeline).contains_key(id)) {
        assert!(Instant::now() < deadline, "dead letters so far: {:?}", dead_letters(&pipeline));
        ids.extend(pipeline.load(500, 500).finish(SOON));
    }
    ids.extend(poisoned.keys().cloned());
    wait_for_the_end(&pipeline, &ids);
    assert_eq!(dead_letters(&pipeline), poisoned, "exactly the poisoned records, with their codes");
    let (accepted, typed) = (accepted(&pipeline), typed(&pipeline));
    assert!(accepted.keys().all(|id| !poisoned.contains_key(id)));
    // Only records without a clear verdict are sent again: after cut connections and ambiguous responses.
    let again: u64 = accepted.iter().map(|(id, times)| times.saturating_sub(typed[id])).sum();
    let (_, statistics) = http::get(pipeline.simulator_port, "/admin/stats").unwrap();
    println!("accepted again: {again} of {}; {statistics}", accepted.len());
    assert!(again <= 13 * 200, "{again} records were accepted more often than they are on the typed topic");
    for metric in ["customerio_sink_held", "customerio_sink_requests_in_flight"] {
        wait_until(metric, SOON, || sink.metric(metric) == 0.0);
    }
    wait_until("the lag to be 0", SOON, || sink.metric("customerio_kafka_consumer_lag_records") == 0.0);
}

#[test]
fn delivery_continues_within_4_s_after_a_platform_outage() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "recovery");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let _sink = sink(&pipeline);
    let load = pipeline.load(12_000, 500);
    for (what, fault) in [
        ("429", json!({"fault": "status", "status": 429})),
        ("503", json!({"fault": "status", "status": 503})),
        ("resets", json!({"fault": "reset", "when": "before"})),
    ] {
        let total = || -> u64 {
            let (_, text) = http::get(pipeline.simulator_port, "/admin/stats").unwrap();
            serde_json::from_str::<Value>(&text).unwrap()["accepted"].as_u64().unwrap()
        };
        pipeline.fault(&fault.to_string());
        std::thread::sleep(Duration::from_secs(5));
        let stuck = total();
        pipeline.clear_faults();
        let over = Instant::now();
        wait_until("the first event after the outage", Duration::from_secs(15), || total() > stuck);
        let first = over.elapsed();
        // The records that arrived during the five seconds are delivered as well.
        wait_until("the backlog to be gone", Duration::from_secs(15), || total() >= stuck + 2_500);
        println!("after 5 s of {what}: first event after {first:.1?}, backlog gone after {:.1?}", over.elapsed());
        // The sink waits at most 2 s between two attempts, and a machine under load may delay the next attempt.
        assert!(first < Duration::from_secs(4), "{what}: {first:?}");
    }
    let ids = load.finish(SOON);
    wait_for_the_end(&pipeline, &ids);
    assert!(dead_letters(&pipeline).is_empty());
}

#[test]
fn with_a_wrong_dataset_the_sink_holds_and_writes_no_dead_letter() {
    let pipeline = Pipeline::new(shared_kafka(), "dataset");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let mut variables = sink_variables(&pipeline);
    variables.retain(|(name, _)| *name != "PLATFORM_DATASET_ID");
    variables.push(("PLATFORM_DATASET_ID", "000000000000000000000000".to_owned()));
    let mut wrong = Process::start("sink", &variables, Some(free_port()));
    let ids = pipeline.load(2_000, 1000).finish(SOON);
    wait_until("the sink to hold", SOON, || {
        let (_, text) = wrong.admin_get("/metrics").unwrap_or_default();
        text.lines().any(|line| line == r#"customerio_sink_held{reason="refused_alike"} 1"#)
    });
    wait_until("some probes", SOON, || wrong.metric("customerio_sink_requests_total") >= 5.0);
    let log = wrong.log();
    assert_eq!(log.matches("holding: nothing is delivered").count(), 1, "{log}");
    assert!(log.contains("PLATFORM_DATASET_ID"), "{log}");
    assert_eq!(wrong.terminate(), Some(0));
    assert!(dead_letters(&pipeline).is_empty());
    let _right = sink(&pipeline);
    wait_for_the_end(&pipeline, &ids);
    assert!(dead_letters(&pipeline).is_empty());
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p7_every_committed_offset_has_a_receipt_whenever_the_sink_is_killed() {
    let _alone = alone();
    let seed = std::env::var("E2E_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("E2E_SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let pipeline = Pipeline::new(shared_kafka(), "receipts");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let connection = shared_kafka().connection();
    let topics = Topics::new(&connection).unwrap();
    // The kills happen in every phase of the script, including the time between response, receipt and commit.
    pipeline.fault(&script().to_string());
    let load = pipeline.load(6_000, 400);
    let mut sink = sink(&pipeline);
    let kills = 10;
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(dice.u64(500..1500)));
        sink.kill();
        let committed = topics.committed(&format!("{}-sink", pipeline.name), &pipeline.topic("typed"), SOON).unwrap();
        let mut receipted = BTreeSet::new();
        for receipt in read(&connection, &pipeline.topic("receipts")) {
            let receipt: Value = serde_json::from_slice(&receipt.value).unwrap();
            for record in receipt["records"].as_array().unwrap() {
                receipted.insert((record[0].as_i64().unwrap(), record[1].as_i64().unwrap()));
            }
        }
        for record in read(&connection, &pipeline.topic("typed")) {
            let is_committed = committed.get(&record.partition).is_some_and(|offset| record.offset < *offset);
            let has_receipt = receipted.contains(&(i64::from(record.partition.0), record.offset.0));
            assert!(
                !is_committed || has_receipt,
                "{}:{} is committed without a receipt",
                record.partition,
                record.offset
            );
        }
        sink = self::sink(&pipeline);
    }
    let ids = load.finish(SOON);
    wait_for_the_end(&pipeline, &ids);
    assert!(dead_letters(&pipeline).is_empty());
}

/// Returns the number of requests that the simulator has responded to.
fn requests(pipeline: &Pipeline) -> u64 {
    let (_, text) = http::get(pipeline.simulator_port, "/admin/stats").unwrap();
    let stats: Value = serde_json::from_str(&text).unwrap();
    stats["requests"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

/// Returns the faults of the script, each without an end. Without `E2E_FULL=1`, returns one of each kind.
fn phases() -> Vec<Value> {
    let mut phases: Vec<Value> =
        script().as_array().unwrap().iter().filter(|fault| fault["fault"] != "none").cloned().collect();
    for phase in &mut phases {
        let fault = phase.as_object_mut().unwrap();
        fault.remove("requests");
        fault.remove("seconds");
    }
    if std::env::var_os("E2E_FULL").is_none() {
        let wanted = [
            r#"{"fault":"status","status":429}"#,
            r#"{"fault":"status","status":503}"#,
            r#"{"fault":"status","status":500}"#,
            r#"{"fault":"status","status":400}"#,
            r#"{"fault":"status","status":403}"#,
            r#"{"fault":"reset","when":"after"}"#,
            r#"{"fault":"partial","shape":"mixed","every":3,"status":503}"#,
            r#"{"fault":"answer","answer":"fewer"}"#,
        ];
        let wanted: Vec<Value> = wanted.iter().map(|fault| serde_json::from_str(fault).unwrap()).collect();
        phases.retain(|phase| wanted.contains(phase));
        assert_eq!(phases.len(), wanted.len(), "each is in the script");
    }
    phases
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p7_killing_the_sink_during_each_platform_fault_loses_no_event_and_adds_no_dead_letter() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "kills");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let mut variables = sink_variables(&pipeline);
    // 6 s is the minimum that a broker accepts. After this time, the next sink gets the partitions of a killed one.
    variables.push(("KAFKA_OPTIONS", "session.timeout.ms=6000".to_owned()));
    let start = || Process::start("sink", &variables, Some(free_port()));
    let mut sink = start();
    let mut ids = Vec::new();
    let mut load = pipeline.load(2_000, 200);
    let phases = phases();
    for phase in &phases {
        if !load.is_running() {
            ids.extend(load.finish(SOON));
            load = pipeline.load(2_000, 200);
        }
        pipeline.clear_faults();
        pipeline.fault(&phase.to_string());
        let before = requests(&pipeline);
        wait_until("requests that meet the fault", SOON, || requests(&pipeline) >= before + 2);
        sink.kill();
        sink = start();
    }
    pipeline.clear_faults();
    ids.extend(load.finish(SOON));
    wait_for_the_end(&pipeline, &ids);
    assert!(dead_letters(&pipeline).is_empty(), "{:?}", dead_letters(&pipeline));
    let (accepted, typed) = (accepted(&pipeline), typed(&pipeline));
    let again: u64 = accepted.iter().map(|(id, times)| times.saturating_sub(typed[id])).sum();
    println!(
        "{} kills, one in each phase: {} events, lost 0, dead-lettered 0, accepted again {again}",
        phases.len(),
        accepted.len()
    );
}
