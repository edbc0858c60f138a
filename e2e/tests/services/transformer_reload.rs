//! The transformer reloads `SOURCES_FILE`: it uses added and changed sources without a restart, and ignores a broken
//! file.

use std::path::PathBuf;
use std::time::Duration;

use e2e::accounting::read;
use e2e::pipeline::{Pipeline, Variables, shared_kafka};
use e2e::process::{Process, Signal, signal};
use e2e::{free_port, wait_until};

const SOON: Duration = Duration::from_secs(60);

fn source(name: &str, namespace: &str) -> String {
    format!(
        "[sources.{name}]\nsigning_keys = [\"key-of-{name}-0123456789\"]\nidentity_namespace_id = \"{namespace}\"\nidentity_namespace_cio_id = \"{namespace}Cio\"\n"
    )
}

struct Sources {
    pipeline: Pipeline,
    path: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Sources {
    /// Replaces the file as tools do: writes a complete new file and renames it.
    fn write(&self, text: &str) {
        let new = self.path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.path).unwrap();
    }

    fn variables(&self, mut variables: Variables) -> Variables {
        variables.retain(|(name, _)| *name != "CUSTOMERIO_SIGNING_KEYS");
        variables.push(("SOURCES_FILE", self.path.to_str().unwrap().to_owned()));
        variables
    }

    fn send(&self, source: &str, event: &str) -> u16 {
        let body = format!(
            r#"{{"event_id":"{event}","object_type":"email","metric":"sent","timestamp":1700000000,"data":{{"identifiers":{{"id":"42"}}}}}}"#
        );
        let key = customerio::SigningKey::new(&format!("key-of-{source}-0123456789"));
        let request = reqwest::Client::new()
            .post(format!("http://127.0.0.1:{}/webhooks/customerio/{source}", self.pipeline.gateway_port))
            .header("x-cio-timestamp", "1700000000")
            .header("x-cio-signature", customerio::sign(&key, "1700000000", body.as_bytes()))
            .body(body);
        self.runtime.block_on(request.send()).unwrap().status().as_u16()
    }

    /// Returns the identity namespace in the typed record of an event.
    fn namespace(&self, event: &str) -> String {
        let mut found = None;
        wait_until("the event", SOON, || {
            let typed = read(&shared_kafka().connection(), &self.pipeline.topic("typed"));
            found = typed.into_iter().find(|record| record.text_header("event-id") == Some(event));
            found.is_some()
        });
        let record = found.unwrap();
        let decoder = xdm::avro::Decoder::new().unwrap();
        let event = decoder.decode(&record.value).unwrap();
        event.identity_map.0.first().unwrap().0.as_ref().to_owned()
    }
}

#[test]
fn the_transformer_reloads_a_changed_sources_file_and_ignores_a_broken_one() {
    let pipeline = Pipeline::new(shared_kafka(), "transformer-reload");
    let folder = std::env::temp_dir().join(&pipeline.name);
    std::fs::create_dir_all(&folder).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sources = Sources { path: folder.join("sources.toml"), pipeline, runtime };
    sources.write(&source("shop", "ShopID"));
    let gateway = sources.variables(sources.pipeline.gateway_variables());
    let _gateway = Process::start("ingest-gateway", &gateway, Some(free_port()));
    let variables = sources.variables(sources.pipeline.transformer_variables());
    let mut transformer = Process::start("transformer", &variables, Some(free_port()));
    assert_eq!(sources.send("shop", "e1"), 202);
    assert_eq!(sources.namespace("e1"), "ShopID");

    // The gateway accepts events of the new source as soon as it has read the file, and these events do not stop the
    // transformer.
    sources.write(&format!("\u{feff}{}{}", source("shop", "ShopID"), source("app", "AppID")));
    wait_until("the gateway to know the new source", SOON, || sources.send("app", "e2") == 202);
    assert_eq!(sources.namespace("e2"), "AppID");
    sources.write(&format!("{}{}", source("shop", "OtherID"), source("app", "AppID")));
    let loaded = |count: f64| transformer.metric("customerio_transformer_reloads_total") >= count;
    wait_until("the change to be read", SOON, || loaded(2.0));
    assert_eq!(sources.send("shop", "e3"), 202);
    assert_eq!(sources.namespace("e3"), "OtherID");

    sources.write("[sources.shop]\nidentity_namespace_id = \"topsecret!\"\n");
    wait_until("the refusal", SOON, || transformer.metric("customerio_transformer_reload_broken") == 1.0);
    assert_eq!(sources.send("shop", "e4"), 202, "the gateway keeps the former keys, too");
    assert_eq!(sources.namespace("e4"), "OtherID");
    let log = transformer.log();
    assert!(log.contains("keeping the previous ones") && !log.contains("topsecret"), "{log}");
    sources.write(&source("shop", "ShopID"));
    wait_until("the corrected file", SOON, || transformer.metric("customerio_transformer_reload_broken") == 0.0);
    // SIGHUP requests a reload and does not end the process.
    let before = transformer.metric("customerio_transformer_reloads_total");
    signal(transformer.id(), Signal::HUP);
    wait_until("the reload", SOON, || transformer.metric("customerio_transformer_reloads_total") > before);
    assert!(transformer.is_running());
    assert_eq!(transformer.terminate(), Some(0));
    std::fs::remove_dir_all(folder).unwrap();
}
