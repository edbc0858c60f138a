//! Tests the client and its tokens against the simulator.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use platform::client::http_client;
use platform::{
    Answer, BatchBody, ClientSettings, Envelope, EnvelopeSettings, HoldReason, PlatformClient, RecordVerdict,
    RefreshOutcome, RetryReason, TokenProvider, TokenSettings, Verdict, classify,
};
use platform_sim::{Break, Fault, FaultKind, Shape, SimSettings, Simulator};

struct Setup {
    simulator: Simulator,
    client: PlatformClient,
    envelope: Envelope,
    granted: Arc<AtomicU64>,
}

async fn setup(settings: SimSettings, secret: &'static str) -> Setup {
    setup_with(settings, secret, |_| {}).await
}

async fn setup_with(settings: SimSettings, secret: &'static str, change: impl FnOnce(&mut ClientSettings)) -> Setup {
    let envelope = Envelope::new(&EnvelopeSettings {
        schema_id: settings.schema_id.clone(),
        dataset_id: settings.dataset_id.clone(),
        ims_org: settings.ims_org.clone(),
        flow_id: Some("flow".into()),
    });
    let ims_org = settings.ims_org.clone();
    let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
    let mut client_settings = ClientSettings {
        inlet: simulator.inlet_url().parse().unwrap(),
        ims_org,
        sandbox: Some("prod".into()),
        flow_id: None,
        timeout: Duration::from_secs(5),
        ca_file: None,
        https_proxy: None,
        no_proxy: None,
    };
    change(&mut client_settings);
    let http = http_client(&client_settings).unwrap();
    let token_settings = TokenSettings {
        ims_url: simulator.ims_url().parse().unwrap(),
        client_id: "sim-client".into(),
        client_secret: Arc::new(move || Ok(secret.into())),
        scopes: "openid,AdobeID".into(),
        names: platform::CredentialNames::default(),
    };
    let granted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&granted);
    let on_refresh = Box::new(move |outcome| {
        if outcome == RefreshOutcome::Granted {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let tokens = TokenProvider::new(token_settings, http.clone(), on_refresh).unwrap();
    let client = PlatformClient::new(&client_settings, http, Some(tokens), Box::new(|_| {})).unwrap();
    Setup { simulator, client, envelope, granted }
}

fn event(id: &str) -> String {
    format!(
        r#"{{"_id":"{id}","timestamp":"2023-11-14T22:13:20.000Z","_acme":{{"customerio":{{"objectType":"email","metric":"sent"}}}}}}"#
    )
}

impl Setup {
    fn body(&self, events: &[String]) -> Bytes {
        let mut body = BatchBody::new(&self.envelope, 0);
        for event in events {
            body.add(event.as_bytes());
        }
        body.finish()
    }

    async fn send(&self, events: &[String]) -> Verdict {
        classify(&self.client.send_batch(self.body(events)).await, events.len())
    }
}

/// Returns one character per record: A for accepted, R for refused, T for a record to send again.
fn marks(verdict: &Verdict) -> String {
    let Verdict::Records { records, .. } = verdict else { panic!("{verdict:?}") };
    let mark = |record: &RecordVerdict| match record {
        RecordVerdict::Accepted { .. } => 'A',
        RecordVerdict::Refused { .. } => 'R',
        RecordVerdict::Retry(_) => 'T',
    };
    records.iter().map(mark).collect()
}

#[tokio::test]
async fn only_the_invalid_events_of_a_batch_are_refused() {
    let setup = setup(SimSettings::default(), "sim-secret").await;
    let bad = event("b").replace("timestamp", "when");
    assert_eq!(marks(&setup.send(&[event("a"), bad, event("c")]).await), "ARA");
    let stats = setup.simulator.stats();
    assert_eq!((stats.accepted, stats.distinct, stats.refused, stats.tokens), (2, 2, 1, 1));
    assert_eq!(setup.simulator.last_event().unwrap()["_id"], "c");
}

#[tokio::test]
async fn concurrent_senders_share_one_token_until_it_expires() {
    let setup = Arc::new(setup(SimSettings::default(), "sim-secret").await);
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..20 {
        let setup = Arc::clone(&setup);
        senders.spawn(async move { marks(&setup.send(&[event(&number.to_string())]).await) });
    }
    assert!(senders.join_all().await.iter().all(|marks| marks == "A"));
    assert_eq!(setup.granted.load(Ordering::SeqCst), 1);
    setup.simulator.add_fault(FaultKind::ExpireTokens.into());
    assert_eq!(setup.send(&[event("x")]).await, Verdict::Hold(HoldReason::Unauthorized));
    assert_eq!(marks(&setup.send(&[event("x")]).await), "A");
    assert_eq!(setup.granted.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let short = SimSettings { token_lifetime: Duration::from_secs(1), ..SimSettings::default() };
    let setup = setup(short, "sim-secret").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while setup.granted.load(Ordering::SeqCst) < 3 {
        assert_eq!(marks(&setup.send(&[event("a")]).await), "A", "an expired token was used");
        assert!(tokio::time::Instant::now() < deadline, "never renewed");
    }
}

#[tokio::test]
async fn a_wrong_client_secret_leads_to_a_hold_without_being_shown() {
    let setup = setup(SimSettings::default(), "wrong-secret").await;
    let answer = setup.client.send_batch(setup.body(&[event("a")])).await;
    let Answer::NoToken(error) = &answer else { panic!("{answer:?}") };
    assert!(error.to_string().contains("invalid_client") && !format!("{answer:?}").contains("wrong-secret"));
    assert_eq!(classify(&answer, 1), Verdict::Hold(HoldReason::Unauthorized));
}

#[tokio::test]
async fn a_503_and_a_partial_response_get_the_documented_verdicts() {
    let setup = setup(SimSettings::default(), "sim-secret").await;
    setup.simulator.add_fault(Fault::status(503, Some(3), 1));
    let after = Some(Duration::from_secs(3));
    assert_eq!(setup.send(&[event("a")]).await, Verdict::RetryAll { after, reason: RetryReason::Unavailable });
    for shape in [Shape::A, Shape::B] {
        setup.simulator.add_fault(Fault::from(FaultKind::Partial { shape, every: 2, status: 400 }).times(1));
        let events: Vec<_> = (0..5).map(|number| event(&format!("{shape:?}{number}"))).collect();
        assert_eq!(marks(&setup.send(&events).await), "ARARA");
    }
    assert_eq!(setup.simulator.accepted().len(), 6);
}

#[tokio::test]
async fn an_oversized_request_is_halved_and_an_unreadable_request_is_bisected() {
    let setup = setup(SimSettings::default(), "sim-secret").await;
    let big = event(&"x".repeat(600_000));
    assert_eq!(setup.send(&[big.clone(), big]).await, Verdict::Halve { reason: RetryReason::TooLarge });
    let garbage = setup.client.send_batch(Bytes::from_static(b"{")).await;
    assert!(matches!(classify(&garbage, 2), Verdict::Bisect { .. }));
}

#[tokio::test]
async fn a_closed_port_is_classified_as_a_connection_failure() {
    let setup = setup(SimSettings::default(), "sim-secret").await;
    assert_eq!(marks(&setup.send(&[event("a")]).await), "A");
    setup.simulator.stop();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        match setup.send(&[event("a")]).await {
            Verdict::RetryAll { reason: RetryReason::Connection, .. } => break,
            other => assert!(tokio::time::Instant::now() < deadline, "{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let setup = setup(SimSettings::default(), "sim-secret").await;
    for status in [301, 302, 307, 308] {
        setup.simulator.add_fault(Fault::status(status, None, 1));
        assert_eq!(setup.send(&[event("a")]).await, Verdict::Hold(HoldReason::Endpoint), "{status}");
    }
    assert_eq!(setup.simulator.accepted().len(), 0);
}

#[tokio::test]
async fn an_unknown_host_and_a_failed_tls_handshake_are_connection_failures() {
    let connection = Verdict::RetryAll { after: None, reason: RetryReason::Connection };
    let nowhere =
        |settings: &mut ClientSettings| settings.inlet = "https://inlet.invalid/collection/a".parse().unwrap();
    assert_eq!(setup_with(SimSettings::default(), "sim-secret", nowhere).await.send(&[event("a")]).await, connection);
    // The simulator does not speak TLS.
    let no_tls = |settings: &mut ClientSettings| {
        settings.inlet =
            settings.inlet.batch_url().as_str().replace("http:", "https:").replace("/batch", "").parse().unwrap();
    };
    assert_eq!(setup_with(SimSettings::default(), "sim-secret", no_tls).await.send(&[event("a")]).await, connection);
}

#[tokio::test]
async fn a_late_response_is_classified_as_a_timeout() {
    let hasty = |settings: &mut ClientSettings| settings.timeout = Duration::from_millis(300);
    let setup = setup_with(SimSettings::default(), "sim-secret", hasty).await;
    setup.simulator.add_fault(Fault::from(FaultKind::Delay { millis: 2000 }).times(1));
    assert_eq!(setup.send(&[event("a")]).await, Verdict::RetryAll { after: None, reason: RetryReason::Timeout });
    assert_eq!(marks(&setup.send(&[event("a")]).await), "A");
}

#[tokio::test]
async fn a_broken_connection_leads_to_a_retry_of_all_records() {
    let setup = setup(SimSettings::default(), "sim-secret").await;
    for (when, accepted) in [(Break::Before, 0), (Break::After, 1), (Break::Within, 2)] {
        setup.simulator.add_fault(Fault::from(FaultKind::Reset { when }).times(1));
        let verdict = setup.send(&[event(&format!("{when:?}"))]).await;
        assert_eq!(verdict, Verdict::RetryAll { after: None, reason: RetryReason::Connection }, "{when:?}");
        assert_eq!(setup.simulator.stats().accepted, accepted, "{when:?}");
    }
}

#[tokio::test]
async fn a_token_that_entries_refuse_is_replaced_only_once() {
    let setup = setup(SimSettings::default(), "sim-secret").await;
    let sent_at = tokio::time::Instant::now();
    assert_eq!(marks(&setup.send(&[event("a"), event("b")]).await), "AA");
    for (every, refuses) in [(2, false), (1, true)] {
        setup.simulator.add_fault(Fault::from(FaultKind::Partial { shape: Shape::B, every, status: 401 }).times(1));
        assert_eq!(setup.send(&[event("a"), event("b")]).await.refuses_the_token(), refuses);
    }
    setup.client.forget_token(sent_at).await;
    assert_eq!(marks(&setup.send(&[event("a")]).await), "A");
    assert_eq!(
        setup.granted.load(Ordering::SeqCst),
        1,
        "a refusal of an earlier request does not discard a newer token"
    );
    // Three requests in flight get their responses one after the other. Only the first response discards the token.
    let sent_at = tokio::time::Instant::now();
    for _ in 0..3 {
        setup.client.forget_token(sent_at).await;
        assert_eq!(marks(&setup.send(&[event("a")]).await), "A");
    }
    assert_eq!(setup.granted.load(Ordering::SeqCst), 2);
}
