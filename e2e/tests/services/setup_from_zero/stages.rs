//! Sets up two stages of one account, each with its own file, sandbox, topics and services. The commands for one stage
//! do not change the objects of the other stage.

use e2e::free_port;
use serde_json::Value;

use super::installation::{DATASET, Installation, Stage};

/// Time scale of the simulator and of `setup`: Platform loses events for 1.5 s after a change of the flow and for 4.5 s
/// after a change of the schema.
const SCALE: &str = "0.005";

/// The requests to Platform's control plane so far, each with method, path and sandbox.
fn requests(installation: &Installation) -> Vec<Value> {
    serde_json::from_str(&installation.get("/admin/control/requests")).unwrap()
}

/// Asserts that all requests to the control plane after the first `before` requests name this sandbox.
fn assert_only_in(sandbox: &str, installation: &Installation, before: usize) {
    let later = requests(installation).split_off(before);
    assert!(!later.is_empty());
    for request in later {
        assert_eq!(request["sandbox"], sandbox, "{} {}", request["method"], request["path"]);
    }
}

fn webhook_of(installation: &Installation, stage: &Stage) -> Option<Value> {
    installation.webhooks().into_iter().find(|webhook| webhook["endpoint"] == stage.webhook_url())
}

fn applied(installation: &Installation, stage: &Stage, more: &[&str], code: i32, parts: &[&str]) {
    let apply = ["setup", "apply", "--yes", "--write-env", stage.env_file];
    installation.says(stage, &[&apply[..], more].concat(), code, parts);
}

#[test]
fn destroying_a_stage_leaves_the_other_stage_of_the_account_working() {
    let installation = Installation::begin("stages", SCALE, None);
    let dev = installation.stage("dev", "dev.env", installation.pipeline.gateway_port);
    let prod = installation.stage("prod", "prod.env", free_port());
    applied(&installation, &dev, &[], 4, &["waiting for"]);
    let of_dev = installation.webhooks();
    let before = requests(&installation).len();
    let plan = ["setup", "plan", "--detailed-exitcode"];
    installation.says(&prod, &plan, 1, &["sandbox prod (PRODUCTION)"]);
    applied(&installation, &prod, &["--confirm-sandbox", "prod"], 4, &["waiting for"]);
    assert_only_in(prod.sandbox, &installation, before);
    assert_eq!(webhook_of(&installation, &dev), of_dev.first().cloned(), "the webhook of dev has not changed");
    let secrets = [&dev, &prod].map(|stage| installation.value(stage, "IMS_CLIENT_SECRET_FILE"));
    assert_ne!(secrets[0], secrets[1], "each stage has its own file with the secret");

    let (services_of_dev, services_of_prod) = (installation.services(&dev), installation.services(&prod));
    applied(&installation, &dev, &["--wait=120s"], 0, &["~ webhook default"]);
    applied(&installation, &prod, &["--confirm-sandbox", "prod", "--wait=120s"], 0, &["~ webhook default"]);
    let both = installation.deliver(&["202", "202"]);
    for stage in [&dev, &prod] {
        installation.says(stage, &["find", &both, "--wait", "90s"], 0, &[": accepted"]);
        installation.says(stage, &plan, 0, &["0 to create, 0 to change"]);
    }

    installation.stop(&dev, services_of_dev);
    let (of_prod, before) = (webhook_of(&installation, &prod), requests(&installation).len());
    // The datasets of both stages have this name.
    let destroy = ["setup", "destroy", "--yes", "--delete-data", DATASET];
    let removed = ["- remove the flow", "- remove the dataset", "- remove the webhook default"];
    installation.says(&dev, &destroy, 0, &removed);
    assert_only_in(dev.sandbox, &installation, before);
    assert_eq!(installation.webhooks().first().cloned(), of_prod, "the webhook of prod has not changed");
    assert_eq!(webhook_of(&installation, &dev), None);

    installation.says(&prod, &plan, 0, &["0 to create, 0 to change"]);
    let later = installation.deliver(&["202"]);
    installation.says(&prod, &["find", &later, "--wait", "90s"], 0, &[": accepted"]);
    installation.send_and_follow(&prod);
    assert!(installation.get("/admin/stats").contains("\"lost\":0"), "{}", installation.get("/admin/control/lost"));
    drop(services_of_prod);
}
