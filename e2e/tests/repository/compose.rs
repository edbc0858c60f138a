//! Evaluates the files of Docker Compose as Compose does. Checks the environment of each service with and without the
//! trial's file (`docker-compose.override.yml`), and what the service `config` reports about this environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::process::binary;
use serde_yaml_ng::Value;

mod set_up;
mod variables;

type Variables = BTreeMap<String, String>;

const SERVICES: [&str; 3] = ["ingest-gateway", "transformer", "sink"];

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

fn file(name: &str) -> Value {
    let mut value: Value = serde_yaml_ng::from_str(&read(name)).unwrap();
    // A merged value may itself contain a merge key.
    for _ in 0..4 {
        value.apply_merge().unwrap();
    }
    value
}

/// Replaces the references to variables in a text. `${NAME:-default}` is the default if the variable is empty or not
/// set, `${NAME-default}` is the default only if the variable is not set, and `${NAME:+text}` is the text if the
/// variable has a value that is not empty.
fn interpolated(text: &str, variables: &Variables) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (reference, after) = rest.split_once('}').unwrap();
    let filled = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
    let value = if let Some((name, text)) = reference.split_once(":+") {
        filled(name).map_or_else(String::new, |_| text.to_owned())
    } else if let Some((name, default)) = reference.split_once(":-") {
        filled(name).unwrap_or_else(|| default.to_owned())
    } else {
        let (name, default) = reference.split_once('-').unwrap();
        variables.get(name).cloned().unwrap_or_else(|| default.to_owned())
    };
    format!("{before}{value}{}", interpolated(after, variables))
}

/// Returns the environment that these files give to a service. Later files override earlier ones.
fn environment(files: &[&str], service: &str, variables: &Variables) -> Variables {
    let mut all = Variables::new();
    for name in files {
        let value = file(name);
        let Some(own) = value["services"][service]["environment"].as_mapping() else { continue };
        for (name, value) in own {
            let text = value.as_str().map_or_else(|| format!("{:?}", value), str::to_owned);
            all.insert(name.as_str().unwrap().to_owned(), interpolated(&text, variables));
        }
    }
    all
}

const LIVE: [&str; 1] = ["docker-compose.yml"];
const TRIAL: [&str; 2] = ["docker-compose.yml", "docker-compose.override.yml"];

/// Returns the variables of `.env.example` with these values filled in.
fn filled(values: &[(&str, &str)]) -> Variables {
    let example = read(".env.example");
    let lines = example.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let mut variables: Variables = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    for (name, value) in values {
        assert!(variables.insert((*name).to_owned(), (*value).to_owned()).is_some(), "{name} is in .env.example");
    }
    variables
}

/// Runs the command of the service `config` in this environment. Returns its exit code, and its standard output and
/// standard error as one text.
fn check(environment: &Variables) -> (Option<i32>, String) {
    let base = file("docker-compose.yml");
    let words = |key: &str| -> Vec<String> {
        let words = base["services"]["config"][key].as_sequence().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let command = [words("entrypoint"), words("command")].concat();
    let mut process = Command::new(binary(&command[0]));
    process.args(&command[1..]).env_clear().envs(environment).current_dir(std::env::temp_dir()).stdin(Stdio::null());
    let output = process.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

const REQUIRED: [&str; 8] = [
    "CUSTOMERIO_SIGNING_KEYS",
    "PLATFORM_TENANT",
    "PLATFORM_INLET_URL",
    "PLATFORM_IMS_ORG",
    "PLATFORM_SCHEMA_ID",
    "PLATFORM_DATASET_ID",
    "IMS_CLIENT_ID",
    "IMS_CLIENT_SECRET",
];

const VALUES: [(&str, &str); 8] = [
    ("CUSTOMERIO_SIGNING_KEYS", "8f2a6c1d9e4b47f0a3c5d7e9b1f20486"),
    ("PLATFORM_TENANT", "_acme"),
    ("PLATFORM_INLET_URL", "https://dcs.adobedc.net/collection/0123456789abcdef"),
    ("PLATFORM_IMS_ORG", "ACME@AdobeOrg"),
    ("PLATFORM_SCHEMA_ID", "https://ns.adobe.com/acme/schemas/1"),
    ("PLATFORM_DATASET_ID", "5e72608b10f6e318ad2dee0f"),
    ("IMS_CLIENT_ID", "id"),
    ("IMS_CLIENT_SECRET", "topsecret"),
];

#[test]
fn an_incomplete_env_file_is_refused_with_the_names_of_all_missing_variables() {
    let example = filled(&[]);
    assert_eq!(example["COMPOSE_FILE"], "docker-compose.yml", ".env.example leaves out the trial's file");
    let (code, said) = check(&environment(&LIVE, "config", &example));
    assert_eq!(code, Some(2), "{said}");
    for name in REQUIRED {
        assert!(said.contains(name), "{name} in {said}");
    }
    // One empty variable is enough for an error.
    for name in REQUIRED {
        let mut variables = filled(&VALUES);
        variables.insert(name.to_owned(), String::new());
        let (code, said) = check(&environment(&LIVE, "config", &variables));
        assert!(code == Some(2) && said.contains(name), "{name}: {said}");
    }
}

#[test]
fn a_complete_env_file_passes_the_check_unless_it_has_values_of_the_trial() {
    let variables = filled(&VALUES);
    let (code, said) = check(&environment(&LIVE, "config", &variables));
    assert!(code == Some(0) && !said.contains("TRIAL"), "{said}");
    // Without the trial's file, the check refuses each value of the trial.
    for (name, value) in environment(&TRIAL, "config", &Variables::new()) {
        if ["CUSTOMERIO_SIGNING_KEYS", "PLATFORM_INLET_URL", "IMS_URL"].contains(&name.as_str()) {
            let (code, said) =
                check(&environment(&LIVE, "config", &filled(&[&VALUES[..], &[(&name, &value)]].concat())));
            assert!(code == Some(2) && said.contains(&name), "{name}: {said}");
        }
    }
}

#[test]
fn a_trial_needs_no_variable_and_logs_a_warning() {
    for variables in [Variables::new(), filled(&[])] {
        let environment = environment(&TRIAL, "config", &variables);
        let (code, said) = check(&environment);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("TRIAL=true") && said.contains("PLATFORM_ALLOW_HTTP=true"), "{said}");
        assert_eq!(environment["CUSTOMERIO_SIGNING_KEYS"], "trial-key-for-the-simulator-only");
    }
}

#[test]
fn services_start_only_after_config_has_checked_the_same_environment() {
    let base = file("docker-compose.yml");
    for files in [&LIVE[..], &TRIAL] {
        let checked = environment(files, "config", &filled(&VALUES));
        for service in SERVICES.into_iter().chain(["setup"]) {
            for (name, value) in environment(files, service, &filled(&VALUES)) {
                let is_own = ["TRANSFORMER_INSTANCE", "KAFKA_GROUP_ID"].contains(&name.as_str());
                assert!(is_own || checked.get(&name) == Some(&value), "{service}: {name}");
            }
            let condition = &base["services"][service]["depends_on"]["config"]["condition"];
            assert_eq!(condition.as_str(), Some("service_completed_successfully"), "{service}");
        }
    }
    assert!(base["services"]["config"]["restart"].is_null(), "`config` runs once");
    for word in ["trial-key", "sim-secret", "sim-client", "inlet", "platform-sim"] {
        assert!(!read("docker-compose.yml").contains(word), "`{word}` belongs into the trial's file");
    }
}

#[test]
fn topic_variables_reach_the_services_and_an_empty_receipts_topic_stays_empty() {
    let with = |name: &str, value: &str| Variables::from([(name.to_owned(), value.to_owned())]);
    for service in ["config", "setup", "cli", "sink"] {
        let receipts = |variables: &Variables| environment(&LIVE, service, variables)["RECEIPTS_TOPIC"].clone();
        assert_eq!(receipts(&with("RECEIPTS_TOPIC", "")), "");
        assert_eq!(receipts(&with("RECEIPTS_TOPIC", "mine")), "mine");
        assert_eq!(receipts(&Variables::new()), "customerio.receipts");
    }
    assert_eq!(environment(&LIVE, "sink", &with("TYPED_TOPIC", "mine"))["TYPED_TOPIC"], "mine");
}

#[test]
fn the_console_starts_in_a_trial_and_otherwise_only_with_its_profile() {
    let live = file("docker-compose.yml");
    assert_eq!(texts(&live["services"]["console"]["profiles"]), ["console"]);
    // Compose merges the lists of its files, so the trial's file must remove the list of profiles with `!reset`.
    let trial = file("docker-compose.override.yml");
    let Value::Tagged(profiles) = &trial["services"]["console"]["profiles"] else { panic!("no tag") };
    assert!(profiles.tag == "!reset" && texts(&profiles.value).is_empty(), "{profiles:?}");
    assert_eq!(texts(&trial["services"]["console"]["command"]), ["--first-user"]);
    assert!(!filled(&[]).contains_key("COMPOSE_PROFILES"), "a console without a user would not start");
}

#[test]
fn make_up_gives_every_build_of_the_image_the_same_commit() {
    let makefile = read("Makefile");
    assert!(makefile.lines().any(|line| line == "\tREVISION=$(REVISION) docker compose up --build --detach"));
    for (name, service) in services() {
        if !service["build"].is_null() {
            assert_eq!(service["build"]["args"]["REVISION"].as_str(), Some("${REVISION:-unknown}"), "{name}");
        }
    }
}

#[test]
fn alert_texts_can_use_the_address_of_the_runbooks_but_alerts_have_no_label_with_it() {
    let with = Variables::from([("RUNBOOKS_URL".to_owned(), "https://docs.example.com/runbooks.md".to_owned())]);
    assert_eq!(environment(&LIVE, "prometheus", &with)["RUNBOOKS_URL"], "https://docs.example.com/runbooks.md");
    let config = file("deploy/prometheus/prometheus.yml");
    assert_eq!(config["global"]["external_labels"]["customerio_runbooks"].as_str(), Some("${RUNBOOKS_URL}"));
    // Prometheus adds its external labels to each alert, so the rule below must drop this one.
    let relabelling = &config["alerting"]["alert_relabel_configs"][0];
    assert_eq!(relabelling["action"].as_str(), Some("labeldrop"));
    assert_eq!(relabelling["regex"].as_str(), Some("customerio_runbooks"));
}

#[test]
fn the_cli_container_gets_all_addresses_and_starts_only_on_demand() {
    let base = file("docker-compose.yml");
    assert_eq!(texts(&base["services"]["cli"]["profiles"]), ["tools"]);
    assert_eq!(texts(&base["services"]["cli"]["entrypoint"]), ["customerio-aep"]);
    let operator = environment(&TRIAL, "cli", &Variables::new());
    assert_eq!(operator["GATEWAY_URL"], "http://ingest-gateway:8080/webhooks/customerio");
    assert_eq!(operator["CONSOLE_SERVICES"], "ingest-gateway:9464,transformer:9465,sink:9466");
    assert_eq!(
        operator["CUSTOMERIO_SIGNING_KEYS"],
        environment(&TRIAL, "ingest-gateway", &Variables::new())["CUSTOMERIO_SIGNING_KEYS"]
    );
    // The commands accept all these variables.
    for arguments in [&["send", "--help"][..], &["status", "--help"], &["check-config", "--help"]] {
        let output =
            Command::new(binary("customerio-aep")).env_clear().envs(&operator).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Returns the services of `docker-compose.yml` with the changes of the trial's file.
fn services() -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for name in TRIAL {
        for (service, definition) in file(name)["services"].as_mapping().unwrap() {
            let known =
                all.entry(service.as_str().unwrap().to_owned()).or_insert_with(|| Value::Mapping(Default::default()));
            for (key, value) in definition.as_mapping().unwrap() {
                known.as_mapping_mut().unwrap().insert(key.clone(), value.clone());
            }
        }
    }
    all
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_sequence().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

/// Converts a size such as `256m` or `1g` to MiB.
fn mebibytes(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value:?} is a size"));
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u64>().unwrap() * if unit == "g" { 1024 } else { 1 }
}

#[test]
fn every_container_drops_capabilities_and_has_a_memory_limit() {
    for (name, service) in services() {
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert_eq!(
            service["read_only"].as_bool() == Some(true),
            name != "kafka",
            "{name}: only Kafka's image needs a writable root file system"
        );
        assert!(mebibytes(&service["mem_limit"]) >= 128, "{name}");
        assert!(service["privileged"].is_null() && service["network_mode"].is_null(), "{name}");
    }
}

#[test]
fn the_gateways_memory_limit_covers_three_times_its_bytes_in_flight() {
    let environment = environment(&LIVE, "ingest-gateway", &Variables::new());
    let in_flight: u64 = environment["GATEWAY_IN_FLIGHT_BYTES"].strip_suffix("MiB").unwrap().parse().unwrap();
    let limit = mebibytes(&services()["ingest-gateway"]["mem_limit"]);
    assert!(limit >= 3 * in_flight + 64, "{limit} MiB for {in_flight} MiB in flight");
}

#[test]
fn only_long_running_services_restart_and_have_a_health_check() {
    for (name, service) in services() {
        let runs_once = ["config", "setup", "cli"].contains(&name.as_str());
        assert_eq!(service["restart"].as_str(), (!runs_once).then_some("unless-stopped"), "{name}");
        // The simulator has no page that a health check could request.
        let has_check = !runs_once && name != "platform-sim";
        assert_eq!(!service["healthcheck"]["test"].is_null(), has_check, "{name}");
    }
    for service in SERVICES {
        let test = texts(&services()[service]["healthcheck"]["test"]).join(" ");
        assert_eq!(test, format!("CMD {service} --health"));
        let help = Command::new(binary(service)).arg("--help").output().unwrap();
        assert!(String::from_utf8(help.stdout).unwrap().contains("--health"), "{service} has the flag");
    }
}

#[test]
fn ports_are_published_only_on_the_loopback_address() {
    let mut published = Vec::new();
    for (name, service) in services() {
        for port in texts(&service["ports"]) {
            let port = interpolated(port, &Variables::new());
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
            published.push(name.clone());
        }
    }
    assert_eq!(published, ["console", "grafana", "ingest-gateway", "platform-sim", "prometheus"]);
}

#[test]
fn images_have_tags_and_mounted_files_exist() {
    for (name, service) in services() {
        let image = service["image"].as_str().unwrap();
        let tag = image.rsplit_once(':').unwrap_or_else(|| panic!("{name}: {image} has no tag")).1;
        // Only our own image is built locally, so only this image has the tag `latest`.
        assert_eq!(tag == "latest", !service["build"].is_null(), "{name}: {image}");
        for volume in texts(&service["volumes"]) {
            let volume = interpolated(volume, &Variables::new());
            let Some(path) = volume.strip_prefix("./") else { continue };
            let (path, mounted) = path.split_once(':').unwrap();
            assert!(mounted.ends_with(":ro"), "{name}: {path} cannot be changed by a container");
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).exists(), "{name}: {path}");
        }
    }
}

#[test]
fn prometheus_loads_all_compose_rules_and_scrapes_every_service() {
    let config = file("deploy/prometheus/prometheus.yml");
    let mut loaded = texts(&config["rule_files"]);
    loaded.sort_unstable();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/rules");
    let mut exist: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| format!("rules/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|path| path != "rules/kubernetes.yml")
        .collect();
    exist.sort();
    assert_eq!(loaded, exist);
    let services = services();
    assert!(services["prometheus"]["command"].is_null(), "Prometheus uses the default arguments of its image");
    let jobs: Vec<&str> =
        config["scrape_configs"].as_sequence().unwrap().iter().map(|job| job["job_name"].as_str().unwrap()).collect();
    for service in SERVICES {
        assert!(jobs.contains(&service), "{service} has no scrape job; the alerts on `up` select the job");
    }
}

#[test]
fn the_secrets_folder_is_mounted_read_only_at_the_same_path() {
    let file = file("docker-compose.yml");
    let volumes = file["x-image"]["volumes"].as_sequence().unwrap();
    let mounted = "${SETUP_SECRETS_DIR:-./deploy/secrets}:${SETUP_SECRETS_DIR:-/secrets}:ro";
    assert!(volumes.iter().any(|volume| volume.as_str() == Some(mounted)), "{volumes:?}");
    // The image of the services runs as the user for whom `setup` makes the files readable.
    assert!(read("Dockerfile").lines().any(|line| line == "FROM gcr.io/distroless/cc-debian12:nonroot"));
}
