//! Tests of the second phase of `setup apply`, which enables a webhook after a signed round trip.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use customerio::{SigningKey, sign};
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use setup::desired::{Desired, Permit};
use setup::enable::{Enabling, Waiting, enable};
use setup::journal::Journal;
use setup::round_trip::RoundTrips;
use sources::SourceName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, pki_types::PrivateKeyDer};

use crate::world::{World, desired, fresh, signs, stage};

pub(crate) const KEY: &str = "trial-key-for-the-simulator-only";

/// The behaviour of a gateway, or of a proxy in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Right,
    AcceptsEverything,
    Redirects,
    /// A proxy removes line breaks and tabs from the body.
    ChangesBodies,
    OtherServer,
    KafkaDown,
    /// The gateway and Customer.io have different signing keys.
    OtherKey,
}

/// Starts a server that responds like a gateway. Returns its address and its request counter.
pub(crate) async fn gateway(behaviour: Behaviour) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, behaviour, Arc::clone(&counted)));
        }
    });
    (format!("http://{address}"), seen)
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, behaviour: Behaviour, seen: Arc<AtomicUsize>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let header = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned)).unwrap_or_default()
    };
    let length: usize = header("content-length").parse().unwrap_or(0);
    while bytes.len() < end + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    seen.fetch_add(1, Ordering::SeqCst);
    let mut body = bytes[end..].to_vec();
    if behaviour == Behaviour::ChangesBodies {
        body.retain(|byte| !b"\r\n\t".contains(byte));
    }
    let key = if behaviour == Behaviour::OtherKey { "a-key-of-another-workspace" } else { KEY };
    let expected = sign(&SigningKey::new(key), &header("x-cio-timestamp"), &body);
    let is_authentic = header("x-cio-signature") == expected;
    let answer = match behaviour {
        Behaviour::AcceptsEverything => "202 Accepted",
        Behaviour::Redirects => "301 Moved\r\nlocation: https://login.example/?token=topsecret",
        Behaviour::OtherServer => "404 Not Found",
        Behaviour::KafkaDown if is_authentic => "503 Unavailable",
        _ if is_authentic => "202 Accepted",
        _ => "401 Unauthorized",
    };
    let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    drop(stream.write_all(answer.as_bytes()).await);
}

pub(crate) fn enabling(key: Option<&str>, not_before: Option<Timestamp>) -> Enabling {
    let keys: BTreeMap<SourceName, SecretString> =
        key.map(|key| (SourceName::default(), SecretString::from(key))).into_iter().collect();
    Enabling { keys, round_trips: RoundTrips::new().unwrap(), not_before }
}

pub(crate) async fn second_phase(world: &World, desired: &Desired, enabling: &Enabling) -> (Vec<Waiting>, String) {
    phases(world, desired, enabling, &Permit::default()).await
}

async fn phases(world: &World, desired: &Desired, enabling: &Enabling, permit: &Permit) -> (Vec<Waiting>, String) {
    let stage = desired.stage.as_ref().unwrap();
    let clients = world.clients(stage);
    let mut applied = world.apply(desired, &clients, permit).await.unwrap();
    let journal = Journal::read(&world.state_file(stage), Some(stage)).unwrap();
    let waiting = enable(desired, permit, &clients, &journal, &mut applied, enabling, &mut |_| {}).await.unwrap();
    (waiting, signs(&applied.plan))
}

async fn at(url: &str) -> (World, Desired) {
    let mut desired = desired(&stage("dev"));
    desired.webhooks[0].endpoint = format!("{url}/webhooks/customerio").parse().unwrap();
    (World::start(fresh()).await, desired)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_enabled_after_one_round_trip() {
    let (url, seen) = gateway(Behaviour::Right).await;
    let (world, desired) = at(&url).await;
    let (waiting, signs) = second_phase(&world, &desired, &enabling(Some(KEY), None)).await;
    assert_eq!((waiting, signs.as_str()), (Vec::new(), "=10"));
    assert_eq!(world.webhooks(130_001).await[0]["disabled"], false);
    assert_eq!(seen.load(Ordering::SeqCst), 2, "one request with a wrong signature and one with a valid one");
    // A second run has nothing to do, and does not call the gateway.
    let (waiting, signs) = second_phase(&world, &desired, &enabling(Some(KEY), None)).await;
    assert_eq!((waiting, signs.as_str(), seen.load(Ordering::SeqCst)), (Vec::new(), "=10", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_stays_disabled_without_a_signing_key_or_before_the_settling_time() {
    let (url, _) = gateway(Behaviour::Right).await;
    let (world, desired) = at(&url).await;
    let (waiting, signs) = second_phase(&world, &desired, &enabling(None, None)).await;
    assert_eq!((waiting[0].code(), signs.as_str()), ("signing_key", "=9 ~1"));
    assert!(waiting[0].to_string().contains("CUSTOMERIO_SIGNING_KEYS_FILE"));
    let soon = Timestamp::now() + SignedDuration::from_mins(5);
    let (waiting, _) = second_phase(&world, &desired, &enabling(Some(KEY), Some(soon))).await;
    assert_eq!(waiting, [Waiting::Time { until: soon }]);
    assert_eq!(world.webhooks(130_001).await[0]["disabled"], true);
    let (waiting, signs) = second_phase(&world, &desired, &enabling(Some(KEY), Some(Timestamp::now()))).await;
    assert_eq!((waiting, signs.as_str()), (Vec::new(), "=10"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_problem_of_the_public_url_has_a_message_and_leaves_the_webhook_disabled() {
    for (behaviour, key, words) in [
        (Behaviour::Right, "another-signing-key", "its signing key is not the one given here"),
        (Behaviour::AcceptsEverything, KEY, "accepts a wrong signature"),
        (Behaviour::Redirects, KEY, "redirects (HTTP 301) to https://login.example/"),
        (Behaviour::ChangesBodies, KEY, "changes the body"),
        (Behaviour::OtherServer, KEY, "HTTP 404"),
        (Behaviour::KafkaDown, KEY, "HTTP 503"),
    ] {
        let (url, _) = gateway(behaviour).await;
        let (world, desired) = at(&url).await;
        let (waiting, _) = second_phase(&world, &desired, &enabling(Some(key), None)).await;
        let said = waiting[0].to_string();
        assert!(said.contains(words) && !said.contains("topsecret") && !said.contains(key), "{behaviour:?}: {said}");
        assert_eq!(world.webhooks(130_001).await[0]["disabled"], true, "{behaviour:?}");
    }
    let (world, desired) = at("http://127.0.0.1:1").await;
    let (waiting, _) = second_phase(&world, &desired, &enabling(Some(KEY), None)).await;
    assert!(waiting[0].to_string().contains("no connection"), "{waiting:?}");
    let (world, desired) = at("http://no-such-host.invalid").await;
    let (waiting, _) = second_phase(&world, &desired, &enabling(Some(KEY), None)).await;
    assert!(waiting[0].to_string().contains("cannot be resolved"), "{waiting:?}");
}

/// Starts a gateway with a certificate that no public authority has signed. Returns its address and the certificate.
async fn self_signed() -> (String, reqwest::Certificate) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, Behaviour::Right, Arc::default()).await;
                }
            });
        }
    });
    (format!("https://localhost:{port}"), reqwest::Certificate::from_der(made.cert.der()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_is_reported_and_the_webhook_stays_disabled() {
    let (world, desired) = at(&self_signed().await.0).await;
    let (waiting, _) = second_phase(&world, &desired, &enabling(Some(KEY), None)).await;
    let said = waiting[0].to_string();
    assert!(
        said.contains("certificate of the public URL cannot be verified") && said.contains("intermediates"),
        "{said}"
    );
    assert_eq!(world.webhooks(130_001).await[0]["disabled"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_only_this_machine_trusts_is_reported_and_the_webhook_stays_disabled() {
    let (url, authority) = self_signed().await;
    let (world, desired) = at(&url).await;
    let round_trips = RoundTrips::with_installed(vec![authority]).unwrap();
    let endpoint = &desired.webhooks[0].endpoint;
    let problem = round_trips.check(endpoint, &SecretString::from(KEY)).await.unwrap_err();
    assert_eq!(problem.code(), "private_authority", "{problem}");
    let enabling = Enabling { round_trips, ..enabling(Some(KEY), None) };
    let (waiting, _) = second_phase(&world, &desired, &enabling).await;
    let said = waiting[0].to_string();
    for words in ["Customer.io will not accept it", "public root certificates"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(world.webhooks(130_001).await[0]["disabled"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_a_person_disabled_is_enabled_only_with_enable_webhook() {
    let (url, seen) = gateway(Behaviour::Right).await;
    let (world, desired) = at(&url).await;
    let enabling = enabling(Some(KEY), None);
    let first = world.apply(&desired, &world.clients(&stage("dev")), &Permit::default()).await.unwrap();
    assert!(first.plan.problems.is_empty(), "a webhook that is not enabled yet: {:?}", first.plan.problems);
    second_phase(&world, &desired, &enabling).await;
    let webhook = world.webhooks(130_001).await[0].clone();
    assert!(webhook["name"].as_str().unwrap().ends_with("/default]"), "the name still has the note: {webhook}");
    world.change_webhook(&webhook["id"], serde_json::json!({"disabled": true})).await;

    let clients = world.clients(&stage("dev"));
    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    let key = setup::key::Key::Webhook(SourceName::default());
    let shown = &plan.object(&key).unwrap().differences[0];
    assert!(shown.current.contains("somebody disabled it") && shown.wanted.contains("--enable-webhook default"));
    assert!(plan.problems[0].contains("setup apply --enable-webhook default"), "{:?}", plan.problems);
    let round_trips = seen.load(Ordering::SeqCst);
    let (waiting, signs) = second_phase(&world, &desired, &enabling).await;
    assert_eq!((waiting, signs.as_str(), seen.load(Ordering::SeqCst)), (Vec::new(), "=10", round_trips));
    assert_eq!(world.webhooks(130_001).await[0]["disabled"], true);

    let other = Permit { enable_webhooks: ["other".parse().unwrap()].into(), ..Permit::default() };
    phases(&world, &desired, &enabling, &other).await;
    assert_eq!(world.webhooks(130_001).await[0]["disabled"], true, "the permit contains another source");
    let asked = Permit { enable_webhooks: [SourceName::default()].into(), ..Permit::default() };
    let (waiting, _) = phases(&world, &desired, &enabling, &asked).await;
    assert!(waiting.is_empty(), "{waiting:?}");
    assert_eq!(world.webhooks(130_001).await[0]["disabled"], false);
    assert_eq!(seen.load(Ordering::SeqCst), round_trips + 2, "the webhook is enabled after a round trip");
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_removes_the_not_enabled_note_from_a_webhook_that_a_person_enabled() {
    let (url, _) = gateway(Behaviour::Right).await;
    let (world, desired) = at(&url).await;
    let clients = world.clients(&stage("dev"));
    world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    let webhook = world.webhooks(130_001).await[0].clone();
    assert!(webhook["name"].as_str().unwrap().ends_with("(not enabled yet)"), "{webhook}");
    world.change_webhook(&webhook["id"], serde_json::json!({"disabled": false})).await;
    let applied = world.apply(&desired, &clients, &Permit::default()).await.unwrap();
    assert_eq!((signs(&applied.plan).as_str(), applied.changed.len()), ("=10", 1));
    world.change_webhook(&webhook["id"], serde_json::json!({"disabled": true})).await;
    let plan = world.plan(&desired, &clients, &Permit::default()).await.unwrap();
    assert!(plan.problems[0].contains("somebody disabled"), "{:?}", plan.problems);
}
