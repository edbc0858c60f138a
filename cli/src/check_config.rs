//! `check-config`: checks the configuration of the three services with the services' own code.

use clap::Args;
use serde_json::json;
use service::{ServiceConfig, Unusable};
use settings::Variables;
use setup::check::{Level, Line, NextStep, SinkRates};
use setup::who::Who;

use crate::{CommandError, Verdict, output};

/// Check the configuration of all three services, as each does with --check-config
///
/// It reads the environment and `.env`, connects to nothing, and names everything that is missing or wrong. Exit code 0
/// if the configuration is valid, 2 if not.
#[derive(Debug, Args)]
pub(crate) struct CheckConfigArgs {}

/// The result of checking a service's configuration.
struct Checked {
    service: &'static str,
    problems: Vec<String>,
    warnings: Vec<&'static str>,
}

pub(crate) fn run(variables: &Variables, json: bool) -> Result<Verdict, CommandError> {
    let checked = [
        check::<ingest_gateway::Config>(variables),
        check::<transformer::Config>(variables),
        check::<sink::Config>(variables),
    ];
    if json {
        let services: Vec<_> = checked
            .iter()
            .map(|checked| json!({"service": checked.service, "problems": checked.problems, "warnings": checked.warnings}))
            .collect();
        output::json(&json!({"version": 1, "services": services}));
    }
    for Checked { service, problems, warnings } in &checked {
        for warning in warnings {
            output::problem(&format!("{service}: {warning}"));
        }
        if problems.is_empty() {
            output::problem(&format!("{service}: the configuration is valid"));
        } else {
            output::problem(&format!("{service}: the configuration is invalid:\n  - {}", problems.join("\n  - ")));
        }
    }
    Ok(if checked.iter().all(|checked| checked.problems.is_empty()) { Verdict::Good } else { Verdict::UsageError })
}

/// The results as lines of `check`.
pub(crate) fn lines(variables: &Variables) -> Vec<Line> {
    let checked = [
        check::<ingest_gateway::Config>(variables),
        check::<transformer::Config>(variables),
        check::<sink::Config>(variables),
    ];
    let line = |checked: &Checked| {
        let asked = format!("the configuration of {}", checked.service);
        if checked.problems.is_empty() {
            return Line { id: "configuration", asked, found: "valid".to_owned(), level: Level::Good, next: None };
        }
        let step = "correct the variables; docs/configuration.md explains each".to_owned();
        let next = Some(NextStep { who: Who::You, step });
        Line { id: "configuration", asked, found: checked.problems.join("; "), level: Level::Bad, next }
    };
    checked.iter().map(line).collect()
}

/// The limits of the sink's rates; `None` if its configuration cannot be parsed.
pub(crate) fn sink_rates(variables: &Variables) -> Option<SinkRates> {
    let (requests, records) = sink::Config::parse_with(variables, [sink::Config::SERVICE]).ok()?.max_rates();
    Some(SinkRates { requests, records })
}

fn check<C: ServiceConfig>(variables: &Variables) -> Checked {
    let service = C::SERVICE;
    match C::load(variables, [service]) {
        Ok((config, _)) => Checked { service, problems: Vec::new(), warnings: config.warnings() },
        Err(Unusable::Configuration(problems)) => {
            let warnings = C::parse_with(variables, [service]).map_or_else(|_| Vec::new(), |config| config.warnings());
            Checked { service, problems: problems.to_vec(), warnings }
        }
        Err(Unusable::CommandLine(error)) => {
            Checked { service, problems: vec![error.to_string()], warnings: Vec::new() }
        }
    }
}
