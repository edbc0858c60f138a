//! The real binaries show no secret of variables and `.env` files: neither in help texts nor in the error for an
//! invalid variable. The tests take the names of all commands and variables from the help texts.
//! (`no_message_about_an_option_shows_its_value` in `cli` tests each option with each kind of invalid value.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::process::binary;
use e2e::turn::shared;

const SECRET: &str = "Hunter2Xyzzy";
const SERVICES: [&str; 3] = ["ingest-gateway", "transformer", "sink"];

/// A separate folder, so that the binaries find no other `.env` file.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("no-secrets-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs a binary with only these variables; returns the exit code and all output.
fn run(folder: &Path, name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(binary(name));
    command.env_clear().envs(variables.iter().copied()).args(arguments).current_dir(folder).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Returns the help text of a binary and of each of its commands, with the path of the command.
fn helps(folder: &Path, name: &str, variables: &[(&str, &str)]) -> Vec<(Vec<String>, String)> {
    let mut open = vec![Vec::<String>::new()];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let (code, help) = run(folder, name, &arguments, variables);
        assert_eq!(code, Some(0), "{name} {arguments:?}: {help}");
        let commands = help.split_once("\nCommands:\n").map(|(_, rest)| rest).unwrap_or_default();
        for line in commands.lines().take_while(|line| line.starts_with("  ")) {
            let command = line.split_whitespace().next().unwrap();
            if line.starts_with("  ") && !line.starts_with("   ") && command != "help" {
                open.push([path.clone(), vec![command.to_owned()]].concat());
            }
        }
        found.push((path, help));
    }
    found
}

/// Returns the variables in a help text.
fn variables(help: &str) -> BTreeSet<String> {
    help.split("[env: ").skip(1).map(|rest| rest.split([']', '=']).next().unwrap().to_owned()).collect()
}

#[test]
fn help_shows_no_value_of_a_variable_or_of_an_env_file() {
    let _turn = shared();
    let folder = Folder::new("help");
    for name in SERVICES.into_iter().chain(["customerio-aep"]) {
        let plain = helps(&folder.0, name, &[]);
        let names: BTreeSet<String> = plain.iter().flat_map(|(_, help)| variables(help)).collect();
        assert!(names.len() > 15, "{name}: {names:?}");
        assert!(SERVICES.contains(&name) || plain.len() > 12, "{name}: all commands are seen");
        let secrets: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), SECRET)).collect();
        for (path, help) in helps(&folder.0, name, &secrets) {
            assert!(!help.contains(SECRET), "{name} {path:?} with variables: {help}");
            assert!(plain.iter().any(|(other, plain)| *other == path && variables(plain) == variables(&help)));
        }
        let file: String = names.iter().map(|name| format!("{name}={SECRET}\n")).collect();
        std::fs::write(folder.0.join(".env"), file).unwrap();
        for (path, help) in helps(&folder.0, name, &[]) {
            assert!(!help.contains(SECRET), "{name} {path:?} with an .env: {help}");
        }
        std::fs::remove_file(folder.0.join(".env")).unwrap();
    }
}

#[test]
fn the_error_for_an_invalid_variable_shows_the_name_and_not_the_value() {
    let _turn = shared();
    let folder = Folder::new("variables");
    let wrong = [
        SECRET.to_owned(),
        format!("ssl.key.password=a,{SECRET}"),
        format!("https://me:{SECRET}@example.com/"),
        format!("{SECRET}=1;sasl.password={SECRET}"),
    ];
    for name in SERVICES {
        let (_, help) = run(&folder.0, name, &["--help"], &[]);
        for variable in variables(&help) {
            for value in &wrong {
                let (code, said) = run(&folder.0, name, &["--check-config"], &[(&variable, value)]);
                assert_eq!(code, Some(2), "{name}, {variable}: {said}");
                assert!(!said.contains(SECRET), "{name}, {variable}: {said}");
            }
        }
        let (_, said) = run(&folder.0, name, &["--check-config"], &[("KAFKA_OPTIONS", "acks=1")]);
        assert!(said.contains("KAFKA_OPTIONS") && said.contains("request.required.acks"), "{said}");
    }
    // Commands that have an effect without Kafka are left out. `send` has none here, because its URL is invalid.
    let send = ["send", "not-a-url"];
    for command in [&["audit"][..], &["find", "--event-id", "x"], &["setup", "plan", "--only", "kafka"], &send] {
        let (_, help) = run(&folder.0, "customerio-aep", &[command, &["--help"]].concat(), &[]);
        for variable in variables(&help) {
            for value in &wrong {
                std::fs::write(folder.0.join(".env"), format!("{variable}='{value}'\n")).unwrap();
                for variables in [&[][..], &[(variable.as_str(), value.as_str())]] {
                    let (code, said) = run(&folder.0, "customerio-aep", command, variables);
                    assert_eq!(code, Some(2), "{command:?}, {variable}: {said}");
                    assert!(!said.contains(SECRET), "{command:?}, {variable}: {said}");
                }
            }
        }
    }
    std::fs::write(folder.0.join(".env"), format!("KAFKA_BOOTSTRAP_SERVERS {SECRET}\n")).unwrap();
    let (code, said) = run(&folder.0, "customerio-aep", &["audit"], &[]);
    assert!(code == Some(2) && said.contains("line 1") && !said.contains(SECRET), "{said}");
}

/// The signing keys have the form that `.env.example` documents for several keys.
#[test]
fn an_env_file_with_a_byte_order_mark_and_multi_line_values_works_in_every_command() {
    let _turn = shared();
    let folder = Folder::new("env");
    let text = "\u{feff}CUSTOMERIO_SIGNING_KEYS=\"first-key-0123456789\r\nsecond-key-0123456789\"\r\nRECEIPTS_TOPIC=\r\nPLATFORM_TENANT=_fromfile\r\n";
    std::fs::write(folder.0.join(".env"), text).unwrap();
    let body = r#"{"event_id":"01X","object_type":"email","metric":"sent","timestamp":1700000000,"data":{"identifiers":{"id":"1"}}}"#;
    std::fs::write(folder.0.join("body.json"), body).unwrap();
    let (code, said) = run(&folder.0, "customerio-aep", &["map", "body.json"], &[("PLATFORM_TENANT", "")]);
    assert!(code == Some(0) && said.contains("_fromfile"), "{said}");
    for (path, _) in helps(&folder.0, "customerio-aep", &[]).iter().filter(|(path, _)| !path.is_empty()) {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--no-such-flag"]).collect();
        let (code, said) = run(&folder.0, "customerio-aep", &arguments, &[]);
        assert!(code == Some(2) && said.contains("--no-such-flag"), "{arguments:?}: {said}");
    }
}
