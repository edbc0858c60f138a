//! Tests the passes of a [`Watcher`] with the simulator and with topics in memory.

use std::sync::{Arc, Mutex};

use contract::Position;
use platform::control::{ControlSettings, Retries, Visibility};
use platform::{HttpSettings, TokenProvider, TokenSettings};
use platform_sim::{ControlFault, ControlFaultKind, SimSettings, Simulator};
use prometheus::{IntGaugeVec, Opts};
use serde_json::json;

use super::*;

/// Topics in memory.
#[derive(Debug, Default)]
struct Memory {
    /// The retained typed records by event id.
    typed: HashMap<String, PackedRecord>,
    /// The dead letters that were written.
    written: Mutex<Vec<Written>>,
    marks: Mutex<Vec<i64>>,
    /// Number of further writes that succeed.
    capacity: Mutex<usize>,
}

#[derive(Debug, Clone)]
struct Written {
    partition: i32,
    headers: Vec<(String, Option<Vec<u8>>)>,
    value: Vec<u8>,
}

impl Written {
    fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().rev().find(|(known, _)| known == name)?;
        Some(String::from_utf8(found.1.clone()?).unwrap())
    }

    fn headers(&self) -> Vec<Header<'_>> {
        self.headers.iter().map(|(name, value)| Header { name, value: value.as_deref() }).collect()
    }
}

impl Memory {
    fn with(events: &[&str]) -> Self {
        let record = |offset: i64, id: &str| {
            let headers = [Header { name: header::EVENT_ID, value: Some(id.as_bytes()) }];
            PackedRecord::pack(Position::new(2, offset), Some(b"key"), b"avro", headers.into_iter())
        };
        let typed = events.iter().zip(40..).map(|(id, offset)| ((*id).to_owned(), record(offset, id)));
        Self { typed: typed.collect(), capacity: Mutex::new(usize::MAX), ..Self::default() }
    }
}

impl Topics for Arc<Memory> {
    async fn checked(&self, _: i64) -> Result<Checked, KafkaError> {
        let mut checked = Checked { to: self.marks.lock().unwrap().last().copied(), ..Checked::default() };
        self.written.lock().unwrap().iter().for_each(|written| checked.add(written.headers().into_iter()));
        Ok(checked)
    }

    async fn typed(&self, ids: HashSet<String>, _: i64) -> Result<HashMap<String, PackedRecord>, KafkaError> {
        let copy = |(id, record): (&String, &PackedRecord)| {
            let headers: Vec<Header<'_>> = record.headers().collect();
            (id.clone(), PackedRecord::pack(record.position, record.key(), record.value(), headers.into_iter()))
        };
        Ok(self.typed.iter().filter(|(id, _)| ids.contains(*id)).map(copy).collect())
    }

    async fn write(&self, rejected: &Rejected) -> Result<(), ProduceError> {
        let mut capacity = self.capacity.lock().unwrap();
        *capacity = capacity.checked_sub(1).ok_or(ProduceError::Unacknowledged)?;
        let topics = ("dead".parse().unwrap(), "typed".parse().unwrap());
        let record = rejected.record((&topics.0, &topics.1), rejected.value(), None, 7);
        let headers = record.headers.iter();
        let headers = headers.map(|header| (header.name.to_owned(), header.value.map(<[u8]>::to_vec)));
        let written = Written {
            partition: record.partition.unwrap().0,
            headers: headers.collect(),
            value: record.value.unwrap().to_vec(),
        };
        self.written.lock().unwrap().push(written);
        Ok(())
    }

    async fn mark(&self, to: i64) -> Result<(), ProduceError> {
        self.marks.lock().unwrap().push(to);
        Ok(())
    }
}

/// A simulator with a dataset that accepts events, and the parts of a watcher for it.
struct World {
    simulator: Simulator,
    http: reqwest::Client,
    metrics: Metrics,
    registry: Registry,
}

impl World {
    async fn start() -> Self {
        let mut settings = SimSettings::default();
        settings.control.page_size = 2;
        let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, &"typed".parse().unwrap()).unwrap();
        let http = HttpSettings { timeout: Duration::from_secs(5), ca_file: None, https_proxy: None, no_proxy: None };
        Self { simulator, http: http.client().unwrap(), metrics, registry }
    }

    fn watcher(&self, topics: &Arc<Memory>) -> Watcher<Arc<Memory>> {
        let tokens = TokenSettings {
            ims_url: self.simulator.ims_url().parse().unwrap(),
            client_id: "sim-client".into(),
            client_secret: Arc::new(|| Ok("sim-secret".to_owned().into())),
            scopes: "openid".into(),
            names: platform::CredentialNames::default(),
        };
        let tokens = TokenProvider::new(tokens, self.http.clone(), Box::new(|_| {})).unwrap();
        let settings = ControlSettings {
            api: self.simulator.ims_url().parse().unwrap(),
            ims_org: SimSettings::default().ims_org,
            sandbox: "prod".to_owned(),
            client_id: "sim-client".to_owned(),
            timeout: Duration::from_secs(5),
            retries: Retries { attempts: 1, ..Retries::default() },
            visibility: Visibility::default(),
        };
        Watcher {
            client: ControlClient::new(settings, self.http.clone(), tokens).unwrap(),
            dataset_id: SimSettings::default().dataset_id,
            topics: Arc::clone(topics),
            metrics: self.metrics.clone(),
            every: Duration::from_secs(60),
        }
    }

    fn fault(&self, kind: ControlFaultKind) {
        self.simulator.add_control_fault(ControlFault::from(kind));
    }

    /// Sends events in one request. With the fault [`failing`], events whose id begins with `bad` fail after
    /// acceptance.
    async fn send(&self, ids: &[&str]) {
        let settings = SimSettings::default();
        let schema = json!({"id": settings.schema_id, "contentType": "application/vnd.adobe.xed-full+json;version=1"});
        let message = |id: &&str| {
            let mut event = json!({"_id": id, "timestamp": "2026-01-01T00:00:00.000Z"});
            event[format!("_{}", settings.tenant.trim_start_matches('_'))] = json!({});
            let header = json!({"schemaRef": schema, "imsOrgId": settings.ims_org, "datasetId": settings.dataset_id});
            json!({"header": header, "body": {"xdmMeta": {"schemaRef": schema}, "xdmEntity": event}})
        };
        let body = json!({"messages": ids.iter().map(message).collect::<Vec<_>>()}).to_string();
        let form = "grant_type=client_credentials&client_id=sim-client&client_secret=sim-secret&scope=openid";
        let answer = self.http.post(format!("{}/ims/token/v3", self.simulator.ims_url())).body(form);
        let token: Value = answer.send().await.unwrap().json().await.unwrap();
        let url = self.simulator.inlet_url().replace("/collection/", "/collection/batch/");
        let sent = self.http.post(url).bearer_auth(token["access_token"].as_str().unwrap());
        let sent = sent.header("content-type", "application/json").body(body).send().await.unwrap();
        assert_eq!(sent.status(), 207);
    }
}

fn failing() -> ControlFaultKind {
    serde_json::from_value(json!({"fault": "fail_after_acceptance", "prefix": "bad"})).unwrap()
}

#[tokio::test]
async fn each_rejected_event_gets_one_dead_letter_with_its_typed_record_or_batch_row() {
    let world = World::start().await;
    world.fault(failing());
    world.send(&["good-1", "bad-1", "bad-2"]).await;
    world.send(&["bad-3"]).await;
    let topics = Arc::new(Memory::with(&["good-1", "bad-1", "bad-3"]));
    let mut progress = None;
    world.watcher(&topics).pass(&mut progress, service::unix_millis()).await.unwrap();
    let written = topics.written.lock().unwrap().clone();
    let ids: Vec<_> = written.iter().filter_map(|written| written.header("event-id")).collect();
    assert_eq!(ids, ["bad-1", "bad-2", "bad-3"]);
    let [typed, row, _] = &written[..] else { panic!("three dead letters") };
    assert_eq!((typed.value.as_slice(), typed.partition), (&b"avro"[..], 2));
    assert_eq!(typed.header("dead-letter-code").as_deref(), Some("rejected_after_acceptance"));
    assert_eq!(typed.header("dead-letter-stage").as_deref(), Some("platform"));
    assert_eq!(typed.header("dead-letter-topic").as_deref(), Some("typed"));
    assert_eq!(typed.header("dead-letter-offset").as_deref(), Some("41"));
    assert!(typed.header("dead-letter-batch").unwrap().starts_with("01"), "{typed:?}");
    let reason = typed.header("dead-letter-message").unwrap();
    assert!(reason.contains("rule ") && reason.contains("in batch 01"), "{reason}");
    assert!(row.header("dead-letter-topic").is_none() && row.partition == 0);
    let value: Value = serde_json::from_slice(&row.value).unwrap();
    assert_eq!(value["_id"], "bad-2");
    assert!(row.header("dead-letter-message").unwrap().contains("has expired"));

    // Neither another pass nor another process writes these dead letters again.
    world.watcher(&topics).pass(&mut progress, service::unix_millis()).await.unwrap();
    world.watcher(&topics).pass(&mut None, service::unix_millis()).await.unwrap();
    assert_eq!(topics.written.lock().unwrap().len(), 3);
    world.send(&["bad-4"]).await;
    world.watcher(&topics).pass(&mut progress, service::unix_millis()).await.unwrap();
    assert_eq!(topics.written.lock().unwrap().len(), 4);
    let text = prometheus::TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap();
    let counted = "customerio_dead_letters_total{code=\"rejected_after_acceptance\",stage=\"platform\"} 4";
    assert!(text.contains(counted), "{text}");
}

#[tokio::test]
async fn the_pass_after_a_failed_pass_writes_only_the_missing_dead_letters() {
    let world = World::start().await;
    world.fault(failing());
    world.send(&["bad-1", "bad-2", "bad-3"]).await;
    let topics = Arc::new(Memory::with(&["bad-1", "bad-2", "bad-3"]));
    *topics.capacity.lock().unwrap() = 2;
    let failed = world.watcher(&topics).pass(&mut None, service::unix_millis()).await;
    assert!(matches!(failed, Err(Failure::Other(_))), "{failed:?}");
    assert!(topics.marks.lock().unwrap().is_empty(), "nothing is marked before everything is written");
    *topics.capacity.lock().unwrap() = usize::MAX;
    // A new process knows only from the topic what was written.
    world.watcher(&topics).pass(&mut None, service::unix_millis()).await.unwrap();
    let ids: Vec<_> = topics.written.lock().unwrap().iter().filter_map(|written| written.header("event-id")).collect();
    assert_eq!(ids, ["bad-1", "bad-2", "bad-3"]);
    assert_eq!(topics.marks.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_pass_without_the_view_datasets_permission_fails_with_may_not_read() {
    let world = World::start().await;
    let topics = Arc::new(Memory::with(&[]));
    world.fault(ControlFaultKind::MissingPermission { permission: "view-datasets".to_owned() });
    let failed = world.watcher(&topics).pass(&mut None, service::unix_millis()).await;
    assert!(matches!(failed, Err(Failure::MayNotRead(_))), "{failed:?}");
}

#[test]
fn the_first_pass_looks_back_30_days_and_later_passes_start_a_day_before_the_mark() {
    let now = 100 * DAY_MS;
    assert_eq!(Checked::default().from(now), 70 * DAY_MS);
    let checked = Checked { to: Some(99 * DAY_MS), ..Checked::default() };
    assert_eq!(checked.from(now), 98 * DAY_MS);
    let mut read = Checked::default();
    for to in ["5", "9", "7", "nonsense"] {
        read.add([Header { name: "failed-batches-checked-to", value: Some(to.as_bytes()) }].into_iter());
    }
    assert_eq!(read, Checked { to: Some(9), ..Checked::default() });
}

#[test]
fn an_instance_reads_partition_0_if_its_offset_metric_has_that_partition() {
    let registry = Registry::new();
    assert!(!reads_first_partition(&registry));
    let offsets = Opts::new("customerio_kafka_consumer_offset", "x");
    let offsets = IntGaugeVec::new(offsets, &["topic", "partition"]).unwrap();
    registry.register(Box::new(offsets.clone())).unwrap();
    offsets.with_label_values(&["typed", "10"]).set(4);
    assert!(!reads_first_partition(&registry));
    offsets.with_label_values(&["typed", "0"]).set(0);
    assert!(reads_first_partition(&registry));
    offsets.remove_label_values(&["typed", "0"]).unwrap();
    assert!(!reads_first_partition(&registry));
}
