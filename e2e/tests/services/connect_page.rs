//! Runs the commands of `docs/connect.md` as a new user does: as they are written, in the order of the page, on a
//! terminal. The simulator replaces Adobe and Customer.io. The test fails at a command that it neither runs nor skips
//! with a reason.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::documents::{Example, examples};
use e2e::pipeline::{Pipeline, SIGNING_KEY, Variables, shared_kafka, with};
use e2e::process::{Process, binary};
use e2e::{free_port, http, terminal};
use serde_json::Value;

/// Time scale of the simulator and of `setup`: Platform loses events for 0.6 s after a change of the flow and for 1.8 s
/// after a change of the schema, and a run of a flow lasts 7 s.
const SCALE: &str = "0.002";
/// Maximum time of one command.
const LIMIT: Duration = Duration::from_secs(120);
/// Maximum number of attempts for each command: on a busy machine, the gateway can take longer than the one second that
/// a round trip may take.
const TRIES: usize = 4;

/// Variable that `dev.env` on the page sets, so the environment of the commands does not contain it.
const BOOTSTRAP: &str = "KAFKA_BOOTSTRAP_SERVERS";
const PLAN: (&str, &str) = ("Carry out this plan?", "y\n");
const NEEDS_DOCKER: &str = "needs Docker; the tests in repository/compose evaluate the files that it reads";

/// The remaining examples of the page: those that the walk has not reached yet.
struct Page(VecDeque<Example>);

impl Page {
    /// Returns the text of the next example, or an error if this text does not start with `beginning`.
    fn take(&mut self, beginning: &str) -> Result<String, String> {
        let Some(example) = self.0.pop_front() else {
            return Err(format!("docs/connect.md has no further command, and the walk expects `{beginning}`"));
        };
        match example.text.starts_with(beginning) {
            true => Ok(example.text),
            false => Err(format!(
                "docs/connect.md:{}: the walk expects `{beginning}` here, and the page has `{}`; run this command in \
                 connect_page.rs, or skip it there with a reason",
                example.line, example.text
            )),
        }
    }

    /// Returns an error if the page has another example.
    fn end(&mut self) -> Result<(), String> {
        match self.0.pop_front() {
            None => Ok(()),
            Some(example) => Err(format!("docs/connect.md:{}: nothing runs `{}`", example.line, example.text)),
        }
    }
}

/// A new user's folder, and the state of the walk through the page. Kafka is real, and the simulator has an empty
/// account at Platform and one at Customer.io.
struct Walk {
    page: Page,
    pipeline: Pipeline,
    _simulator: Process,
    /// Placeholders in the page for a user's own values, each with its value.
    placeholders: Vec<(&'static str, String)>,
    /// Variables with the addresses of the simulator, and with names of topics and groups that no other test uses.
    variables: Variables,
    folder: PathBuf,
    gateway_admin: u16,
    sink_admin: u16,
}

impl Drop for Walk {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Walk {
    fn begin() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = fs::read_to_string(root.join("docs/connect.md")).unwrap();
        let pipeline = Pipeline::new(shared_kafka(), "page");
        let simulator = pipeline.simulator_with(&["--fresh", "--settle-scale", SCALE]);
        let folder = std::env::temp_dir().join(format!("{}-folder", pipeline.name));
        fs::create_dir_all(&folder).unwrap();
        // A user of Docker Compose has a checkout of this repository, which contains this file.
        fs::copy(root.join(".env.example"), folder.join(".env.example")).unwrap();
        let (gateway_admin, sink_admin) = (free_port(), free_port());
        let mut variables = pipeline.operator_variables();
        let (_, bootstrap) = variables.iter().find(|(name, _)| *name == BOOTSTRAP).unwrap().clone();
        variables.retain(|(name, _)| *name != BOOTSTRAP);
        let simulated = format!("http://127.0.0.1:{}", pipeline.simulator_port);
        let topic = |kind: &str| format!("{}.walk.{kind}", pipeline.name);
        let variables = with(
            variables,
            &[
                // These topics do not exist: `setup` creates them.
                ("RAW_TOPIC", &topic("raw")),
                ("TYPED_TOPIC", &topic("typed")),
                ("DEAD_LETTER_TOPIC", &topic("dead")),
                ("RECEIPTS_TOPIC", &topic("receipts")),
                ("PLATFORM_API_URL", &simulated),
                ("IMS_URL", &simulated),
                ("CUSTOMERIO_API_URL", &format!("{simulated}/customerio")),
                ("SETUP_SETTLE_SCALE", SCALE),
                ("GATEWAY_LISTEN", &format!("127.0.0.1:{}", pipeline.gateway_port)),
                ("GATEWAY_DRAIN_DELAY", "500ms"),
                ("TRANSFORMER_WORKERS", "2"),
            ],
        );
        let placeholders = placeholders(&bootstrap, pipeline.gateway_port, gateway_admin, sink_admin);
        Self {
            page: Page(examples(&page).into()),
            pipeline,
            _simulator: simulator,
            placeholders,
            variables,
            folder,
            gateway_admin,
            sink_admin,
        }
    }

    /// Returns the next example, with the user's own values in place of the placeholders.
    fn take(&mut self, beginning: &str) -> String {
        let mut text = self.page.take(beginning).unwrap_or_else(|error| panic!("{error}"));
        for (written, own) in &self.placeholders {
            text = text.replace(written, own);
        }
        text
    }

    /// Sets the folder and the environment of a command. Its `PATH` begins with the binaries of this build.
    fn prepare(&self, command: &mut Command) {
        let tool = binary("customerio-aep");
        let path = format!("{}:{}", tool.parent().unwrap().display(), std::env::var("PATH").unwrap());
        command.env_clear().env("PATH", path).env("NO_COLOR", "1").current_dir(&self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
    }

    /// Runs the next command on a terminal. Panics unless the command ends with the exit code `code` and shows the
    /// texts `parts`.
    fn run(&mut self, beginning: &str, answers: &[(&str, &str)], code: i32, parts: &[&str]) {
        let text = self.take(beginning);
        let mut last = (None, String::new());
        for _ in 0..TRIES {
            last = terminal::run(&text, |command| self.prepare(command), answers, LIMIT);
            if last.0 == Some(code) && parts.iter().all(|part| last.1.contains(part)) {
                return;
            }
        }
        let (found, shown) = last;
        panic!("`{text}` ended with {found:?}, and should end with {code} and show {parts:?}; it showed:\n{shown}");
    }

    /// Writes the next example, which consists of entries `NAME=value`, to a file.
    fn write(&mut self, beginning: &str, file: &str) {
        let text = self.take(beginning);
        fs::write(self.folder.join(file), format!("{text}\n")).unwrap();
    }

    /// Skips the next command.
    fn skip(&mut self, beginning: &str, reason: &str) {
        assert!(!reason.is_empty(), "a command is skipped only with a reason");
        self.take(beginning);
    }

    /// Starts a service with the next command, as a user does in another terminal.
    fn start(&mut self, service: &str, admin: u16) -> Process {
        let text = self.take("set -a; . ./dev.env; ");
        let (environment, started) = text.rsplit_once("; ").unwrap();
        assert_eq!(started, service);
        let mut command = Command::new("sh");
        self.prepare(&mut command);
        // With `exec`, a signal reaches the service and not the shell.
        command.args(["-c", &format!("{environment}; exec {service}")]).stdin(Stdio::null());
        command.env("KAFKA_GROUP_ID", format!("{}-{service}", self.pipeline.name));
        Process::start_command(service, command, admin)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap()
    }

    fn is_webhook_enabled(&self) -> bool {
        let (_, body) = http::get(self.pipeline.simulator_port, "/admin/customerio").unwrap();
        let everything: Value = serde_json::from_str(&body).unwrap();
        everything["webhooks"][0]["webhook"]["disabled"] == false
    }
}

/// All placeholders of the page, each with the value that replaces it.
fn placeholders(bootstrap: &str, gateway: u16, gateway_admin: u16, sink_admin: u16) -> Vec<(&'static str, String)> {
    let [gateway_admin, sink_admin] = [gateway_admin, sink_admin].map(|port| format!("127.0.0.1:{port}"));
    vec![
        ("IMS_CLIENT_ID=...", "IMS_CLIENT_ID=sim-client".to_owned()),
        ("IMS_CLIENT_SECRET=...", "IMS_CLIENT_SECRET=sim-secret".to_owned()),
        ("CUSTOMERIO_APP_API_KEY=...", "CUSTOMERIO_APP_API_KEY=sim-app-key".to_owned()),
        ("0123456789ABCDEF@AdobeOrg", "ACME@AdobeOrg".to_owned()),
        ("kafka:9092", bootstrap.to_owned()),
        ("https://events.example.com", format!("http://127.0.0.1:{gateway}")),
        ("gateway-1:9464,gateway-2:9464", gateway_admin),
        ("sink-1:9466,sink-2:9466", sink_admin),
    ]
}

#[test]
fn the_commands_of_the_connect_page_lead_to_an_accepted_event() {
    let mut walk = Walk::begin();
    write_the_files(&mut walk);
    plan_and_apply(&mut walk);

    let (gateway_admin, sink_admin) = (walk.gateway_admin, walk.sink_admin);
    let gateway = walk.start("ingest-gateway", gateway_admin);
    let transformer = walk.start("transformer", free_port());
    let sink = walk.start("sink", sink_admin);
    walk.run("customerio-aep setup apply --env-file dev.env", &[PLAN], 0, &[]);
    assert!(walk.is_webhook_enabled());

    other_platforms(&mut walk);
    change_what_is_live(&mut walk);
    walk.run("customerio-aep check --env-file dev.env", &[], 0, &["everything that was asked is right"]);
    let accepted = ["accepted by Platform after", "the flow's run with this event: success"];
    walk.run("customerio-aep check --env-file dev.env", &[], 0, &accepted);
    let stats = http::get(walk.pipeline.simulator_port, "/admin/stats").unwrap().1;
    assert!(stats.contains("\"lost\":0"), "{stats}");

    for mut service in [gateway, transformer, sink] {
        service.terminate();
    }
    let remove = ("Remove these objects?", "y\n");
    walk.run("customerio-aep setup destroy", &[remove], 0, &["can never be removed", "webhook default"]);
    walk.skip("GATEWAY_TLS_CERT=", "the paths are examples; the tests of the gateway use certificates");
    walk.page.end().unwrap();
}

fn write_the_files(walk: &mut Walk) {
    walk.run("cat > setup.credentials <<'END'", &[], 0, &[]);
    walk.run("chmod 600 setup.credentials", &[], 0, &[]);
    assert!(walk.read("setup.credentials").contains("CUSTOMERIO_APP_API_KEY=sim-app-key\n"));
    walk.write("PLATFORM_IMS_ORG=", "dev.env");
    walk.run("mkdir -p secrets", &[], 0, &[]);
    // The user types the secret, Enter, and Ctrl-D (`\u{4}`), which ends the input.
    walk.run("cat > secrets/ims-client-secret", &[("", "sim-secret\n\u{4}")], 0, &[]);
    assert_eq!(walk.read("secrets/ims-client-secret"), "sim-secret\n");
}

fn plan_and_apply(walk: &mut Walk) {
    walk.run("customerio-aep setup plan", &[], 0, &["+ topic", "+ flow", "+ webhook"]);
    let key = format!("{SIGNING_KEY}\n");
    let answers = [PLAN, ("Signing key of source `default`", key.as_str())];
    walk.run("customerio-aep setup apply --env-file dev.env", &answers, 4, &["waiting for", "the gateway"]);
    assert!(!walk.is_webhook_enabled());
    let written = walk.read("dev.env");
    assert!(written.contains("CUSTOMERIO_SIGNING_KEYS_FILE=") && written.contains("PLATFORM_INLET_URL="), "{written}");
    for secret in [SIGNING_KEY, "sim-secret", "sim-app-key"] {
        assert!(!written.contains(secret), "{written}");
    }
}

/// Runs the commands that prepare `.env` for Docker Compose. Skips the commands that need Docker or a Kubernetes
/// cluster.
fn other_platforms(walk: &mut Walk) {
    walk.run("cp .env.example .env", &[], 0, &[]);
    walk.run("printf 'SETUP_DIR=", &[], 0, &[]);
    let env = walk.read(".env");
    let value = |name: &str| env.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!(value("SETUP_DIR").map(PathBuf::from), Some(walk.folder.canonicalize().unwrap()));
    let user = value("SETUP_USER").unwrap();
    assert!(user.split(':').count() == 2 && user.split(':').all(|id| id.parse::<u32>().is_ok()), "{user}");
    for command in ["up --detach kafka", "run --rm cli setup apply", "up --detach", "run --rm cli setup apply"] {
        walk.skip(&format!("docker compose {command}"), NEEDS_DOCKER);
    }
    walk.skip("customerio-aep setup apply --env-file prod.env", "needs a cluster; connect.rs reads what it prints");
}

/// Runs the commands for a live connection: the canary, pausing and resuming the webhook, and `setup apply` while the
/// sink is on hold. There is nothing to change.
fn change_what_is_live(walk: &mut Walk) {
    walk.run("customerio-aep setup webhook canary", &[("[y/N]", "y\n")], 0, &["is enabled already"]);
    let confirmed = ("Type the name of the source", "default\n");
    walk.run("customerio-aep setup webhook pause", &[confirmed], 0, &["is disabled"]);
    assert!(!walk.is_webhook_enabled());
    walk.run("customerio-aep setup webhook resume", &[], 0, &["is enabled"]);
    assert!(walk.is_webhook_enabled());
    walk.run("customerio-aep setup sink hold", &[], 0, &["the sink holds, and no request is in flight"]);
    walk.run("customerio-aep setup apply --env-file dev.env", &[PLAN], 0, &["0 to create, 0 to change"]);
    walk.run("customerio-aep setup sink release", &[], 0, &["the sink delivers again"]);
}

#[test]
fn a_command_of_the_page_that_the_walk_does_not_expect_is_an_error() {
    let page = "# Page\n\n```sh\none\nnew\ntwo\n```\n";
    let mut walked = Page(examples(page).into());
    assert_eq!(walked.take("one"), Ok("one".to_owned()));
    let error = walked.take("two").unwrap_err();
    assert!(error.starts_with("docs/connect.md:5: ") && error.contains("`new`"), "{error}");
    let error = walked.end().unwrap_err();
    assert!(error.starts_with("docs/connect.md:6: ") && error.contains("`two`"), "{error}");
    assert!(walked.end().is_ok() && walked.take("three").is_err());
}
