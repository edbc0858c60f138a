//! Tests events that are accepted, lost or rejected after acceptance, and the flow runs that count them.

use std::time::Duration;

use platform::control::{
    FlowAction, Kind, Object, Patch, base_connection, download_failed, failed_batches, failed_files, flow, flow_runs,
    patch_resource, replace_field_group, row_error_files, update_object,
};
use platform::{
    BatchBody, ClientSettings, Envelope, EnvelopeSettings, PlatformClient, RecordVerdict, Verdict, classify,
};
use platform_sim::{ControlFault, ControlOptions, SimSettings};
use serde_json::json;

use crate::setup::{self, Connected, Setup, fresh, http, start, tokens};

/// Sends events through the real client. An id of the form `id+field` sends the field `field` in place of `metric`.
/// Returns one character for each event, A for accepted and R for refused, or the verdict on the whole batch.
async fn send(setup: &Setup, inlet: &str, schema: &str, dataset: &str, flow: Option<&str>, ids: &[&str]) -> String {
    let settings = ClientSettings {
        inlet: inlet.parse().unwrap(),
        ims_org: "ACME@AdobeOrg".to_owned(),
        sandbox: None,
        flow_id: None,
        timeout: Duration::from_secs(5),
        ca_file: None,
        https_proxy: None,
        no_proxy: None,
    };
    let tokens = tokens(&setup.simulator, "sim-secret");
    let client = PlatformClient::new(&settings, http(), Some(tokens), Box::new(|_| {})).unwrap();
    let envelope = Envelope::new(&EnvelopeSettings {
        schema_id: schema.to_owned(),
        dataset_id: dataset.to_owned(),
        ims_org: "ACME@AdobeOrg".to_owned(),
        flow_id: flow.map(str::to_owned),
    });
    let mut body = BatchBody::new(&envelope, 0);
    for id in ids {
        let (id, field) = id.split_once('+').unwrap_or((id, "metric"));
        let event =
            json!({"_id": id, "timestamp": "2023-11-14T22:13:20.000Z", "_acme": {"customerio": {field: "sent"}}});
        body.add(event.to_string().as_bytes());
    }
    match classify(&client.send_batch(body.finish()).await, ids.len()) {
        Verdict::Records { records, .. } => {
            let outcome =
                |record: &RecordVerdict| if matches!(record, RecordVerdict::Accepted { .. }) { 'A' } else { 'R' };
            records.iter().map(outcome).collect()
        }
        other => format!("{other:?}"),
    }
}

impl Setup {
    async fn send(&self, to: &Connected, ids: &[&str]) -> String {
        let base = self.client.send(&base_connection(&to.base)).await.unwrap();
        let inlet = base.params().unwrap().inlet_url.clone().unwrap();
        send(self, &inlet, &to.schema.id, &to.dataset, Some(&to.flow), ids).await
    }

    fn lost(&self) -> Vec<(String, &'static str)> {
        self.simulator.lost().into_iter().map(|event| (event.id, event.reason)).collect()
    }

    /// Sends events until one arrives. The simulator loses the events before it.
    async fn send_until_one_arrives(&self, to: &Connected) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.simulator.stats().accepted == 0 {
            assert!(tokio::time::Instant::now() < deadline, "nothing ever arrives");
            assert_eq!(self.send(to, &["probe"]).await, "A");
        }
    }
}

#[tokio::test]
async fn events_sent_right_after_the_set_up_get_a_success_response_and_are_lost() {
    // Time runs faster in this test: five minutes are 1.5 s, and fifteen minutes are 4.5 s.
    let setup = start(ControlOptions { settle_scale: 0.005, ..fresh() }).await;
    let connected = setup.connect().await;
    assert_eq!(setup.send(&connected, &["early-1", "early-2"]).await, "AA");
    let reasons = ["flow_changed_lately"; 2];
    assert_eq!(setup.lost().iter().map(|(_, reason)| *reason).collect::<Vec<_>>(), reasons);
    assert_eq!((setup.simulator.stats().accepted, setup.simulator.stats().lost), (0, 2));
    setup.send_until_one_arrives(&connected).await;
    let lost = setup.lost();
    assert_eq!(lost.last().unwrap().1, "schema_changed_lately", "the schema settles last");
    assert_eq!(setup.simulator.stats().lost, lost.len() as u64);
}

#[tokio::test]
async fn events_sent_right_after_a_change_of_the_flow_or_schema_are_lost() {
    let options = ControlOptions { settle_scale: 0.005, ..fresh() };
    let setup = start(options).await;
    let connected = setup.connect().await;
    setup.send_until_one_arrives(&connected).await;
    let read = setup.client.send(&flow(&connected.flow)).await.unwrap();
    let rename = [Patch::replace("/name", json!("renamed"))];
    setup
        .client
        .send(&update_object(Object::Flow, &connected.flow, read.etag.as_deref().unwrap(), &rename))
        .await
        .unwrap();
    assert_eq!(setup.send(&connected, &["after-flow"]).await, "A");
    assert_eq!(setup.lost().last().unwrap(), &("after-flow".to_owned(), "flow_changed_lately"));
    // A change of a field group counts as a change of the schemas that refer to it.
    let wider = setup::field_group("Fields", &["metric", "more"]);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !setup.simulator.accepted().contains_key("settled") {
        assert!(tokio::time::Instant::now() < deadline, "the flow never settles");
        assert_eq!(setup.send(&connected, &["settled"]).await, "A");
    }
    setup.client.send(&replace_field_group(&connected.field_group.id, &wider, None)).await.unwrap();
    assert_eq!(setup.send(&connected, &["after-schema"]).await, "A");
    assert_eq!(setup.lost().last().unwrap(), &("after-schema".to_owned(), "schema_changed_lately"));
}

#[tokio::test]
async fn a_disabled_or_removed_flow_loses_events_and_an_unknown_inlet_refuses_them() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    assert_eq!(setup.send(&connected, &["a"]).await, "A");
    setup.client.set_flow_state(&connected.flow, FlowAction::Disable).await.unwrap();
    assert_eq!(setup.send(&connected, &["b"]).await, "A");
    setup.client.send(&platform::control::delete_object(Object::Flow, &connected.flow)).await.unwrap();
    assert_eq!(setup.send(&connected, &["c"]).await, "A");
    assert_eq!(setup.lost(), [("b".to_owned(), "flow_disabled"), ("c".to_owned(), "no_flow")]);
    let known = SimSettings::default();
    let verdict = send(&setup, &setup.simulator.inlet_url(), &known.schema_id, &known.dataset_id, None, &["d"]).await;
    assert!(verdict.contains("Hold"), "an empty sandbox has no inlet: {verdict}");
    assert_eq!(setup.simulator.stats().accepted, 1);
}

#[tokio::test]
async fn with_several_flows_an_event_without_a_valid_flow_id_is_lost() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let second = platform::control::NewFlow {
        name: "second".to_owned(),
        description: "d".to_owned(),
        source_connection_id: connected.source.clone(),
        target_connection_id: connected.target.clone(),
    };
    let second = setup.client.send(&platform::control::create_flow(&second)).await.unwrap().id;
    let inlet = setup.client.send(&base_connection(&connected.base)).await.unwrap();
    let inlet = inlet.params().unwrap().inlet_url.clone().unwrap();
    for (id, flow) in [("a", None), ("b", Some(second.as_str())), ("c", Some("other"))] {
        assert_eq!(send(&setup, &inlet, &connected.schema.id, &connected.dataset, flow, &[id]).await, "A");
    }
    assert_eq!(setup.lost(), [("a".to_owned(), "no_flow_named"), ("c".to_owned(), "no_flow_named")]);
    assert_eq!(setup.client.list(&flow_runs(&second)).await.unwrap()[0].received, Some(1));
}

#[tokio::test]
async fn events_of_another_schema_or_dataset_are_refused() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let base = setup.client.send(&base_connection(&connected.base)).await.unwrap();
    let inlet = base.params().unwrap().inlet_url.clone().unwrap();
    let known = SimSettings::default();
    assert_eq!(send(&setup, &inlet, &known.schema_id, &connected.dataset, None, &["a"]).await, "R");
    assert_eq!(send(&setup, &inlet, &connected.schema.id, &known.dataset_id, None, &["a"]).await, "R");
    assert_eq!(send(&setup, &inlet, &connected.schema.id, &connected.dataset, None, &["a"]).await, "A");
}

#[tokio::test]
async fn events_rejected_after_acceptance_are_rows_of_a_failed_batch() {
    let setup = start(fresh()).await;
    let connected = setup.connect().await;
    let fault: ControlFault = serde_json::from_str(r#"{"fault":"fail_after_acceptance","prefix":"bad-"}"#).unwrap();
    setup.simulator.add_control_fault(fault);
    assert_eq!(setup.send(&connected, &["good", "bad-1", "bad-2", "drift+unknownField"]).await, "AAAA");
    let client = &setup.client;
    let batches = client.list(&failed_batches(&connected.dataset, 0)).await.unwrap();
    assert_eq!((batches.len(), batches[0].failed_record_count), (1, Some(3)));
    assert_eq!(batches[0].errors[0].code.as_deref(), Some("INGEST-1212-400"));
    let id = &batches[0].id;
    let files = client.list(&failed_files(id)).await.unwrap();
    assert_eq!(client.list(&row_error_files(id)).await.unwrap(), files);
    let rows = client.send(&download_failed(id, &files[0].name)).await.unwrap();
    let found: Vec<_> =
        (rows.rows.iter()).map(|row| (row.id.as_deref().unwrap(), row.errors[0].keyword.as_deref().unwrap())).collect();
    assert_eq!(found, [("bad-1", "type"), ("bad-2", "type"), ("drift", "additionalProperties")]);
    assert_eq!(rows.rows[2].errors[0].pointer.as_deref(), Some("#/_acme/customerio/unknownField"));
    let later = batches[0].created.unwrap();
    assert!(client.list(&failed_batches(&connected.dataset, later)).await.unwrap().is_empty());
    assert!(client.list(&failed_batches("other", 0)).await.unwrap().is_empty());

    let runs = client.list(&flow_runs(&connected.flow)).await.unwrap();
    let sum = |number: fn(&platform::control::FlowRun) -> Option<i64>| runs.iter().filter_map(number).sum::<i64>();
    assert_eq!((sum(|run| run.received), sum(|run| run.ingested), sum(|run| run.failed)), (4, 1, 3));
}

#[tokio::test]
async fn failed_batches_are_read_from_all_pages() {
    let setup = start(ControlOptions { page_size: 2, ..fresh() }).await;
    let connected = setup.connect().await;
    for id in ["a+x", "b+x", "c+x", "d+x", "e+x"] {
        assert_eq!(setup.send(&connected, &[id]).await, "A");
    }
    assert_eq!(setup.client.list(&failed_batches(&connected.dataset, 0)).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_simulator_with_prepared_objects_accepts_events_at_once() {
    let setup = start(ControlOptions::default()).await;
    let known = SimSettings::default();
    let inlet = setup.simulator.inlet_url();
    assert_eq!(send(&setup, &inlet, &known.schema_id, &known.dataset_id, None, &["a"]).await, "A");
    assert_eq!(setup.simulator.stats().lost, 0);
    let prod = setup::client(&setup.simulator, "sim-secret", |settings| settings.sandbox = "prod".to_owned());
    let flows = prod.list(&platform::control::flows(None)).await.unwrap();
    assert_eq!((flows.len(), flows[0].inlet_url()), (1, Some(inlet.as_str())));
    let runs = prod.list(&flow_runs(&flows[0].id)).await.unwrap();
    assert_eq!(runs[0].received, Some(1));
    // As in a new sandbox, events that are sent right after a change of the schema are lost.
    let retitle = [Patch::replace("/title", json!("Renamed"))];
    prod.send(&patch_resource(Kind::Schema, &known.schema_id, &retitle, None)).await.unwrap();
    assert_eq!(send(&setup, &inlet, &known.schema_id, &known.dataset_id, None, &["b"]).await, "A");
    assert_eq!(setup.lost(), [("b".to_owned(), "schema_changed_lately")]);
}
