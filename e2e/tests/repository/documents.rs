//! Parses the example commands of the documents with the real `customerio-aep`, so that each of their options exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::documents::{Example, arguments_of_the_tool, examples, inline, parts, program};
use e2e::process::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns every page for users with its path: the pages in `docs`, the README, and the README of the Kubernetes files.
fn pages() -> Vec<(String, String)> {
    let mut paths: Vec<String> = std::fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().to_str().unwrap()))
        .filter(|path| path.ends_with(".md"))
        .collect();
    paths.sort();
    paths.extend(["README.md", "deploy/kubernetes/README.md"].map(str::to_owned));
    let page = |path: String| (path.clone(), std::fs::read_to_string(root().join(&path)).unwrap());
    paths.into_iter().map(page).collect()
}

/// Placeholders that the tool refuses as values, each with a valid value.
const PLACEHOLDERS: [(&str, &str); 2] = [("ROLE", "operator"), ("HOST:PORT", "localhost:9092")];
/// Words that stand for any arguments. A text with one of these words is not a complete command, and is not parsed.
const ANY_COMMAND: [&str; 3] = ["…", "COMMAND", "$@"];

/// Runs the tool with these arguments and `--help`: it refuses an unknown option or value before it shows the help.
/// Returns the message of the refusal; `None` if the tool accepts the arguments.
fn refused(folder: &Path, arguments: &[String]) -> Option<String> {
    // The tool reads these files before it parses the other arguments.
    for pair in arguments.windows(2).filter(|pair| ["--env-file", "--credentials"].contains(&pair[0].as_str())) {
        std::fs::write(folder.join(&pair[1]), "").unwrap();
    }
    let value = |word: &String| {
        let placeholder = PLACEHOLDERS.iter().find(|(name, _)| name == word);
        placeholder.map_or_else(|| word.clone(), |(_, value)| (*value).to_owned())
    };
    let arguments = arguments.iter().map(value);
    let mut command = Command::new(binary("customerio-aep"));
    command.env_clear().current_dir(folder).args(arguments).arg("--help");
    let output = command.output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn customerio_aep_accepts_the_options_of_every_command_in_the_documents() {
    let folder = std::env::temp_dir().join(format!("documents-{}-{:x}", std::process::id(), fastrand::u32(..)));
    std::fs::create_dir_all(&folder).unwrap();
    let (mut wrong, mut checked, mut seen) = (Vec::new(), 0, BTreeSet::new());
    for (path, page) in pages() {
        for Example { line, text } in examples(&page).into_iter().chain(inline(&page)) {
            for arguments in parts(&text).iter().filter_map(|words| arguments_of_the_tool(words)) {
                let names_no_command = arguments.iter().any(|word| ANY_COMMAND.contains(&word.as_str()));
                if names_no_command || !seen.insert(arguments.clone()) {
                    continue;
                }
                checked += 1;
                let said = refused(&folder, &arguments);
                wrong.extend(said.map(|said| format!("{path}:{line}: customerio-aep {}: {said}", arguments.join(" "))));
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(checked > 50, "only {checked} commands were found");
}

#[test]
fn refused_reports_an_unknown_option_and_accepts_placeholders() {
    let arguments = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let folder = std::env::temp_dir();
    assert_eq!(refused(&folder, &arguments("audit --since 25h")), None);
    assert_eq!(refused(&folder, &arguments("console users add NAME --role ROLE")), None);
    let said = refused(&folder, &arguments("audit --no-such-option 25h")).unwrap();
    assert!(said.contains("--no-such-option"), "{said}");
}

/// Pages on which every program other than `customerio-aep` must be in [`NOT_RUN`]. `docs/connect.md` is not one of
/// them: the test in `services/connect_page.rs` runs its commands.
const LISTED: [&str; 3] = ["README.md", "docs/console.md", "docs/operate.md"];
/// Programs on these pages whose commands no test runs as they are written, each with the reason.
const NOT_RUN: [(&str, &str); 8] = [
    ("docker", "needs Docker and the image; the tests in compose.rs evaluate the files that it reads"),
    ("kubectl", "needs a cluster; deployment.rs compares the names with the manifests"),
    ("helm", "needs a cluster; `make ops-check` renders the chart"),
    ("kafka-transactions.sh", "a tool of Kafka, for a transaction that has lost its end"),
    ("curl", "asks the simulator, as the end-to-end tests do"),
    ("make", "builds and runs everything, these tests included"),
    ("cat", "joins the files of a certificate"),
    ("17", "a line of cron's table; the command in it is parsed"),
];

#[test]
fn every_other_program_on_the_pages_is_listed_with_the_reason_why_no_test_runs_it() {
    let (mut unlisted, mut found) = (Vec::new(), BTreeSet::new());
    for (path, page) in pages().into_iter().filter(|(path, _)| LISTED.contains(&path.as_str())) {
        for example in examples(&page).iter().filter(|example| !example.is_entries()) {
            for words in parts(&example.text).iter().filter(|words| arguments_of_the_tool(words).is_none()) {
                let Some(program) = program(words) else { continue };
                match NOT_RUN.iter().find(|(known, _)| *known == program) {
                    Some((known, _)) => {
                        found.insert(*known);
                    }
                    None => unlisted.push(format!("{path}:{}: `{program}` in: {}", example.line, example.text)),
                }
            }
        }
    }
    let unlisted = unlisted.join("\n");
    assert!(unlisted.is_empty(), "run these commands in a test, or list them in NOT_RUN with a reason:\n{unlisted}");
    let not_found: Vec<&str> = NOT_RUN.iter().map(|(known, _)| *known).filter(|known| !found.contains(known)).collect();
    assert!(not_found.is_empty(), "these commands are on no page any more: {not_found:?}");
}
