//! Provides an empty simulator, and a folder from which a person sets up stages. The folder contains the files of the
//! stages and the credentials.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::pipeline::{Pipeline, shared_kafka};
use e2e::process::{Process, binary, command};
use e2e::{free_port, http, wait_until};
use reqwest::Method;
use serde_json::Value;

/// Name of the dataset that `setup` creates in each sandbox.
pub(super) const DATASET: &str = "Customer.io Message Events";

/// File with the credentials of the set-up, which no service reads.
pub(super) const CREDENTIALS: &str = "setup.credentials";

const PROGRAMS: [&str; 4] = ["customerio-aep", "ingest-gateway", "transformer", "sink"];

/// Ids of the users as which the programs run. The group of each user has the same id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Users {
    /// The person who runs `customerio-aep`.
    pub(super) operator: u32,
    /// The user of the services.
    pub(super) services: u32,
}

/// A sandbox, its services, and the file with the settings of all of them.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) sandbox: &'static str,
    pub(super) env_file: &'static str,
    pub(super) gateway_port: u16,
    /// Prefix of the names of the stage's topics and consumer groups.
    name: String,
}

impl Stage {
    /// The address of the gateway for Customer.io's webhooks.
    pub(super) fn webhook_url(&self) -> String {
        format!("http://127.0.0.1:{}/webhooks/customerio", self.gateway_port)
    }
}

pub(super) struct Installation {
    pub(super) pipeline: Pipeline,
    pub(super) simulator: Process,
    pub(super) folder: PathBuf,
    users: Option<Users>,
    /// Folder with copies of the programs that every user can run.
    programs: Option<PathBuf>,
}

impl Drop for Installation {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Installation {
    /// Starts an empty simulator with this time scale, and writes the credentials. With `users`, the programs run as
    /// these users, and the operator owns the folder; only root can do this.
    pub(super) fn begin(test: &str, scale: &str, users: Option<Users>) -> Self {
        let pipeline = Pipeline::new(shared_kafka(), test);
        let simulator = pipeline.simulator_with(&["--fresh", "--settle-scale", scale]);
        let folder = std::env::temp_dir().join(format!("{}-folder", pipeline.name));
        create_for_all(&folder);
        let programs = users.map(|users| {
            let programs = folder.join("programs");
            create_for_all(&programs);
            PROGRAMS.iter().for_each(|program| share(program, &programs));
            chown(&folder, Some(users.operator), Some(users.operator)).unwrap();
            programs
        });
        let installation = Self { pipeline, simulator, folder, users, programs };
        installation.write(
            CREDENTIALS,
            &[
                ("SETUP_IMS_CLIENT_ID", "sim-client"),
                ("SETUP_IMS_CLIENT_SECRET", "sim-secret"),
                ("CUSTOMERIO_APP_API_KEY", "sim-app-key"),
                ("CUSTOMERIO_SERVICE_ACCOUNT_TOKEN", "sa_live_sim"),
                ("SETUP_SETTLE_SCALE", scale),
            ],
        );
        installation
    }

    /// Writes the file of a stage with the settings that a person must choose. The topics in the file do not exist, and
    /// `setup` creates them.
    pub(super) fn stage(&self, sandbox: &'static str, env_file: &'static str, gateway_port: u16) -> Stage {
        let name = format!("{}.{sandbox}", self.pipeline.name);
        let operator = self.pipeline.operator_variables();
        let kafka = operator.iter().find(|(name, _)| *name == "KAFKA_BOOTSTRAP_SERVERS").unwrap().1.clone();
        let simulated = format!("http://127.0.0.1:{}", self.pipeline.simulator_port);
        let named = |suffix: &str| format!("{name}.{suffix}");
        let entries = [
            ("KAFKA_BOOTSTRAP_SERVERS", kafka),
            ("RAW_TOPIC", named("raw")),
            ("TYPED_TOPIC", named("typed")),
            ("DEAD_LETTER_TOPIC", named("dead")),
            ("RECEIPTS_TOPIC", named("receipts")),
            ("TRANSFORMER_GROUP_ID", named("transformer")),
            ("SINK_GROUP_ID", named("sink")),
            ("GATEWAY_LISTEN", format!("127.0.0.1:{gateway_port}")),
            ("GATEWAY_DRAIN_DELAY", "500ms".to_owned()),
            ("PLATFORM_API_URL", simulated.clone()),
            ("IMS_URL", simulated.clone()),
            ("CUSTOMERIO_API_URL", format!("{simulated}/customerio")),
            ("CUSTOMERIO_PUBLIC_URL", format!("http://127.0.0.1:{gateway_port}")),
            ("CUSTOMERIO_WORKSPACE", "Acme".to_owned()),
            ("CUSTOMERIO_EVENTS", "all".to_owned()),
            ("CUSTOMERIO_FULL_RESOLUTION", "false".to_owned()),
            ("CUSTOMERIO_WITH_CONTENT", "false".to_owned()),
            ("PLATFORM_IMS_ORG", "ACME@AdobeOrg".to_owned()),
            ("PLATFORM_SANDBOX", sandbox.to_owned()),
            ("IMS_CLIENT_ID", "sim-client".to_owned()),
            ("IMS_CLIENT_SECRET", "sim-secret".to_owned()),
        ];
        let entries: Vec<(&str, &str)> = entries.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.write(env_file, &entries);
        Stage { sandbox, env_file, gateway_port, name }
    }

    /// Writes a file that only the operator can read.
    fn write(&self, file: &str, entries: &[(&str, &str)]) {
        let path = self.folder.join(file);
        let text: String = entries.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if let Some(users) = self.users {
            chown(&path, Some(users.operator), Some(users.operator)).unwrap();
        }
    }

    fn command(&self, program: &str, user: Option<u32>) -> Command {
        let mut command = match &self.programs {
            None => command(program, &[]),
            Some(folder) => {
                let mut command = Command::new(folder.join(program));
                let path = std::env::var_os("PATH").unwrap_or_default();
                command.env_clear().env("PATH", path).stdin(Stdio::null());
                command
            }
        };
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs a command for a stage to its end. Returns its exit code, and its standard output and standard error as one
    /// text.
    pub(super) fn run(&self, stage: &Stage, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command("customerio-aep", self.users.map(|users| users.operator));
        command.current_dir(&self.folder).args(arguments).args(["--env-file", stage.env_file]);
        if ["setup", "check"].contains(&arguments[0]) {
            command.args(["--credentials", CREDENTIALS]);
        }
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs a command, and asserts its exit code and parts of its output.
    pub(super) fn says(&self, stage: &Stage, arguments: &[&str], code: i32, parts: &[&str]) -> String {
        let (found, text) = self.run(stage, arguments);
        assert_eq!(found, Some(code), "{arguments:?}:\n{text}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: no `{part}` in:\n{text}");
        }
        text
    }

    /// Sends an event to the gateway, signed with the key that `setup` has written, and waits until Platform has
    /// accepted the event.
    pub(super) fn send_and_follow(&self, stage: &Stage) {
        let url = stage.webhook_url();
        let send = ["send", &url, "--event", "email_opened", "--follow=90s"];
        self.says(stage, &send, 0, &[": accepted"]);
    }

    /// Returns the entries of a stage's file, as Docker Compose reads them.
    fn entries(&self, stage: &Stage) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.folder.join(stage.env_file)).unwrap();
        let entries = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        entries.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }

    /// Returns the value of a variable in a stage's file.
    pub(super) fn value(&self, stage: &Stage, variable: &str) -> String {
        let entries = self.entries(stage);
        let found = entries.iter().find(|(name, _)| name == variable);
        found.unwrap_or_else(|| panic!("no {variable} in {entries:?}")).1.clone()
    }

    /// Reads a secret from the file whose path a stage's file contains, as `{variable}_FILE`.
    pub(super) fn secret(&self, stage: &Stage, variable: &str) -> String {
        let file = self.value(stage, &format!("{variable}_FILE"));
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}")).trim().to_owned()
    }

    /// Starts the three services with the variables of a stage's file, and with those that Docker Compose sets for each
    /// service.
    pub(super) fn services(&self, stage: &Stage) -> Vec<Process> {
        let entries = self.entries(stage);
        let start = |program: &str, group: Option<&str>| {
            let mut command = self.command(program, self.users.map(|users| users.services));
            command.current_dir("/").envs(entries.iter().map(|(name, value)| (name, value)));
            if let Some(group) = group {
                command.env("KAFKA_GROUP_ID", self.value(stage, group));
            }
            command.env("TRANSFORMER_INSTANCE", format!("{}.1", stage.name));
            Process::start_command(program, command, free_port())
        };
        vec![
            start("ingest-gateway", None),
            start("transformer", Some("TRANSFORMER_GROUP_ID")),
            start("sink", Some("SINK_GROUP_ID")),
        ]
    }

    /// Waits until the services of a stage have delivered every event, and stops them, the sink last. While the
    /// services run, `setup destroy` can disable the webhook but removes nothing, and reports the events that are not
    /// delivered yet.
    pub(super) fn stop(&self, stage: &Stage, mut services: Vec<Process>) {
        wait_until("the services to drain the topics", Duration::from_secs(90), || {
            let (code, text) = self.run(stage, &["setup", "destroy", "--yes"]);
            assert!(code == Some(1) && text.contains("members: stop the services first"), "{text}");
            !text.contains("are not delivered yet")
        });
        for service in &mut services {
            service.terminate();
        }
    }

    /// Sends a request to the simulator's admin API. Panics unless it succeeds.
    pub(super) fn admin(&self, method: Method, path: &str, body: &str) -> String {
        let (status, body) = http::send_json(method.clone(), self.pipeline.simulator_port, path, body).unwrap();
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
        body
    }

    pub(super) fn get(&self, path: &str) -> String {
        self.admin(Method::GET, path, "")
    }

    /// Returns the webhooks of the account, ordered by id.
    pub(super) fn webhooks(&self) -> Vec<Value> {
        let everything: Value = serde_json::from_str(&self.get("/admin/customerio")).unwrap();
        everything["webhooks"].as_array().unwrap().iter().map(|stored| stored["webhook"].clone()).collect()
    }

    /// Lets Customer.io deliver an event to all enabled webhooks, and asserts the status of each response. Returns the
    /// id of the event.
    pub(super) fn deliver(&self, statuses: &[&str]) -> String {
        let report = self.admin(Method::POST, "/admin/customerio/events", r#"{"event":"email_opened"}"#);
        let report: Value = serde_json::from_str(&report).unwrap();
        let calls = report["calls"].as_array().unwrap();
        let found: Vec<String> = calls.iter().map(|call| call["status"].to_string()).collect();
        assert_eq!(found, statuses, "{report}");
        report["event_id"].as_str().unwrap().to_owned()
    }
}

/// Creates a folder that every user can enter and list.
fn create_for_all(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
}

/// Puts a program into a folder that every user can reach, because the target folder may be private.
fn share(program: &str, folder: &Path) {
    let (built, shared) = (binary(program), folder.join(program));
    if fs::hard_link(&built, &shared).is_err() {
        fs::copy(&built, &shared).unwrap();
    }
}
