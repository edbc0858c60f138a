//! One broker as a Java process of Maven's artefacts, with a keeper beside it that carries out orders and cleans up when
//! the test process is no more.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::Cluster;
use crate::free_port;

/// Any fixed id will do: each cluster has directories of its own.
const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";

/// Carries out the orders that come on its standard input, and repeats each on its output when it is done. The input's
/// end, which also comes when the test process dies in whatever way, kills the broker and removes its folder.
const KEEPER: &str = r#"trap '' INT
while read -r order; do
  case $order in
    start) "$@" >>"$FOLDER/broker.log" 2>/dev/null & broker=$!;;
    stop) kill $broker; wait $broker; broker=;;
    kill) kill -9 $broker; wait $broker; broker=;;
    pause) kill -STOP $broker;;
    resume) kill -CONT $broker;;
  esac 2>/dev/null
  echo "$order"
done
if [ -n "$broker" ]; then kill -9 $broker; wait $broker; fi 2>/dev/null
rm -rf "$FOLDER""#;

/// The two addresses of a node.
#[derive(Debug, Clone, Copy)]
struct Ports {
    broker: u16,
    controller: u16,
}

/// A broker that is also a controller of its cluster.
#[derive(Debug)]
pub(super) struct Node {
    address: String,
    keeper: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    is_up: bool,
}

/// What a node is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Start the broker.
    Start,
    /// SIGTERM; the data stays.
    Stop,
    /// SIGKILL; the data stays.
    Kill,
    /// SIGSTOP.
    Pause,
    /// SIGCONT.
    Resume,
}

impl Node {
    /// Formats the storage of a cluster's nodes. None of them runs yet.
    pub(super) fn formatted(libs: &Path, cluster: &Cluster) -> Result<Vec<Self>, String> {
        let ports: Vec<Ports> =
            (0..cluster.brokers).map(|_| Ports { broker: free_port(), controller: free_port() }).collect();
        // All folders first: a JVM takes seconds, and the nodes can be formatted side by side.
        let mut formatting = Vec::new();
        for (index, own) in ports.iter().enumerate() {
            let folder = std::env::temp_dir().join(format!("customerio-kafka-{}-{}", std::process::id(), own.broker));
            fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            let file = folder.join("server.properties");
            fs::write(&file, properties(cluster, &ports, index, &folder.join("data")))
                .map_err(|error| format!("{}: {error}", file.display()))?;
            let mut format = java(libs, "kafka.tools.StorageTool");
            format.arg("format").args(["-t", CLUSTER_ID, "-c"]).arg(&file).stdout(Stdio::null());
            if cluster.brokers == 1 {
                format.arg("--standalone");
            }
            formatting.push((folder, format.spawn().map_err(|error| error.to_string())?));
        }
        let mut nodes = Vec::new();
        for ((folder, mut format), own) in formatting.into_iter().zip(&ports) {
            let status = format.wait().map_err(|error| error.to_string())?;
            if !status.success() {
                return Err("formatting the storage failed".to_owned());
            }
            nodes.push(Self::kept(libs, &folder, format!("127.0.0.1:{}", own.broker))?);
        }
        Ok(nodes)
    }

    fn kept(libs: &Path, folder: &Path, address: String) -> Result<Self, String> {
        let broker = java(libs, "kafka.Kafka");
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER]).env("FOLDER", folder).arg("keeper").arg(broker.get_program());
        command.args(broker.get_args()).arg(folder.join("server.properties"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = command.spawn().map_err(|error| format!("sh: {error}"))?;
        let orders = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().ok_or("the keeper has no output")?);
        Ok(Self { address, keeper, orders, answers, is_up: false })
    }

    /// Its address.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether its process runs.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Gives an order and waits until the keeper has carried it out. A started broker does not answer yet.
    ///
    /// # Panics
    /// When the keeper is gone, or the order does not fit the node's state.
    pub(super) fn order(&mut self, order: Order) {
        assert_eq!(self.is_up, order != Order::Start, "{order:?} for {}", self.address);
        let text = match order {
            Order::Start => "start",
            Order::Stop => "stop",
            Order::Kill => "kill",
            Order::Pause => "pause",
            Order::Resume => "resume",
        };
        let orders = self.orders.as_mut().expect("taken only when dropped");
        writeln!(orders, "{text}").expect("an order");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("the keeper's answer");
        assert_eq!(answer.trim_end(), text, "the keeper of {}", self.address);
        match order {
            Order::Start => self.is_up = true,
            Order::Stop | Order::Kill => self.is_up = false,
            Order::Pause | Order::Resume => {}
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.orders.take());
        drop(self.keeper.wait());
    }
}

fn java(libs: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{}/*", libs.display())).arg(class);
    command
}

/// The properties of one node.
fn properties(cluster: &Cluster, ports: &[Ports], index: usize, data: &Path) -> String {
    let own = ports[index];
    let controllers = |prefix: &dyn Fn(usize) -> String| -> String {
        let named = ports.iter().enumerate();
        let named = named.map(|(index, ports)| format!("{}127.0.0.1:{}", prefix(index + 1), ports.controller));
        named.collect::<Vec<_>>().join(",")
    };
    let quorum = if cluster.brokers == 1 {
        format!("controller.quorum.bootstrap.servers={}", controllers(&|_| String::new()))
    } else {
        format!("controller.quorum.voters={}", controllers(&|id| format!("{id}@")))
    };
    let cleanup = cluster.transaction_cleanup.map_or_else(String::new, |interval| {
        format!("transaction.abort.timed.out.transaction.cleanup.interval.ms={}\n", interval.as_millis())
    });
    format!(
        "process.roles=broker,controller
node.id={id}
{quorum}
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=4
auto.create.topics.enable=false
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
{cleanup}",
        id = index + 1,
        broker = own.broker,
        controller = own.controller,
        data = data.display(),
        in_sync = cluster.in_sync(),
        replicas = cluster.brokers,
    )
}

/// The folder of Kafka's jars.
pub(super) fn jars() -> Result<PathBuf, String> {
    let pom = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka/pom.xml");
    crate::maven::fetched("kafka/libs-4.3.1", &["-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime"])
}
