//! Tests where a service starts to read if its offsets are missing or have expired, or if partitions are new: no record
//! is repeated or lost without a report.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::{Offset, Partition};
use e2e::accounting::{Topics as Account, accepted, assert_accepted, read};
use e2e::pipeline::{Pipeline, shared_kafka, with};
use e2e::process::{Process, Signal, signal};
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::Watermarks;
use kafka::topic::Topics;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(60);

type Variables = Vec<(&'static str, String)>;

fn topics() -> Topics {
    Topics::new(&shared_kafka().connection()).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

/// Returns the watermarks of each partition.
fn watermarks(pipeline: &Pipeline, topic: &str) -> Vec<Watermarks> {
    (0..pipeline.partitions)
        .map(|number| topics().watermarks(&pipeline.topic(topic), Partition(number), SOON).unwrap())
        .collect()
}

/// Starts a service with flags and with an admin port, without waiting until it is ready.
fn start_with(name: &str, flags: &[&str], variables: &Variables) -> Process {
    let (port, mut variables) = (free_port(), variables.clone());
    variables.push(("ADMIN_LISTEN", format!("127.0.0.1:{port}")));
    let mut process = Process::spawn_with(name, flags, &variables);
    process.set_admin(port);
    process
}

/// Expires the records that a stopped service has not read yet, except for the newest tenth in each partition; returns
/// the number of expired offsets.
fn expire_unread(pipeline: &Pipeline, group: &str, topic: &str) -> i64 {
    let committed = topics().committed(&format!("{}-{group}", pipeline.name), &pipeline.topic(topic), SOON).unwrap();
    let mut expired = 0;
    for (partition, Watermarks { high, .. }) in (0..).map(Partition).zip(watermarks(pipeline, topic)) {
        let committed = committed[&partition].0;
        let low = committed + (high.0 - committed) * 9 / 10;
        block_on(topics().delete_before(&pipeline.topic(topic), partition, Some(Offset(low)))).unwrap();
        expired += low - committed;
    }
    assert!(expired > 0, "nothing was left to expire");
    expired
}

/// Repeats the audit of all retained records until every record is processed.
fn settled_audit(pipeline: &Pipeline) -> Value {
    let mut audit = Value::Null;
    wait_until("the audit to find all done", SOON, || {
        audit = pipeline.ask(&["audit"]).1;
        audit["raw"]["ahead"] == 0 && audit["typed"]["ahead"] == 0
    });
    assert_eq!((&audit["explained"], &audit["findingsTotal"]), (&true.into(), &0.into()), "{audit:#}");
    audit
}

/// Whether a note of the audit contains all of these words.
fn notes(audit: &Value, words: &[&str]) -> bool {
    let notes = audit["notes"].as_array().unwrap();
    notes.iter().any(|note| words.iter().all(|word| note.as_str().unwrap().contains(word)))
}

/// Checks that the audit reports the offsets that expired unread as a problem, and reports no retained record as lost.
fn assert_audit_names_the_loss(pipeline: &Pipeline, topic: &str, expired: i64) {
    let (code, audit) = pipeline.ask(&["audit"]);
    assert_eq!((code, &audit[topic]["expiredUnread"]), (Some(1), &expired.into()), "{audit:#}");
    assert_eq!((&audit["explained"], &audit["findingsTotal"]), (&false.into(), &0.into()), "{audit:#}");
    assert!(notes(&audit, &[pipeline.topic(topic).as_str(), "offsets have expired"]), "{audit:#}");
}

/// Checks that a service counts and logs the expired offsets, once per partition, and continues.
fn assert_alarmed(service: &Process, pipeline: &Pipeline, expired: i64) {
    wait_until("the loss to be counted", SOON, || service.metric("customerio_kafka_records_expired_total") > 0.0);
    wait_until("the lag to be 0", SOON, || {
        let (_, text) = service.admin_get("/metrics").unwrap_or_default();
        let lag: Vec<_> =
            text.lines().filter(|line| line.starts_with("customerio_kafka_consumer_lag_records{")).collect();
        lag.len() == usize::try_from(pipeline.partitions).unwrap() && lag.iter().all(|line| line.ends_with(" 0"))
    });
    #[allow(clippy::cast_precision_loss, reason = "a small number")]
    let expired = expired as f64;
    assert!((service.metric("customerio_kafka_records_expired_total") - expired).abs() < 0.5, "{expired} expired");
    let log = service.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("the loss is final")).collect();
    assert_eq!(lines.len(), usize::try_from(pipeline.partitions).unwrap(), "{log}");
    assert!(lines.iter().all(|line| line.contains("ERROR") && line.contains("lost=")), "{lines:?}");
}

#[test]
fn raw_records_that_expired_unread_are_counted_and_logged() {
    let pipeline = Pipeline::new(shared_kafka(), "expired-raw");
    let _gateway = pipeline.gateway();
    let mut transformer = pipeline.transformer();
    drop(pipeline.load(1_000, 1000).finish(SOON));
    wait_until("the first events", SOON, || {
        read(&shared_kafka().connection(), &pipeline.topic("typed")).len() >= 1_000
    });
    assert_eq!(transformer.terminate(), Some(0));
    drop(pipeline.load(1_000, 1000).finish(SOON));
    let expired = expire_unread(&pipeline, "transformer", "raw");
    assert_audit_names_the_loss(&pipeline, "raw", expired);
    assert_alarmed(&pipeline.transformer(), &pipeline, expired);
    // All remaining records have an outcome.
    let account = Account::read(&shared_kafka().connection(), &pipeline);
    let balance = account.balance(&pipeline.topic("raw"));
    assert!(balance.unexplained.is_empty(), "{balance:?}");
    assert!(!account.raw.is_empty());
    let (code, audit) = pipeline.ask(&["audit"]);
    assert_eq!(
        (code, &audit["raw"]["records"], &audit["raw"]["ahead"]),
        (Some(1), &account.raw.len().into(), &0.into())
    );
    // The only remaining problem is that no sink has ever run.
    assert_eq!(audit["findingsTotal"], 0, "{audit:#}");
    assert_eq!(audit["missingGroups"][0]["topic"], pipeline.topic("typed").as_str(), "{audit:#}");
    assert_eq!(audit["missingGroups"].as_array().map(Vec::len), Some(1), "{audit:#}");
    assert_eq!((&audit["raw"]["expiredUnread"], &audit["raw"]["unexplained"]), (&0.into(), &0.into()), "{audit:#}");
}

#[test]
fn typed_records_that_expired_unread_are_counted_and_logged() {
    let pipeline = Pipeline::new(shared_kafka(), "expired-typed");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let _transformer = pipeline.transformer();
    let mut sink = pipeline.sink();
    let first = pipeline.load(1_000, 1000).finish(SOON);
    assert_accepted(&pipeline, &first, SOON);
    assert_eq!(sink.terminate(), Some(0));
    let second = pipeline.load(1_000, 1000).finish(SOON);
    wait_until("the second load", SOON, || read(&shared_kafka().connection(), &pipeline.topic("typed")).len() >= 2_000);
    // If the size of a topic is limited, records can expire before the retention time. The audit then regards all
    // records before the oldest retained one as expired.
    let limited = |bytes| block_on(topics().set(&pipeline.topic("typed"), &[("retention.bytes", bytes)])).unwrap();
    limited("1000000000000");
    let expired = expire_unread(&pipeline, "sink", "typed");
    assert_audit_names_the_loss(&pipeline, "typed", expired);
    assert_alarmed(&pipeline.sink(), &pipeline, expired);
    let left: Vec<String> = read(&shared_kafka().connection(), &pipeline.topic("typed"))
        .iter()
        .map(|record| record.text_header("event-id").unwrap().to_owned())
        .collect();
    assert!(!left.is_empty());
    assert_accepted(&pipeline, &left, SOON);
    let accepted = accepted(&pipeline);
    assert!(second.iter().any(|id| !accepted.contains_key(id)), "no record expired");
    // The audit cannot verify raw records whose typed records have expired, and counts them as expired, not as lost.
    let audit = settled_audit(&pipeline);
    let raw = &audit["raw"];
    assert_eq!((&raw["typed"], &audit["typed"]["accepted"]), (&left.len().into(), &left.len().into()), "{audit:#}");
    let known = ["typed", "duplicates", "expired"].map(|column| raw[column].as_u64().unwrap());
    assert_eq!(known.iter().sum::<u64>(), raw["records"].as_u64().unwrap(), "{audit:#}");
    let raw_expired = &raw["expired"];
    assert!(raw_expired.as_u64().unwrap() >= 1_000, "{audit:#}");
    // Without a size limit, the retention time would have kept these typed records, so they were deleted manually or
    // never existed.
    limited("-1");
    let (code, audit) = pipeline.ask(&["audit"]);
    assert_eq!((code, &audit["raw"]["unexplained"]), (Some(1), raw_expired), "{audit:#}");
    assert!(notes(&audit, &["deleted manually", "retention"]), "{audit:#}");
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn records_that_expire_unread_while_the_transformer_runs_are_counted_and_logged() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "expired-running");
    let _gateway = pipeline.gateway();
    let transformer = pipeline.transformer();
    drop(pipeline.load(1_000, 1000).finish(SOON));
    wait_until("the first events", SOON, || {
        read(&shared_kafka().connection(), &pipeline.topic("typed")).len() >= 1_000
    });
    // The pause is longer than a fetch stays in flight, and shorter than the group's session timeout: records that
    // arrive meanwhile expire unread.
    signal(transformer.id(), Signal::STOP);
    std::thread::sleep(Duration::from_secs(2));
    drop(pipeline.load(3_000, 2000).finish(SOON));
    for (partition, Watermarks { high, .. }) in (0..).map(Partition).zip(watermarks(&pipeline, "raw")) {
        block_on(topics().delete_before(&pipeline.topic("raw"), partition, Some(high))).unwrap();
    }
    signal(transformer.id(), Signal::CONT);
    wait_until("the loss to be counted", SOON, || transformer.metric("customerio_kafka_records_expired_total") > 0.0);
    assert!(transformer.log().contains("the loss is final"));
    drop(pipeline.load(500, 500).finish(SOON));
    wait_until("the retained records to be transformed", SOON, || {
        let account = Account::read(&shared_kafka().connection(), &pipeline);
        !account.raw.is_empty() && account.balance(&pipeline.topic("raw")).unexplained.is_empty()
    });
}

#[test]
fn a_service_with_output_and_a_lost_group_starts_only_with_from_beginning() {
    let pipeline = Pipeline::new(shared_kafka(), "lost-group");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let mut transformer = pipeline.transformer();
    let mut sink = pipeline.sink();
    let ids = pipeline.load(500, 500).finish(SOON);
    assert_accepted(&pipeline, &ids, SOON);
    assert_eq!((transformer.terminate(), sink.terminate()), (Some(0), Some(0)));
    for (name, variables, counted) in [
        ("transformer", pipeline.transformer_variables(), "customerio_transformer_records_total"),
        ("sink", pipeline.sink_variables(), "customerio_sink_records_total"),
    ] {
        // A group that the brokers have lost looks like an unknown group.
        let lost: Variables = variables
            .into_iter()
            .map(|(name, value)| (name, if name == "KAFKA_GROUP_ID" { format!("{value}-forgotten") } else { value }))
            .collect();
        let before = watermarks(&pipeline, "typed");
        let mut refusing = Process::spawn(name, &lost, Some(free_port()));
        assert_eq!(refusing.wait(SOON), Some(1), "{name}: {}", refusing.log());
        let log = refusing.log();
        assert!(log.contains("has no committed offset") && log.contains("--from-beginning"), "{name}: {log}");
        assert!(
            log.contains(&format!("{}-{name}-forgotten", pipeline.name)),
            "{name}: the log does not name the group: {log}"
        );
        assert_eq!(watermarks(&pipeline, "typed"), before, "{name}: nothing was written");
        let overridden = start_with(name, &["--from-beginning"], &lost);
        wait_until(&format!("the {name} to read everything again"), SOON, || overridden.metric(counted) >= 500.0);
    }
}

/// Without a receipts topic, the sink writes a mark to the dead-letter topic, which shows that it has worked before.
#[test]
fn a_sink_without_receipts_recognises_a_lost_group() {
    let pipeline = Pipeline::new(shared_kafka(), "lost-sink");
    let _simulator = pipeline.simulator();
    let (_gateway, _transformer) = (pipeline.gateway(), pipeline.transformer());
    let first = pipeline.load(200, 500).finish(SOON);
    wait_until("typed records", SOON, || read(&shared_kafka().connection(), &pipeline.topic("typed")).len() >= 200);
    let variables = with(pipeline.sink_variables(), &[("RECEIPTS_TOPIC", "")]);
    let mut sink = Process::start("sink", &variables, Some(free_port()));
    // A first start is not a lost group, although there are typed records already.
    assert_accepted(&pipeline, &first, SOON);
    assert_eq!(sink.terminate(), Some(0), "{}", sink.log());
    let mut sink = Process::start("sink", &variables, Some(free_port()));
    assert_eq!(sink.terminate(), Some(0), "the group has committed offsets: {}", sink.log());
    let (code, list) = pipeline.ask(&["dead-letters", "list", "--resolved"]);
    assert_eq!((code, &list["deadLetters"]), (Some(0), &Value::Array(Vec::new())));

    let group = format!("{}-sink-forgotten", pipeline.name);
    let lost = with(variables, &[("KAFKA_GROUP_ID", &group)]);
    let mut refusing = Process::spawn("sink", &lost, Some(free_port()));
    assert_eq!(refusing.wait(SOON), Some(1), "{}", refusing.log());
    let log = refusing.log();
    for part in ["has no committed offset", "--from-beginning", &group, pipeline.topic("dead-letters").as_str()] {
        assert!(log.contains(part), "{part} in {log}");
    }
    let overridden = start_with("sink", &["--from-beginning"], &lost);
    wait_until("everything to be read again", SOON, || overridden.metric("customerio_sink_records_total") >= 200.0);
}

#[test]
fn the_audit_reports_a_lost_group_but_no_lost_records() {
    let pipeline = Pipeline::new(shared_kafka(), "audit-lost-group");
    let _simulator = pipeline.simulator();
    let _gateway = pipeline.gateway();
    let (_transformer, _sink) = (pipeline.transformer(), pipeline.sink());
    let ids = pipeline.load(500, 500).finish(SOON);
    assert_accepted(&pipeline, &ids, SOON);
    let records = settled_audit(&pipeline)["raw"]["records"].clone();
    let forgotten = |group: &str| format!("{}-{group}-forgotten", pipeline.name);
    let (code, audit) = pipeline.ask(&["audit", "--transformer-group", &forgotten("transformer")]);
    assert_eq!((code, &audit["raw"]["unexplained"], &audit["raw"]["doubled"]), (Some(1), &0.into(), &0.into()));
    assert!(notes(&audit, &[&forgotten("transformer"), "no committed offset", "lost group"]), "{audit:#}");
    // Typed records count as typed, regardless of the group's offset. But duplicates that the dedup window recognised
    // cannot be distinguished from records that are not processed yet.
    let raw = |column: &str| audit["raw"][column].as_u64().unwrap();
    assert_eq!((raw("typed"), raw("typed") + raw("duplicates") + raw("ahead")), (500, records.as_u64().unwrap()));
    // Records with a receipt count as accepted, regardless of the group's offset.
    let (code, audit) = pipeline.ask(&["audit", "--sink-group", &forgotten("sink")]);
    assert_eq!((code, &audit["typed"]["unexplained"], &audit["typed"]["accepted"]), (Some(1), &0.into(), &500.into()));
    assert!(notes(&audit, &[&forgotten("sink"), "no committed offset", "lost group"]), "{audit:#}");
}

/// Returns the event ids of each person, in the order of a topic's offsets. The keys are partition and person key.
fn order(
    pipeline: &Pipeline,
    topic: &str,
    id: impl Fn(&kafka::record::OwnedRecord) -> String,
) -> BTreeMap<(i32, Vec<u8>), Vec<String>> {
    let mut order: BTreeMap<(i32, Vec<u8>), Vec<String>> = BTreeMap::new();
    for record in read(&shared_kafka().connection(), &pipeline.topic(topic)) {
        let id = id(&record);
        let person = order.entry((record.partition.0, record.key.clone().unwrap_or_default())).or_default();
        // A repeated webhook is not another event.
        if !person.contains(&id) {
            person.push(id);
        }
    }
    order
}

/// Makes clients look for new partitions every second. By default, they do so every five minutes.
fn quick(mut variables: Variables) -> Variables {
    variables.push(("KAFKA_OPTIONS", "topic.metadata.refresh.interval.ms=1000".to_owned()));
    variables
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p9_partitions_added_to_the_typed_topic_first_are_read_without_a_restart() {
    let _alone = alone();
    let mut pipeline = Pipeline::new(shared_kafka(), "grown");
    let _simulator = pipeline.simulator();
    let _gateway = Process::start("ingest-gateway", &quick(pipeline.gateway_variables()), Some(free_port()));
    let mut transformer = Process::start("transformer", &quick(pipeline.transformer_variables()), Some(free_port()));
    let mut sink = Process::start("sink", &quick(pipeline.sink_variables()), Some(free_port()));
    let load = pipeline.load(15_000, 500);
    wait_until("the load to progress", SOON, || transformer.metric("customerio_transformer_records_total") > 1_000.0);
    for topic in ["typed", "dead-letters", "raw"] {
        block_on(topics().grow(&pipeline.topic(topic), 6)).unwrap();
    }
    pipeline.partitions = 6;
    let in_new = || {
        read(&shared_kafka().connection(), &pipeline.topic("typed"))
            .iter()
            .filter(|record| record.partition.0 >= 4)
            .count()
    };
    wait_until("typed records in the new partitions", SOON, || in_new() > 0);
    let ids = load.finish(SOON * 2);
    assert_accepted(&pipeline, &ids, SOON);
    let account = Account::read(&shared_kafka().connection(), &pipeline);
    account.assert_stored(&ids);
    account.assert_exactly_once(&pipeline);
    assert!(account.raw.keys().filter(|(partition, _)| *partition >= 4).count() > 100, "the new partitions are used");
    // Every typed record is in the partition with the same number as its raw record, in the same order for each person.
    let raw = order(&pipeline, "raw", |record| {
        serde_json::from_slice::<Value>(&record.value).unwrap()["event_id"].as_str().unwrap().to_owned()
    });
    let typed = order(&pipeline, "typed", |record| record.text_header("event-id").unwrap().to_owned());
    assert_eq!(raw, typed);
    assert!(account.dead_letters.is_empty());
    let audit = settled_audit(&pipeline);
    assert_eq!((&audit["partitions"], &audit["raw"]["records"]), (&6.into(), &account.raw.len().into()), "{audit:#}");
    // `repeatsAfterGrowth` counts webhooks that were delivered again after their person had moved to a new partition.
    let repeats = audit["typed"]["repeatsAfterGrowth"].as_u64().unwrap();
    assert_eq!(audit["typed"]["accepted"].as_u64().unwrap(), ids.len() as u64 + repeats, "{audit:#}");
    assert_eq!((transformer.terminate(), sink.terminate()), (Some(0), Some(0)), "neither had to be restarted");
}

/// A transformer that continued without the new partitions would leave them unread: the group does not rebalance again
/// as long as all members stay.
#[test]
fn adding_partitions_to_the_raw_topic_before_the_typed_topic_stops_the_transformer() {
    let mut pipeline = Pipeline::new(shared_kafka(), "raw-first");
    let _simulator = pipeline.simulator();
    let _gateway = Process::start("ingest-gateway", &quick(pipeline.gateway_variables()), Some(free_port()));
    let _sink = Process::start("sink", &quick(pipeline.sink_variables()), Some(free_port()));
    let mut transformer = Process::start("transformer", &quick(pipeline.transformer_variables()), Some(free_port()));
    let load = pipeline.load(8_000, 500);
    wait_until("the load to progress", SOON, || transformer.metric("customerio_transformer_records_total") > 1_000.0);
    block_on(topics().grow(&pipeline.topic("raw"), 6)).unwrap();
    pipeline.partitions = 6;
    assert_eq!(transformer.wait(SOON), Some(1), "{}", transformer.log());
    let remedy = format!("grow `{}` to at least 6 first", pipeline.topic("typed"));
    let log = transformer.log();
    assert!(log.lines().last().unwrap_or_default().contains(&remedy), "{log}");
    let ids = load.finish(SOON * 2);
    // After a restart, the transformer reports the same remedy at once.
    let mut transformer = Process::spawn("transformer", &quick(pipeline.transformer_variables()), Some(free_port()));
    assert_eq!(transformer.wait(SOON), Some(1));
    assert!(transformer.log().contains(&remedy));
    for topic in ["typed", "dead-letters"] {
        block_on(topics().grow(&pipeline.topic(topic), 6)).unwrap();
    }
    let _transformer = Process::start("transformer", &quick(pipeline.transformer_variables()), Some(free_port()));
    assert_accepted(&pipeline, &ids, SOON);
    let account = Account::read(&shared_kafka().connection(), &pipeline);
    account.assert_stored(&ids);
    account.assert_exactly_once(&pipeline);
}
