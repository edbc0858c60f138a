//! Starts a simulator with a client, and creates the objects of a complete connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use platform::control::{
    ApiUrl, ControlClient, ControlError, ControlSettings, ErrorKind, FieldGroupBody, NewBaseConnection, NewDataset,
    NewFlow, NewSourceConnection, NewTargetConnection, Reference, Resource, Retries, SchemaBody, SchemaRef, Visibility,
    create_base_connection, create_dataset, create_field_group, create_flow, create_schema, create_source_connection,
    create_target_connection,
};
use platform::{HttpSettings, TokenProvider, TokenSettings};
use platform_sim::{ControlOptions, ControlRequest, SimSettings, Simulator};
use serde_json::json;

pub(crate) const EVENT_CLASS: &str = "https://ns.adobe.com/xdm/context/experienceevent";

pub(crate) struct Setup {
    pub(crate) simulator: Simulator,
    pub(crate) client: ControlClient,
    pub(crate) http: reqwest::Client,
}

/// Options for an empty sandbox in which every change is visible at once.
pub(crate) fn fresh() -> ControlOptions {
    ControlOptions { fresh: true, settle_scale: 0.0, ..ControlOptions::default() }
}

pub(crate) async fn start(control: ControlOptions) -> Setup {
    start_with(control, "sim-secret", |_| {}).await
}

pub(crate) async fn start_with(
    control: ControlOptions,
    secret: &'static str,
    change: impl FnOnce(&mut ControlSettings),
) -> Setup {
    let settings = SimSettings { control, ..SimSettings::default() };
    let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
    let client = client(&simulator, secret, change);
    Setup { simulator, client, http: http() }
}

pub(crate) fn http() -> reqwest::Client {
    let settings = HttpSettings { timeout: Duration::from_secs(10), ca_file: None, https_proxy: None, no_proxy: None };
    settings.client().unwrap()
}

pub(crate) fn tokens(simulator: &Simulator, secret: &'static str) -> TokenProvider {
    let settings = TokenSettings {
        ims_url: simulator.ims_url().parse().unwrap(),
        client_id: "sim-client".into(),
        client_secret: Arc::new(move || Ok(secret.into())),
        scopes: "openid,AdobeID".into(),
        names: platform::CredentialNames::default(),
    };
    TokenProvider::new(settings, http(), Box::new(|_| {})).unwrap()
}

pub(crate) fn client(
    simulator: &Simulator,
    secret: &'static str,
    change: impl FnOnce(&mut ControlSettings),
) -> ControlClient {
    let api: ApiUrl = simulator.ims_url().parse().unwrap();
    let mut settings = ControlSettings {
        api,
        ims_org: "ACME@AdobeOrg".to_owned(),
        sandbox: "dev".to_owned(),
        client_id: "sim-client".to_owned(),
        timeout: Duration::from_secs(5),
        retries: Retries { first_wait: Duration::from_millis(10), ..Retries::default() },
        visibility: Visibility { within: Duration::from_secs(20), interval: Duration::from_millis(20) },
    };
    change(&mut settings);
    ControlClient::new(settings, http(), tokens(simulator, secret)).unwrap()
}

pub(crate) fn field_group(title: &str, fields: &[&str]) -> FieldGroupBody {
    let fields: serde_json::Map<_, _> =
        fields.iter().map(|name| ((*name).to_owned(), json!({"type": "string", "title": name}))).collect();
    let definition = json!({"type": "object", "properties": {"_acme": {"type": "object", "properties": {
        "customerio": {"type": "object", "properties": fields}}}}});
    FieldGroupBody {
        title: title.to_owned(),
        description: "d".to_owned(),
        kind: "object".to_owned(),
        intended_to_extend: vec![EVENT_CLASS.to_owned()],
        definitions: [("customFields".to_owned(), definition)].into_iter().collect(),
        all_of: vec![Reference {
            to: "#/definitions/customFields".to_owned(),
            kind: Some("object".to_owned()),
            xdm_type: Some("object".to_owned()),
        }],
    }
}

pub(crate) fn schema(title: &str, field_group: &str) -> SchemaBody {
    let reference = |to: &str| Reference { to: to.to_owned(), kind: None, xdm_type: None };
    SchemaBody {
        kind: "object".to_owned(),
        title: title.to_owned(),
        description: "d".to_owned(),
        all_of: vec![reference(EVENT_CLASS), reference(field_group)],
        immutable_tags: vec![],
    }
}

pub(crate) fn dataset(name: &str, schema_id: &str) -> NewDataset {
    let tags = BTreeMap::from([("customerio-aep".to_owned(), vec!["mark".to_owned()])]);
    NewDataset { name: name.to_owned(), description: "d".to_owned(), schema: SchemaRef::version_1(schema_id), tags }
}

pub(crate) fn base(name: &str) -> NewBaseConnection {
    NewBaseConnection { name: name.to_owned(), description: "d".to_owned(), source_id: name.to_owned() }
}

/// Objects of a complete connection, or their ids.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) field_group: Resource,
    pub(crate) schema: Resource,
    pub(crate) dataset: String,
    pub(crate) base: String,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) flow: String,
}

impl Setup {
    pub(crate) async fn connect(&self) -> Connected {
        let client = &self.client;
        let text = |text: &str| text.to_owned();
        let field_group = client.send(&create_field_group(&field_group("Fields", &["metric"]))).await.unwrap();
        let schema = client.send(&create_schema(&schema("Events", &field_group.id))).await.unwrap();
        let dataset = client.send(&create_dataset(&dataset("Events", &schema.id))).await.unwrap();
        let base = client.send(&create_base_connection(&base("base"))).await.unwrap().id;
        let new =
            NewSourceConnection { name: text("source"), description: text("d"), base_connection_id: base.clone() };
        let source = client.send(&create_source_connection(&new)).await.unwrap().id;
        let new = NewTargetConnection {
            name: text("target"),
            description: text("d"),
            dataset_id: dataset.clone(),
            schema: SchemaRef::version_1(&schema.id),
        };
        let target = client.send(&create_target_connection(&new)).await.unwrap().id;
        let new = NewFlow {
            name: text("flow"),
            description: text("d"),
            source_connection_id: source.clone(),
            target_connection_id: target.clone(),
        };
        let flow = client.send(&create_flow(&new)).await.unwrap().id;
        Connected { field_group, schema, dataset, base, source, target, flow }
    }

    /// Returns the requests with this method whose path contains `path`.
    pub(crate) fn requests(&self, method: &str, path: &str) -> Vec<ControlRequest> {
        let requests = self.simulator.control_requests();
        requests.into_iter().filter(|request| request.method == method && request.path.contains(path)).collect()
    }
}

pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, ControlError>) -> ErrorKind {
    *result.unwrap_err().kind
}
