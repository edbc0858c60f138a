//! The rules that separate the parts of the workspace (ARCHITECTURE.md, "Invariants"), checked with `cargo metadata`
//! and the sources. A test shows that each rule fails on a workspace that breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

mod circles;
mod functions;
mod prose;
mod subjects;
mod topics;
mod words;

/// Facts that the rules check.
#[derive(Clone)]
struct Workspace {
    /// Direct dependencies of each member, without dev-dependencies.
    direct: BTreeMap<String, BTreeSet<String>>,
    /// All dependencies of each member, including indirect ones.
    all: BTreeMap<String, BTreeSet<String>>,
    /// Dependencies in the manifest of each member, including dev-dependencies, with the names that code uses.
    declared: BTreeMap<String, BTreeSet<String>>,
    /// Folder of each member, relative to the root.
    folders: BTreeMap<String, String>,
    /// Source files by their path, relative to the root.
    sources: BTreeMap<String, String>,
    /// Text of the workspace's `Cargo.toml`.
    manifest: String,
}

/// Files of the command-line tool that may use services: the demo runs them, and `check-config` checks their
/// configuration.
const CLI_WITH_SERVICES: [&str; 2] = ["cli/src/demo.rs", "cli/src/check_config.rs"];
const SERVICES: [&str; 3] = ["ingest-gateway", "transformer", "sink"];
const PURE: [&str; 5] = ["contract", "customerio", "xdm", "mapping", "reconcile"];
/// Crates that use a clock, a network, a runtime or a broker.
const IMPURE: [&str; 9] = ["tokio", "rdkafka", "reqwest", "axum", "hyper", "mio", "socket2", "prometheus", "clap"];
/// Code that uses argv, the environment, signals or exit codes.
const PROCESS: [&str; 6] = ["std::env::", "env::var", "process::exit(", "tokio::signal", "ExitCode::", "env::args"];
/// Code that accesses the network, files, the clock or processes, which a pure crate must not do.
const OUTSIDE: [&str; 7] =
    ["std::net", "std::fs", "std::io::std", "SystemTime", "Instant::now", "Timestamp::now", "std::process"];

/// Settings of the release profile, without which the binaries would be larger than 25 MiB or backtraces unreadable.
const RELEASE: [&str; 3] = ["debug = \"line-tables-only\"", "split-debuginfo = \"packed\"", "strip = \"symbols\""];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

impl Workspace {
    fn read() -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
            .arg(root().join("Cargo.toml"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let names: BTreeMap<String, String> = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let (mut declared, mut folders) = (BTreeMap::new(), BTreeMap::new());
        for package in metadata["packages"].as_array().unwrap().iter().filter(|package| package["source"].is_null()) {
            let written = |dependency: &Value| {
                let name = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap();
                name.replace('-', "_")
            };
            let dependencies = package["dependencies"].as_array().unwrap().iter().map(written).collect();
            let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
            let folder = folder.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            declared.insert(text(&package["name"]), dependencies);
            folders.insert(text(&package["name"]), folder);
        }
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().unwrap() {
            let normal = |dep: &&Value| dep["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            let deps = node["deps"].as_array().unwrap().iter().filter(normal).map(|dep| text(&dep["pkg"])).collect();
            edges.insert(text(&node["id"]), deps);
        }
        let named = |ids: &BTreeSet<String>| ids.iter().map(|id| names[id].clone()).collect::<BTreeSet<_>>();
        let (mut direct, mut all) = (BTreeMap::new(), BTreeMap::new());
        for member in metadata["workspace_members"].as_array().unwrap() {
            let id = text(member);
            let mut reached = BTreeSet::new();
            let mut open: Vec<String> = edges[&id].iter().cloned().collect();
            while let Some(next) = open.pop() {
                if reached.insert(next.clone()) {
                    open.extend(edges[&next].iter().cloned());
                }
            }
            direct.insert(names[&id].clone(), named(&edges[&id]));
            all.insert(names[&id].clone(), named(&reached));
        }
        let mut sources = BTreeMap::new();
        for folder in ["ingest-gateway", "transformer", "sink", "cli", "crates", "e2e", "bench"] {
            collect(&root().join(folder), &mut sources);
        }
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        Self { direct, all, declared, folders, sources, manifest }
    }

    /// Describes every breach of a rule.
    fn breaches(&self) -> Vec<String> {
        let mut found = Vec::new();
        for service in SERVICES {
            for other in SERVICES.iter().filter(|other| self.all[service].contains(**other)) {
                found.push(format!("{service} depends on {other}: services never depend on each other"));
            }
        }
        for pure in PURE {
            for impure in IMPURE.iter().filter(|impure| self.all[pure].contains(**impure)) {
                found.push(format!("{pure} depends on {impure}: it is a pure crate"));
            }
        }
        for (member, deps) in &self.direct {
            if member != "kafka" && deps.contains("rdkafka") {
                found.push(format!("{member} depends on rdkafka: only `kafka` may"));
            }
        }
        for own in ["service", "kafka", "platform", "sources", "schema-registry"] {
            if self.all["settings"].contains(own) {
                found.push(format!("settings depends on {own}: every crate with options uses it"));
            }
        }
        for reached in ["kafka", "rdkafka", "platform", "customerio-api"] {
            if self.direct["console"].contains(reached) {
                found.push(format!(
                    "console depends on {reached}: it reaches the outside through `operator` and `setup`"
                ));
            }
        }
        for face in ["clap", "customerio-aep"].into_iter().chain(SERVICES) {
            if self.direct["operator"].contains(face) {
                found.push(format!(
                    "operator depends on {face}: it is a library, and the command line is one face of it"
                ));
            }
        }
        for silent in ["tracing", "anstream"].into_iter().filter(|name| self.direct["operator"].contains(*name)) {
            found.push(format!("operator depends on {silent}: it returns values, and its callers print and log"));
        }
        if self.direct["ingest-gateway"].contains("axum") {
            found.push("ingest-gateway depends on axum: ADR 7 says why it serves connections itself".to_owned());
        }
        let release = self.manifest.split("[profile.release]").nth(1).unwrap_or_default();
        let release = release.split("\n[").next().unwrap_or_default();
        for setting in RELEASE.iter().filter(|setting| !release.lines().any(|line| line == **setting)) {
            found.push(format!(
                "Cargo.toml: the release profile lacks `{setting}`: binaries are shipped without symbols, and line numbers are in a file next to them"
            ));
        }
        found.extend(circles::circles(&self.sources));
        for event in ["customerio", "xdm", "mapping", "platform", "apache-avro"] {
            if self.all["kafka"].contains(event) {
                found.push(format!("kafka depends on {event}: it moves bytes and knows no event"));
            }
        }
        for (member, declared) in &self.declared {
            found.extend(declared.iter().filter(|name| !self.is_used(member, name)).map(|name| {
                format!("{member} declares the dependency `{name}` and does not use it: remove it from its Cargo.toml")
            }));
        }
        for (path, text) in &self.sources {
            self.source_breaches(path, text, &mut found);
        }
        found
    }

    /// Whether a source file of a member uses the crate `name`, in a path or in a `use` line.
    fn is_used(&self, member: &str, name: &str) -> bool {
        let folder = format!("{}/", self.folders[member]);
        let path = format!("{name}::");
        let names_it = |text: &str| {
            let is_word = |at: usize| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            text.match_indices(&path).any(|(at, _)| is_word(at))
                || text
                    .lines()
                    .any(|line| line.trim().strip_prefix("use ").is_some_and(|used| used == format!("{name};")))
        };
        self.sources.iter().any(|(file, text)| file.starts_with(&folder) && names_it(text))
    }

    fn source_breaches(&self, path: &str, text: &str, found: &mut Vec<String>) {
        let code = text.split("cfg(test)]").next().unwrap_or_default();
        let is_test = path.contains("/tests/") || path.ends_with("/tests.rs") || path.starts_with("e2e/");
        let lines = code.lines().count();
        if lines > 450 {
            found.push(format!("{path} has {lines} lines before its tests: split it by responsibility"));
        }
        if path.starts_with("e2e/tests/services/") {
            found.extend(
                slow_tests_that_share(text)
                    .map(|name| format!("{path}: the slow test `{name}` must begin with `let _alone = alone();`")),
            );
        }
        if is_test {
            return;
        }
        found.extend(functions::too_long(path, code));
        found.extend(topics::named(path, code));
        let may_use_process = ["crates/service/", "crates/settings/"].iter().any(|may| path.starts_with(may))
            || path.ends_with("/main.rs");
        let names_services = path.starts_with("cli/")
            && !CLI_WITH_SERVICES.contains(&path)
            && !text.contains("#![cfg(test)]")
            && ["ingest_gateway::", "transformer::", "sink::"].iter().any(|service| code.contains(service));
        if names_services {
            found.push(format!(
                "{path} names a service: only the demo runs services, and the rest goes through `operator`"
            ));
        }
        if path.starts_with("crates/operator/")
            && ["print!(", "println!", "stdout()", "stderr()", "tracing::"].iter().any(|out| code.contains(out))
        {
            found.push(format!("{path} prints or logs: `operator` returns values and reports its progress"));
        }
        let is_pure = PURE.iter().any(|pure| path.starts_with(&format!("crates/{pure}/")));
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in PROCESS.iter().filter(|word| !may_use_process && line.contains(**word)) {
                found.push(format!("{path} uses `{word}`: only main.rs, `settings` and `service` know the process"));
            }
            for word in OUTSIDE.iter().filter(|word| is_pure && line.contains(**word)) {
                found.push(format!("{path} uses `{word}`: it belongs to a pure crate"));
            }
        }
    }
}

/// Returns the slow tests of a file that do not run alone. Every slow test must run alone, because it measures time or
/// memory, or keeps the machine busy.
fn slow_tests_that_share(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[ignore").skip(1).filter_map(|after| {
        let mut lines = after.lines().skip_while(|line| !line.starts_with("fn "));
        let name = lines.next()?.trim_start_matches("fn ").split('(').next()?;
        (lines.next() != Some("    let _alone = alone();")).then_some(name)
    })
}

fn collect(folder: &Path, sources: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            sources.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_workspace_follows_its_rules() {
    let workspace = Workspace::read();
    assert!(workspace.direct.len() >= 12 && workspace.sources.len() > 80, "the workspace was not read whole");
    let breaches = workspace.breaches();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn each_rule_reports_a_workspace_that_breaks_it() {
    let good = Workspace::read();
    let assert_seen = |break_it: &dyn Fn(&mut Workspace), words: &str| {
        let mut broken = good.clone();
        break_it(&mut broken);
        let breaches = broken.breaches();
        assert!(breaches.iter().any(|breach| breach.contains(words)), "`{words}` was not seen: {breaches:?}");
    };
    let depend = |member: &'static str, on: &'static str| {
        move |workspace: &mut Workspace| {
            workspace.direct.get_mut(member).unwrap().insert(on.to_owned());
            workspace.all.get_mut(member).unwrap().insert(on.to_owned());
        }
    };
    let write = |path: &'static str, text: String| {
        move |workspace: &mut Workspace| {
            workspace.sources.insert(path.to_owned(), text.clone());
        }
    };
    assert_seen(&depend("sink", "transformer"), "services never depend");
    assert_seen(&depend("mapping", "tokio"), "mapping depends on tokio");
    assert_seen(&depend("sink", "rdkafka"), "sink depends on rdkafka");
    assert_seen(&depend("kafka", "xdm"), "kafka depends on xdm");
    assert_seen(&depend("settings", "service"), "settings depends on service");
    assert_seen(&write("sink/src/plan.rs", "let x = std::env::var(\"X\");".to_owned()), "only main.rs");
    assert_seen(&write("crates/xdm/src/json.rs", "let now = Instant::now();".to_owned()), "pure crate");
    assert_seen(&write("sink/src/plan.rs", "\n".repeat(451)), "split it");
    let declare = |workspace: &mut Workspace| {
        workspace.declared.get_mut("sink").unwrap().insert("never_used".to_owned());
    };
    assert_seen(&declare, "sink declares the dependency `never_used`");
    assert_seen(&depend("operator", "clap"), "operator depends on clap");
    assert_seen(&depend("operator", "sink"), "operator depends on sink");
    assert_seen(&depend("console", "kafka"), "console depends on kafka");
    for code in ["println!();", "eprintln!();", "eprint!();", "tracing::warn!();"] {
        assert_seen(&write("crates/operator/src/x.rs", code.to_owned()), "prints or logs");
    }
    assert_seen(&depend("operator", "tracing"), "operator depends on tracing");
    assert_seen(&depend("ingest-gateway", "axum"), "ingest-gateway depends on axum");
    for setting in RELEASE {
        let remove = |workspace: &mut Workspace| workspace.manifest = workspace.manifest.replace(setting, "");
        assert_seen(&remove, setting);
    }
    assert_seen(&write("sink/src/plan.rs", format!("fn long() {{\n{}}}\n", "    x();\n".repeat(59))), "`long` has 61");
    assert_seen(&write("cli/src/audit/x.rs", "use transformer::Config;".to_owned()), "names a service");
    for (path, code, words) in [
        ("cli/src/x.rs", "env = \"RAW_TOPIC\"", "cli/src/x.rs names RAW_TOPIC"),
        ("sink/src/x.rs", "\"set RECEIPTS_TOPIC\"", "sink/src/x.rs names RECEIPTS_TOPIC"),
        ("bench/src/x.rs", "default_value = \"customerio.webhooks\"", "names customerio.webhooks"),
        ("sink/src/config.rs", "env = \"TYPED_TOPIC\"", "sink/src/config.rs names TYPED_TOPIC"),
        ("sink/src/config.rs", "", "sink/src/config.rs names no topic's variable"),
    ] {
        assert_seen(&write(path, code.to_owned()), words);
    }
    let circle = |workspace: &mut Workspace| {
        for (file, import) in [("position", "use crate::raw::X;"), ("raw", "use crate::position::X;")] {
            workspace.sources.insert(format!("crates/contract/src/{file}.rs"), import.to_owned());
        }
    };
    let slow = "#[test]\n#[ignore = \"slow\"]\nfn it_shares() {\n    let pipeline = 1;\n}\n";
    assert_seen(&write("e2e/tests/services/x.rs", slow.to_owned()), "the slow test `it_shares` must begin with");
    assert_seen(&circle, "contract: position, raw import each other in a circle");
}
