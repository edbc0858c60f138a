//! `dead-letters list`.

use clap::Args;
use serde_json::Value;

use super::register::{self, FilterArgs, Registered};
use crate::topics::TopicArgs;
use crate::when::show;
use crate::{CommandError, Verdict, output};

/// List the open dead letters
///
/// It shows codes, messages and ids; `show` is the one command that shows the value of a dead letter.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Those that are closed too
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

/// How much of a message the table shows.
const MESSAGE: usize = 80;

pub(super) fn run(args: &ListArgs, json: bool) -> Result<Verdict, CommandError> {
    let dead_letters = register::read(&args.topics.connection()?, &args.topics.dead_letter_topic)?;
    let total = dead_letters.len();
    let chosen =
        |dead_letter: &Registered| (args.all || dead_letter.closed.is_none()) && args.filter.takes(dead_letter);
    let dead_letters: Vec<_> = dead_letters.into_values().filter(chosen).collect();
    if json {
        output::json(&dead_letters.iter().map(Registered::json).collect::<Vec<Value>>());
        return Ok(Verdict::Good);
    }
    let rows: Vec<Vec<String>> = dead_letters.iter().map(row).collect();
    for line in output::table(&["PLACE", "AT", "STATE", "STAGE", "CODE", "SOURCE", "EVENT", "MESSAGE"], &rows) {
        output::line(&line);
    }
    output::line(&format!("{} of {total} dead letters", dead_letters.len()));
    Ok(Verdict::Good)
}

pub(super) fn row(dead_letter: &Registered) -> Vec<String> {
    let head = &dead_letter.dead_letter;
    let mut message: String =
        head.message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE).collect();
    if let Some(cut) = dead_letter.cut() {
        message = format!("{message} ({cut})");
    }
    vec![
        dead_letter.place.to_string(),
        show(dead_letter.time),
        dead_letter.state().to_owned(),
        head.stage.to_string(),
        head.code.clone(),
        dead_letter.source.clone(),
        dead_letter.event_id.clone().unwrap_or_else(|| "-".to_owned()),
        message,
    ]
}

#[cfg(test)]
mod tests {
    use kafka::dead_letter::{Cut, Stage};

    use super::super::register::tests::registered;
    use super::*;

    #[test]
    fn a_row_of_a_cut_dead_letter_has_its_original_size_and_hash() {
        let mut dead_letter = registered("0:5", Stage::Sink, "refused");
        assert_eq!(row(&dead_letter)[7], "why");
        dead_letter.dead_letter.message = "x".repeat(1000);
        dead_letter.dead_letter.cut = Some(Cut { size: 9_437_184, sha256: "ab".repeat(32) });
        let message = &row(&dead_letter)[7];
        assert!(message.contains("9437184 bytes") && message.contains(&"ab".repeat(32)), "{message}");
    }
}
