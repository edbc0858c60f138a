//! Tests that a test event is read back from Profile.

use std::time::Duration;

use platform_sim::ControlFaultKind;
use serde_json::{Value, json};
use setup::check::{Level, Line, ProfileSearch, event_in_profile};
use setup::desired::Permit;
use setup::settling::Settling;
use setup::values::PlatformValues;

use crate::world::{World, desired, fresh, stage};

/// A stage whose schema and dataset are enabled for Profile.
struct WithProfile {
    world: World,
    values: PlatformValues,
}

impl WithProfile {
    async fn start() -> Self {
        let world = World::start(fresh()).await;
        let mut desired = desired(&stage("dev"));
        desired.platform.as_mut().unwrap().profile = true;
        let applied = world.apply(&desired, &world.clients(&stage("dev")), &Permit::default()).await.unwrap();
        let values = PlatformValues::of(&stage("dev"), &applied.plan, &applied.observed, Settling::default());
        Self { values: values.unwrap(), world }
    }

    /// Sends an event in the format of the sink.
    async fn send(&self, id: &str, identities: Value) {
        let form = "grant_type=client_credentials&client_id=sim-client&client_secret=sim-secret&scope=openid";
        let url = format!("{}/ims/token/v3", self.world.simulator.ims_url());
        let answer = self.world.http.post(url).body(form).send().await.unwrap();
        let token: Value = answer.error_for_status().unwrap().json().await.unwrap();
        let values = &self.values;
        let schema = json!({"id": values.schema_id, "contentType": "application/vnd.adobe.xed-full+json;version=1"});
        let header = json!({"schemaRef": schema, "imsOrgId": values.ims_org, "datasetId": values.dataset_id, "flowId": values.flow_id});
        let mut event = json!({"_id": id, "timestamp": jiff::Timestamp::now().to_string(), "identityMap": identities});
        event[&values.tenant] = json!({});
        let message = json!({"header": header, "body": {"xdmMeta": {"schemaRef": schema}, "xdmEntity": event}});
        let sent = self.world.http.post(&values.inlet_url).bearer_auth(token["access_token"].as_str().unwrap());
        sent.json(&message).send().await.unwrap().error_for_status().unwrap();
    }

    async fn search(&self, event_id: &str, namespace: &str, value: &str) -> Line {
        let client = self.world.control(&stage("dev"), "sim-secret", |_| {});
        let search = ProfileSearch {
            client: &client,
            event_id,
            namespace,
            value,
            at: jiff::Timestamp::now().as_millisecond(),
            within: Duration::from_millis(300),
            interval: Duration::from_millis(50),
        };
        event_in_profile(&search).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_read_back_from_profile_by_its_identity() {
    let stage = WithProfile::start().await;
    let missing = stage.search("ev-1", "Email", "test@example.com").await;
    assert!(
        missing.level == Level::Unanswered && missing.found.contains("no profile with this identity"),
        "{missing:?}"
    );
    stage.send("ev-1", json!({"Email": [{"id": "test@example.com", "primary": true}]})).await;
    let found = stage.search("ev-1", "Email", "test@example.com").await;
    assert_eq!(found.level, Level::Good, "{found:?}");
    let other = stage.search("ev-2", "Email", "test@example.com").await;
    assert!(other.level == Level::Unanswered && other.found.contains("1 other events"), "{other:?}");
    let lines = format!("{missing:?}{found:?}{other:?}");
    assert!(!lines.contains("test@example.com") && !lines.contains("test%40example.com"), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_about_profile_contains_the_person_who_can_resolve_it() {
    let stage = WithProfile::start().await;
    let unknown = stage.search("ev-1", "Nonsense", "test@example.com").await;
    assert!(unknown.level == Level::Bad && unknown.found.contains("namespace Nonsense"), "{unknown:?}");
    let permission = "view-profiles".to_owned();
    stage.world.simulator.add_control_fault(ControlFaultKind::MissingPermission { permission }.into());
    let forbidden = stage.search("ev-1", "Email", "test@example.com").await;
    assert_eq!(forbidden.level, Level::Bad, "{forbidden:?}");
    let next = forbidden.next.unwrap();
    assert!(next.step.contains("View Profiles") && next.who.code() == "adobe_administrator", "{next:?}");
}
