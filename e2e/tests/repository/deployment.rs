//! Compares the Helm chart, the manifests, the image and the examples for Strimzi with each other and with the product.
//! `make ops-check` renders and validates them.

use std::collections::{BTreeMap, BTreeSet};
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

/// Files of `deploy/kubernetes` with pods.
const WITH_PODS: [&str; 5] = ["services", "setup", "audit", "tools", "optional/console"];

/// Returns the specification of every pod of `deploy/kubernetes`, by the name of its container.
fn pods() -> BTreeMap<String, Value> {
    let all = WITH_PODS.iter().flat_map(|file| documents(&format!("deploy/kubernetes/{file}.yaml")));
    let pods = all.filter_map(|document| match text(&document["kind"]) {
        "Deployment" | "StatefulSet" | "Job" => Some(document["spec"]["template"]["spec"].clone()),
        "CronJob" => Some(document["spec"]["jobTemplate"]["spec"]["template"]["spec"].clone()),
        _ => None,
    });
    pods.map(|pod| (text(&pod["containers"][0]["name"]).to_owned(), pod)).collect()
}

/// Returns the variables of a pod's container.
fn variables(pod: &Value) -> BTreeMap<&str, &str> {
    let variables = pod["containers"][0]["env"].as_sequence().unwrap().iter();
    variables.map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect()
}

#[test]
fn every_pod_meets_the_restricted_security_standard() {
    let pods = pods();
    assert_eq!(
        pods.keys().map(String::as_str).collect::<Vec<_>>(),
        ["audit", "console", "ingest-gateway", "setup", "sink", "tools", "transformer"]
    );
    for (name, pod) in &pods {
        assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true), "{name}");
        assert_eq!(text(&pod["securityContext"]["seccompProfile"]["type"]), "RuntimeDefault", "{name}");
        assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false), "{name}");
        let container = &pod["containers"][0];
        assert_eq!(container["securityContext"]["allowPrivilegeEscalation"].as_bool(), Some(false), "{name}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"].as_bool(), Some(true), "{name}");
        assert_eq!(text(&container["securityContext"]["capabilities"]["drop"][0]), "ALL", "{name}");
        assert!(mebibytes(text(&container["resources"]["limits"]["memory"])) >= 128, "{name}");
    }
}

#[test]
fn the_services_and_the_console_have_liveness_startup_and_readiness_probes() {
    let workloads = workloads();
    assert_eq!(workloads.keys().map(String::as_str).collect::<Vec<_>>(), ["ingest-gateway", "sink", "transformer"]);
    for (name, workload) in &workloads {
        let container = container(workload);
        assert_eq!(
            text(&container["livenessProbe"]["httpGet"]["path"]),
            "/livez",
            "{name}: an outage must not restart the container"
        );
        assert_eq!(text(&container["startupProbe"]["httpGet"]["path"]), "/livez", "{name}");
        assert_eq!(text(&container["readinessProbe"]["httpGet"]["path"]), "/readyz", "{name}");
    }
    let pods = pods();
    for probe in ["livenessProbe", "startupProbe", "readinessProbe"] {
        let request = &pods["console"]["containers"][0][probe]["httpGet"];
        assert_eq!(text(&request["path"]), "/livez", "{probe}");
        // The console responds only to requests with a known `Host` header.
        let host = &request["httpHeaders"][0];
        assert_eq!((text(&host["name"]), text(&host["value"])), ("Host", "localhost:8088"), "{probe}");
    }
}

#[test]
fn the_tools_and_the_console_query_every_pod_at_its_admin_port() {
    let services = documents("deploy/kubernetes/services.yaml");
    let workloads = workloads();
    for pod in ["tools", "console"] {
        let pods = pods();
        let mut asked = BTreeSet::new();
        for address in variables(&pods[pod])["CONSOLE_SERVICES"].split(',') {
            let (host, port) = address.split_once(':').unwrap();
            let is_named =
                |document: &&Value| text(&document["kind"]) == "Service" && text(&document["metadata"]["name"]) == host;
            let service = services.iter().find(is_named).unwrap_or_else(|| panic!("no Service {host}"));
            // The name of this headless Service resolves to the addresses of all pods, including those not ready.
            assert_eq!(text(&service["spec"]["clusterIP"]), "None", "{host}");
            assert_eq!(service["spec"]["publishNotReadyAddresses"].as_bool(), Some(true), "{host}");
            let component = text(&service["spec"]["selector"]["app.kubernetes.io/component"]);
            let ports = container(&workloads[component])["ports"].as_sequence().unwrap();
            let admin = ports.iter().find(|port| text(&port["name"]) == "admin").unwrap();
            assert_eq!(admin["containerPort"].as_u64(), port.parse().ok(), "{host}");
            asked.insert(component.to_owned());
        }
        assert!(asked.iter().eq(workloads.keys()), "{pod}: {asked:?}");
    }
}

#[test]
fn the_tools_have_the_variables_the_secrets_and_the_memory_for_every_command() {
    let pods = pods();
    let variables = variables(&pods["tools"]);
    for name in ["CUSTOMERIO_SIGNING_KEYS_FILE", "IMS_CLIENT_SECRET_FILE", "KAFKA_BOOTSTRAP_SERVERS", "GATEWAY_URL"] {
        assert!(variables.contains_key(name), "{name}");
    }
    // `docs/operate.md`: an audit of a million events needs 455 MiB.
    assert!(mebibytes(text(&pods["tools"]["containers"][0]["resources"]["limits"]["memory"])) >= 512);
}

/// Returns the objects of `deploy/kubernetes`, as `kubectl` names them: `deploy/customerio-aep-sink`.
fn objects() -> BTreeSet<String> {
    let all = WITH_PODS.iter().flat_map(|file| documents(&format!("deploy/kubernetes/{file}.yaml")));
    let name = |document: Value| {
        let kind = match text(&document["kind"]) {
            "Deployment" => "deploy",
            "Service" => "svc",
            other => return format!("{}/{}", other.to_lowercase(), text(&document["metadata"]["name"])),
        };
        format!("{kind}/{}", text(&document["metadata"]["name"]))
    };
    all.map(name).collect()
}

#[test]
fn kubectl_commands_in_the_documents_name_only_existing_objects() {
    let (objects, mut named) = (objects(), 0);
    for page in ["docs/operate.md", "docs/runbooks.md", "docs/console.md", "deploy/kubernetes/README.md"] {
        let text = read(page);
        for word in text.split(|c: char| !(c.is_alphanumeric() || "/-".contains(c))) {
            let Some((kind, name)) = word.split_once('/') else { continue };
            if ["deploy", "statefulset", "svc", "job", "cronjob"].contains(&kind) && name.starts_with("customerio-aep")
            {
                assert!(objects.contains(word), "{page}: {word} is none of {objects:?}");
                named += 1;
            }
        }
    }
    assert!(named > 8, "{named}");
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
    for (name, pod) in pods() {
        for mount in pod["containers"][0]["volumeMounts"].as_sequence().into_iter().flatten() {
            assert!(mount["subPath"].is_null(), "{name}: a file that is mounted with subPath is never updated");
        }
    }
    for file in WITH_PODS.into_iter().chain(["config"]) {
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
    let users = [
        ("gateway", "customerio-gateway"),
        ("transformer", "customerio-transformer"),
        ("sink", "customerio-sink"),
        // The commands and the console share this user. The console's row has the permissions of all of them.
        ("console", "customerio-operator"),
    ];
    for (service, user) in users {
        let row = section.lines().find(|line| line.starts_with(&format!("| {service} |"))).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).skip(2).collect();
        let acls = acls(user);
        for (topic, cell) in columns.iter().zip(cells) {
            let listed: Vec<&str> = cell.split(", ").filter(|operation| !operation.is_empty()).collect();
            assert_eq!(acls.get(*topic).cloned().unwrap_or_default(), listed, "{service}: {topic}");
        }
    }
    for command in ["audit", "check", "dead-letters", "setup"] {
        assert!(section.lines().any(|line| line.starts_with(&format!("| {command} |"))), "{command}");
    }
}

#[test]
fn the_operators_user_may_use_the_transactional_ids_of_the_commands() {
    let acls = acls("customerio-operator");
    for (prefix, source) in [
        ("customerio-transformer-check-", "crates/setup/src/check/kafka.rs"),
        ("customerio.dead-letters-closing-", "crates/operator/src/dead_letters/resolver.rs"),
    ] {
        assert_eq!(acls.get(prefix).map(Vec::as_slice), Some(&["Write".to_owned()][..]), "{prefix}");
        // This id begins with the name of the dead-letter topic, which is configurable. The code has only the rest.
        let of_code = prefix.trim_start_matches("customerio.dead-letters");
        assert!(read(source).contains(of_code), "{source}: {of_code}");
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
