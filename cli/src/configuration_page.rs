//! Generates the tables of `docs/configuration.md` from the option definitions of the services and the console.
//! `UPDATE_DOCS=1 cargo test configuration_page` rewrites the page.

#![cfg(test)]

use std::fmt::Write;
use std::path::Path;

use clap::{Args, Command};
use service::ServiceConfig;

const BEGIN: &str =
    "<!-- A test in `cli/src/configuration_page.rs` generates the tables below from the services' --help. -->\n";

/// One option, with the services that have it.
struct Row {
    heading: String,
    variable: String,
    flag: String,
    help: String,
    /// Service and default value, in the order of the services.
    services: Vec<(&'static str, String)>,
}

fn rows(services: &[(&'static str, Command)]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (service, command) in services {
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(flag) = arg.get_long().filter(|flag| !["help", "version"].contains(flag)) else { continue };
            let variable = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
            let heading = arg.get_help_heading().unwrap_or_default().to_owned();
            let default = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>();
            let default = match default.join(",") {
                text if !text.is_empty() && arg.get_action().takes_values() => format!("`{text}`"),
                _ if arg.is_required_set() => "required".to_owned(),
                _ => String::new(),
            };
            let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let values: Vec<String> = arg
                .get_possible_values()
                .iter()
                .filter(|_| arg.get_action().takes_values())
                .map(|value| format!("`{}`", value.get_name()))
                .collect();
            if !values.is_empty() {
                write!(help, " ({})", values.join(", ")).expect("a String takes everything");
            }
            let flag = format!("`--{flag}`");
            match rows.iter_mut().find(|row| row.flag == flag && row.variable == variable && row.help == help) {
                Some(row) => row.services.push((service, default)),
                None => rows.push(Row { heading, variable, flag, help, services: vec![(service, default)] }),
            }
        }
    }
    rows
}

fn page() -> String {
    let mut page = String::from(BEGIN);
    let rows = rows(&[
        ("gateway", ingest_gateway::Config::definition()),
        ("transformer", transformer::Config::definition()),
        ("sink", sink::Config::definition()),
        ("console", console::ConsoleArgs::augment_args(Command::new("console"))),
    ]);
    let mut headings: Vec<&str> = Vec::new();
    for row in &rows {
        if !headings.contains(&row.heading.as_str()) {
            headings.push(&row.heading);
        }
    }
    for heading in headings {
        write!(page, "\n## {heading}\n\n| variable | flag | default | services | meaning |\n|---|---|---|---|---|\n")
            .expect("a String takes everything");
        for row in rows.iter().filter(|row| row.heading == heading) {
            let names: Vec<&str> = row.services.iter().map(|(service, _)| *service).collect();
            let services = if names.len() == 3 { "all".to_owned() } else { names.join(", ") };
            let same = row.services.iter().all(|(_, default)| *default == row.services[0].1);
            let default = if same {
                row.services[0].1.clone()
            } else {
                row.services
                    .iter()
                    .map(|(service, default)| format!("{service} {default}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            let help = row.help.replace('|', "\\|").replace('\n', " ");
            writeln!(page, "| {} | {} | {default} | {services} | {help} |", row.variable, row.flag)
                .expect("a String takes everything");
        }
    }
    page
}

#[test]
fn the_configuration_page_matches_the_options_of_the_services() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (introduction, tables) = text.split_at(text.find(BEGIN).expect("the page's mark"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{introduction}{}", page())).unwrap();
    } else {
        assert_eq!(tables, page(), "docs/configuration.md is out of step: UPDATE_DOCS=1 cargo test configuration_page");
    }
}
