//! A real Apache Kafka for the tests: the one at `KAFKA_BOOTSTRAP_SERVERS`, else one from Maven's artefacts and Java, else
//! one in Docker. librdkafka's mock cluster is no substitute: it has no real transactions.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kafka::Connection;
use kafka::topic::Topics;

use crate::free_port;
use crate::maven::fetched;

/// Any fixed id will do: each cluster has a directory of its own.
const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";

/// The image where Docker is used.
const IMAGE: &str = "apache/kafka:4.3.1";

/// Starts the broker and stays beside it. `stop` on its standard input stops the broker and keeps its data; the input's
/// end, which also comes when the test process dies in whatever way, kills the broker and removes its folder.
const KEEPER: &str = r#"trap '' INT; "$@" & broker=$!
if read -r order; then kill $broker; wait $broker; else kill -9 $broker; wait $broker; rm -rf "$FOLDER"; fi"#;

/// A Kafka cluster of one broker.
#[derive(Debug)]
pub struct RealKafka {
    bootstrap: String,
    description: String,
    broker: Broker,
}

#[derive(Debug)]
enum Broker {
    /// Somebody else's: it is never stopped here.
    Foreign,
    Java {
        libs: PathBuf,
        folder: PathBuf,
        process: Option<Child>,
    },
    Docker {
        name: String,
    },
}

impl RealKafka {
    /// The one at `KAFKA_BOOTSTRAP_SERVERS`, else [`RealKafka::own`].
    ///
    /// # Errors
    /// A text for people when no real Kafka can be had.
    pub fn find() -> Result<Self, String> {
        match std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
            Ok(bootstrap) if !bootstrap.trim().is_empty() => {
                let description = format!("real Kafka: {bootstrap} (KAFKA_BOOTSTRAP_SERVERS)");
                Ok(Self { bootstrap, description, broker: Broker::Foreign })
            }
            _ => Self::own().map_err(|reason| format!("{reason}; KAFKA_BOOTSTRAP_SERVERS is not set")),
        }
    }

    /// Starts one that may be stopped and started at will.
    ///
    /// # Errors
    /// A text for people when there is neither Java with Maven nor Docker.
    pub fn own() -> Result<Self, String> {
        match kafka_jars() {
            Ok(libs) => Self::start_java(libs),
            Err(no_java) => Self::start_docker()
                .map_err(|no_docker| format!("no real Kafka. Java 17 and Maven: {no_java}; Docker: {no_docker}")),
        }
    }

    fn start_java(libs: PathBuf) -> Result<Self, String> {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("customerio-kafka-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        write_properties(&folder, port)?;
        java(&libs, "kafka.tools.StorageTool")
            .args(["format", "--standalone", "-t", CLUSTER_ID, "-c"])
            .arg(folder.join("server.properties"))
            .stdout(Stdio::null())
            .status()
            .map_err(|error| error.to_string())
            .and_then(
                |status| if status.success() { Ok(()) } else { Err("formatting the storage failed".to_owned()) },
            )?;
        let bootstrap = format!("127.0.0.1:{port}");
        let description = format!("real Kafka: Apache Kafka 4.3.1 (Maven artefacts, Java) at {bootstrap}");
        let broker = Broker::Java { libs, folder, process: None };
        let mut kafka = Self { bootstrap, description, broker };
        kafka.start_broker();
        Ok(kafka)
    }

    fn start_docker() -> Result<Self, String> {
        let run = |arguments: &[&str]| -> Result<String, String> {
            let output = Command::new("docker").args(arguments).output().map_err(|error| error.to_string())?;
            if output.status.success() {
                Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
            } else {
                Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
            }
        };
        let port = free_port();
        let name = format!("customerio-kafka-{port}");
        let listeners = "KAFKA_LISTENERS=PLAINTEXT://:9092,CONTROLLER://:9093".to_owned();
        let advertised = format!("KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:{port}");
        let publish = format!("127.0.0.1:{port}:9092");
        let settings = [
            "KAFKA_NODE_ID=1",
            "KAFKA_PROCESS_ROLES=broker,controller",
            &listeners,
            &advertised,
            "KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER",
            "KAFKA_INTER_BROKER_LISTENER_NAME=PLAINTEXT",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:9093",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=1",
            "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR=1",
            "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR=1",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE=false",
            "KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS=1000",
        ];
        let mut arguments = vec!["run", "--detach", "--rm", "--name", &name, "--publish", &publish];
        for setting in settings {
            arguments.extend(["--env", setting]);
        }
        arguments.push(IMAGE);
        run(&arguments)?;
        let bootstrap = format!("127.0.0.1:{port}");
        let description = format!("real Kafka: {IMAGE} (Docker) at {bootstrap}");
        let kafka = Self { bootstrap, description, broker: Broker::Docker { name } };
        kafka.wait();
        Ok(kafka)
    }

    /// Its address.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// What a test run says in its first line.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// A connection to it.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection::plaintext(&self.bootstrap, "e2e")
    }

    /// Stops the broker, its data kept.
    ///
    /// # Panics
    /// When it cannot be stopped.
    pub fn stop_broker(&mut self) {
        match &mut self.broker {
            Broker::Foreign => panic!("a foreign Kafka is not stopped"),
            Broker::Java { process, .. } => {
                if let Some(mut child) = process.take() {
                    let mut orders = child.stdin.take().expect("its standard input is a pipe");
                    orders.write_all(b"stop\n").expect("an order");
                    child.wait().expect("the broker's end");
                }
            }
            Broker::Docker { name } => docker(&["stop", name]),
        }
    }

    /// Starts the broker again and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_broker(&mut self) {
        match &mut self.broker {
            Broker::Foreign => panic!("a foreign Kafka is not started"),
            Broker::Java { libs, folder, process } => {
                let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("broker.log"));
                let log = log.expect("the broker's log");
                let java = java(libs, "kafka.Kafka");
                let mut command = Command::new("sh");
                command.args(["-c", KEEPER]).env("FOLDER", &*folder).arg("keeper").arg(java.get_program());
                command.args(java.get_args()).arg(folder.join("server.properties"));
                command.stdin(Stdio::piped()).stdout(log).stderr(Stdio::null());
                *process = Some(command.spawn().expect("the broker"));
            }
            Broker::Docker { name } => docker(&["start", name]),
        }
        self.wait();
    }

    /// Makes the broker stand still, with its connections open.
    ///
    /// # Panics
    /// When it cannot be paused.
    pub fn pause(&self) {
        self.pause_or_resume("STOP", "pause");
    }

    /// Lets a paused broker go on.
    ///
    /// # Panics
    /// When it cannot be resumed.
    pub fn resume(&self) {
        self.pause_or_resume("CONT", "unpause");
    }

    fn pause_or_resume(&self, name: &str, order: &str) {
        match &self.broker {
            Broker::Foreign => panic!("a foreign Kafka is not paused"),
            Broker::Java { process, .. } => {
                // The broker is the keeper's only child.
                let keeper = process.as_ref().expect("the broker runs").id();
                let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"));
                let broker = children.expect("/proc").trim().parse().expect("one process");
                signal(broker, name);
            }
            Broker::Docker { name } => docker(&[order, name]),
        }
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let topics = Topics::new(&self.connection()).expect("a client");
        while topics.brokers(Duration::from_secs(1)).is_err() {
            assert!(Instant::now() < deadline, "Kafka at {} does not answer", self.bootstrap);
        }
    }
}

impl Drop for RealKafka {
    fn drop(&mut self) {
        match &mut self.broker {
            Broker::Foreign => {}
            Broker::Java { folder, process, .. } => {
                if let Some(mut keeper) = process.take() {
                    drop(keeper.stdin.take());
                    drop(keeper.wait());
                }
                fs::remove_dir_all(folder).unwrap_or_default();
            }
            Broker::Docker { name } => drop(Command::new("docker").args(["rm", "--force", name]).output()),
        }
    }
}

/// Sends a signal by its name.
///
/// # Panics
/// When there is no `kill` command.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
    assert!(status.expect("the kill command").success(), "kill -{name} {process}");
}

fn docker(arguments: &[&str]) {
    let status = Command::new("docker").args(arguments).stdout(Stdio::null()).status();
    assert!(status.expect("docker").success(), "docker {arguments:?}");
}

fn java(libs: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{}/*", libs.display())).arg(class);
    command
}

fn write_properties(folder: &Path, port: u16) -> Result<(), String> {
    let controller = free_port();
    let data = folder.join("data");
    let text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
num.partitions=4
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
",
        data.display()
    );
    let path = folder.join("server.properties");
    fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The folder of Kafka's jars.
fn kafka_jars() -> Result<PathBuf, String> {
    let pom = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka/pom.xml");
    fetched("kafka/libs-4.3.1", &["-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime"])
}
