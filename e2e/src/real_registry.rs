//! A real Schema Registry for the tests: Apicurio from Maven and Java, otherwise in Docker, with Confluent's API.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::http;
use crate::maven::fetched;
use crate::{free_port, wait_until};

/// Newest version of Apicurio that runs on Java 17.
const VERSION: &str = "3.0.9";

/// Script of the keeper. It starts the registry, and kills it when the keeper's standard input ends, also because the
/// test process has died.
const KEEPER: &str = r#"trap '' INT; "$@" & registry=$!; read -r order; kill -9 $registry; wait $registry"#;

/// A Schema Registry. It keeps its schemas in memory, so it is empty after a restart.
#[derive(Debug)]
pub struct RealRegistry {
    port: u16,
    runner: Runner,
}

#[derive(Debug)]
enum Runner {
    Java { folder: PathBuf, process: Option<Child> },
    Docker { name: String },
}

impl RealRegistry {
    /// Returns a registry with a free port that is not started yet.
    ///
    /// # Panics
    /// Panics if there is neither Java with Maven nor Docker.
    #[must_use]
    pub fn stopped() -> Self {
        let port = free_port();
        let runner = match apicurio() {
            Ok(folder) => Runner::Java { folder, process: None },
            Err(no_java) => {
                let docker = Command::new("docker").arg("info").stdout(Stdio::null()).stderr(Stdio::null()).status();
                assert!(
                    docker.is_ok_and(|status| status.success()),
                    "no Schema Registry. Java 17 and Maven: {no_java}; Docker: no engine answers"
                );
                Runner::Docker { name: format!("customerio-registry-{port}") }
            }
        };
        Self { port, runner }
    }

    /// Returns a registry that is running.
    ///
    /// # Panics
    /// Panics under the same conditions as [`RealRegistry::stopped`].
    #[must_use]
    pub fn running() -> Self {
        let mut registry = Self::stopped();
        registry.start();
        registry
    }

    /// Returns the base address, as a value of `SCHEMA_REGISTRY_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        Self::url_at(self.port)
    }

    /// Returns the value of `SCHEMA_REGISTRY_URL` for a registry or a proxy at this port of this machine.
    #[must_use]
    pub fn url_at(port: u16) -> String {
        format!("http://127.0.0.1:{port}/apis/ccompat/v7")
    }

    /// Returns the port that the registry listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Requests a page below the base address; returns status and body.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        http::get(self.port, &format!("/apis/ccompat/v7{path}"))
    }

    /// Starts the registry and waits until it responds.
    ///
    /// # Panics
    /// Panics if the registry does not respond.
    pub fn start(&mut self) {
        let port = self.port;
        match &mut self.runner {
            Runner::Java { folder, process } => {
                let jar = folder.join(format!("apicurio-registry-app-{VERSION}-runner.jar"));
                let mut command = Command::new("sh");
                command.args(["-c", KEEPER, "keeper", "java", "-Xmx512m", "-XX:TieredStopAtLevel=1"]);
                command.arg("-Dquarkus.http.host=127.0.0.1").arg(format!("-Dquarkus.http.port={port}"));
                command.arg("-jar").arg(jar).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
                *process = Some(command.spawn().expect("the registry"));
            }
            Runner::Docker { name } => {
                let publish = format!("127.0.0.1:{port}:8080");
                let image = format!("apicurio/apicurio-registry:{VERSION}");
                let arguments = ["run", "--detach", "--rm", "--name", name, "--publish", &publish, &image];
                let status = Command::new("docker").args(arguments).stdout(Stdio::null()).status();
                assert!(status.expect("docker").success(), "docker {arguments:?}");
            }
        }
        wait_until("the registry to answer", Duration::from_secs(90), || {
            self.get("/subjects").is_some_and(|(status, _)| status == 200)
        });
    }

    /// Stops the registry at once.
    pub fn stop(&mut self) {
        match &mut self.runner {
            Runner::Java { process, .. } => {
                if let Some(mut keeper) = process.take() {
                    drop(keeper.stdin.take());
                    drop(keeper.wait());
                }
            }
            Runner::Docker { name } => drop(Command::new("docker").args(["rm", "--force", name]).output()),
        }
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns the folder of the unpacked registry.
fn apicurio() -> Result<PathBuf, String> {
    let artifact = format!("-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all");
    fetched(&format!("registry/apicurio-{VERSION}"), &["dependency:unpack", &artifact])
}
