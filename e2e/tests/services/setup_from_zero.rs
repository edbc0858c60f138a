//! Sets up a connection as `docs/connect.md` describes it: the settings are in the stage's file, the credentials of the
//! set-up are in another file, and the services read only the stage's file.

mod installation;
mod kills;
mod stages;
mod users;

use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::json;

use installation::{DATASET, Installation, Stage};

/// Time scale of the simulator and of `setup`: Platform loses events for 6 s after a change of the flow, and for 18 s
/// after a change of the schema. The services start within that time.
const SCALE: &str = "0.02";

#[test]
fn after_setup_apply_the_services_deliver_every_event_with_only_the_written_file() {
    let mut installation = Installation::begin("zero", SCALE, None);
    let stage = installation.stage("dev", ".env", installation.pipeline.gateway_port);
    let plan = ["setup", "plan", "--detailed-exitcode"];
    installation.says(&stage, &plan, 1, &["+ topic", "+ flow", "+ webhook", "hosts that must be reachable"]);
    let apply = ["setup", "apply", "--yes", "--write-env", ".env"];
    installation.says(&stage, &apply, 4, &["created", "waiting for", "the gateway", "--wait"]);
    assert!(installation.webhooks()[0]["name"].as_str().unwrap().ends_with("(not enabled yet)"));
    secrets_are_only_in_their_files(&installation, &stage);

    let services = installation.services(&stage);
    // Platform still loses events after the set-up, so the sink must not send this event yet.
    let early = send_without_waiting(&installation, &stage);
    installation.says(&stage, &[&apply[..], &["--wait=120s"]].concat(), 0, &["~ webhook default"]);
    assert_eq!(installation.webhooks()[0]["disabled"], false);
    installation.says(&stage, &apply, 0, &["0 to create, 0 to change", "unchanged"]);

    installation.send_and_follow(&stage);
    let delivered = installation.deliver(&["202"]);
    for event in [&early, &delivered] {
        installation.says(&stage, &["find", event, "--wait", "90s"], 0, &[": accepted"]);
    }
    let check = ["check", "--end-to-end", "--wait=60s"];
    installation.says(&stage, &check, 0, &["accepted by Platform after"]);
    assert!(installation.get("/admin/stats").contains("\"lost\":0"), "{}", installation.get("/admin/control/lost"));

    drift_is_shown_and_corrected(&installation, &stage);
    installation.stop(&stage, services);
    everything_is_removed(&installation, &stage);
    assert_eq!(installation.simulator.terminate(), Some(0), "the simulator lost an event");
}

fn secrets_are_only_in_their_files(installation: &Installation, stage: &Stage) {
    let folder = installation.value(stage, "SETUP_SECRETS_DIR");
    let written = fs::read_to_string(installation.folder.join(stage.env_file)).unwrap();
    for (variable, secret) in
        [("IMS_CLIENT_SECRET", "sim-secret"), ("CUSTOMERIO_SIGNING_KEYS", "trial-key-for-the-simulator-only")]
    {
        assert_eq!(installation.secret(stage, variable), secret);
        assert_eq!(installation.value(stage, variable), "", "{variable} is empty, because the secret is in a file");
        let file = installation.value(stage, &format!("{variable}_FILE"));
        assert!(Path::new(&file).is_absolute() && Path::new(&file).starts_with(&folder), "{variable}_FILE={file}");
        assert!(!written.contains(secret), "{variable}:\n{written}");
    }
    for secret in ["sim-app-key", "sa_live_sim"] {
        assert!(!written.contains(secret), "the credentials of the set-up are not written:\n{written}");
    }
}

/// Sends an event, and returns its id after the gateway has acknowledged the event.
fn send_without_waiting(installation: &Installation, stage: &Stage) -> String {
    let url = stage.webhook_url();
    let arguments = ["send", &url, "--event", "email_sent", "--ids-to", "sent.txt"];
    installation.says(stage, &arguments, 0, &["1 acknowledged"]);
    fs::read_to_string(installation.folder.join("sent.txt")).unwrap().trim().to_owned()
}

fn drift_is_shown_and_corrected(installation: &Installation, stage: &Stage) {
    let id = installation.webhooks()[0]["id"].clone();
    let change = json!({"events": ["email_sent"]}).to_string();
    installation.admin(Method::PATCH, &format!("/admin/customerio/webhooks/{id}"), &change);
    let plan = ["setup", "plan", "--detailed-exitcode"];
    let shown = ["~ webhook default", "1 events (to remove: nothing)", "0 to create, 1 to change"];
    installation.says(stage, &plan, 1, &shown);
    installation.says(stage, &["setup", "apply", "--yes"], 0, &["~ webhook default"]);
    installation.says(stage, &plan, 0, &["0 to create, 0 to change"]);
}

/// The dataset has records, so `setup destroy` removes it only if `--delete-data` contains its name.
fn everything_is_removed(installation: &Installation, stage: &Stage) {
    let destroy = ["setup", "destroy", "--yes"];
    let parts = ["can never be removed", "- remove the webhook default", "- remove the flow", "it holds records"];
    let removed = installation.says(stage, &destroy, 0, &parts);
    assert!(!removed.contains("- remove the dataset"), "{removed}");
    assert!(installation.webhooks().is_empty());
    let parts = ["- remove the dataset", "- remove the schema", "- remove the field group"];
    installation.says(stage, &[&destroy[..], &["--delete-data", DATASET]].concat(), 0, &parts);
    installation.says(stage, &destroy, 0, &["nothing to remove"]);
}
