//! Each usage error gives one message that says what is wrong, where, and what to do. The exit code is 2 for an error
//! in the configuration, and 1 for an error at run time.

use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::command;
use e2e::turn::shared;
use kafka::topic::{TopicSpec, Topics};

/// Runs a binary to its end; returns the exit code and all output.
fn run(name: &str, arguments: &[&str], variables: &[(&str, String)]) -> (Option<i32>, String) {
    let output = command(name, variables).env("ADMIN_LISTEN", "127.0.0.1:0").args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn assert_says(found: (Option<i32>, String), code: i32, parts: &[&str]) {
    assert_eq!(found.0, Some(code), "{}", found.1);
    for part in parts {
        assert!(found.1.contains(part), "no `{part}` in:\n{}", found.1);
    }
}

const SERVICES: [&str; 3] = ["ingest-gateway", "transformer", "sink"];

#[test]
fn help_and_version_exit_0_and_invalid_flags_exit_2() {
    let _turn = shared();
    for name in SERVICES {
        assert_says(run(name, &["--help"], &[]), 0, &["KAFKA_BOOTSTRAP_SERVERS", "ADMIN_LISTEN", "--check-config"]);
        assert_says(run(name, &["--version"], &[]), 0, &[env!("CARGO_PKG_VERSION")]);
        assert_says(run(name, &["--no-such-flag"], &[]), 2, &["--no-such-flag", "--help"]);
        assert_says(run(name, &[], &[]), 2, &["KAFKA_BOOTSTRAP_SERVERS is not set"]);
    }
    assert_says(
        run("customerio-aep", &["--help"], &[]),
        0,
        &["demo", "send", "map", "setup", "dead-letters", "audit", "find", "platform-sim"],
    );
    assert_says(run("customerio-aep", &["nonsense"], &[]), 2, &["customerio-aep: error: unrecognized subcommand"]);
    assert_says(run("customerio-aep", &["nonsense", "--json"], &[]), 2, &[r#"{"version":1,"error":{"code":"usage","#]);
    assert_says(run("customerio-aep", &["audit", "--help", "--json"], &[]), 0, &["Usage: customerio-aep audit"]);
    assert_says(run("customerio-aep", &[], &[]), 2, &["Usage: customerio-aep"]);
    let console = [("HASH_EMAIL", "maybe".to_owned()), ("CONSOLE_LISTEN", "127.0.0.1:0".to_owned())];
    assert_says(
        run("customerio-aep", &["console"], &console),
        2,
        &["customerio-aep: these options are invalid", "invalid value '(not shown)' for 'HASH_EMAIL"],
    );
    assert_says(run("customerio-aep", &["send", "--signing-keys", " "], &[]), 2, &["contains no key"]);
    assert_says(run("customerio-aep", &["demo", "--env-file", "/nowhere/.env"], &[]), 2, &["--env-file"]);
}

#[test]
fn map_reports_rejected_bodies_and_usage_errors() {
    let _turn = shared();
    let file = std::env::temp_dir().join(format!("map-{}.json", std::process::id()));
    let map = |body: &str, arguments: &[&str]| {
        std::fs::write(&file, body).unwrap();
        run("customerio-aep", &[&["map", file.to_str().unwrap()], arguments].concat(), &[])
    };
    let body = r#"{"event_id":"01X","object_type":"email","metric":"sent","timestamp":1700000000,"data":{"customer_id":"u1","mood":1}}"#;
    assert_says(map(body, &["--tenant", "acme"]), 0, &[r#""_acme": {"#, r#""eventType": "directMarketing.emailSent""#]);
    assert_says(
        map(body, &["--compact", "--received-at", "1700000000000"]),
        0,
        &[r#""receivedAt":"2023-11-14T22:13:20.000Z""#],
    );
    assert_says(map(body, &["--explain"]), 0, &["from data.customer_id", "data.mood: not known to the mapping"]);
    assert_says(map("{", &[]), 1, &["not_json", "docs/dead-letters.md"]);
    let no_person = body.replace("customer_id", "other");
    assert_says(map(&no_person, &["--on-missing-identity", "dead-letter"]), 1, &["no_identity"]);
    assert_says(map(&no_person, &["--on-missing-identity", "dead-letter", "--json"]), 1, &[r#""code": "no_identity""#]);
    assert_says(map(body, &["--received-at", "yesterday"]), 2, &["--received-at", "2026-11-24T09:30:00Z"]);
    assert_says(map(body, &["--identity-namespace-id", "a b"]), 2, &["IDENTITY_NAMESPACE_ID"]);
    assert_says(map(body, &["--sources-file", "/nowhere/sources.toml"]), 2, &["SOURCES_FILE"]);
    std::fs::remove_file(&file).unwrap();
    assert_says(run("customerio-aep", &["map", "/nowhere/body.json"], &[]), 2, &["cannot read"]);
}

#[test]
fn check_config_reports_all_problems_of_a_configuration_at_once() {
    let pipeline = Pipeline::new(shared_kafka(), "check");
    let good = [pipeline.gateway_variables(), pipeline.transformer_variables(), pipeline.sink_variables()];
    for (name, variables) in SERVICES.iter().zip(&good) {
        assert_says(run(name, &["--check-config"], variables), 0, &["the configuration is valid"]);
        let mut wrong = variables.clone();
        wrong.push(("KAFKA_BOOTSTRAP_SERVERS", "nowhere".to_owned()));
        wrong.push(("KAFKA_SSL_CA", "/nowhere/ca.pem".to_owned()));
        wrong.push(("KAFKA_OPTIONS", "linger.ms=5".to_owned()));
        assert_says(
            run(name, &["--check-config"], &wrong),
            2,
            &["KAFKA_BOOTSTRAP_SERVERS", "host:port", "KAFKA_SSL_CA: cannot read the file"],
        );
        wrong.push(("KAFKA_OPTIONS", "acks=1".to_owned()));
        assert_says(run(name, &["--check-config"], &wrong), 2, &["acks", "guarantee"]);
        wrong.push(("SHUTDOWN_TIMEOUT", "soon".to_owned()));
        assert_says(run(name, &[], &wrong), 2, &["SHUTDOWN_TIMEOUT", "500ms"]);
    }
    let mut key = pipeline.gateway_variables();
    key.retain(|(name, _)| *name != "CUSTOMERIO_SIGNING_KEYS");
    key.push(("CUSTOMERIO_SIGNING_KEYS_FILE", "/nowhere/keys".to_owned()));
    assert_says(run("ingest-gateway", &[], &key), 2, &["CUSTOMERIO_SIGNING_KEYS_FILE", "cannot read"]);
}

#[test]
fn setup_refuses_http_to_another_machine_unless_platform_allow_http_is_set() {
    let _turn = shared();
    let plan = ["setup", "plan", "--only", "platform"];
    for variable in ["PLATFORM_API_URL", "IMS_URL"] {
        // Without the secret, the command ends before its first request.
        let variables = |allowed: &str| {
            [
                (variable, "http://platform.invalid".to_owned()),
                ("PLATFORM_ALLOW_HTTP", allowed.to_owned()),
                ("PLATFORM_IMS_ORG", "ACME@AdobeOrg".to_owned()),
                ("PLATFORM_SANDBOX", "dev".to_owned()),
                ("IMS_CLIENT_ID", "id".to_owned()),
            ]
        };
        let refused = run("customerio-aep", &plan, &variables("false"));
        assert_says(refused, 2, &[variable, "begins with http://", "PLATFORM_ALLOW_HTTP=true"]);
        let allowed = run("customerio-aep", &plan, &variables("true"));
        assert!(!allowed.1.contains("begins with http://"), "{}", allowed.1);
        assert_says(allowed, 2, &["IMS_CLIENT_SECRET"]);
    }
}

#[test]
fn a_service_with_a_missing_topic_or_too_few_partitions_exits_1_with_a_remedy() {
    let kafka = shared_kafka();
    let pipeline = Pipeline::new(kafka, "missing");
    let mut gateway = pipeline.gateway_variables();
    gateway.push(("RAW_TOPIC", "no-such-topic".to_owned()));
    assert_says(run("ingest-gateway", &[], &gateway), 1, &["no-such-topic", "setup apply --only kafka"]);

    let topics = Topics::new(&kafka.connection()).unwrap();
    let small = TopicSpec { name: pipeline.topic("small"), partitions: 1, replication: Some(1), settings: Vec::new() };
    tokio::runtime::Runtime::new().unwrap().block_on(topics.ensure(&small)).unwrap();
    let mut transformer = pipeline.transformer_variables();
    transformer.push(("TYPED_TOPIC", small.name.to_string()));
    assert_says(run("transformer", &[], &transformer), 1, &[small.name.as_str(), "1 partitions", "at least 4"]);

    let mut sink = pipeline.sink_variables();
    sink.push(("RECEIPTS_TOPIC", "no-receipts".to_owned()));
    assert_says(run("sink", &[], &sink), 1, &["no-receipts", "does not exist"]);
}

#[test]
fn setup_apply_creates_topics_once_and_then_reports_that_they_exist() {
    let _turn = shared();
    let kafka = shared_kafka();
    let name = format!("setup-{:08x}", fastrand::u32(..));
    let variables: Vec<(&str, String)> = vec![
        ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap().to_owned()),
        ("RAW_TOPIC", format!("{name}.raw")),
        ("TYPED_TOPIC", format!("{name}.typed")),
        ("DEAD_LETTER_TOPIC", format!("{name}.dead")),
        ("RECEIPTS_TOPIC", format!("{name}.receipts")),
    ];
    let apply = ["setup", "apply", "--only", "kafka", "--partitions", "3"];
    assert_says(run("customerio-aep", &apply, &variables), 0, &["created", "(3 partitions)"]);
    assert_says(run("customerio-aep", &apply, &variables), 0, &["exists"]);
    let topics = Topics::new(&kafka.connection()).unwrap();
    let raw = format!("{name}.raw").parse().unwrap();
    let settings = tokio::runtime::Runtime::new().unwrap().block_on(topics.settings(&raw)).unwrap();
    assert_eq!(settings["retention.ms"], (7 * 24 * 60 * 60 * 1000i64).to_string());
    assert_eq!(settings["max.message.bytes"], (10 * 1024 * 1024 + 64 * 1024).to_string());
}

#[test]
fn no_log_line_shows_a_secret_or_a_payload() {
    let pipeline = Pipeline::new(shared_kafka(), "redaction");
    let _simulator = pipeline.simulator();
    let mut services = [pipeline.gateway_variables(), pipeline.transformer_variables(), pipeline.sink_variables()];
    for variables in &mut services {
        variables.push(("LOG_LEVEL", "debug".to_owned()));
        variables.push(("LOG_FORMAT", "json".to_owned()));
    }
    let start = |name: &str, variables: &[(&str, String)]| {
        e2e::process::Process::start(name, variables, Some(e2e::free_port()))
    };
    let running: Vec<_> = SERVICES.iter().zip(&services).map(|(name, variables)| start(name, variables)).collect();
    let ids = pipeline.load(200, 200).finish(std::time::Duration::from_secs(30));
    e2e::accounting::assert_accepted(&pipeline, &ids, std::time::Duration::from_secs(30));
    for process in &running {
        let log = process.log();
        assert!(log.lines().any(|line| line.contains("\"starting\"")), "{log}");
        for secret in
            [e2e::pipeline::SIGNING_KEY, "sim-secret", "sim-token", "person1@example.com", "550 5.1.1", &ids[0]]
        {
            assert!(!log.contains(secret), "`{secret}` in a log");
        }
        for line in log.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        }
        let (_, metrics) = process.admin_get("/metrics").unwrap();
        assert!(metrics.contains("customerio_build_info{") && !metrics.contains("person1@"));
    }
}
