//! A real Apache Kafka for the tests: the one at `KAFKA_BOOTSTRAP_SERVERS`; otherwise one that Java runs from Maven's
//! artefacts; otherwise one in Docker. librdkafka's mock cluster has no real transactions, so it is not sufficient.

mod cluster;
mod docker;
mod node;

use std::time::{Duration, Instant};

use kafka::Connection;
use kafka::topic::Topics;

use docker::{Container, IMAGE};
use node::{Node, Order};

pub use cluster::{Cluster, FENCED_AFTER, password};

use crate::free_port;
use crate::proxy::Proxy;

/// Maximum time until a started broker responds.
const START: Duration = Duration::from_secs(90);

/// A running Kafka cluster.
#[derive(Debug)]
pub struct RealKafka {
    bootstrap: String,
    description: String,
    brokers: Brokers,
    proxies: Vec<Proxy>,
    /// Port of the listener with SASL.
    sasl: Option<u16>,
}

#[derive(Debug)]
enum Brokers {
    /// A cluster that the tests have not started, so they never stop its brokers.
    Foreign,
    Java {
        brokers: Vec<Node>,
        /// The controller stops when this value is dropped.
        _controller: Option<Node>,
    },
    Docker(Container),
}

impl RealKafka {
    /// Uses the Kafka at `KAFKA_BOOTSTRAP_SERVERS`; otherwise starts one with [`RealKafka::own`].
    ///
    /// # Errors
    /// Returns a text for the user if no real Kafka is available.
    pub fn find() -> Result<Self, String> {
        match std::env::var("KAFKA_BOOTSTRAP_SERVERS") {
            Ok(bootstrap) if !bootstrap.trim().is_empty() => {
                let description = format!("real Kafka: {bootstrap} (KAFKA_BOOTSTRAP_SERVERS)");
                Ok(Self { bootstrap, description, brokers: Brokers::Foreign, proxies: Vec::new(), sasl: None })
            }
            _ => Self::own().map_err(|reason| format!("{reason}; KAFKA_BOOTSTRAP_SERVERS is not set")),
        }
    }

    /// Starts a single broker that tests may stop and start.
    ///
    /// # Errors
    /// Returns a text for the user if there is neither Java with Maven nor Docker.
    pub fn own() -> Result<Self, String> {
        Self::start(&Cluster::default())
    }

    /// Starts a cluster whose brokers tests may stop and start.
    ///
    /// # Errors
    /// Returns a text for the user if there is neither Java with Maven nor Docker, or if there is only Docker, which
    /// can run only a single broker without users.
    pub fn start(cluster: &Cluster) -> Result<Self, String> {
        let proxies = cluster.proxies().map_err(|error| format!("starting a proxy: {error}"))?;
        let sasl = (!cluster.users.is_empty()).then(free_port);
        match node::jars() {
            Ok(libs) => {
                let mut brokers = Node::formatted(&libs, cluster, &proxies, sasl)?;
                let mut controller = brokers.split_off(cluster.brokers).pop();
                if let Some(controller) = &mut controller {
                    controller.order(Order::Start);
                }
                let addresses: Vec<_> = brokers.iter().map(Node::address).collect();
                let bootstrap = addresses.join(",");
                let count = if brokers.len() == 1 { String::new() } else { format!("{} brokers, ", brokers.len()) };
                let description =
                    format!("real Kafka: Apache Kafka 4.3.1 ({count}Maven artefacts, Java) at {bootstrap}");
                let brokers = Brokers::Java { brokers, _controller: controller };
                let mut kafka = Self { bootstrap, description, brokers, proxies, sasl };
                for broker in 0..kafka.brokers() {
                    kafka.order(broker, Order::Start);
                }
                kafka.wait();
                Ok(kafka)
            }
            Err(no_java) => {
                let container = Container::start(cluster, &proxies)
                    .map_err(|no_docker| format!("no real Kafka. Java 17 and Maven: {no_java}; Docker: {no_docker}"))?;
                let bootstrap = container.address();
                let description = format!("real Kafka: {IMAGE} (Docker) at {bootstrap}");
                let brokers = Brokers::Docker(container);
                let kafka = Self { bootstrap, description, brokers, proxies, sasl: None };
                kafka.wait();
                Ok(kafka)
            }
        }
    }

    /// Returns the addresses of the brokers.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns the address of the listener at which [`Cluster::users`] authenticate.
    ///
    /// # Panics
    /// Panics if the cluster was started without users.
    #[must_use]
    pub fn sasl_bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.sasl.expect("a cluster with users"))
    }

    /// Returns the proxy of one of the [`Cluster::proxied`] services, counted from 0.
    ///
    /// # Panics
    /// Panics if the cluster was started with fewer proxies.
    #[must_use]
    pub fn proxy(&self, service: usize) -> &Proxy {
        &self.proxies[service]
    }

    /// Returns a text that names this Kafka. A test run prints it in its first line.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Returns the number of brokers; 1 for a foreign Kafka.
    #[must_use]
    pub fn brokers(&self) -> usize {
        match &self.brokers {
            Brokers::Java { brokers, .. } => brokers.len(),
            Brokers::Foreign | Brokers::Docker(_) => 1,
        }
    }

    /// Returns a connection to the cluster.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection::plaintext(&self.bootstrap, "e2e")
    }

    /// Stops the only broker with SIGTERM; its data stays.
    ///
    /// # Panics
    /// Panics if the broker cannot be stopped.
    pub fn stop_broker(&mut self) {
        self.order(0, Order::Stop);
    }

    /// Starts the only broker again and waits until it responds.
    ///
    /// # Panics
    /// Panics if the broker does not respond.
    pub fn start_broker(&mut self) {
        self.order(0, Order::Start);
        self.wait();
    }

    /// Pauses the only broker with SIGSTOP: its connections stay open, but it does not respond.
    ///
    /// # Panics
    /// Panics if the broker cannot be paused.
    pub fn pause_broker(&mut self) {
        self.pause(0);
    }

    /// Resumes the only broker with SIGCONT.
    ///
    /// # Panics
    /// Panics if the broker cannot be resumed.
    pub fn resume_broker(&mut self) {
        self.resume(0);
    }

    /// Kills one of the brokers with SIGKILL, counted from 0; its data stays.
    ///
    /// # Panics
    /// Panics if the broker does not run, or was not started here.
    pub fn kill(&mut self, broker: usize) {
        self.order(broker, Order::Kill);
    }

    /// Pauses one of the brokers with SIGSTOP.
    ///
    /// # Panics
    /// Panics if the broker does not run, or was not started here.
    pub fn pause(&mut self, broker: usize) {
        self.order(broker, Order::Pause);
    }

    /// Resumes one of the brokers with SIGCONT.
    ///
    /// # Panics
    /// Panics if the broker does not run, or was not started here.
    pub fn resume(&mut self, broker: usize) {
        self.order(broker, Order::Resume);
    }

    /// Starts one of the brokers again, without waiting until it responds.
    ///
    /// # Panics
    /// Panics if the broker runs, or was not started here.
    pub fn restart(&mut self, broker: usize) {
        self.order(broker, Order::Start);
    }

    /// Runs `kafka-transactions.sh` against this cluster; returns what it prints.
    ///
    /// # Panics
    /// Panics if the script fails, or the cluster was not started here.
    pub fn transactions(&self, arguments: &[&str]) -> String {
        let mut command = match &self.brokers {
            Brokers::Foreign => panic!("no tool for a foreign Kafka"),
            Brokers::Java { .. } => {
                let libs = node::jars().expect("the brokers run from there");
                node::java(&libs, "org.apache.kafka.tools.TransactionsCommand")
            }
            Brokers::Docker(container) => container.tool("kafka-transactions.sh"),
        };
        let address = match &self.brokers {
            Brokers::Docker(_) => "localhost:9092",
            _ => &self.bootstrap,
        };
        let output = command.args(["--bootstrap-server", address]).args(arguments).output().expect("Kafka's tool");
        let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kafka-transactions.sh {arguments:?}: {text}{errors}");
        text.into_owned()
    }

    fn order(&mut self, broker: usize, order: Order) {
        match &mut self.brokers {
            Brokers::Foreign => panic!("a foreign Kafka takes no orders ({order:?})"),
            Brokers::Java { brokers, .. } => brokers[broker].order(order),
            Brokers::Docker(container) => container.order(match order {
                Order::Start => "start",
                Order::Stop => "stop",
                Order::Kill => "kill",
                Order::Pause => "pause",
                Order::Resume => "unpause",
            }),
        }
    }

    /// Waits until all running brokers are members of the cluster.
    ///
    /// # Panics
    /// Panics if they are not members within 90 s.
    pub fn wait(&self) {
        let expected = match &self.brokers {
            Brokers::Java { brokers, .. } => brokers.iter().filter(|node| node.is_up()).count(),
            Brokers::Foreign | Brokers::Docker(_) => 1,
        };
        let deadline = Instant::now() + START;
        let topics = Topics::new(&self.connection()).expect("a client");
        while !topics.brokers(Duration::from_secs(1)).is_ok_and(|found| found >= expected) {
            assert!(Instant::now() < deadline, "{expected} broker(s) at {} do not answer", self.bootstrap);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
