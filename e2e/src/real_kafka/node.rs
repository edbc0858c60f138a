//! One node (a broker, a controller, or both) as a Java process with the artefacts from Maven. A keeper process
//! executes the orders for the node, and cleans up when the test process has ended.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::cluster::{Cluster, FENCED_AFTER, password};
use crate::free_port;
use crate::proxy::Proxy;

/// A fixed id is sufficient, because each cluster has its own directories.
const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";

/// Script of the keeper. It executes the orders from its standard input, and prints each order when it is done. When
/// the input ends, also because the test process has died, the keeper kills the broker and removes the folder. The
/// traps keep it running when a signal, such as Ctrl-C, goes to the whole process group.
const KEEPER: &str = r#"trap '' INT
trap : TERM HUP
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

/// Role of a node in its cluster, with its ports.
#[derive(Debug, Clone, Copy)]
enum Role {
    Broker { port: u16 },
    Controller { port: u16 },
    Both { port: u16, controller: u16 },
}

impl Role {
    fn controller(self) -> Option<u16> {
        match self {
            Self::Broker { .. } => None,
            Self::Controller { port } => Some(port),
            Self::Both { controller, .. } => Some(controller),
        }
    }

    /// Returns the port of the node's own address.
    fn port(self) -> u16 {
        match self {
            Self::Broker { port } | Self::Controller { port } | Self::Both { port, .. } => port,
        }
    }
}

/// A node of a cluster.
#[derive(Debug)]
pub(super) struct Node {
    address: String,
    keeper: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    is_up: bool,
}

/// An order for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Starts the process.
    Start,
    /// Stops the process with SIGTERM; the data stays.
    Stop,
    /// Kills the process with SIGKILL; the data stays.
    Kill,
    /// Pauses the process with SIGSTOP.
    Pause,
    /// Resumes the process with SIGCONT.
    Resume,
}

impl Node {
    /// Formats the storage of a cluster's nodes: the brokers, then the controller if it is a separate node. The nodes
    /// do not run yet.
    ///
    /// Each broker has a separate listener for each of the proxies, advertised at the proxy's port. `sasl` is the port
    /// of the only broker's listener for users.
    pub(super) fn formatted(
        libs: &Path,
        cluster: &Cluster,
        proxies: &[Proxy],
        sasl: Option<u16>,
    ) -> Result<Vec<Self>, String> {
        let mut roles: Vec<Role> = (0..cluster.brokers)
            .map(|_| match cluster.own_controller {
                true => Role::Broker { port: free_port() },
                false => Role::Both { port: free_port(), controller: free_port() },
            })
            .collect();
        if cluster.own_controller {
            roles.push(Role::Controller { port: free_port() });
        }
        // The storages are formatted in parallel, because each needs a JVM and takes seconds.
        let mut formatting = Vec::new();
        for (index, own) in roles.iter().enumerate() {
            let folder = std::env::temp_dir().join(format!("customerio-kafka-{}-{}", std::process::id(), own.port()));
            fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            let file = folder.join("server.properties");
            fs::write(&file, properties(cluster, proxies, sasl, &roles, index, &folder.join("data")))
                .map_err(|error| format!("{}: {error}", file.display()))?;
            let mut format = java(libs, "kafka.tools.StorageTool");
            format.args(["format", "-t", CLUSTER_ID, "-c"]).arg(&file).stdout(Stdio::null());
            formatting.push((folder, format.spawn().map_err(|error| error.to_string())?));
        }
        let mut nodes = Vec::new();
        for ((folder, mut format), own) in formatting.into_iter().zip(&roles) {
            let status = format.wait().map_err(|error| error.to_string())?;
            if !status.success() {
                return Err("formatting the storage failed".to_owned());
            }
            nodes.push(Self::kept(libs, &folder, format!("127.0.0.1:{}", own.port()))?);
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

    /// Returns the address of the node.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Whether the process of the node runs.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Gives an order and waits until the keeper has executed it. A broker that was just started does not respond yet.
    ///
    /// # Panics
    /// Panics if the keeper has ended, or the order does not fit the node's state.
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

/// Returns a command that runs a class of Kafka.
pub(super) fn java(libs: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    // Each thread of a broker keeps a buffer outside of the heap that is as large as the largest record it has written.
    // By default, all these buffers together may be as large as the heap, which is too small for records of 63 MiB.
    command.arg("-XX:MaxDirectMemorySize=2g");
    command.args(["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{}/*", libs.display())).arg(class);
    command
}

/// Returns the properties of one node.
fn properties(
    cluster: &Cluster,
    proxies: &[Proxy],
    sasl: Option<u16>,
    roles: &[Role],
    index: usize,
    data: &Path,
) -> String {
    let voters: Vec<_> =
        (1..).zip(roles).filter_map(|(id, role)| Some(format!("{id}@127.0.0.1:{}", role.controller()?))).collect();
    let broker = |port: u16| format!("PLAINTEXT://127.0.0.1:{port}");
    let controller = |port: u16| format!("CONTROLLER://127.0.0.1:{port}");
    let (role, mut listeners, mut advertised) = match roles[index] {
        Role::Broker { port } => ("broker", broker(port), broker(port)),
        Role::Controller { port } => ("controller", controller(port), controller(port)),
        Role::Both { port, controller: second } => {
            ("broker,controller", format!("{},{}", broker(port), controller(second)), broker(port))
        }
    };
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (number, proxy) in (1..).zip(proxies) {
        protocols += &format!(",PROXY{number}:PLAINTEXT");
        if !matches!(roles[index], Role::Controller { .. }) {
            listeners += &format!(",PROXY{number}://127.0.0.1:{}", proxy.server(index));
            advertised += &format!(",PROXY{number}://127.0.0.1:{}", proxy.port(index));
        }
    }
    let mut optional = String::new();
    if let Some(port) = sasl {
        protocols += ",SASL:SASL_PLAINTEXT";
        optional += &users(cluster.users);
        if !matches!(roles[index], Role::Controller { .. }) {
            let listener = format!(",SASL://127.0.0.1:{port}");
            listeners += &listener;
            advertised += &listener;
        }
    }
    let millis = |duration: Duration| duration.as_millis().to_string();
    if let Some(interval) = cluster.transaction_cleanup {
        let name = "transaction.abort.timed.out.transaction.cleanup.interval.ms";
        optional += &format!("{name}={}\n", millis(interval));
    }
    if cluster.own_controller {
        optional += &format!("broker.session.timeout.ms={}\n", millis(FENCED_AFTER));
        optional += "broker.heartbeat.interval.ms=500\n";
    }
    format!(
        "process.roles={role}
node.id={id}
controller.quorum.voters={voters}
listeners={listeners}
advertised.listeners={advertised}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map={protocols}
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
{optional}",
        id = index + 1,
        voters = voters.join(","),
        data = data.display(),
        in_sync = cluster.in_sync(),
        replicas = cluster.brokers,
    )
}

/// Defines the users of the listener with SASL, whose permissions are ACLs. Clients of the other listeners are
/// `ANONYMOUS`.
fn users(users: &[&str]) -> String {
    let users: Vec<_> = users.iter().map(|user| format!("user_{user}=\"{}\"", password(user))).collect();
    format!(
        "sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
",
        users.join(" ")
    )
}

/// Returns the folder of Kafka's jars.
pub(super) fn jars() -> Result<PathBuf, String> {
    let pom = concat!(env!("CARGO_MANIFEST_DIR"), "/kafka/pom.xml");
    crate::maven::fetched("kafka/libs-4.3.1", &["-f", pom, "dependency:copy-dependencies", "-DincludeScope=runtime"])
}
