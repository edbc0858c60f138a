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
    let letters = register::read(&args.topics.connection()?, &args.topics.dead_letter_topic)?;
    let total = letters.len();
    let chosen = |letter: &Registered| (args.all || letter.closed.is_none()) && args.filter.takes(letter);
    let letters: Vec<_> = letters.into_values().filter(chosen).collect();
    if json {
        output::json(&letters.iter().map(Registered::json).collect::<Vec<Value>>());
        return Ok(Verdict::Good);
    }
    let rows: Vec<Vec<String>> = letters.iter().map(row).collect();
    for line in output::table(&["PLACE", "AT", "STATE", "STAGE", "CODE", "SOURCE", "EVENT", "MESSAGE"], &rows) {
        output::line(&line);
    }
    output::line(&format!("{} of {total} dead letters", letters.len()));
    Ok(Verdict::Good)
}

pub(super) fn row(letter: &Registered) -> Vec<String> {
    let head = &letter.letter;
    let mut message: String =
        head.message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE).collect();
    if let Some(cut) = letter.cut() {
        message = format!("{message} ({cut})");
    }
    vec![
        letter.place.to_string(),
        show(letter.time),
        letter.state().to_owned(),
        head.stage.to_string(),
        head.code.clone(),
        letter.source.clone(),
        letter.event_id.clone().unwrap_or_else(|| "-".to_owned()),
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
        let mut letter = registered("0:5", Stage::Sink, "refused");
        assert_eq!(row(&letter)[7], "why");
        letter.letter.message = "x".repeat(1000);
        letter.letter.cut = Some(Cut { size: 9_437_184, sha256: "ab".repeat(32) });
        let message = &row(&letter)[7];
        assert!(message.contains("9437184 bytes") && message.contains(&"ab".repeat(32)), "{message}");
    }
}
