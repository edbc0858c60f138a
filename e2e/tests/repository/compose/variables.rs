//! Checks that Docker Compose passes every variable to the services and the commands that read the variable.

use std::collections::BTreeMap;
use std::process::Command;

use e2e::process::binary;

use super::{LIVE, SERVICES, Variables, environment, read};

/// Returns the variables in the tables of `docs/configuration.md`, each with its services in Docker Compose.
fn documented_variables() -> Vec<(String, Vec<&'static str>)> {
    let page = read("docs/configuration.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let variable = |row: &str| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let services: Vec<&'static str> = match cells[3] {
            "all" => SERVICES.to_vec(),
            names => names.split(", ").map(compose_service).collect(),
        };
        (cells[0].trim_end_matches('`').to_owned(), services)
    };
    rows.map(variable).collect()
}

/// Converts the name of a service in `docs/configuration.md` to its name in Docker Compose.
fn compose_service(name: &str) -> &'static str {
    match name {
        "gateway" => "ingest-gateway",
        "transformer" => "transformer",
        "sink" => "sink",
        "console" => "console",
        other => panic!("docs/configuration.md names the service {other}"),
    }
}

/// Variables that a service of Docker Compose does not get under their own name, with the reason.
const NOT_PASSED_ON: [(&str, &str); 5] = [
    ("ADMIN_LISTEN", "the health checks, Prometheus and the tool use the default ports"),
    ("GATEWAY_LISTEN", "the container has one port, and GATEWAY_PUBLISH chooses the published address"),
    ("CONSOLE_LISTEN", "the container has one port, and CONSOLE_PUBLISH chooses the published address"),
    ("TRANSFORMER_INSTANCE", "each container needs a name of its own, which is its host name"),
    ("KAFKA_GROUP_ID", "transformer and sink need different groups: TRANSFORMER_GROUP_ID and SINK_GROUP_ID"),
];

/// Variables for which `docker-compose.yml` has a default value.
const WITH_DEFAULT: [&str; 6] = [
    "KAFKA_BOOTSTRAP_SERVERS",
    "RECEIPTS_TOPIC",
    "GATEWAY_IN_FLIGHT_BYTES",
    "CONSOLE_AUTH",
    "CONSOLE_USERS_FILE",
    "GRAFANA_URL",
];

#[test]
fn every_documented_variable_reaches_its_services_unless_it_is_listed_with_a_reason() {
    let exceptions = BTreeMap::from(NOT_PASSED_ON);
    let documented = documented_variables();
    assert!(documented.len() > 80, "the page was not read completely: {documented:?}");
    let mut wrong = Vec::new();
    for (variable, services) in &documented {
        for service in services {
            let with = |variables: &Variables| environment(&LIVE, service, variables).get(variable).cloned();
            let set = Variables::from([(variable.clone(), "a value".to_owned())]);
            let is_passed_on = with(&set).as_deref() == Some("a value");
            let reason = exceptions.get(variable.as_str());
            match reason {
                Some(reason) if is_passed_on => wrong.push(format!("{service} gets {variable}, although {reason}")),
                None if !is_passed_on => wrong.push(format!("{service} does not get {variable}")),
                _ => {}
            }
            let has_default = WITH_DEFAULT.contains(&variable.as_str()) || reason.is_some();
            if !has_default && with(&Variables::new()).as_deref() != Some("") {
                wrong.push(format!("{service}: {variable} is not empty although it is not set"));
            }
        }
    }
    assert!(wrong.is_empty(), "docker-compose.yml:\n{}", wrong.join("\n"));
    for (variable, _) in NOT_PASSED_ON {
        assert!(documented.iter().any(|(name, _)| name == variable), "{variable} is not on the page");
    }
}

#[test]
fn the_cli_and_the_console_get_the_consumer_groups_of_the_services() {
    let set = Variables::from([
        ("TRANSFORMER_GROUP_ID".to_owned(), "t".to_owned()),
        ("SINK_GROUP_ID".to_owned(), "s".to_owned()),
    ]);
    assert_eq!(environment(&LIVE, "transformer", &set)["KAFKA_GROUP_ID"], "t");
    assert_eq!(environment(&LIVE, "sink", &set)["KAFKA_GROUP_ID"], "s");
    for tool in ["cli", "console"] {
        let environment = environment(&LIVE, tool, &set);
        assert_eq!((&*environment["TRANSFORMER_GROUP_ID"], &*environment["SINK_GROUP_ID"]), ("t", "s"), "{tool}");
    }
}

/// Returns the environment variables in the help of a command of `customerio-aep`.
fn variables_of_command(arguments: &[&str]) -> Vec<String> {
    let output = Command::new(binary("customerio-aep")).env_clear().args(arguments).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let is_of_name = |c: &char| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_';
    help.split("[env: ").skip(1).map(|rest| rest.chars().take_while(is_of_name).collect::<String>()).collect()
}

#[test]
fn the_cli_and_the_console_get_every_variable_that_their_commands_read() {
    let commands: [(&str, &[&str]); 6] = [
        ("console", &["console"]),
        ("cli", &["setup", "apply"]),
        ("cli", &["check"]),
        ("cli", &["audit"]),
        ("cli", &["send"]),
        ("cli", &["status"]),
    ];
    for (service, command) in commands {
        let names = variables_of_command(command);
        assert!(names.len() > 5, "{command:?}: {names:?}");
        let passed_on = environment(&LIVE, service, &Variables::new());
        for name in names {
            assert!(passed_on.contains_key(&name), "{service} does not get {name} of {command:?}");
        }
    }
}
