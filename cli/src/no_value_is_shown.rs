//! Tests that no message about an option contains the option's value. The test gets every option of every binary from
//! the definitions, passes each kind of wrong value, and searches the message for the secret in that value.

#![cfg(test)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::{Arg, Command, CommandFactory};
use service::{ServiceConfig, Unusable};
use settings::Variables;
use settings::command_line::{self, Required};

use crate::Cli;

const SECRET: &str = "Hunter2Xyzzy";

/// Kinds of wrong values: values of other variables, and values with a wrong syntax.
fn kinds(files: &BTreeMap<&'static str, PathBuf>) -> Vec<(&'static str, String)> {
    let mut kinds: Vec<(&'static str, String)> = vec![
        ("the secret", SECRET.to_owned()),
        ("two lines", format!("{SECRET}\n{SECRET}")),
        ("with a space", format!("{SECRET} {SECRET}")),
        ("like a flag", format!("-{SECRET}")),
        ("like a long flag", format!("--{SECRET}")),
        ("with a mark", format!("\u{feff}{SECRET}")),
        ("with a control character", format!("{SECRET}\u{1}\r")),
        ("number and unit", format!("5{SECRET}")),
        ("list", format!("a,{SECRET},b")),
        ("key=value", format!("{SECRET}=1")),
        ("reserved property", format!("sasl.password={SECRET}")),
        ("reserved property by an alias", format!("topic.acks={SECRET}")),
        ("value of a property", format!("socket.timeout.ms={SECRET}")),
        ("value with a comma", format!("ssl.key.password=a,{SECRET}")),
        ("value with a comma and =", format!("ssl.key.password=a,{SECRET}=b")),
        ("wrong separator", format!("linger.ms=5;sasl.password={SECRET}")),
        ("colon for =", format!("sasl.password:{SECRET}")),
        ("URL with a password", format!("https://me:{SECRET}@example.com/collection/a")),
        ("URL with a user", format!("https://{SECRET}@example.com")),
        ("URL with a port", format!("https://example.com:{SECRET}/")),
        ("URL of another kind", format!("ftp://me:{SECRET}@example.com/")),
        ("URL with a query", format!("https://example.com/collection/a?key={SECRET}#{SECRET}")),
        ("URL without a host", format!("https://:{SECRET}@/")),
        ("host and port", format!("me:{SECRET}@example.com:9092")),
        ("time", format!("2026-11-24T{SECRET}")),
        ("position", format!("3:{SECRET}")),
        ("range", format!("3:10-{SECRET}")),
        ("percentage", format!("{SECRET}%")),
        ("JSON", format!("{{\"fault\":\"{SECRET}\",\"{SECRET}\":1}}")),
        ("path", format!("/nowhere/{SECRET}")),
        ("path in a file", format!("/etc/hostname/{SECRET}")),
        ("long", SECRET.repeat(500)),
    ];
    kinds.extend(files.iter().map(|(name, path)| (*name, path.display().to_string())));
    kinds
}

/// Files with wrong content.
fn files() -> BTreeMap<&'static str, PathBuf> {
    let folder = std::env::temp_dir().join(format!("no-value-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let contents = [
        ("file: text", SECRET.as_bytes().to_vec()),
        ("file: UTF-16", SECRET.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("file: no text", [SECRET.as_bytes(), b"\xff"].concat()),
        ("file: PEM", format!("-----BEGIN CERTIFICATE-----\n{SECRET}!\n-----END CERTIFICATE-----\n").into_bytes()),
        ("file: broken PEM", format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n").into_bytes()),
        ("file: TOML", format!("[sources.a]\nsigning_keys = \"{SECRET}\"\n").into_bytes()),
        ("file: key as a name", format!("[sources.a]\n{SECRET} = 1\n").into_bytes()),
        ("file: key as a section", format!("[sources.\"{SECRET} x\"]\n").into_bytes()),
        ("file: field", format!("[sources.a]\non_missing_identity = \"{SECRET}\"\ndrop_fields = [\"{SECRET}\"]\nidentity_namespace_id = \"{SECRET}!\"\n").into_bytes()),
        ("file: missing key file", format!("[sources.a]\nsigning_keys_file = \"{SECRET}\"\n").into_bytes()),
    ];
    let write = |(number, (name, bytes)): (usize, (&'static str, Vec<u8>))| {
        let path = folder.join(number.to_string());
        std::fs::write(&path, bytes).unwrap();
        (name, path)
    };
    contents.into_iter().enumerate().map(write).collect()
}

/// The ways to pass a value with an option, or as a positional argument.
fn written(arg: &Arg, value: &str) -> Vec<Vec<String>> {
    match arg.get_long() {
        Some(long) => vec![vec![format!("--{long}={value}")], vec![format!("--{long}"), value.to_owned()]],
        None => vec![vec![value.to_owned()]],
    }
}

/// Checks the messages about all options of a command. `refused` returns the message, or `None` if the command line is
/// valid. To build the message, `command_line::parse` parses a refused command line again for each option. That is
/// slow, so the options are divided among all processors.
fn search(
    name: &str,
    command: &Command,
    kinds: &[(&'static str, String)],
    refused: &(dyn Fn(&[String]) -> Option<String> + Sync),
    tried: &mut BTreeMap<String, (usize, usize)>,
) {
    let is_tried = |arg: &&Arg| !["help", "version"].contains(&arg.get_id().as_str());
    let args: Vec<&Arg> = command.get_arguments().filter(is_tried).collect();
    let (next, all, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(arg) = args.get(next.fetch_add(1, Ordering::Relaxed)) {
            for (kind, value) in kinds {
                for arguments in written(arg, value) {
                    let said = refused(&arguments);
                    all.fetch_add(1, Ordering::Relaxed);
                    wrong.fetch_add(usize::from(said.is_some()), Ordering::Relaxed);
                    if let Some(said) = said {
                        assert!(!said.contains(SECRET), "{name}, {}, {kind}: {said}", arg.get_id());
                    }
                }
            }
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..processors).for_each(|_| drop(scope.spawn(work))));
    if !args.is_empty() {
        tried.insert(name.to_owned(), (all.into_inner(), wrong.into_inner()));
    }
}

fn service<C: ServiceConfig>(
    required: &[&str],
    kinds: &[(&'static str, String)],
    tried: &mut BTreeMap<String, (usize, usize)>,
) {
    // The required options make the command line valid apart from the option that is tested.
    let refused = |arguments: &[String]| {
        let all = [C::SERVICE].into_iter().chain(required.iter().copied()).map(OsString::from);
        match C::load(&Variables::none(), all.chain(arguments.iter().map(OsString::from))) {
            Err(Unusable::CommandLine(error)) => Some(error.to_string()),
            Err(Unusable::Configuration(problems)) => Some(problems.to_string()),
            Ok(_) => None,
        }
    };
    search(C::SERVICE, &C::definition(), kinds, &refused, tried);
}

/// Checks a command of the operator's tool and all its subcommands. The arguments are parsed as in the binary.
fn commands(
    path: &[String],
    command: &Command,
    kinds: &[(&'static str, String)],
    tried: &mut BTreeMap<String, (usize, usize)>,
) {
    let refused = |arguments: &[String]| {
        let all: Vec<OsString> = path.iter().chain(arguments).skip(path.len() - 1).map(OsString::from).collect();
        let parsed = command_line::parse(command, &Variables::none(), &all, Required::Here);
        parsed.err().map(|refused| refused.error.to_string())
    };
    search(&path.join(" "), command, kinds, &refused, tried);
    for subcommand in command.get_subcommands() {
        let path: Vec<String> = path.iter().cloned().chain([subcommand.get_name().to_owned()]).collect();
        commands(&path, subcommand, kinds, tried);
    }
}

#[test]
fn no_message_about_an_option_shows_its_value() {
    let (files, mut tried) = (files(), BTreeMap::new());
    let kinds = kinds(&files);
    let servers = "--kafka-bootstrap-servers=127.0.0.1:9092";
    service::<ingest_gateway::Config>(&[servers, "--signing-keys=0123456789abcdef"], &kinds, &mut tried);
    service::<transformer::Config>(&[servers], &kinds, &mut tried);
    let sink = [
        servers,
        "--platform-tenant=acme",
        "--platform-inlet-url=https://dcs.adobedc.net/collection/abc",
        "--platform-ims-org=A@AdobeOrg",
        "--platform-schema-id=https://ns.adobe.com/acme/schemas/1",
        "--platform-dataset-id=d",
        "--ims-url=https://ims-na1.adobelogin.com",
        "--ims-client-id=id",
        "--ims-client-secret=secret",
    ];
    service::<sink::Config>(&sink, &kinds, &mut tried);
    commands(&["customerio-aep".to_owned()], &Cli::command(), &kinds, &mut tried);
    for path in files.values() {
        std::fs::remove_file(path).unwrap();
    }
    let total = tried.values().fold((0, 0), |sum, (all, wrong)| (sum.0 + all, sum.1 + wrong));
    let rows: Vec<String> =
        tried.iter().map(|(name, (all, wrong))| format!("{name}: {all} tried, {wrong} refused")).collect();
    assert!(tried.len() > 15 && total.0 > 10_000 && total.1 > 5_000, "{rows:#?}");
    // This line is visible with `--nocapture`.
    crate::output::line(&format!("{}\nall: {} tried, {} refused", rows.join("\n"), total.0, total.1));
}
