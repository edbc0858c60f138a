//! Tests with three sources, one of which is broken: the other sources are set up and checked.

use std::collections::{BTreeMap, BTreeSet};

use customerio_api::{ApiAddress, ApiSettings, AppApiClient, AppApiKey, Region, UnencryptedHttp};
use secrecy::SecretString;
use setup::check::{Checks, Configured, Level, Line};
use setup::clients::Clients;
use setup::desired::{Desired, Permit, endpoint};
use setup::journal::Journal;
use setup::round_trip::RoundTrips;
use setup::settling::Settling;
use sources::SourceName;

use crate::gateway::{Behaviour, KEY, gateway};
use crate::world::{World, desired, fresh, stage};

const NAMES: [&str; 3] = ["app", "broken", "shop"];

fn name(name: &str) -> SourceName {
    name.parse().unwrap()
}

/// The desired state with three sources and a gateway at the address `url`.
fn three(url: &str) -> Desired {
    let mut three = desired(&stage("dev"));
    let wish = three.webhooks.remove(0);
    three.webhooks.extend(NAMES.map(|source| {
        let mut wish = wish.clone();
        wish.source = name(source);
        wish.endpoint = endpoint(&url.parse().unwrap(), &wish.source).unwrap();
        wish
    }));
    three
}

/// The clients of three sources. `key` is the App API key of the source `broken`.
fn clients(world: &World, key: &str) -> Clients {
    let address =
        ApiAddress::replaced(Region::Us, &world.simulator.customerio_url(), UnencryptedHttp::LoopbackOnly).unwrap();
    // The clients share the request budget of these settings.
    let settings = ApiSettings::new(address);
    let client = |source: &str| {
        let key = if source == "broken" { key } else { "sim-app-key" };
        (name(source), AppApiClient::new(&settings, AppApiKey::new(&key.into()).unwrap()).unwrap())
    };
    Clients { customerio: NAMES.map(client).into(), ..world.clients(&stage("dev")) }
}

/// Keys that Customer.io refuses: one of another API, and one of the other region.
const WRONG_KEYS: [&str; 2] = ["sim-track-key", "sim-app-key-eu"];

#[tokio::test(flavor = "multi_thread")]
async fn apply_sets_up_the_other_sources_if_one_source_has_a_wrong_key_or_region() {
    for key in WRONG_KEYS {
        let world = World::start(fresh()).await;
        let three = three("https://events.example.com");
        let applied = world.apply(&three, &clients(&world, key), &Permit::default()).await.unwrap();
        let problems = &applied.plan.problems;
        assert!(problems.len() == 1 && problems[0].contains("source `broken`"), "{key}: {problems:?}");
        assert_eq!(world.webhooks(130_001).await.len(), 2, "{key}");
        let applied = world.apply(&three, &clients(&world, "sim-app-key"), &Permit::default()).await.unwrap();
        assert!(applied.plan.problems.is_empty(), "{:?}", applied.plan.problems);
        assert_eq!(world.webhooks(130_001).await.len(), 3, "{key}");
    }
}

async fn checked(world: &World, key: &str, unreadable_keys: BTreeSet<SourceName>) -> Vec<Line> {
    let (url, _) = gateway(Behaviour::Right).await;
    let three = three(&url);
    let keys = NAMES.map(|source| (name(source), SecretString::from(KEY)));
    let keys: BTreeMap<_, _> = keys.into_iter().filter(|(source, _)| !unreadable_keys.contains(source)).collect();
    let clients = clients(world, key);
    let journal = Journal::in_memory();
    let checks = Checks {
        desired: &three,
        sources: NAMES.map(name).to_vec(),
        unreadable_keys,
        platform_api: None,
        clients: &clients,
        journal: &journal,
        configured: Configured::default(),
        tokens: None,
        http: None,
        keys,
        round_trips: RoundTrips::new().unwrap(),
        settling: Settling::default(),
        kafka: None,
    };
    checks.run().await.lines
}

fn level(lines: &[Line], id: &str, source: &str) -> Option<Level> {
    let is_of = |asked: &str| asked.ends_with(&format!("source {source}")) || asked.ends_with(&format!("/{source}"));
    lines.iter().find(|line| line.id == id && is_of(&line.asked)).map(|line| line.level)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_a_wrong_key_or_region_fails_one_check_and_the_other_sources_are_checked() {
    for key in WRONG_KEYS {
        let world = World::start(fresh()).await;
        let lines = checked(&world, key, BTreeSet::new()).await;
        assert_eq!(level(&lines, "app_api_key", "broken"), Some(Level::Bad), "{key}: {lines:#?}");
        for source in ["app", "shop"] {
            assert_eq!(level(&lines, "app_api_key", source), Some(Level::Good), "{key}: {source}");
        }
        for source in NAMES {
            assert_eq!(level(&lines, "public_url", source), Some(Level::Good), "{key}: {source} {lines:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_an_unreadable_signing_key_is_skipped_and_the_other_sources_are_checked() {
    let world = World::start(fresh()).await;
    let lines = checked(&world, "sim-app-key", BTreeSet::from([name("broken")])).await;
    for id in ["signing_key", "public_url"] {
        assert_eq!(level(&lines, id, "broken"), Some(Level::Skipped), "{lines:#?}");
        for source in ["app", "shop"] {
            assert_eq!(level(&lines, id, source), Some(Level::Good), "{id}: {source} {lines:#?}");
        }
    }
    assert_eq!(level(&lines, "app_api_key", "broken"), Some(Level::Good));
}
