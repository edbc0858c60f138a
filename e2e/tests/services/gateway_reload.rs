//! Keys, sources and certificates change while webhooks arrive, and no webhook is refused.

use std::path::PathBuf;
use std::time::Duration;

use e2e::accounting::read;
use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::{Process, Signal, signal};
use e2e::sender::{Senders, event, request, send_once};
use e2e::turn::alone;
use e2e::{free_port, wait_until};

const PATH: &str = "/webhooks/customerio";

/// A folder that is removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("customerio-reload-{:x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// Starts the gateway with these variables, and without the default signing keys of the tests.
fn gateway(pipeline: &Pipeline, more: &[(&'static str, String)]) -> Process {
    let mut variables = pipeline.gateway_variables();
    variables.retain(|(name, _)| *name != "CUSTOMERIO_SIGNING_KEYS");
    variables.extend(more.iter().cloned());
    Process::start("ingest-gateway", &variables, Some(free_port()))
}

fn labelled(gateway: &Process, line: &str) -> f64 {
    let (_, text) = gateway.admin_get("/metrics").unwrap_or_default();
    text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok()).unwrap_or(-1.0)
}

fn loaded(gateway: &Process) -> f64 {
    labelled(gateway, r#"customerio_gateway_reloads_total{files="signing_keys",outcome="loaded"}"#)
}

fn refused(gateway: &Process) -> f64 {
    labelled(gateway, r#"customerio_gateway_reloads_total{files="signing_keys",outcome="refused"}"#)
}

#[test]
fn p2_rotating_signing_keys_under_load_refuses_no_signed_event() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "rotation");
    let folder = Folder::new();
    folder.write("keys", "key-0\n");
    let gateway = gateway(&pipeline, &[("CUSTOMERIO_SIGNING_KEYS_FILE", folder.path("keys"))]);
    let patience = Duration::from_secs(20);
    let load = Senders::start(pipeline.gateway_port, PATH, "key-0", 6, Duration::from_millis(5), "rotated");
    for number in 1..=4 {
        let (old, new) = (format!("key-{}", number - 1), format!("key-{number}"));
        let before = loaded(&gateway);
        // The third file begins with a byte order mark and has CR LF line ends, as files of Windows editors do.
        let (mark, end) = if number == 3 { ("\u{feff}", "\r\n") } else { ("", "\n") };
        folder.write("keys", &format!("{mark}{old}{end}{new}{end}"));
        if number % 2 == 0 {
            signal(gateway.id(), Signal::HUP);
        }
        wait_until("both keys to be live", patience, || loaded(&gateway) > before);
        let sent = load.answered();
        load.sign_with(&new);
        wait_until("the load to use the new key only", patience, || load.answered() > sent + 200);
        let before = loaded(&gateway);
        folder.write("keys", &format!("{new}\n"));
        wait_until("the old key to be gone", patience, || loaded(&gateway) > before);
        let old = request(PATH, &old, "", event("forged").as_bytes());
        assert_eq!(send_once(pipeline.gateway_port, &old).unwrap().status, 401, "the removed key is refused");
    }
    // After a broken file is written under the same load, the gateway keeps the previous keys. A metric shows that the
    // file is broken.
    let before = refused(&gateway);
    folder.write("keys", "\n");
    wait_until("the refusal", patience, || refused(&gateway) > before);
    assert_eq!(gateway.metric("customerio_gateway_reload_broken"), 1.0);
    assert!(gateway.log().contains("keeping the previous ones"), "{}", gateway.log());
    std::fs::remove_file(folder.0.join("keys")).unwrap();
    wait_until("the refusal of the missing file", patience, || refused(&gateway) > before + 1.0);
    let sent = load.answered();
    wait_until("the load to go on", patience, || load.answered() > sent + 200);
    folder.write("keys", "key-4\nkey-5\n");
    wait_until("the fixed file", patience, || gateway.metric("customerio_gateway_reload_broken") == 0.0);
    assert_eq!(gateway.metric("customerio_gateway_signing_keys"), 2.0);
    let outcome = load.finish();
    outcome.assert_all_stored();
    let stored: std::collections::HashSet<Vec<u8>> =
        read(&shared_kafka().connection(), &pipeline.topic("raw")).into_iter().map(|record| record.value).collect();
    let missing = outcome.acknowledged.iter().filter(|id| !stored.contains(event(id).as_bytes())).count();
    assert_eq!(missing, 0, "of {} acknowledged", outcome.acknowledged.len());
    assert!(!gateway.log().contains("key-4"), "no key is logged");
}

#[test]
fn the_gateway_adds_and_removes_sources_while_it_serves_other_sources() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "sources");
    let folder = Folder::new();
    folder.write("shop.key", "shop-1\n");
    folder.write("sources.toml", "[sources.shop]\nsigning_keys_file = \"shop.key\"\n");
    let gateway = gateway(&pipeline, &[("SOURCES_FILE", folder.path("sources.toml"))]);
    let patience = Duration::from_secs(20);
    let send = |source: &str, key: &str| {
        let request = request(&format!("{PATH}/{source}"), key, "", event("one").as_bytes());
        send_once(pipeline.gateway_port, &request).unwrap().status
    };
    let shop = format!("{PATH}/shop");
    let load = Senders::start(pipeline.gateway_port, &shop, "shop-1", 3, Duration::from_millis(10), "shop");
    assert_eq!((send("shop", "shop-1"), send("app", "app-1")), (202, 404));

    let both = "[sources.shop]\nsigning_keys_file = \"shop.key\"\n[sources.app]\nsigning_keys = [\"app-1\"]\n";
    folder.write("sources.toml", both);
    wait_until("the new source", patience, || loaded(&gateway) == 1.0);
    assert_eq!((send("app", "app-1"), send("app", "shop-1"), send("shop", "shop-1")), (202, 401, 202));

    folder.write("shop.key", "shop-1\nshop-2\n");
    wait_until("the new key of a source", patience, || loaded(&gateway) == 2.0);
    assert_eq!((send("shop", "shop-2"), send("shop", "shop-1")), (202, 202));

    folder.write("sources.toml", "[sources.shop]\nsigning_keys_file = \"nowhere\"\n");
    wait_until("the refusal", patience, || refused(&gateway) == 1.0);
    assert_eq!((send("shop", "shop-1"), send("app", "app-1")), (202, 202), "no part of a broken file is used");

    folder.write("sources.toml", "[sources.shop]\nsigning_keys_file = \"shop.key\"\n");
    wait_until("the source to be gone", patience, || loaded(&gateway) == 3.0);
    assert_eq!((send("app", "app-1"), send("shop", "shop-1")), (404, 202));
    assert_eq!(labelled(&gateway, r#"customerio_gateway_signing_keys{source="shop"}"#), 2.0);
    load.finish().assert_all_stored();
}

#[test]
fn the_gateway_uses_a_changed_tls_certificate_without_a_restart() {
    let _alone = alone();
    let pipeline = Pipeline::new(shared_kafka(), "tls");
    let folder = Folder::new();
    let make = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let write = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        folder.write("cert.pem", &made.cert.pem());
        folder.write("key.pem", &made.signing_key.serialize_pem());
    };
    let (first, second) = (make(), make());
    write(&first);
    folder.write("keys", "key\n");
    let gateway = gateway(
        &pipeline,
        &[
            ("CUSTOMERIO_SIGNING_KEYS_FILE", folder.path("keys")),
            ("GATEWAY_TLS_CERT", folder.path("cert.pem")),
            ("GATEWAY_TLS_KEY", folder.path("key.pem")),
            ("GATEWAY_READ_TIMEOUT", "700ms".to_owned()),
        ],
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let send = |trusted: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        let certificate = reqwest::Certificate::from_pem(trusted.cert.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([certificate]).build().unwrap();
        let body = event("secret");
        let request = client
            .post(format!("https://localhost:{}{PATH}", pipeline.gateway_port))
            .header("x-cio-timestamp", "1")
            .header("x-cio-signature", customerio::sign(&customerio::SigningKey::new("key"), "1", body.as_bytes()))
            .body(body);
        runtime.block_on(request.send()).map(|answer| answer.status().as_u16()).map_err(|_| "no answer")
    };
    assert_eq!((send(&first), send(&second)), (Ok(202), Err("no answer")));
    let tls = |outcome: &str| {
        labelled(&gateway, &format!(r#"customerio_gateway_reloads_total{{files="tls",outcome="{outcome}"}}"#))
    };
    let patience = Duration::from_secs(20);

    folder.write("key.pem", &second.signing_key.serialize_pem());
    wait_until("a key that does not fit to be refused", patience, || tls("refused") == 1.0);
    assert_eq!(send(&first), Ok(202), "the previous pair stays current");
    assert!(gateway.log().contains("is not the key of the first certificate"), "{}", gateway.log());
    write(&second);
    wait_until("the new pair", patience, || tls("loaded") >= 1.0);
    assert_eq!((send(&second), send(&first)), (Ok(202), Err("no answer")));

    // A client that never starts the TLS handshake is disconnected.
    let failures = gateway.metric("customerio_gateway_tls_handshake_failures_total");
    let mut silent = e2e::sender::connect(pipeline.gateway_port).unwrap();
    assert_eq!(std::io::Read::read(&mut silent, &mut [0; 16]).unwrap(), 0, "closed");
    wait_until("the failed handshake to be counted", patience, || {
        gateway.metric("customerio_gateway_tls_handshake_failures_total") > failures
    });
}
