//! `chaos [--seed N] [--duration SECONDS|10m] [--brokers 1|3] [--rate N] [--pace SECONDS] [--logs FOLDER]` runs the
//! chaos suite, by default for ten minutes. Without `--seed`, it chooses a seed and prints it first. The exit code is 0
//! only if the report is good ([`Report::is_good`](e2e::chaos::Report::is_good)).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::process::ExitCode;
use std::time::Duration;

use e2e::chaos::{Chaos, Plan, has_skew, run};

const USAGE: &str = "usage: chaos [--seed NUMBER] [--duration 10m] [--brokers 1|3] [--rate WEBHOOKS_A_SECOND] [--pace 4s] [--logs FOLDER]";

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(chaos) => {
            let report = run(&chaos);
            print!("{report}");
            if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Chaos, String> {
    let plan = Plan {
        seed: fastrand::u64(..),
        duration: Duration::from_secs(600),
        brokers: 1,
        pace: Duration::from_secs(4),
        has_skew: has_skew(),
    };
    let mut chaos = Chaos { plan, rate: 1000, logs: None };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} lacks its value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{name}: `{value}` is no number"));
        match name.as_str() {
            "--seed" => chaos.plan.seed = number()?,
            "--duration" => chaos.plan.duration = duration(&value)?,
            "--logs" => chaos.logs = Some(value.into()),
            "--pace" => chaos.plan.pace = duration(&value)?,
            "--rate" => chaos.rate = usize::try_from(number()?.max(1)).map_err(|error| error.to_string())?,
            "--brokers" => {
                chaos.plan.brokers = match value.as_str() {
                    "1" => 1,
                    "3" => 3,
                    _ => return Err(format!("--brokers: `{value}` is neither 1 nor 3")),
                };
            }
            _ => return Err(format!("{name} is unknown")),
        }
    }
    Ok(chaos)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; for example 90s, 10m");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(wrong()),
    }
}
