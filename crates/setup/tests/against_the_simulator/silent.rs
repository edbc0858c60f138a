//! Tests `check` with a silent dependency, which accepts connections and never answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::PipelineTopics;
use customerio_api::{ApiAddress, ApiSettings, AppApiClient, AppApiKey, Region, UnencryptedHttp};
use kafka::Connection;
use kafka::topic::Topics;
use platform::{CredentialNames, HttpSettings, TokenProvider, TokenSettings};
use schema_registry::{RegistrySettings, SchemaRegistry};
use secrecy::SecretString;
use setup::check::{Checks, Configured, Level, Line, TIMEOUT};
use setup::clients::Clients;
use setup::journal::Journal;
use setup::round_trip::RoundTrips;
use setup::settling::Settling;
use setup::topics::TopicWish;
use sources::SourceName;
use tokio::net::TcpListener;

use crate::gateway::{Behaviour, KEY, gateway};
use crate::world::{World, desired, fresh, stage};

/// The addresses of all dependencies. Kafka and the Schema Registry have an address, and are checked, only in their own
/// row of [`TABLE`].
struct Addresses {
    ims: String,
    platform: String,
    customerio: String,
    gateway: String,
    kafka: Option<String>,
    registry: Option<String>,
}

/// Starts a server that accepts connections and never answers. Returns its host and port.
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    address
}

/// The addresses of the simulator and of a gateway, but with a silent server in place of one dependency.
async fn with_silent(world: &World, dependency: &str) -> Addresses {
    let silent = silent().await;
    let http = format!("http://{silent}");
    let mut addresses = Addresses {
        ims: world.simulator.ims_url(),
        platform: world.simulator.ims_url(),
        customerio: world.simulator.customerio_url(),
        gateway: gateway(Behaviour::Right).await.0,
        kafka: None,
        registry: None,
    };
    match dependency {
        "ims" => addresses.ims = http,
        "platform" => addresses.platform = http,
        "customerio" => addresses.customerio = http,
        "gateway" => addresses.gateway = http,
        "kafka" => addresses.kafka = Some(silent),
        "registry" => addresses.registry = Some(http),
        other => panic!("unknown dependency {other}"),
    }
    addresses
}

fn topics() -> TopicWish {
    let [raw, typed, dead_letters] = ["raw", "typed", "dead"].map(|name| name.parse().unwrap());
    let topics = PipelineTopics { raw, typed, dead_letters, receipts: None };
    TopicWish { topics, partitions: 12, replication: None, max_body: 1024 }
}

async fn lines(world: &World, addresses: &Addresses) -> Vec<Line> {
    let dev = stage("dev");
    let mut desired = desired(&dev);
    desired.webhooks[0].endpoint = format!("{}/webhooks/customerio", addresses.gateway).parse().unwrap();
    desired.topics = addresses.kafka.as_ref().map(|_| topics());
    desired.subject = addresses.registry.as_ref().map(|_| "typed-value".to_owned());
    let connection = addresses.kafka.as_ref().map(|kafka| Connection::plaintext(kafka, "check"));
    let registry = addresses
        .registry
        .as_ref()
        .map(|url| SchemaRegistry::new(&RegistrySettings { url: url.parse().unwrap(), credential: None }).unwrap());
    let address = ApiAddress::replaced(Region::Us, &addresses.customerio, UnencryptedHttp::LoopbackOnly).unwrap();
    // With its default settings, this client repeats a request for longer than a check may take.
    let key = AppApiKey::new(&"sim-app-key".into()).unwrap();
    let customerio = AppApiClient::new(&ApiSettings::new(address), key).unwrap();
    let clients = Clients {
        kafka: connection.as_ref().map(|connection| Topics::new(connection).unwrap()),
        registry,
        platform: Some(
            world.control(&dev, "sim-secret", |settings| settings.api = addresses.platform.parse().unwrap()),
        ),
        customerio: BTreeMap::from([(SourceName::default(), customerio)]),
        ..Clients::default()
    };
    let http = HttpSettings { timeout: TIMEOUT, ca_file: None, https_proxy: None, no_proxy: None }.client().unwrap();
    let tokens = TokenSettings {
        ims_url: addresses.ims.parse().unwrap(),
        client_id: "sim-client".into(),
        client_secret: Arc::new(|| Ok("sim-secret".into())),
        scopes: "openid".into(),
        names: CredentialNames::default(),
    };
    let journal = Journal::in_memory();
    let checks = Checks {
        desired: &desired,
        sources: vec![SourceName::default()],
        unreadable_keys: BTreeSet::new(),
        platform_api: Some(addresses.platform.parse().unwrap()),
        clients: &clients,
        journal: &journal,
        configured: Configured::default(),
        tokens: Some(TokenProvider::new(tokens, http.clone(), Box::new(|_| {})).unwrap()),
        http: Some(http),
        keys: BTreeMap::from([(SourceName::default(), SecretString::from(KEY))]),
        round_trips: RoundTrips::new().unwrap(),
        settling: Settling::default().scaled(0.0),
        kafka: connection,
    };
    checks.run().await.lines
}

/// Columns: the silent dependency, and the ids of the checks that report it as unanswered.
const TABLE: &[(&str, &[&str])] = &[
    ("ims", &["ims"]),
    ("platform", &["clock", "sandbox"]),
    ("customerio", &["app_api_key"]),
    ("gateway", &["public_url"]),
    ("kafka", &["kafka"]),
    ("registry", &["registry"]),
];

async fn assert_in_time(&(dependency, ids): &'static (&str, &[&str])) {
    let world = World::start(fresh()).await;
    let addresses = with_silent(&world, dependency).await;
    let begun = Instant::now();
    let lines = lines(&world, &addresses).await;
    let took = begun.elapsed();
    assert!(took < TIMEOUT + Duration::from_secs(4), "{dependency}: {took:?}");
    let silent: Vec<&str> = lines.iter().filter(|line| line.level == Level::Unanswered).map(|line| line.id).collect();
    assert_eq!(silent, ids, "{dependency}: {lines:#?}");
    for id in ["clock", "ims", "app_api_key", "public_url"].iter().filter(|id| !ids.contains(id)) {
        assert!(lines.iter().any(|line| line.id == *id && line.level == Level::Good), "{dependency}: {id} {lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dependency_that_never_answers_is_reported_in_time_and_the_other_checks_are_completed() {
    let checks: Vec<_> = TABLE.iter().map(|row| tokio::spawn(assert_in_time(row))).collect();
    for check in checks {
        check.await.unwrap();
    }
}
