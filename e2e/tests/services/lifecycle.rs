//! Tests how services end: a rolling restart under load, a stop with its time limit, a second signal.

use std::time::Duration;

use e2e::accounting::{Topics, assert_accepted};
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::{Process, Signal, signal};
use e2e::turn::alone;
use e2e::{free_port, wait_until};

const SOON: Duration = Duration::from_secs(60);

#[test]
#[ignore = "slow: make test-slow runs it"]
fn a_rolling_restart_of_all_three_services_under_load_loses_no_record() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "rolling");
    let _simulator = pipeline.simulator();
    let start: [&dyn Fn() -> Process; 3] = [&|| pipeline.gateway(), &|| pipeline.transformer(), &|| pipeline.sink()];
    let mut services: Vec<Process> = start.iter().map(|start| start()).collect();
    let (count, rounds) = if std::env::var_os("E2E_FULL").is_some() { (60_000, 5) } else { (10_000, 1) };
    let mut load = pipeline.load(count, 1000);
    for round in 0..rounds {
        for which in 0..services.len() {
            let witness = &services[(which + 1) % 3];
            let worked = |process: &Process| {
                process.metric("customerio_gateway_requests_total")
                    + process.metric("customerio_transformer_records_total")
                    + process.metric("customerio_sink_records_total")
            };
            let before = worked(witness);
            wait_until("the load to progress", SOON, || worked(witness) > before + 200.0 || !load.is_running());
            assert!(load.is_running(), "round {round}: the load must outlast the restarts");
            let code = services[which].terminate();
            assert_eq!(code, Some(0), "a clean stop; log:\n{}", services[which].log());
            services[which] = start[which]();
        }
    }
    let ids = load.finish(SOON * 4);
    assert_eq!(ids.len(), count);
    assert_accepted(&pipeline, &ids, SOON);
    let topics = Topics::read(&shared_kafka().connection(), &pipeline);
    topics.assert_stored(&ids);
    topics.assert_exactly_once(&pipeline);
    assert!(topics.dead_letters.is_empty(), "{:?}", topics.dead_letters.first());
}

#[test]
fn a_service_stops_within_shutdown_timeout_or_at_once_on_a_second_signal() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "signals");
    let mut variables = pipeline.gateway_variables();
    variables.retain(|(name, _)| *name != "GATEWAY_DRAIN_DELAY");
    variables.push(("GATEWAY_DRAIN_DELAY", "20s".to_owned()));
    let mut gateway = Process::start("ingest-gateway", &variables, Some(free_port()));
    signal(gateway.id(), Signal::TERM);
    wait_until("the drain", SOON, || gateway.admin_get("/readyz").is_some_and(|(status, _)| status == 503));
    assert_eq!(pipeline.send("{}"), 202, "still answering");
    signal(gateway.id(), Signal::INT);
    assert_eq!(gateway.wait(Duration::from_secs(3)), Some(1));
    assert!(gateway.log().contains("ending at once"), "{}", gateway.log());

    // A sink whose Platform never responds ends within `SHUTDOWN_TIMEOUT`, and the next sink reads its records again.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut variables = pipeline.sink_variables();
    variables.retain(|(name, _)| !name.starts_with("IMS_") && *name != "PLATFORM_INLET_URL");
    variables.push(("PLATFORM_INLET_URL", format!("http://127.0.0.1:{port}/collection/a")));
    variables.push(("SHUTDOWN_TIMEOUT", "15s".to_owned()));
    let _transformer = pipeline.transformer();
    let _gateway = pipeline.gateway();
    let mut sink = Process::start("sink", &variables, Some(free_port()));
    let ids = pipeline.load(200, 1000).finish(SOON);
    wait_until("requests in flight", SOON, || sink.metric("customerio_sink_requests_in_flight") > 0.0);
    signal(sink.id(), Signal::TERM);
    assert_eq!(sink.wait(Duration::from_secs(16)), Some(0), "{}", sink.log());
    let _simulator = pipeline.simulator();
    let _sink = pipeline.sink();
    assert_accepted(&pipeline, &ids, SOON);
}
