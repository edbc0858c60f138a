//! Compares the Helm chart, the manifests, the image and the examples for Strimzi with each other and with the product.
//! `make ops-check` renders and validates them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize as _;
use serde_yaml_ng::{Deserializer, Value};

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn documents(name: &str) -> Vec<Value> {
    let text = read(name);
    Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is a text"))
}

#[test]
fn chart_and_image_have_the_version_of_the_workspace() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = &documents("deploy/helm/Chart.yaml")[0];
    assert_eq!((text(&chart["version"]), text(&chart["appVersion"])), (version, version));
    assert!(read("Dockerfile").contains(&format!("image.version=\"{version}\"")), "the Dockerfile's label");
}

/// Returns the workloads of `deploy/kubernetes`, by the name of their container.
fn workloads() -> BTreeMap<String, Value> {
    let all = documents("deploy/kubernetes/services.yaml").into_iter();
    let workloads = all.filter(|document| ["Deployment", "StatefulSet"].contains(&text(&document["kind"])));
    workloads.map(|workload| (text(&container(&workload)["name"]).to_owned(), workload)).collect()
}

fn container(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn every_pod_meets_the_restricted_security_standard_and_has_three_probes() {
    let workloads = workloads();
    assert_eq!(workloads.keys().map(String::as_str).collect::<Vec<_>>(), ["ingest-gateway", "sink", "transformer"]);
    for (name, workload) in &workloads {
        let pod = &workload["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true), "{name}");
        assert_eq!(text(&pod["securityContext"]["seccompProfile"]["type"]), "RuntimeDefault", "{name}");
        assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false), "{name}");
        let container = container(workload);
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"].as_bool(), Some(false), "{name}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"].as_bool(), Some(true), "{name}");
        assert_eq!(text(&container["securityContext"]["capabilities"]["drop"][0]), "ALL", "{name}");
        assert_eq!(
            text(&container["livenessProbe"]["httpGet"]["path"]),
            "/livez",
            "{name}: an outage must not restart the container"
        );
        assert_eq!(text(&container["startupProbe"]["httpGet"]["path"]), "/livez", "{name}");
        assert_eq!(text(&container["readinessProbe"]["httpGet"]["path"]), "/readyz", "{name}");
    }
}

/// Converts `64MiB` (the product's form) or `384Mi` (Kubernetes' form) to MiB.
fn mebibytes(size: &str) -> u64 {
    size.trim_end_matches("MiB").trim_end_matches("Mi").parse().unwrap()
}

#[test]
fn the_gateways_memory_limit_covers_three_times_its_bytes_in_flight() {
    let workloads = workloads();
    let gateway = container(&workloads["ingest-gateway"]);
    let variables = gateway["env"].as_sequence().unwrap();
    let in_flight = variables.iter().find(|variable| text(&variable["name"]) == "GATEWAY_IN_FLIGHT_BYTES").unwrap();
    let limit = mebibytes(text(&gateway["resources"]["limits"]["memory"]));
    assert!(limit >= 3 * mebibytes(text(&in_flight["value"])) + 64, "{limit} MiB");
}

#[test]
fn secrets_are_mounted_as_folders_and_no_manifest_contains_a_secret() {
    for (name, workload) in workloads() {
        for mount in container(&workload)["volumeMounts"].as_sequence().into_iter().flatten() {
            assert!(mount["subPath"].is_null(), "{name}: a file that is mounted with subPath is never updated");
        }
    }
    for file in ["services", "setup", "audit", "config"] {
        assert!(!read(&format!("deploy/kubernetes/{file}.yaml")).contains("kind: Secret"), "{file}");
    }
}

/// Returns the operations of each ACL of a user in `deploy/strimzi/users.yaml`, by resource.
fn acls(user: &str) -> BTreeMap<String, Vec<String>> {
    let users = documents("deploy/strimzi/users.yaml");
    let user = users.iter().find(|document| text(&document["metadata"]["name"]) == user).unwrap();
    let acls = user["spec"]["authorization"]["acls"].as_sequence().unwrap().iter();
    let operations =
        |acl: &Value| acl["operations"].as_sequence().unwrap().iter().map(|one| text(one).to_owned()).collect();
    acls.map(|acl| (text(&acl["resource"]["name"]).to_owned(), operations(acl))).collect()
}

#[test]
fn strimzis_users_have_the_permissions_that_the_documentation_lists() {
    let page = read("docs/operate.md");
    let (_, section) = page.split_once("## Permissions on the brokers").unwrap();
    let columns =
        ["customerio.webhooks", "customerio.experience-events", "customerio.dead-letters", "customerio.receipts"];
    for service in ["gateway", "transformer", "sink"] {
        let row = section.lines().find(|line| line.starts_with(&format!("| {service} |"))).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).skip(2).collect();
        let acls = acls(&format!("customerio-{service}"));
        for (topic, cell) in columns.iter().zip(cells) {
            let listed: Vec<&str> = cell.split(", ").filter(|operation| !operation.is_empty()).collect();
            assert_eq!(acls.get(*topic).cloned().unwrap_or_default(), listed, "{service}: {topic}");
        }
    }
}

#[test]
fn strimzi_defines_the_four_topics_with_equal_partition_counts() {
    let topics = documents("deploy/strimzi/topics.yaml");
    let names: Vec<&str> = topics.iter().map(|topic| text(&topic["metadata"]["name"])).collect();
    assert_eq!(
        names,
        ["customerio.webhooks", "customerio.experience-events", "customerio.dead-letters", "customerio.receipts"]
    );
    for topic in &topics {
        assert_eq!(topic["spec"]["partitions"].as_u64(), Some(12));
        assert_eq!(text(&topic["spec"]["config"]["cleanup.policy"]), "delete");
        assert_eq!(text(&topic["spec"]["config"]["min.insync.replicas"]), "2");
    }
}
