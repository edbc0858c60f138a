//! Tests `check` with broken connections, in a table: each finding contains the cause and the person who can fix it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use platform::control::{
    FlowAction, Kind, Object, Patch, delete_dataset, delete_object, flow_action, patch_resource, update_dataset,
};
use platform::{CredentialNames, HttpSettings, TokenProvider, TokenSettings};
use platform_sim::{ControlFaultKind, FaultKind};
use secrecy::SecretString;
use serde_json::json;
use setup::check::{Checks, Configured, Level, Line, SinkRates};
use setup::desired::{Desired, Permit};
use setup::journal::Journal;
use setup::round_trip::RoundTrips;
use setup::settling::Settling;
use setup::stage::Stage;
use setup::values::PlatformValues;
use sources::SourceName;

use crate::gateway::{Behaviour, KEY, enabling, gateway, second_phase};
use crate::world::{AT_ONCE, World, desired, fresh, stage};

/// A complete working connection. Each row of [`TABLE`] breaks one part of it.
struct Asked {
    world: World,
    desired: Desired,
    secret: &'static str,
    names: CredentialNames,
    app_key: &'static str,
    has_app_key: bool,
    signing_key: Option<&'static str>,
    configured: Configured,
    ids: BTreeMap<&'static str, String>,
}

impl Asked {
    async fn working() -> Self {
        let (url, _) = gateway(Behaviour::Right).await;
        let mut desired = desired(&stage("dev"));
        desired.webhooks[0].endpoint = format!("{url}/webhooks/customerio").parse().unwrap();
        let world = World::start(fresh()).await;
        let (waiting, _) = second_phase(&world, &desired, &enabling(Some(KEY), None)).await;
        assert!(waiting.is_empty(), "{waiting:?}");
        let applied = world.apply(&desired, &world.clients(&stage("dev")), &Permit::default()).await.unwrap();
        let stage = desired.stage.as_ref().unwrap();
        let values = PlatformValues::of(stage, &applied.plan, &applied.observed, Settling::default()).unwrap();
        let configured = Configured {
            inlet_url: Some(values.inlet_url),
            schema_id: Some(values.schema_id),
            dataset_id: Some(values.dataset_id),
            flow_id: Some(values.flow_id),
            rates: Some(SinkRates { requests: 1000, records: 10_000 }),
        };
        let ids = applied.plan.objects.iter().filter(|object| object.key.name().is_none());
        let ids = ids.map(|object| (object.key.kind(), object.id.clone().unwrap())).collect();
        let (secret, app_key) = ("sim-secret", "sim-app-key");
        let names = CredentialNames::default();
        Self { world, desired, secret, names, app_key, has_app_key: true, signing_key: Some(KEY), configured, ids }
    }

    async fn lines(&self) -> Vec<Line> {
        let dev = stage("dev");
        let mut clients =
            self.world.clients_with(self.desired.stage.as_ref().unwrap_or(&dev), self.secret, self.app_key);
        if self.desired.stage.is_none() {
            clients.platform = None;
        }
        if !self.has_app_key {
            clients.customerio.clear();
        }
        let http = HttpSettings { timeout: setup::check::TIMEOUT, ca_file: None, https_proxy: None, no_proxy: None };
        let http = http.client().unwrap();
        let secret = self.secret;
        let tokens = TokenSettings {
            ims_url: self.world.simulator.ims_url().parse().unwrap(),
            client_id: "sim-client".into(),
            client_secret: Arc::new(move || Ok(secret.into())),
            scopes: "openid".into(),
            names: self.names,
        };
        let keys = self.signing_key.map(|key| (SourceName::default(), SecretString::from(key)));
        let journal = Journal::in_memory();
        let checks = Checks {
            desired: &self.desired,
            sources: vec![SourceName::default()],
            unreadable_keys: BTreeSet::new(),
            platform_api: Some(self.world.simulator.ims_url().parse().unwrap()),
            clients: &clients,
            journal: &journal,
            configured: self.configured.clone(),
            tokens: Some(TokenProvider::new(tokens, http.clone(), Box::new(|_| {})).unwrap()),
            http: Some(http),
            keys: keys.into_iter().collect(),
            round_trips: RoundTrips::new().unwrap(),
            settling: Settling::default().scaled(0.0),
            kafka: None,
        };
        checks.run().await.lines
    }

    fn control(&self) -> platform::control::ControlClient {
        self.world.control(&stage("dev"), "sim-secret", |_| {})
    }

    fn fault(&self, kind: ControlFaultKind) {
        self.world.simulator.add_control_fault(kind.into());
    }

    fn gateway_at(&mut self, url: &str) {
        self.desired.webhooks[0].endpoint = format!("{url}/webhooks/customerio").parse().unwrap();
    }

    async fn webhook(&self, change: serde_json::Value) {
        let webhook = self.world.webhooks(130_001).await[0].clone();
        self.world.change_webhook(&webhook["id"], change).await;
    }
}

fn missing(permission: &str) -> ControlFaultKind {
    ControlFaultKind::MissingPermission { permission: permission.to_owned() }
}

/// Breaks one part of the connection. `row` is the first column of a row in [`TABLE`].
async fn break_it(row: &str, asked: &mut Asked) {
    match row {
        "wrong client secret" => asked.secret = "wrong",
        "wrong scopes" => asked
            .world
            .simulator
            .add_fault(FaultKind::Tokens { status: 400, body: Some(r#"{"error":"invalid_scope"}"#.to_owned()) }.into()),
        "IMS is down" => asked.world.simulator.add_fault(FaultKind::Tokens { status: 503, body: None }.into()),
        "another organisation" => {
            let organisation = "OTHER@AdobeOrg".parse().unwrap();
            asked.desired.stage = Some(Stage { organisation, ..stage("dev") });
        }
        "a sandbox that may not be used" => asked.desired.stage = Some(stage("stage")),
        "a sandbox that is being created" => {
            asked.fault(ControlFaultKind::SandboxState { sandbox: "dev".into(), state: "creating".into() });
        }
        "no permission for schemas" => asked.fault(missing("manage-schemas")),
        "no permission for datasets" => asked.fault(missing("manage-datasets")),
        "no permission for sources" => asked.fault(missing("manage-sources")),
        "no permission for namespaces" => asked.fault(missing("manage-identity-namespaces")),
        "no permission to see schemas" => asked.fault(missing("view-schemas")),
        "no permission to see datasets" => asked.fault(missing("view-datasets")),
        "no permission to see namespaces" => asked.fault(missing("view-identity-namespaces")),
        "no permission to see sources" => asked.fault(missing("view-sources")),
        "another tenant" => asked.desired.platform.as_mut().unwrap().tenant = Some("other".to_owned()),
        "a namespace that does not exist" => {
            asked.desired.platform.as_mut().unwrap().namespaces.push("ShopID".to_owned());
        }
        "a namespace in another spelling" => {
            asked.desired.platform.as_mut().unwrap().namespaces[0] = "customerioid".to_owned();
        }
        "a field that the schema lacks" => {
            for (object, kind) in [(Object::Flow, "flow"), (Object::TargetConnection, "target connection")] {
                asked.control().send(&delete_object(object, &asked.ids[kind])).await.unwrap();
            }
            asked.control().send(&delete_dataset(&asked.ids["dataset"])).await.unwrap();
            let pointer = "/definitions/customFields/properties/_acme/properties/customerio/properties/metric";
            let patch = patch_resource(Kind::FieldGroup, &asked.ids["field group"], &[Patch::remove(pointer)], None);
            asked.control().send(&patch).await.unwrap();
        }
        "error diagnostics are off" => {
            let off = Patch::add("/enableErrorDiagnostics", json!(false));
            asked.control().send(&update_dataset(&asked.ids["dataset"], &[off], None)).await.unwrap();
        }
        "the flow is disabled" => {
            asked.control().send(&flow_action(&asked.ids["flow"], FlowAction::Disable, false)).await.unwrap();
        }
        "the flow is gone" => {
            asked.control().send(&delete_object(Object::Flow, &asked.ids["flow"])).await.unwrap();
        }
        "the sink has another flow" => asked.configured.flow_id = Some("other".to_owned()),
        "the sink has no dataset" => asked.configured.dataset_id = None,
        "the sink has another inlet" => {
            asked.configured.inlet_url = Some(format!("{}/collection/simother", asked.world.simulator.ims_url()));
        }
        "the inlet takes anything" => {
            let (url, _) = gateway(Behaviour::AcceptsEverything).await;
            asked.configured.inlet_url = Some(format!("{url}/collection/simopen"));
        }
        "a key of another API" => asked.app_key = "sim-track-key",
        "a key with too small a scope" => asked.app_key = "sim-app-key-send-only",
        "a key for other addresses" => asked.app_key = "sim-app-key-elsewhere",
        "the webhook is gone" => {
            asked.webhook(json!({"name": "without the mark", "endpoint": "https://x.example/"})).await
        }
        "the webhook is disabled" => asked.webhook(json!({"disabled": true})).await,
        "the webhook was never enabled" => {
            let name = asked.world.webhooks(130_001).await[0]["name"].as_str().unwrap().to_owned();
            asked.webhook(json!({"disabled": true, "name": format!("{name} (not enabled yet)")})).await;
        }
        "the webhook reports too little" => asked.webhook(json!({"events": ["email_sent"]})).await,
        "the webhook calls another host" => {
            asked.webhook(json!({"endpoint": "https://old.example/webhooks/customerio"})).await
        }
        "Adobe's own source is live" => {
            asked.world.create_webhook("Adobe", "https://dcs.adobedc.net/collection/a", true).await;
        }
        "no signing key" => asked.signing_key = None,
        "another signing key" => asked.signing_key = Some("another-signing-key"),
        "the public URL has no address" => asked.gateway_at("http://no-such-host.invalid"),
        "no gateway" => asked.gateway_at("http://127.0.0.1:1"),
        other => {
            let behaviour = match other {
                "the public URL redirects" => Behaviour::Redirects,
                "a proxy changes bodies" => Behaviour::ChangesBodies,
                "the public URL is another server's" => Behaviour::OtherServer,
                "Kafka is down behind the gateway" => Behaviour::KafkaDown,
                "the public URL accepts anything" => Behaviour::AcceptsEverything,
                _ => panic!("unknown row {other}"),
            };
            let (url, _) = gateway(behaviour).await;
            asked.gateway_at(&url);
        }
    }
}

/// Columns: the broken part, the id of the line that reports it, words in this line, and the person who can fix the
/// part.
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("wrong client secret", "ims", "secret is wrong, or the secret has expired", "you"),
    ("wrong scopes", "ims", "IMS_SCOPES", "you"),
    ("IMS is down", "ims", "HTTP 503", "you"),
    ("another organisation", "sandbox", "PLATFORM_IMS_ORG", "you"),
    ("a sandbox that may not be used", "sandbox", "it may use: dev, prod", "adobe_administrator"),
    ("a sandbox that is being created", "sandbox", "creating", "adobe_administrator"),
    ("no permission for schemas", "permission", "Manage Schemas", "adobe_administrator"),
    ("no permission for datasets", "permission", "Manage Datasets", "adobe_administrator"),
    ("no permission for sources", "permission", "Manage Sources", "adobe_administrator"),
    ("no permission for namespaces", "permission", "Manage Identity Namespaces", "adobe_administrator"),
    ("no permission to see schemas", "object", "view-schemas", "adobe_administrator"),
    ("no permission to see datasets", "object", "view-datasets", "adobe_administrator"),
    ("no permission to see namespaces", "object", "view-identity-namespaces", "adobe_administrator"),
    ("no permission to see sources", "permission", "View Sources: missing", "adobe_administrator"),
    ("another tenant", "wrong_tenant", "the tenant of this organisation is `acme`", "you"),
    ("a namespace that does not exist", "object", "identity namespace ShopID", "you"),
    ("a namespace in another spelling", "namespace_spelling", "exists as `CustomerioID`", "you"),
    ("a field that the schema lacks", "schema_fields", "_acme/customerio/metric", "you"),
    ("error diagnostics are off", "object", "error diagnostics is off", "you"),
    ("the flow is disabled", "object", "state is disabled", "you"),
    ("the flow is gone", "object", "the flow: it does not exist", "you"),
    ("the sink has another flow", "configuration", "PLATFORM_FLOW_ID of the sink: it names another object", "you"),
    ("the sink has no dataset", "configuration", "PLATFORM_DATASET_ID of the sink: it is not set", "you"),
    ("the sink has another inlet", "configuration", "PLATFORM_INLET_URL of the sink: it names another object", "you"),
    ("the inlet takes anything", "inlet", "without a token", "you"),
    ("a key of another API", "app_api_key", "Track API", "customerio_administrator"),
    ("a key with too small a scope", "app_api_key", "scope leaves this out", "customerio_administrator"),
    ("a key for other addresses", "app_api_key", "allowed IP addresses", "customerio_administrator"),
    ("the webhook is gone", "webhook", "it does not exist", "you"),
    ("the webhook is disabled", "webhook_paused", "setup webhook resume --source default", "you"),
    ("the webhook was never enabled", "webhook_enabled", "no event is sent", "you"),
    ("the webhook reports too little", "webhook", "events is 1 events", "you"),
    ("the webhook calls another host", "endpoint_elsewhere", "--move-endpoint old.example", "you"),
    ("Adobe's own source is live", "adobe_source", "every event reaches Platform twice", "customerio_administrator"),
    ("no signing key", "signing_key", "it is not known here", "customerio_administrator"),
    ("another signing key", "public_url", "its signing key is not the one given here", "you"),
    ("the public URL has no address", "public_url", "cannot be resolved", "you"),
    ("no gateway", "public_url", "no connection", "you"),
    ("the public URL redirects", "public_url", "redirects", "you"),
    ("a proxy changes bodies", "public_url", "changes the body", "you"),
    ("the public URL is another server's", "public_url", "HTTP 404", "you"),
    ("Kafka is down behind the gateway", "public_url", "HTTP 503", "you"),
    ("the public URL accepts anything", "public_url", "accepts a wrong signature", "you"),
];

/// Columns: the missing option, the ids of the checks that still run, and the ids of the checks that are skipped.
const MISSING: &[(&str, &[&str], &[&str])] = &[
    (
        "the stage",
        &["clock", "ims", "inlet", "app_api_key", "signing_key", "public_url"],
        &["sandbox", "permission", "object", "schema_fields", "webhook"],
    ),
    (
        "the public URL",
        &["ims", "sandbox", "object", "schema_fields", "configuration", "app_api_key", "signing_key"],
        &["webhook", "public_url"],
    ),
    ("the App API key", &["ims", "sandbox", "object", "signing_key", "public_url"], &["webhook"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_option_skips_only_the_checks_that_need_it() {
    for (missing, asked_ids, skipped_ids) in MISSING {
        let mut asked = Asked::working().await;
        match *missing {
            "the stage" => asked.desired.stage = None,
            "the public URL" => asked.desired.webhooks.clear(),
            _ => asked.has_app_key = false,
        }
        let lines = asked.lines().await;
        for id in *asked_ids {
            assert!(lines.iter().any(|line| line.id == *id && line.level == Level::Good), "{missing}: {id} {lines:#?}");
        }
        for id in *skipped_ids {
            let line = lines.iter().find(|line| line.id == *id && line.level == Level::Skipped);
            assert!(line.is_some_and(|line| line.found.starts_with("not ")), "{missing}: {id} {lines:#?}");
        }
        assert!(wrong(&lines).is_empty(), "{missing}: {:?}", wrong(&lines));
    }
}

fn wrong(lines: &[Line]) -> Vec<String> {
    let wrong = lines.iter().filter(|line| line.level >= Level::Unanswered);
    wrong.map(|line| format!("[{}] {}: {}", line.id, line.asked, line.found)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_working_connection_has_no_findings() {
    let asked = Asked::working().await;
    let lines = asked.lines().await;
    assert!(wrong(&lines).is_empty(), "{:#?}", wrong(&lines));
    for id in [
        "clock",
        "ims",
        "sandbox",
        "permission",
        "object",
        "schema_fields",
        "configuration",
        "inlet",
        "app_api_key",
        "webhook",
        "events",
        "signing_key",
        "public_url",
        "senders",
        "limits",
    ] {
        assert!(lines.iter().any(|line| line.id == id), "{id} was not checked: {lines:#?}");
    }
    let plan = asked.world.plan(&asked.desired, &asked.world.clients(&stage("dev")), &Permit::default()).await.unwrap();
    let senders = lines.iter().find(|line| line.id == "senders").unwrap();
    let addresses = senders.found.rsplit(": ").next().unwrap();
    assert!(!addresses.is_empty() && plan.notes.iter().any(|note| note.ends_with(addresses)), "{:?}", plan.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_view_permission_the_other_permissions_are_checked_and_all_skipped_checks_are_listed() {
    let asked = Asked::working().await;
    asked.fault(missing("view-datasets"));
    asked.fault(missing("manage-schemas"));
    let lines = asked.lines().await;
    let permissions: Vec<_> = lines.iter().filter(|line| line.id == "permission").collect();
    assert_eq!(permissions.iter().filter(|line| line.level == Level::Good).count(), 4, "{lines:#?}");
    assert!(permissions.iter().any(|line| line.level == Level::Bad && line.asked.contains("Manage Schemas")));
    for id in ["schema_fields", "configuration", "settling"] {
        assert!(lines.iter().any(|line| line.id == id && line.level == Level::Skipped), "{id}: {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.id == "inlet" && line.level == Level::Good), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_about_the_token_contains_its_expiry_scopes_and_organisation() {
    let mut asked = Asked::working().await;
    let line = |lines: Vec<Line>| lines.into_iter().find(|line| line.id == "ims").unwrap();
    let found = line(asked.lines().await).found;
    for words in ["it expires in ", "scopes (IMS_SCOPES): openid", "ACME@AdobeOrg (PLATFORM_IMS_ORG"] {
        assert!(found.contains(words), "{words}: {found}");
    }
    // With a separate credential for the set-up, the finding contains the variables of this credential.
    asked.names = CredentialNames::of_setup(true);
    asked.secret = "wrong";
    let line = line(asked.lines().await);
    let step = line.next.unwrap().step;
    assert!(step.contains("SETUP_IMS_CLIENT_ID and SETUP_IMS_CLIENT_SECRET"), "{step}");
    assert!(line.found.contains("check SETUP_IMS_CLIENT_ID, SETUP_IMS_CLIENT_SECRET and SETUP_IMS_SCOPES"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_reports_the_cause_of_each_broken_set_up() {
    assert!(TABLE.len() >= 24);
    for rows in TABLE.chunks(AT_ONCE) {
        let checks: Vec<_> = rows.iter().map(|row| tokio::spawn(assert_named(row))).collect();
        for check in checks {
            check.await.unwrap();
        }
    }
}

async fn assert_named(&(row, id, words, who): &'static (&str, &str, &str, &str)) {
    let mut asked = Asked::working().await;
    break_it(row, &mut asked).await;
    let lines = asked.lines().await;
    let line = lines.iter().find(|line| {
        let next = line.next.as_ref().map_or(String::new(), |next| format!(" {}", next.step));
        line.id == id
            && line.level >= Level::Unanswered
            && format!("{}: {}{next}", line.asked, line.found).contains(words)
    });
    let Some(line) = line else { panic!("{row}: not named; found: {:#?}", wrong(&lines)) };
    assert_eq!(line.next.as_ref().map(|next| next.who.code()), Some(who), "{row}: {line:#?}");
    let said = format!("{lines:?}");
    for secret in ["sim-secret", KEY, "sim-app-key", "topsecret"] {
        assert!(!said.contains(secret), "{row}: a line shows {secret}");
    }
}
