//! Connects empty accounts at Customer.io and Platform with the commands that a person runs, up to the first accepted
//! event.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use e2e::http;
use e2e::pipeline::{Pipeline, SIGNING_KEY, Variables, shared_kafka, with};
use e2e::process::{Process, command};
use e2e::{free_port, wait_until};
use reqwest::Method;
use serde_json::Value;

/// Time scale of the simulator and of `setup`: Platform loses events for 1.5 s after a change of the flow and for 4.5 s
/// after a change of the schema, and a run of a flow lasts 18 s.
const SCALE: &str = "0.005";

/// An empty simulator, the variables of the commands, and a folder for the files that the commands write.
struct Sitting {
    pipeline: Pipeline,
    _simulator: Process,
    variables: Variables,
    folder: PathBuf,
}

impl Drop for Sitting {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Sitting {
    fn begin(test: &str) -> Self {
        let pipeline = Pipeline::new(shared_kafka(), test);
        let simulator = pipeline.simulator_with(&["--fresh", "--settle-scale", SCALE]);
        let folder = std::env::temp_dir().join(format!("{}-folder", pipeline.name));
        std::fs::create_dir_all(&folder).unwrap();
        let simulated = format!("http://127.0.0.1:{}", pipeline.simulator_port);
        let name = &pipeline.name;
        let mut variables = with(
            pipeline.operator_variables(),
            &[
                // These topics do not exist: `setup` creates them.
                ("RAW_TOPIC", &format!("{name}.set-up.raw")),
                ("TYPED_TOPIC", &format!("{name}.set-up.typed")),
                ("DEAD_LETTER_TOPIC", &format!("{name}.set-up.dead")),
                ("RECEIPTS_TOPIC", &format!("{name}.set-up.receipts")),
                ("PLATFORM_API_URL", &simulated),
                ("IMS_URL", &simulated),
                ("CUSTOMERIO_API_URL", &format!("{simulated}/customerio")),
                ("CUSTOMERIO_PUBLIC_URL", &format!("http://127.0.0.1:{}", pipeline.gateway_port)),
                ("SETUP_SETTLE_SCALE", SCALE),
                ("CUSTOMERIO_SIGNING_KEYS", SIGNING_KEY),
            ],
        );
        let fixed = [
            ("PLATFORM_IMS_ORG", "ACME@AdobeOrg"),
            ("PLATFORM_SANDBOX", "dev"),
            ("IMS_CLIENT_ID", "sim-client"),
            ("IMS_CLIENT_SECRET", "sim-secret"),
            ("CUSTOMERIO_APP_API_KEY", "sim-app-key"),
            ("CUSTOMERIO_WORKSPACE", "Acme"),
            ("CUSTOMERIO_EVENTS", "all"),
            ("CUSTOMERIO_FULL_RESOLUTION", "false"),
            ("CUSTOMERIO_WITH_CONTENT", "false"),
        ];
        variables.extend(fixed.map(|(name, value)| (name, value.to_owned())));
        Self { pipeline, _simulator: simulator, variables, folder }
    }

    /// Runs a command to its end. Returns its exit code, and its standard output and standard error as one text.
    fn run_with(&self, variables: &Variables, arguments: &[&str]) -> (Option<i32>, String) {
        let output = command("customerio-aep", variables).current_dir(&self.folder).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    }

    fn says(&self, arguments: &[&str], code: i32, parts: &[&str]) -> String {
        let (found, text) = self.run_with(&self.variables, arguments);
        assert_eq!(found, Some(code), "{arguments:?}:\n{text}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: no `{part}` in:\n{text}");
        }
        text
    }

    /// Runs a command until its output contains `part`, at most five times: on a busy machine, the gateway can take
    /// longer than the one second that a round trip may take.
    fn eventually(&self, variables: &Variables, arguments: &[&str], part: &str) -> (Option<i32>, String) {
        let mut last = self.run_with(variables, arguments);
        for _ in 0..4 {
            if last.1.contains(part) {
                break;
            }
            last = self.run_with(variables, arguments);
        }
        assert!(last.1.contains(part), "{arguments:?}: no `{part}` in:\n{}", last.1);
        last
    }

    /// Returns the entries of a file that `--write-env` has written, as environment variables of a service.
    fn written(&self, file: &str) -> Variables {
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap();
        let names = self.variables.iter().map(|(name, _)| *name);
        let names: Vec<&'static str> = names.chain(WRITTEN).collect();
        let entries = text.lines().filter_map(|line| line.split_once('='));
        entries
            .map(|(name, value)| {
                let name = names.iter().find(|known| **known == name);
                (*name.unwrap_or_else(|| panic!("unexpected entry in:\n{text}")), value.trim_matches('\'').to_owned())
            })
            .collect()
    }

    fn services(&self, written: &Variables) -> Vec<Process> {
        let name = &self.pipeline.name;
        let kafka = ["KAFKA_BOOTSTRAP_SERVERS", "RAW_TOPIC", "TYPED_TOPIC", "DEAD_LETTER_TOPIC", "RECEIPTS_TOPIC"];
        let kafka: Variables = self.variables.iter().filter(|(name, _)| kafka.contains(name)).cloned().collect();
        let listen = format!("127.0.0.1:{}", self.pipeline.gateway_port);
        let gateway = [("GATEWAY_LISTEN", listen.as_str()), ("CUSTOMERIO_SIGNING_KEYS", SIGNING_KEY)];
        let (group, instance) = (format!("{name}-transformer"), format!("{name}-1"));
        let transformer = [("KAFKA_GROUP_ID", group.as_str()), ("TRANSFORMER_INSTANCE", instance.as_str())];
        let sink: Vec<(&str, &str)> = written.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let sink = with(kafka.clone(), &sink);
        vec![
            Process::start("ingest-gateway", &with(kafka.clone(), &gateway), Some(free_port())),
            Process::start("transformer", &with(kafka, &transformer), Some(free_port())),
            Process::start("sink", &with(sink, &[("KAFKA_GROUP_ID", &format!("{name}-sink"))]), Some(free_port())),
        ]
    }

    fn admin(&self, method: Method, path: &str, body: &str) -> String {
        let (status, body) = http::send_json(method.clone(), self.pipeline.simulator_port, path, body).unwrap();
        assert!((200..300).contains(&status), "{method} {path}: {status} {body}");
        body
    }

    fn webhook(&self) -> Value {
        let everything: Value = serde_json::from_str(&self.admin(Method::GET, "/admin/customerio", "")).unwrap();
        everything["webhooks"][0]["webhook"].clone()
    }
}

/// Variables that `setup apply --write-env` adds to the file.
const WRITTEN: [&str; 10] = [
    "TRIAL",
    "DEPLOYMENT",
    "PLATFORM_TENANT",
    "PLATFORM_INLET_URL",
    "PLATFORM_SCHEMA_ID",
    "PLATFORM_DATASET_ID",
    "PLATFORM_FLOW_ID",
    "PLATFORM_NOT_BEFORE",
    "IMS_CLIENT_SECRET_FILE",
    "SETUP_SECRETS_DIR",
];

#[test]
fn setup_apply_connects_an_empty_sandbox_and_setup_destroy_removes_the_webhook() {
    let mut sitting = Sitting::begin("connect");
    sitting.says(&["setup", "plan", "--detailed-exitcode"], 1, &["+ topic", "+ flow", "+ webhook", "dev"]);
    sitting.says(&["setup", "apply", "--yes", "--write-env", "dev.env"], 4, &["created", "waiting for", "the gateway"]);
    let written = sitting.written("dev.env");
    let value = |name: &str| written.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    let secret = PathBuf::from(value("IMS_CLIENT_SECRET_FILE"));
    assert!(secret.is_absolute() && secret.starts_with(value("SETUP_SECRETS_DIR")), "{}", secret.display());
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "sim-secret\n");
    assert!(!std::fs::read_to_string(sitting.folder.join("dev.env")).unwrap().contains("sim-secret"));
    assert!(sitting.webhook()["name"].as_str().unwrap().ends_with("(not enabled yet)"));

    let mut services = sitting.services(&written);
    sitting.says(&["setup", "apply", "--yes", "--wait=60s"], 0, &["~ webhook default"]);
    assert_eq!(sitting.webhook()["disabled"], false);
    sitting.says(&["setup", "apply", "--yes"], 0, &["0 to create, 0 to change", "unchanged"]);

    sitting.variables.extend(written.iter().filter(|(name, _)| WRITTEN.contains(name)).cloned());
    // The secret is in a file now, so its variable is removed.
    sitting.variables.retain(|(name, _)| *name != "IMS_CLIENT_SECRET");
    sitting.says(&["setup", "status"], 0, &["= flow", "0 to create, 0 to change"]);
    sitting.says(&["check", "--wait=60s"], 0, &["everything that was asked is right", "a signed round trip"]);
    let parts = ["accepted by Platform after", "the flow's run with this event: success: ", "records received"];
    sitting.says(&["check", "--end-to-end", "--wait-run", "90s", "--wait=60s"], 0, &parts);
    let events = http::get(sitting.pipeline.simulator_port, "/admin/events").unwrap().1;
    assert!(events.contains("customerio-aep-test-"), "{events}");
    let stats = http::get(sitting.pipeline.simulator_port, "/admin/stats").unwrap().1;
    assert!(stats.contains("\"lost\":0"), "{stats}");

    only_the_result_is_on_standard_output(&sitting);
    in_production_the_name_is_needed(&sitting);
    a_missing_option_is_a_finding_among_others(&sitting);
    a_role_that_is_granted_later_is_waited_for(&sitting);
    apply_waits_for_a_role_without_which_the_objects_cannot_be_read(&sitting);
    a_paused_webhook_is_resumed_only_when_platform_loses_no_events(&sitting);
    a_webhook_that_somebody_disabled_is_left_alone(&sitting);
    drift_is_shown(&sitting);

    for service in services.iter_mut().rev() {
        service.terminate();
    }
    sitting.says(&["setup", "destroy", "--yes"], 0, &["can never be removed", "- remove the webhook default"]);
    let everything: Value = serde_json::from_str(&sitting.admin(Method::GET, "/admin/customerio", "")).unwrap();
    assert!(everything["webhooks"].as_array().unwrap().is_empty(), "{everything}");
}

/// Other programs read standard output, such as `kubectl apply -f -`.
fn only_the_result_is_on_standard_output(sitting: &Sitting) {
    let run = |option: &str| {
        let mut command = command("customerio-aep", &sitting.variables);
        let output = command.current_dir(&sitting.folder).args(["setup", "apply", "--yes", option]).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success() && stderr.contains("0 to create"), "{option}: {stderr}");
        stdout
    };
    let manifest = run("--secret-yaml");
    let names: Vec<&str> = manifest.lines().filter_map(|line| line.strip_prefix("  name: ")).collect();
    assert_eq!(names, ["customerio-signing-keys", "adobe-ims"], "{manifest}");
    let is_yaml = |line: &str| line == "---" || line.starts_with("  ") || line.contains(':');
    assert!(manifest.starts_with("---\n") && manifest.lines().all(is_yaml), "{manifest}");
    let env = run("--print-env");
    let is_entry = |line: &str| {
        line.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    assert!(env.contains("PLATFORM_INLET_URL=") && env.lines().all(is_entry), "{env}");
}

fn in_production_the_name_is_needed(sitting: &Sitting) {
    let prod = with(sitting.variables.clone(), &[("PLATFORM_SANDBOX", "prod")]);
    let before = http::get(sitting.pipeline.simulator_port, "/admin/events").unwrap().1;
    let (code, text) =
        sitting.eventually(&prod, &["check", "--end-to-end"], "not sent: `prod` is a PRODUCTION sandbox");
    assert!(code == Some(1) && text.contains("--confirm-sandbox prod"), "{text}");
    assert_eq!(http::get(sitting.pipeline.simulator_port, "/admin/events").unwrap().1, before);
    // PLATFORM_SANDBOX is a development sandbox, but the sink's flow may belong to another sandbox.
    let elsewhere = with(sitting.variables.clone(), &[("PLATFORM_FLOW_ID", "another-flow")]);
    let reason = "not sent: it is not known whether the event would reach a production sandbox";
    let (code, text) = sitting.eventually(&elsewhere, &["check", "--end-to-end"], reason);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(http::get(sitting.pipeline.simulator_port, "/admin/events").unwrap().1, before);
    let strict = with(sitting.variables.clone(), &[("ON_MISSING_IDENTITY", "dead-letter")]);
    let reason = "not sent: ON_MISSING_IDENTITY=dead-letter";
    let (code, text) = sitting.eventually(&strict, &["check", "--end-to-end"], reason);
    assert_eq!(code, Some(1), "{text}");
}

fn a_missing_option_is_a_finding_among_others(sitting: &Sitting) {
    for (variable, who) in [
        ("CUSTOMERIO_PUBLIC_URL", "you: "),
        ("CUSTOMERIO_APP_API_KEY", "a Customer.io administrator: "),
        ("PLATFORM_SANDBOX", "an Adobe administrator: "),
        ("IMS_CLIENT_ID", "an Adobe administrator: "),
        ("KAFKA_BOOTSTRAP_SERVERS", "you: "),
    ] {
        let mut variables = sitting.variables.clone();
        variables.retain(|(name, _)| *name != variable);
        let (code, text) = sitting.run_with(&variables, &["check"]);
        assert_eq!(code, Some(1), "{variable}: {text}");
        let line = format!("BAD  the option {variable}: {variable} is not set\n       {who}");
        assert!(text.contains(&line), "{variable}: {text}");
        let good = text.lines().filter(|line| line.starts_with("ok ")).count();
        assert!(good >= 8, "{variable}: only {good} checks ran:\n{text}");
        // `setup plan`, unlike `check`, does not run without the option.
        assert_eq!(sitting.run_with(&variables, &["setup", "plan"]).0, Some(2), "{variable}");
    }
    let mut nothing = sitting.variables.clone();
    nothing.retain(|(name, _)| ["PLATFORM_API_URL", "IMS_URL"].contains(name));
    let (code, text) = sitting.run_with(&nothing, &["check"]);
    assert!(code == Some(1) && text.contains("BAD  the option PLATFORM_IMS_ORG"), "{text}");
}

fn a_role_that_is_granted_later_is_waited_for(sitting: &Sitting) {
    sitting.admin(
        Method::POST,
        "/admin/control/faults",
        r#"{"fault":"missing_permission","permission":"manage-schemas"}"#,
    );
    sitting.says(&["check"], 1, &["Manage Schemas: missing", "check --wait"]);
    let mut waiting = command("customerio-aep", &sitting.variables);
    waiting.current_dir(&sitting.folder).args(["check", "--wait=90s"]);
    let mut waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    assert!(waiting.try_wait().unwrap().is_none(), "`check --wait` ended before the role was granted");
    sitting.admin(Method::DELETE, "/admin/control/faults", "");
    wait_until("the check to end", Duration::from_secs(60), || waiting.try_wait().unwrap().is_some());
    let output = waiting.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("open: "), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("everything that was asked is right"));
    // `check --wait` does not wait for a missing option, because a command reads its options only once.
    let mut variables = sitting.variables.clone();
    variables.retain(|(name, _)| *name != "CUSTOMERIO_PUBLIC_URL");
    assert_eq!(sitting.run_with(&variables, &["check", "--wait=90s"]).0, Some(1));
}

fn apply_waits_for_a_role_without_which_the_objects_cannot_be_read(sitting: &Sitting) {
    let fault = r#"{"fault":"missing_permission","permission":"view-datasets"}"#;
    sitting.admin(Method::POST, "/admin/control/faults", fault);
    sitting.says(&["setup", "plan"], 3, &["not part of this plan", "view-datasets"]);
    sitting.says(&["setup", "apply", "--yes"], 4, &["waiting for (an Adobe administrator): a permission", "--wait"]);
    let mut waiting = command("customerio-aep", &sitting.variables);
    waiting.current_dir(&sitting.folder).args(["setup", "apply", "--yes", "--wait=90s"]);
    let mut waiting = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(4));
    assert!(waiting.try_wait().unwrap().is_none(), "`setup apply --wait` ended before the role was granted");
    sitting.admin(Method::DELETE, "/admin/control/faults", "");
    wait_until("apply to end", Duration::from_secs(60), || waiting.try_wait().unwrap().is_some());
    let output = waiting.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && text.contains("0 to create, 0 to change"), "{text}");
}

fn a_paused_webhook_is_resumed_only_when_platform_loses_no_events(sitting: &Sitting) {
    sitting.says(&["setup", "webhook", "pause", "--confirm-source", "default"], 0, &["is disabled"]);
    // With this scale, the time in which Platform loses events after the last change lasts for days.
    let settling = with(sitting.variables.clone(), &[("SETUP_SETTLE_SCALE", "1000")]);
    let resume = ["setup", "webhook", "resume"];
    let (code, text) = sitting.eventually(&settling, &resume, "waiting for: the time until");
    assert_eq!((code, &sitting.webhook()["disabled"]), (Some(4), &Value::Bool(true)), "{text}");
    let (code, text) = sitting.eventually(&sitting.variables, &resume, "is enabled");
    assert_eq!((code, &sitting.webhook()["disabled"]), (Some(0), &Value::Bool(false)), "{text}");
}

fn a_webhook_that_somebody_disabled_is_left_alone(sitting: &Sitting) {
    let id = sitting.webhook()["id"].clone();
    sitting.admin(Method::PATCH, &format!("/admin/customerio/webhooks/{id}"), r#"{"disabled":true}"#);
    let asks = "setup apply --enable-webhook default";
    sitting.says(&["check"], 1, &["somebody disabled the webhook", asks]);
    sitting.says(&["setup", "status"], 1, &["somebody disabled", asks]);
    sitting.says(&["setup", "apply", "--yes"], 1, &["somebody disabled", asks]);
    assert_eq!(sitting.webhook()["disabled"], true);
    sitting.says(&["setup", "apply", "--yes", "--enable-webhook", "other"], 2, &["there are: default"]);
    let again = ["setup", "apply", "--yes", "--wait=60s", "--enable-webhook", "default"];
    sitting.says(&again, 0, &["~ webhook default"]);
    assert_eq!(sitting.webhook()["disabled"], false);
}

fn drift_is_shown(sitting: &Sitting) {
    let id = sitting.webhook()["id"].clone();
    sitting.admin(Method::PATCH, &format!("/admin/customerio/webhooks/{id}"), r#"{"events":["email_sent"]}"#);
    sitting.says(&["setup", "status"], 1, &["~ webhook default", "1 events (to remove: nothing)"]);
    sitting.says(&["setup", "apply", "--yes"], 0, &["~ webhook default"]);
    sitting.says(&["setup", "status"], 0, &["0 to create, 0 to change"]);
}
