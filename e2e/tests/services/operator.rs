//! Tasks of an operator after an outage: audit the topics, find an event, replay dead letters.

mod clock;
mod red;
mod speed;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use e2e::accounting::{Topics, accepted, assert_accepted, read};
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::Process;
use e2e::turn::alone;
use e2e::wait_until;
use kafka::Headers;
use kafka::producer::NewRecord;
use kafka::record::header;
use kafka::transaction::TransactionalWriter;
use serde_json::Value;

/// Maximum time of any step.
const SOON: Duration = Duration::from_secs(60);

/// Repeats the audit until no record is in progress. No audit may find a problem.
fn settled_audit(pipeline: &Pipeline) -> Value {
    let deadline = Instant::now() + SOON;
    loop {
        let (code, audit) = pipeline.ask(&["audit"]);
        assert_eq!((code, &audit["explained"]), (Some(0), &Value::Bool(true)), "{audit:#}");
        if audit["raw"]["ahead"] == 0 && audit["typed"]["ahead"] == 0 {
            return audit;
        }
        assert!(Instant::now() < deadline, "still in progress: {audit:#}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap_or_else(|| panic!("{value}"))).unwrap()
}

fn event(id: &str, person: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","object_type":"email","metric":"sent","timestamp":1700000000,"data":{{"delivery_id":"delivery-{id}","identifiers":{{{person}}}}}}}"#
    )
}

fn somebody(id: &str) -> String {
    event(id, &format!(r#""id":"person-{id}""#))
}

/// Returns an event without a person. `ON_MISSING_IDENTITY` decides its outcome.
fn anonymous(id: &str) -> String {
    event(id, "")
}

/// Starts a transformer that dead-letters events without a person.
fn strict_transformer(pipeline: &Pipeline) -> Process {
    let mut variables = pipeline.transformer_variables();
    variables.push(("ON_MISSING_IDENTITY", "dead-letter".to_owned()));
    Process::start("transformer", &variables, Some(e2e::free_port()))
}

fn dead_letters(pipeline: &Pipeline, arguments: &[&str]) -> Vec<Value> {
    let (code, dead_letters) = pipeline.ask(&[&["dead-letters", "list"], arguments].concat());
    assert_eq!(code, Some(0));
    dead_letters["deadLetters"].as_array().unwrap().clone()
}

/// Returns how often each dead letter was replayed to a topic.
fn replays(pipeline: &Pipeline, topic: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for record in read(&shared_kafka().connection(), &pipeline.topic(topic)) {
        if let Some(of) = record.text_header(header::REPLAY_OF) {
            *found.entry(of.to_owned()).or_default() += 1;
        }
    }
    found
}

#[test]
fn p7_the_audit_agrees_with_an_independent_count_and_lists_missing_records() {
    let pipeline = Pipeline::new(shared_kafka(), "audit");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let mut transformer = pipeline.transformer();
    let mut sink = pipeline.sink();
    pipeline.fault(r#"{"fault":"poison","prefix":"poison","status":400}"#);
    let mut load = pipeline.load(5_000, 1000);
    for number in 0..5 {
        assert_eq!(pipeline.send(&format!("not json {number}")), 202);
        assert_eq!(pipeline.send(&format!(r#"{{"event_id":"no-metric-{number}","object_type":"email"}}"#)), 202);
        assert_eq!(pipeline.send(&somebody(&format!("poison-{number}"))), 202);
    }
    // While a load is running, no record is ever unexplained.
    while load.is_running() {
        let (code, audit) = pipeline.ask(&["audit"]);
        assert_eq!(code, Some(0), "{audit:#}");
    }
    let ids = load.finish(SOON);
    assert_accepted(&pipeline, &ids, SOON);
    let audit = settled_audit(&pipeline);

    let topics = Topics::read(&shared_kafka().connection(), &pipeline);
    topics.assert_stored(&ids);
    topics.assert_exactly_once(&pipeline);
    let accepted_ids: BTreeSet<String> = accepted(&pipeline).into_keys().collect();
    let typed_ids: BTreeSet<String> = topics.typed.iter().map(|(_, id)| id.clone()).collect();
    let raw_topic = pipeline.topic("raw");
    let (rejected, refused): (Vec<_>, Vec<_>) = topics
        .dead_letters
        .iter()
        .partition(|dead_letter| dead_letter.of.as_ref().is_some_and(|(topic, ..)| topic == raw_topic.as_str()));
    assert_eq!(refused.len(), 5);
    assert_eq!(count(&audit["raw"]["records"]), topics.raw.len());
    assert_eq!(count(&audit["raw"]["typed"]), topics.typed.len());
    assert_eq!(count(&audit["raw"]["deadLettered"]["open"]), rejected.len());
    assert_eq!(count(&audit["raw"]["duplicates"]), topics.collapsed(&pipeline));
    assert!(count(&audit["raw"]["duplicates"]) >= 100, "{audit:#}");
    assert_eq!(count(&audit["typed"]["records"]), topics.typed.len());
    assert_eq!(count(&audit["typed"]["accepted"]), typed_ids.intersection(&accepted_ids).count());
    assert_eq!(count(&audit["typed"]["deadLettered"]["open"]), refused.len());
    for column in ["unexplained", "acceptedInferred", "orphans", "repeats", "expired"] {
        assert_eq!(audit["typed"][column], 0, "{column}: {audit:#}");
    }
    assert_eq!((&audit["raw"]["doubled"], &audit["raw"]["expired"]), (&Value::from(0), &Value::from(0)));
    // Without the receipts, acceptance is only inferred.
    let (code, inferred) = pipeline.ask(&["audit", "--receipts-topic", ""]);
    assert_eq!((code, &inferred["typed"]["acceptedInferred"]), (Some(0), &audit["typed"]["accepted"]));

    // Another transformer of the same group commits the offsets, but writes the typed record to another topic.
    assert_eq!(transformer.terminate(), Some(0));
    let elsewhere = |variables: Vec<(&'static str, String)>, variable: &'static str, topic: &str| {
        let changed = variables.into_iter().map(|(name, value)| match name {
            _ if name == variable => (name, pipeline.topic(topic).to_string()),
            _ => (name, value),
        });
        changed.collect::<Vec<_>>()
    };
    let topics = kafka::topic::Topics::new(&shared_kafka().connection()).unwrap();
    for topic in ["other-typed", "other-receipts"] {
        let spec = kafka::topic::TopicSpec {
            name: pipeline.topic(topic),
            partitions: pipeline.partitions,
            replication: Some(1),
            settings: Vec::new(),
        };
        tokio::runtime::Runtime::new().unwrap().block_on(topics.ensure(&spec)).unwrap();
    }
    let variables = elsewhere(pipeline.transformer_variables(), "TYPED_TOPIC", "other-typed");
    let mut thief = Process::start("transformer", &variables, Some(e2e::free_port()));
    let other_typed = || read(&shared_kafka().connection(), &pipeline.topic("other-typed")).len();
    assert_eq!(pipeline.send(&somebody("stolen")), 202);
    wait_until("the record on the other topic", SOON, || other_typed() == 1);
    assert_eq!(thief.terminate(), Some(0));
    let (code, audit) = pipeline.ask(&["audit"]);
    assert_eq!(
        (code, &audit["raw"]["unexplained"], &audit["findingsTotal"]),
        (Some(1), &1.into(), &1.into()),
        "{audit:#}"
    );
    let finding = &audit["findings"][0];
    assert_eq!((&finding["kind"], &finding["eventId"]), (&"unexplained".into(), &"stolen".into()));
    assert_eq!(finding["topic"], raw_topic.as_str());

    // Another sink of the same group delivers an event, but writes the receipt to another topic.
    let _transformer = pipeline.transformer();
    assert_eq!(sink.terminate(), Some(0));
    let variables = elsewhere(pipeline.sink_variables(), "RECEIPTS_TOPIC", "other-receipts");
    let mut thief = Process::start("sink", &variables, Some(e2e::free_port()));
    let before = service_now();
    assert_eq!(pipeline.send(&somebody("without-receipt")), 202);
    assert_accepted(&pipeline, &["without-receipt".to_owned()], SOON);
    assert_eq!(thief.terminate(), Some(0));
    let (code, text, problems) = pipeline.operate(&["audit"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("NOT everything is explained"), "{text}");
    for id in ["stolen", "without-receipt"] {
        assert!(problems.lines().any(|line| line.contains(&format!("event {id}: unexplained"))), "{problems}");
    }
    // With a time range or an offset range, the audit counts only the records in this range.
    let since = before.to_string();
    let (code, late) = pipeline.ask(&["audit", "--since", &since]);
    assert_eq!(
        (code, &late["raw"]["records"], &late["typed"]["unexplained"]),
        (Some(1), &1.into(), &1.into()),
        "{late:#}"
    );
    let (code, early) = pipeline.ask(&["audit", "--until", &since]);
    assert_eq!((code, &early["typed"]["unexplained"], &early["raw"]["unexplained"]), (Some(1), &0.into(), &1.into()));
    let range = format!("{0}:{1}-{2}", finding["partition"], finding["offset"], count(&finding["offset"]) + 1);
    let (code, one) = pipeline.ask(&["audit", "--offsets", &range]);
    assert_eq!((code, &one["raw"]["records"], &one["raw"]["unexplained"]), (Some(1), &1.into(), &1.into()), "{one:#}");
    assert_eq!(pipeline.operate(&["audit", "--since", "soon"]).0, Some(2));
    assert_eq!(pipeline.operate(&["audit", "--since", &since, "--until", "2020-01-01"]).0, Some(2));
}

fn service_now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

#[test]
fn a_replay_resolves_all_dead_letters_and_a_second_replay_writes_nothing() {
    let pipeline = Pipeline::new(shared_kafka(), "replay");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let mut transformer = strict_transformer(&pipeline);
    let _sink = pipeline.sink();
    let ids: Vec<String> = (0..60).map(|number| format!("anonymous-{number}")).collect();
    for id in &ids {
        assert_eq!(pipeline.send(&anonymous(id)), 202);
        // Customer.io delivers some events twice. Each delivery becomes a separate dead letter, and both become one
        // event once they are replayed.
        if id.ends_with('7') {
            assert_eq!(pipeline.send(&anonymous(id)), 202);
        }
        assert_eq!(pipeline.send(&somebody(&format!("good-{id}"))), 202);
    }
    assert_eq!(pipeline.send("not json"), 202);
    wait_until("the dead letters", SOON, || dead_letters(&pipeline, &[]).len() == 67);
    let open = dead_letters(&pipeline, &["--code", "no_identity", "--stage", "transformer"]);
    assert_eq!(open.len(), 66);
    assert!(open.iter().all(|dead_letter| dead_letter["state"] == "open"));
    let one = dead_letters(&pipeline, &["--event-id", "anonymous-3"]);
    assert_eq!((one.len(), &one[0]["eventId"], &one[0]["code"]), (1, &"anonymous-3".into(), &"no_identity".into()));
    assert!(dead_letters(&pipeline, &["--until", "2020-01-01"]).is_empty());
    assert!(dead_letters(&pipeline, &["--source", "shop"]).is_empty());

    // The first run is a dry run, which only prints the plan.
    let stored = read(&shared_kafka().connection(), &pipeline.topic("raw")).len();
    let replay = ["dead-letters", "replay", "--code", "no_identity"];
    let (code, dry) = pipeline.ask(&replay);
    assert_eq!((code, &dry["dryRun"], &dry["chosen"]["toRaw"]), (Some(0), &true.into(), &66.into()));
    assert_eq!(dead_letters(&pipeline, &[]).len(), 67);

    assert_eq!(transformer.terminate(), Some(0));
    let _transformer = pipeline.transformer();
    let replay = [&replay[..], &["--yes"]].concat();
    let (code, done) = pipeline.ask(&replay);
    assert_eq!((code, &done["replayed"]), (Some(0), &66.into()), "{done:#}");
    assert_accepted(&pipeline, &ids, SOON);
    assert_eq!(dead_letters(&pipeline, &[]).len(), 1);
    assert!(replays(&pipeline, "raw").values().all(|&times| times == 1));
    let (code, again) = pipeline.ask(&replay);
    assert_eq!((code, &again["replayed"], &again["closedBefore"]), (Some(0), &0.into(), &66.into()));
    assert_eq!(read(&shared_kafka().connection(), &pipeline.topic("raw")).len(), stored + 66);

    // A dead letter that cannot be fixed is discarded, with a reason.
    assert_eq!(pipeline.operate(&["dead-letters", "discard", "--yes"]).0, Some(2));
    let (_, _, problems) = pipeline.operate(&["dead-letters", "show", "9:9"]);
    assert!(problems.contains("9:9"), "{problems}");
    let bad = &dead_letters(&pipeline, &[])[0];
    let place = format!("{}:{}", bad["partition"], bad["offset"]);
    let (code, shown, _) = pipeline.operate(&["dead-letters", "show", &place]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("not json") && shown.contains("dead-letter-code  not_json"), "{shown}");
    let discard = ["dead-letters", "discard", &place, "--note", "a test of ours", "--yes"];
    let (code, discarded) = pipeline.ask(&discard);
    assert_eq!((code, &discarded["discarded"]), (Some(0), &1.into()));
    assert_eq!(pipeline.ask(&discard).1["discarded"], 0);
    assert!(dead_letters(&pipeline, &[]).is_empty());
    let all = dead_letters(&pipeline, &["--resolved", "--code", "not_json"]);
    assert_eq!(all[0]["closed"]["note"], "a test of ours");
    assert_eq!((&all[0]["closed"]["by"], &all[0]["state"]), (&"kim".into(), &"discarded".into()));

    let audit = settled_audit(&pipeline);
    assert_eq!(audit["raw"]["replays"], 66);
    let dead = &audit["raw"]["deadLettered"];
    assert_eq!((&dead["open"], &dead["replayed"], &dead["discarded"]), (&0.into(), &66.into(), &1.into()));
    assert_eq!(audit["raw"]["duplicates"], 6, "{audit:#}");
    assert_eq!(audit["typed"]["accepted"], 120);
    // A body that is too large for a raw record is counted, and cannot be replayed.
    let huge = somebody("huge").replace("delivery-huge", &"x".repeat(11 * 1024 * 1024));
    assert_eq!(pipeline.send(&huge), 202);
    wait_until("the gateway's dead letter", SOON, || dead_letters(&pipeline, &["--stage", "gateway"]).len() == 1);
    let (code, refused) = pipeline.ask(&["dead-letters", "replay", "--stage", "gateway", "--yes"]);
    assert_eq!((code, &refused["replayed"]), (Some(1), &0.into()), "{refused:#}");
    assert!(refused["cannotBeReplayed"][0]["reason"].as_str().unwrap().contains("64 KiB"), "{refused:#}");
    assert_eq!(settled_audit(&pipeline)["deadLetters"]["gateway"]["open"], 1);
    let (code, life) = pipeline.ask(&["find", "--event-id", "anonymous-3"]);
    assert_eq!(code, Some(0));
    assert_eq!(what(&life), ["received", "dead-lettered", "replayed", "received again", "mapped", "accepted"]);
    assert_eq!(life["events"][0]["state"], "accepted");
}

/// Returns the steps of the first event found, in order.
fn what(found: &Value) -> Vec<&str> {
    let order = ["received", "dead-lettered", "replayed", "received again", "mapped", "accepted"];
    let mut steps: Vec<&str> =
        found["events"][0]["steps"].as_array().unwrap().iter().map(|step| step["what"].as_str().unwrap()).collect();
    // Steps of the same millisecond have no defined order, so the test sorts them.
    steps.sort_by_key(|step| order.iter().position(|known| known == step));
    steps
}

/// Writes a second dead letter for every dead letter in this partition, as a service does if it is killed after it has
/// written the first one and before it commits the record's offset.
fn write_second_dead_letters(pipeline: &Pipeline, partition: i32) -> usize {
    let connection = shared_kafka().connection();
    let topic = pipeline.topic("dead-letters");
    let mut first = read(&connection, &topic);
    first.retain(|record| record.partition.0 == partition);
    let writer = TransactionalWriter::open(&connection, &format!("{topic}-second"), SOON).unwrap();
    let again = first.iter().map(|record| NewRecord {
        topic: &topic,
        partition: Some(record.partition),
        key: record.key.as_deref(),
        value: Some(&record.value),
        headers: record.headers().fold(Headers::with_capacity(16), Headers::with_header),
    });
    writer.write(again).unwrap();
    first.len()
}

/// Returns how often each record with a dead letter was written to the raw topic again.
fn replays_by_origin(pipeline: &Pipeline) -> BTreeMap<String, u64> {
    let (topic, replayed) = (pipeline.topic("dead-letters"), replays(pipeline, "raw"));
    let mut found = BTreeMap::new();
    for dead_letter in dead_letters(pipeline, &["--resolved"]) {
        let of = format!("{topic}/{}/{}", dead_letter["partition"], dead_letter["offset"]);
        if let Some(times) = replayed.get(&of) {
            *found.entry(dead_letter["origin"].to_string()).or_default() += times;
        }
    }
    found
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn a_replay_that_is_killed_or_run_twice_at_once_writes_no_record_twice() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "killed");
    let _gateway = pipeline.gateway();
    let mut transformer = strict_transformer(&pipeline);
    for number in 0..150 {
        assert_eq!(pipeline.send(&anonymous(&format!("anonymous-{number}"))), 202);
    }
    wait_until("the dead letters", SOON, || dead_letters(&pipeline, &[]).len() == 150);
    assert_eq!(transformer.terminate(), Some(0));
    // The records of one partition have two dead letters each.
    let second = write_second_dead_letters(&pipeline, 1);
    assert!(second > 0);
    let slow = ["dead-letters", "replay", "--yes", "--rate", "30"];
    let start = |arguments: &[&str]| Process::spawn_with("customerio-aep", arguments, &pipeline.operator_variables());

    let mut killed = start(&slow);
    wait_until("the replay to be in progress", SOON, || replays(&pipeline, "raw").len() >= 10);
    killed.kill();
    let open = dead_letters(&pipeline, &[]);
    assert!((1..=140 + second).contains(&open.len()), "{} are unresolved", open.len());

    // A second operator takes over the transactional id from the first one. Both have read the dead letters before. The
    // second operator must not write a record again that the first one has written since then. It requests only the
    // last dead letter of each record, and the first operator may have replayed the record from the other one.
    let last: BTreeMap<String, String> = open
        .iter()
        .map(|dead_letter| {
            (dead_letter["origin"].to_string(), format!("{}:{}", dead_letter["partition"], dead_letter["offset"]))
        })
        .collect();
    let places: Vec<&str> = last.values().map(String::as_str).collect();
    let before = replays(&pipeline, "raw").len();
    let mut one = start(&slow);
    wait_until("the first to be in progress", SOON, || replays(&pipeline, "raw").len() > before);
    let mut two = start(&[&slow[..], &places[..]].concat());
    for replay in [&mut one, &mut two] {
        let code = replay.wait(SOON);
        let log = replay.log();
        assert!(code == Some(0) || code == Some(3) && log.contains("run the command again"), "{code:?}: {log}");
    }
    let (code, _) = pipeline.ask(&["dead-letters", "replay", "--yes"]);
    assert_eq!(code, Some(0));
    assert!(dead_letters(&pipeline, &[]).is_empty());
    let replays = replays_by_origin(&pipeline);
    assert_eq!(replays.len(), 150);
    assert!(replays.values().all(|&times| times == 1), "{replays:?}");
}

#[test]
fn dead_letters_of_the_sink_are_replayed_as_is_or_mapped_again() {
    let pipeline = Pipeline::new(shared_kafka(), "refused");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let _sink = pipeline.sink();
    pipeline.fault(r#"{"fault":"poison","prefix":"poison","status":400}"#);
    let ids: Vec<String> = (0..4).map(|number| format!("poison-{number}")).collect();
    for id in &ids {
        assert_eq!(pipeline.send(&somebody(id)), 202);
        assert_eq!(pipeline.send(&somebody(&format!("good-{id}"))), 202);
    }
    wait_until("the dead letters", SOON, || dead_letters(&pipeline, &["--stage", "sink"]).len() == 4);
    let (code, life) = pipeline.ask(&["find", "--delivery-id", "delivery-poison-0"]);
    assert_eq!((code, &life["events"][0]["state"]), (Some(0), &"dead letter, open".into()), "{life:#}");
    let first = &dead_letters(&pipeline, &["--event-id", "poison-0"])[0];
    let place = format!("{}:{}", first["partition"], first["offset"]);
    let (_, shown) = pipeline.ask(&["dead-letters", "show", &place]);
    assert_eq!(shown["body"]["event"]["_id"], "poison-0", "{shown:#}");

    // The operator must choose between `--as-is` and `--remap`.
    let (code, _, problems) = pipeline.operate(&["dead-letters", "replay", "--yes"]);
    assert_eq!(code, Some(2));
    assert!(problems.contains("--as-is") && problems.contains("--remap"), "{problems}");
    pipeline.clear_faults();
    let (code, as_is) = pipeline.ask(&["dead-letters", "replay", &place, "--as-is", "--yes"]);
    assert_eq!((code, &as_is["replayed"]), (Some(0), &1.into()), "{as_is:#}");
    let (code, remap) = pipeline.ask(&["dead-letters", "replay", "--remap", "--yes"]);
    assert_eq!((code, &remap["replayed"]), (Some(0), &3.into()), "{remap:#}");
    assert_accepted(&pipeline, &ids, SOON);
    assert!(dead_letters(&pipeline, &[]).is_empty());
    let audit = settled_audit(&pipeline);
    let typed = &audit["typed"];
    assert_eq!((&typed["replays"], &typed["reprocessed"], &typed["repeats"]), (&1.into(), &3.into(), &0.into()));
    assert_eq!((&audit["raw"]["replays"], &typed["deadLettered"]["replayed"]), (&3.into(), &4.into()), "{audit:#}");

    let (code, life) = pipeline.ask(&["find", "--person-id", "person-poison-1"]);
    assert_eq!((code, &life["events"][0]["state"]), (Some(0), &"accepted".into()), "{life:#}");
    assert_eq!(life["events"][0]["eventId"], "poison-1");
    let (code, none) = pipeline.ask(&["find", "--event-id", "never-sent"]);
    assert_eq!((code, &none["events"]), (Some(1), &Value::Array(Vec::new())));
    assert_eq!(pipeline.operate(&["find"]).0, Some(2));
}
