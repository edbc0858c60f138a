//! The whole pipeline as a user runs it: topics, simulator and three services, configured only by documented variables.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use kafka::TopicName;
use kafka::topic::{TopicSpec, Topics};
use reqwest::Method;
use serde_json::Value;

use crate::free_port;
use crate::http::{request, send_json};
use crate::process::{Process, command};
use crate::proxy::Proxy;
use crate::real_kafka::RealKafka;
use crate::turn::{Turn, shared};

/// Signing key of all tests.
pub const SIGNING_KEY: &str = "8f2a6c1d9e4b47f0a3c5d7e9b1f20486";

/// Returns the Kafka that all tests of this process share. It ends with the process that started it.
///
/// # Panics
/// Panics if no real Kafka is available, because the tests prove nothing without one.
#[must_use]
pub fn shared_kafka() -> &'static RealKafka {
    static KAFKA: OnceLock<RealKafka> = OnceLock::new();
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    KAFKA.get_or_init(|| RealKafka::find().unwrap_or_else(|reason| panic!("{reason}")))
}

/// Environment variables of a service: names and values.
pub type Variables = Vec<(&'static str, String)>;

/// Returns these variables with some values replaced or added.
#[must_use]
pub fn with(mut variables: Variables, changes: &[(&'static str, &str)]) -> Variables {
    for (name, value) in changes {
        variables.retain(|(known, _)| known != name);
        variables.push((name, (*value).to_owned()));
    }
    variables
}

/// Returns these variables for a service that reaches its brokers through a proxy.
#[must_use]
pub fn through(proxy: &Proxy, variables: Variables) -> Variables {
    with(variables, &[("KAFKA_BOOTSTRAP_SERVERS", &proxy.bootstrap())])
}

/// Topics, group names and ports of one test, and the test's [`Turn`] on the machine.
#[derive(Debug)]
pub struct Pipeline {
    _turn: Turn,
    bootstrap: String,
    /// Prefix of the names of topics and groups.
    pub name: String,
    /// Number of partitions of each topic.
    pub partitions: i32,
    /// Port of the gateway.
    pub gateway_port: u16,
    /// Port of the simulator.
    pub simulator_port: u16,
}

impl Pipeline {
    /// Creates the topics with four partitions each.
    ///
    /// # Panics
    /// Panics if the topics cannot be created.
    #[must_use]
    pub fn new(kafka: &RealKafka, test: &str) -> Self {
        Self::with_partitions(kafka, test, 4)
    }

    /// Creates the topics with this number of partitions each.
    ///
    /// # Panics
    /// Panics if the topics cannot be created.
    #[must_use]
    pub fn with_partitions(kafka: &RealKafka, test: &str, partitions: i32) -> Self {
        let name = format!("{test}-{:08x}", fastrand::u32(..));
        let pipeline = Self {
            _turn: shared(),
            bootstrap: kafka.bootstrap().to_owned(),
            name,
            partitions,
            gateway_port: free_port(),
            simulator_port: free_port(),
        };
        let topics = Topics::new(&kafka.connection()).expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // A dead letter is a record with additional headers, so its topic has a higher limit.
        for (topic, limit) in
            [("raw", 12_000_000), ("typed", 12_000_000), ("dead-letters", 12_100_000), ("receipts", 12_000_000)]
        {
            let spec = TopicSpec {
                name: pipeline.topic(topic),
                partitions: pipeline.partitions,
                replication: Some(i32::try_from(kafka.brokers()).expect("few brokers")),
                settings: vec![("max.message.bytes", limit.to_string())],
            };
            runtime.block_on(topics.ensure(&spec)).expect("a topic");
        }
        pipeline
    }

    /// Returns the full name of one of the test's topics: `raw`, `typed`, `dead-letters`, `receipts`.
    ///
    /// # Panics
    /// Panics if the name is not valid, which does not happen for these four.
    #[must_use]
    pub fn topic(&self, topic: &str) -> TopicName {
        format!("{}.{topic}", self.name).parse().expect("a topic name")
    }

    fn kafka_variables(&self) -> Variables {
        vec![
            ("KAFKA_BOOTSTRAP_SERVERS", self.bootstrap.clone()),
            ("RAW_TOPIC", self.topic("raw").to_string()),
            ("TYPED_TOPIC", self.topic("typed").to_string()),
            ("DEAD_LETTER_TOPIC", self.topic("dead-letters").to_string()),
            ("RECEIPTS_TOPIC", self.topic("receipts").to_string()),
        ]
    }

    /// Returns the variables of the gateway.
    #[must_use]
    pub fn gateway_variables(&self) -> Variables {
        let mut variables = self.kafka_variables();
        variables.push(("GATEWAY_LISTEN", format!("127.0.0.1:{}", self.gateway_port)));
        variables.push(("GATEWAY_DRAIN_DELAY", "500ms".to_owned()));
        variables.push(("CUSTOMERIO_SIGNING_KEYS", SIGNING_KEY.to_owned()));
        variables
    }

    /// Returns the variables of the transformer.
    #[must_use]
    pub fn transformer_variables(&self) -> Variables {
        let mut variables = self.kafka_variables();
        variables.push(("KAFKA_GROUP_ID", format!("{}-transformer", self.name)));
        variables.push(("TRANSFORMER_INSTANCE", format!("{}-1", self.name)));
        variables.push(("TRANSFORMER_WORKERS", "2".to_owned()));
        variables
    }

    /// Returns the variables of the sink, for the simulator.
    #[must_use]
    pub fn sink_variables(&self) -> Variables {
        let settings = platform_sim::SimSettings::default();
        let address = format!("http://127.0.0.1:{}", self.simulator_port);
        let mut variables = self.kafka_variables();
        variables.extend([
            ("KAFKA_GROUP_ID", format!("{}-sink", self.name)),
            ("TRIAL", "true".to_owned()),
            ("PLATFORM_TENANT", settings.tenant),
            ("PLATFORM_INLET_URL", format!("{address}/collection/{}", settings.inlet_id)),
            ("PLATFORM_IMS_ORG", settings.ims_org),
            ("PLATFORM_SCHEMA_ID", settings.schema_id),
            ("PLATFORM_DATASET_ID", settings.dataset_id),
            ("IMS_URL", address),
            ("IMS_CLIENT_ID", "sim-client".to_owned()),
            ("IMS_CLIENT_SECRET", "sim-secret".to_owned()),
        ]);
        variables
    }

    /// Returns the variables of an operator's commands.
    #[must_use]
    pub fn operator_variables(&self) -> Variables {
        let mut variables = self.kafka_variables();
        variables.push(("TRANSFORMER_GROUP_ID", format!("{}-transformer", self.name)));
        variables.push(("SINK_GROUP_ID", format!("{}-sink", self.name)));
        variables
    }

    /// Starts the gateway and waits until it is ready.
    #[must_use]
    pub fn gateway(&self) -> Process {
        Process::start("ingest-gateway", &self.gateway_variables(), Some(free_port()))
    }

    /// Starts a transformer and waits until it is ready.
    #[must_use]
    pub fn transformer(&self) -> Process {
        Process::start("transformer", &self.transformer_variables(), Some(free_port()))
    }

    /// Starts a sink and waits until it is ready.
    #[must_use]
    pub fn sink(&self) -> Process {
        Process::start("sink", &self.sink_variables(), Some(free_port()))
    }

    /// Runs an operator's command to its end; returns exit code, standard output and standard error.
    ///
    /// # Panics
    /// Panics if the command cannot be started.
    #[must_use]
    pub fn operate(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = command("customerio-aep", &self.operator_variables());
        let output = command.env("USER", "kim").args(arguments).output().expect("the command");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// Runs an operator's command with `--json`; returns exit code and result.
    ///
    /// # Panics
    /// Panics if the result cannot be read, or is not one object with a version.
    #[must_use]
    pub fn ask(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let (code, out, problems) = self.operate(&[arguments, &["--json"]].concat());
        let value: Value =
            serde_json::from_str(&out).unwrap_or_else(|_| panic!("{arguments:?}: {code:?}\n{out}\n{problems}"));
        assert_eq!(value["version"], 1, "{arguments:?}: {out}");
        (code, value)
    }

    /// Adds faults to the simulator: one as a JSON object, or several as an array.
    ///
    /// # Panics
    /// Panics if the simulator refuses the faults.
    pub fn fault(&self, faults: &str) {
        let (status, body) =
            send_json(Method::POST, self.simulator_port, "/admin/faults", faults).expect("the simulator");
        assert_eq!(status, 204, "{faults}: {body}");
    }

    /// Removes all faults of the simulator.
    ///
    /// # Panics
    /// Panics if the simulator does not respond.
    pub fn clear_faults(&self) {
        let answer = request(Method::DELETE, self.simulator_port, "/admin/faults", &[], "");
        assert_eq!(answer.expect("the simulator").0, 204);
    }

    /// Sends one signed webhook; returns the status of the response.
    ///
    /// # Panics
    /// Panics if the gateway does not respond.
    #[must_use]
    pub fn send(&self, body: &str) -> u16 {
        let key = customerio::SigningKey::new(SIGNING_KEY);
        let signature = customerio::sign(&key, "1700000000", body.as_bytes());
        let headers = [("x-cio-timestamp", "1700000000"), ("x-cio-signature", &signature)];
        let answer = request(Method::POST, self.gateway_port, "/webhooks/customerio", &headers, body);
        answer.expect("the gateway").0
    }

    /// Starts the simulator.
    #[must_use]
    pub fn simulator(&self) -> Process {
        self.simulator_with(&[])
    }

    /// Starts the simulator with additional flags.
    #[must_use]
    pub fn simulator_with(&self, flags: &[&str]) -> Process {
        let listen = vec![("PLATFORM_SIM_LISTEN", format!("127.0.0.1:{}", self.simulator_port))];
        let mut process = Process::spawn_with("customerio-aep", &[&["platform-sim"], flags].concat(), &listen);
        process.set_admin(self.simulator_port);
        crate::wait_until("the simulator", Duration::from_secs(20), || {
            process.admin_get("/admin/stats").is_some_and(|(status, _)| status == 200)
        });
        process
    }

    /// Starts a load of `count` different events at `rate` per second, of which 3 % are sent twice. The sender writes
    /// the ids to a file.
    ///
    /// # Panics
    /// Panics if the sender cannot be started.
    #[must_use]
    pub fn load(&self, count: usize, rate: usize) -> Load {
        self.load_with(count, rate, &[])
    }

    /// Like [`Self::load`], with additional arguments for `customerio-aep send`.
    ///
    /// # Panics
    /// Panics if the sender cannot be started.
    #[must_use]
    pub fn load_with(&self, count: usize, rate: usize, arguments: &[&str]) -> Load {
        let ids = std::env::temp_dir().join(format!("customerio-ids-{}", self.name));
        let mut sender = command("customerio-aep", &[("CUSTOMERIO_SIGNING_KEYS", SIGNING_KEY.to_owned())]);
        sender
            .arg("--json")
            .arg("send")
            .arg(format!("http://127.0.0.1:{}/webhooks/customerio", self.gateway_port))
            .args(["--count", &count.to_string(), "--rate", &rate.to_string(), "--ids-to"])
            .arg(&ids)
            .args(arguments);
        if !arguments.contains(&"--duplicates") {
            sender.args(["--duplicates", "3"]);
        }
        sender.stdout(Stdio::piped());
        Load { child: sender.spawn().expect("the sender"), ids }
    }
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    child: std::process::Child,
    ids: std::path::PathBuf,
}

/// Result of a load.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Ids of the acknowledged events.
    pub ids: Vec<String>,
    /// Number of different events to send.
    pub events: u64,
    /// Number of responses by status; `error` means that there was no response.
    pub answers: BTreeMap<String, u64>,
}

impl Load {
    /// Waits for the end of the load and returns the ids of the events, which must all be acknowledged.
    ///
    /// # Panics
    /// Panics if an event was not acknowledged, or the load takes longer than `timeout`.
    #[must_use]
    pub fn finish(self, timeout: Duration) -> Vec<String> {
        let sent = self.sent(timeout);
        assert_eq!(sent.ids.len() as u64, sent.events, "some events were never acknowledged: {:?}", sent.answers);
        sent.ids
    }

    /// Waits for the end of the load and returns its result.
    ///
    /// # Panics
    /// Panics if the load takes longer than `timeout`, or the sender's report cannot be read.
    #[must_use]
    pub fn sent(mut self, timeout: Duration) -> Sent {
        crate::wait_until("the load to end", timeout, || !self.is_running());
        let report = self.child.stdout.take().expect("its output is a pipe");
        let report: Value = serde_json::from_reader(report).expect("the sender's report");
        let ids = std::fs::read_to_string(&self.ids).expect("the ids").lines().map(str::to_owned).collect();
        let answers = report["answers"].as_object().expect("answers").iter();
        let answers = answers.map(|(status, count)| (status.clone(), count.as_u64().expect("a count"))).collect();
        Sent { ids, events: report["events"].as_u64().expect("a count"), answers }
    }

    /// Whether the sender is still running.
    ///
    /// # Panics
    /// Panics if the state of the process cannot be read.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the sender's state").is_none()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if self.is_running() {
            self.child.kill().unwrap_or_default();
            drop(self.child.wait());
        }
        std::fs::remove_file(&self.ids).unwrap_or_default();
    }
}
