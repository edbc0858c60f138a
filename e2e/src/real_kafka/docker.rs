//! One broker in Docker, for machines without Java and Maven.

use std::process::{Command, Stdio};

use super::cluster::Cluster;
use crate::free_port;
use crate::proxy::Proxy;

/// Docker image of the broker.
pub(super) const IMAGE: &str = "apache/kafka:4.3.1";

/// A container with a broker.
#[derive(Debug)]
pub(super) struct Container {
    name: String,
    port: u16,
}

impl Container {
    /// Starts a container with one broker.
    pub(super) fn start(cluster: &Cluster, proxies: &[Proxy]) -> Result<Self, String> {
        if cluster.brokers != 1 {
            return Err(format!("a cluster of {} brokers needs Java and Maven", cluster.brokers));
        }
        if !cluster.users.is_empty() {
            return Err("a broker with users needs Java and Maven".to_owned());
        }
        if cluster.own_controller {
            return Err("a broker with a separate controller needs Java and Maven".to_owned());
        }
        let port = free_port();
        let name = format!("customerio-kafka-{port}");
        let mut settings: Vec<String> = [
            "NODE_ID=1",
            "PROCESS_ROLES=broker,controller",
            "CONTROLLER_LISTENER_NAMES=CONTROLLER",
            "INTER_BROKER_LISTENER_NAME=PLAINTEXT",
            "CONTROLLER_QUORUM_VOTERS=1@localhost:9093",
            "OFFSETS_TOPIC_REPLICATION_FACTOR=1",
            "TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1",
            "TRANSACTION_STATE_LOG_MIN_ISR=1",
            "SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR=1",
            "SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR=1",
            "GROUP_INITIAL_REBALANCE_DELAY_MS=0",
            "AUTO_CREATE_TOPICS_ENABLE=false",
        ]
        .map(str::to_owned)
        .into();
        let mut published = vec![(port, 9092)];
        let mut listeners = "PLAINTEXT://:9092,CONTROLLER://:9093".to_owned();
        let mut advertised = format!("PLAINTEXT://127.0.0.1:{port}");
        let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        for (number, proxy) in (1..).zip(proxies) {
            let inside = 9093 + number;
            published.push((proxy.server(0), inside));
            listeners += &format!(",PROXY{number}://:{inside}");
            advertised += &format!(",PROXY{number}://127.0.0.1:{}", proxy.port(0));
            protocols += &format!(",PROXY{number}:PLAINTEXT");
        }
        settings.push(format!("LISTENERS={listeners}"));
        settings.push(format!("ADVERTISED_LISTENERS={advertised}"));
        settings.push(format!("LISTENER_SECURITY_PROTOCOL_MAP={protocols}"));
        if let Some(interval) = cluster.transaction_cleanup {
            let millis = interval.as_millis();
            settings.push(format!("TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS={millis}"));
        }
        let mut run = Command::new("docker");
        run.args(["run", "--detach", "--name", &name]);
        for (outside, inside) in published {
            run.args(["--publish", &format!("127.0.0.1:{outside}:{inside}")]);
        }
        for setting in settings {
            run.args(["--env", &format!("KAFKA_{setting}")]);
        }
        let output = run.arg(IMAGE).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self { name, port })
    }

    /// Returns the address of the broker.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns a command that runs one of Kafka's scripts in the container.
    pub(super) fn tool(&self, script: &str) -> Command {
        let mut command = Command::new("docker");
        command.args(["exec", &self.name]).arg(format!("/opt/kafka/bin/{script}"));
        command
    }

    /// Runs `docker VERB` for the container: `start`, `stop`, `kill`, `pause`, `unpause`.
    ///
    /// # Panics
    /// Panics if Docker refuses.
    pub(super) fn order(&self, verb: &str) {
        let status = Command::new("docker").args([verb, &self.name]).stdout(Stdio::null()).status();
        assert!(status.expect("docker").success(), "docker {verb} {}", self.name);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(Command::new("docker").args(["rm", "--force", &self.name]).output());
    }
}
