//! Kafka refuses a service: a wrong password, a missing ACL, a deleted topic, a wrong security protocol.

use std::time::{Duration, Instant};

use e2e::acls::{Acl, Operation, Resource, grant, revoke};
use e2e::pipeline::{Pipeline, Variables, with};
use e2e::process::Process;
use e2e::real_kafka::{Cluster, RealKafka, password};
use e2e::sender::event;
use e2e::turn::alone;
use e2e::{free_port, wait_until};
use kafka::topic::Topics;

use super::{ACCEPTED, OVER, Trickle, UNANSWERED, line, over, reported};

const SERVICES: [&str; 3] = ["gateway", "transformer", "sink"];

/// Maximum time from an outage until a service becomes unready, with a margin for the check.
const UNREADY: Duration = Duration::from_secs(22);

fn cluster_with_users() -> RealKafka {
    RealKafka::start(&Cluster { users: &SERVICES, ..Cluster::default() }).unwrap()
}

fn variables(pipeline: &Pipeline, service: &str) -> Variables {
    match service {
        "gateway" => with(pipeline.gateway_variables(), &[("GATEWAY_MAX_BODY", "100KiB")]),
        "transformer" => pipeline.transformer_variables(),
        _ => pipeline.sink_variables(),
    }
}

fn binary(service: &'static str) -> &'static str {
    if service == "gateway" { "ingest-gateway" } else { service }
}

/// Returns the variables of a service that authenticates as the user with its name.
fn as_user(kafka: &RealKafka, pipeline: &Pipeline, service: &str, password: &str) -> Variables {
    let changes = [
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.sasl_bootstrap()),
        ("KAFKA_SECURITY_PROTOCOL", "sasl_plaintext".to_owned()),
        ("KAFKA_SASL_MECHANISM", "PLAIN".to_owned()),
        ("KAFKA_SASL_USERNAME", service.to_owned()),
        ("KAFKA_SASL_PASSWORD", password.to_owned()),
        ("DEAD_LETTER_LIMIT", "off".to_owned()),
    ];
    let changes: Vec<_> = changes.iter().map(|(name, value)| (*name, value.as_str())).collect();
    with(variables(pipeline, service), &changes)
}

/// A function that returns the variables of the service with this name.
type VariablesOf<'a> = &'a dyn Fn(&str) -> Variables;

/// Returns the ACLs of the table in docs/operate.md.
fn acls(pipeline: &Pipeline) -> Vec<Acl> {
    use Operation::{DescribeConfigs, Read, Write};
    let topic = |name: &str| Resource::Topic(pipeline.topic(name).to_string());
    let group = |service: &str| Resource::Group(format!("{}-{service}", pipeline.name));
    let transactions = Resource::TransactionalIds(format!("{}-transformer", pipeline.name));
    let rows: Vec<(&'static str, Resource, &[Operation])> = vec![
        ("gateway", topic("raw"), &[Write, DescribeConfigs]),
        ("gateway", topic("dead-letters"), &[Write, DescribeConfigs]),
        ("transformer", topic("raw"), &[Read, DescribeConfigs]),
        ("transformer", topic("typed"), &[Read, Write, DescribeConfigs]),
        ("transformer", topic("dead-letters"), &[Write, DescribeConfigs]),
        ("transformer", group("transformer"), &[Read]),
        ("transformer", transactions, &[Write]),
        ("sink", topic("typed"), &[Read, DescribeConfigs]),
        ("sink", topic("dead-letters"), &[Read, Write, DescribeConfigs]),
        ("sink", topic("receipts"), &[Read, Write, DescribeConfigs]),
        ("sink", group("sink"), &[Read]),
    ];
    let acls = rows.into_iter().flat_map(|(user, resource, operations)| {
        operations.iter().map(move |&operation| Acl { user, resource: resource.clone(), operation })
    });
    acls.collect()
}

/// A missing ACL of a service.
struct Row {
    service: usize,
    resource: Resource,
    operation: Operation,
    /// Whether the service becomes unready, because it cannot work without this ACL.
    unready: bool,
}

/// Returns the ACLs in rounds. The test revokes the ACLs of one round together, so in each round, the outage of one
/// service must not hide the outage of another.
fn rounds(pipeline: &Pipeline) -> Vec<Vec<Row>> {
    use Operation::{Read, Write};
    let topic = |name: &str| Resource::Topic(pipeline.topic(name).to_string());
    let group = |service: &str| Resource::Group(format!("{}-{service}", pipeline.name));
    let row = |service, resource, operation, unready| Row { service, resource, operation, unready };
    let transactions = Resource::TransactionalIds(format!("{}-transformer", pipeline.name));
    vec![
        vec![row(0, topic("raw"), Write, false), row(1, topic("raw"), Read, true), row(2, topic("typed"), Read, true)],
        vec![row(1, group("transformer"), Read, true), row(2, group("sink"), Read, true)],
        vec![row(0, topic("dead-letters"), Write, false), row(2, topic("receipts"), Write, true)],
        vec![row(1, transactions, Write, true)],
        vec![row(1, topic("typed"), Write, true)],
        vec![row(1, topic("dead-letters"), Write, true)],
        vec![row(2, topic("dead-letters"), Write, true)],
    ]
}

/// Returns the body of a webhook, usually a small event. Of ten bodies in a row, one is too large, one cannot be
/// mapped, and Platform refuses one.
fn body(number: u64) -> Vec<u8> {
    match number % 10 {
        3 => vec![b'x'; 110 * 1024],
        5 => format!("not JSON, {number}").into_bytes(),
        7 => event(&format!("refused-{number}")).into_bytes(),
        _ => event(&format!("good-{number}")).into_bytes(),
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_services_report_each_revoked_acl_and_continue_once_it_is_granted_again() {
    let _alone = alone();
    let kafka = cluster_with_users();
    let pipeline = Pipeline::with_partitions(&kafka, "acl", 2);
    let simulator = pipeline.simulator();
    pipeline.fault(r#"{"fault":"poison","prefix":"refused-","status":400}"#);
    grant(kafka.bootstrap(), &acls(&pipeline));
    let services = SERVICES.map(|service| {
        let variables = as_user(&kafka, &pipeline, service, &password(service));
        Process::start(binary(service), &variables, Some(free_port()))
    });
    let trickle = Trickle::start(pipeline.gateway_port, body);
    wait_until("dead letters of all kinds", OVER, || {
        services.iter().all(|service| service.metric("customerio_dead_letters_total") >= 1.0)
    });
    for round in rounds(&pipeline) {
        let from: Vec<usize> = services.iter().map(|service| service.log().len()).collect();
        let taken: Vec<Acl> = round
            .iter()
            .map(|row| Acl { user: SERVICES[row.service], resource: row.resource.clone(), operation: row.operation })
            .collect();
        revoke(kafka.bootstrap(), &taken);
        let begun = Instant::now();
        for row in &round {
            let (service, name) = (&services[row.service], SERVICES[row.service]);
            reported(
                service,
                name,
                &format!("no {:?} on {:?}", row.operation, row.resource),
                begun,
                from[row.service],
                "unauthorized",
            );
            let line = line(service, from[row.service], "unauthorized").unwrap();
            assert!(line.contains("ERROR"), "it does not pass by itself: {line}");
        }
        for row in &round {
            let (service, name) = (&services[row.service], SERVICES[row.service]);
            if row.unready {
                wait_until(&format!("{name} not to be ready: {:?}", row.resource), UNREADY, || service.is_unready());
                println!("  {name}: not ready after {:.0} s", begun.elapsed().as_secs_f64());
            } else {
                assert!(service.is_ready(), "{name} stays ready without this permission: {:?}", row.resource);
            }
        }
        grant(kafka.bootstrap(), &taken);
        for row in &round {
            let (service, name) = (&services[row.service], SERVICES[row.service]);
            over(service, name, from[row.service], "unauthorized");
            wait_until(&format!("{name} to be ready again"), OVER, || service.is_ready());
        }
    }
    let sent = trickle.sent();
    drop(trickle);
    println!("{sent} webhooks; the simulator: {:?}", simulator.admin_get("/admin/stats"));
    wait_until("the audit to explain everything", OVER, || pipeline.ask(&["audit"]).0 == Some(0));
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_every_service_reports_at_the_start_why_the_brokers_are_unreachable() {
    let _alone = alone();
    let kafka = cluster_with_users();
    let pipeline = Pipeline::with_partitions(&kafka, "access", 1);
    let _simulator = pipeline.simulator();
    grant(kafka.bootstrap(), &acls(&pipeline));
    let tls = |service: &str| with(variables(&pipeline, service), &[("KAFKA_SECURITY_PROTOCOL", "ssl")]);
    let no_name = |service: &str| {
        with(variables(&pipeline, service), &[("KAFKA_BOOTSTRAP_SERVERS", "no-such-host.invalid:9092")])
    };
    let none = |service: &str| as_user(&kafka, &pipeline, service, "wrong");
    let rows: [(&str, &str, VariablesOf<'_>); 3] = [
        ("wrong password", "unauthenticated", &none),
        ("TLS against a listener without", "tls", &tls),
        ("a name that does not exist", "dns", &no_name),
    ];
    for (row, reason, variables) in rows {
        let begun = Instant::now() + UNANSWERED;
        let services = SERVICES.map(|service| Process::spawn(binary(service), &variables(service), Some(free_port())));
        for (service, name) in services.iter().zip(SERVICES) {
            reported(service, name, row, begun, 0, reason);
        }
        for service in &services[1..] {
            assert!(service.is_unready(), "{row}: it has never been ready");
        }
    }
}

#[test]
#[ignore = "slow: make test-slow runs it"]
fn p6_every_service_reports_a_deleted_topic() {
    let _alone = alone();
    let kafka = RealKafka::own().unwrap();
    let pipeline = Pipeline::with_partitions(&kafka, "gone", 1);
    let _simulator = pipeline.simulator();
    let services =
        SERVICES.map(|service| Process::start(binary(service), &variables(&pipeline, service), Some(free_port())));
    let _trickle = Trickle::of_events(pipeline.gateway_port);
    wait_until("events to be accepted", OVER, || services[2].metric(ACCEPTED) >= 10.0);
    let topics = Topics::new(&kafka.connection()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let from: Vec<usize> = services.iter().map(|service| service.log().len()).collect();
    let begun = Instant::now();
    for topic in ["raw", "typed"] {
        runtime.block_on(topics.delete(&pipeline.topic(topic))).unwrap();
    }
    for ((service, name), from) in services.iter().zip(SERVICES).zip(from) {
        reported(service, name, "its topic is gone", begun, from, "missing");
    }
    for (service, name) in services[1..].iter().zip(&SERVICES[1..]) {
        wait_until(&format!("{name} not to be ready"), UNREADY, || service.is_unready());
    }
}
