//! `dead-letters list`: lists dead letters, and counts them by stage and code.

use std::cmp::Reverse;

use clap::Args;
use operator::dead_letters::{IndexedDeadLetter, groups, list};
use operator::thousands;

use super::options::FilterArgs;
use super::text;
use crate::pipeline::Reached;
use crate::topics::TopicArgs;
use crate::{CommandError, Verdict, output};

/// Default number of rows.
const ROWS: usize = 20;

/// List the unresolved dead letters: how many of each stage and code, then the newest
///
/// It shows codes, messages and ids; `show` is the one command that shows the value of a dead letter. On a terminal, the
/// lines are cut to its width. With --json, all dead letters are listed in the order of their positions, unless --limit
/// is given.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Include resolved ones
    #[arg(long)]
    resolved: bool,

    /// Show at most this many, the newest ones [default: 20]
    #[arg(long, value_name = "COUNT", conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    /// Show all rows
    #[arg(long)]
    all: bool,

    /// Do not cut the lines to the width of the terminal
    #[arg(long)]
    wide: bool,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

impl ListArgs {
    /// Number of rows to show; `None` for all rows.
    fn limit(&self, json: bool) -> Option<usize> {
        let given = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if self.all { None } else { given.or((!json).then_some(ROWS)) }
    }
}

pub(super) fn run(args: &ListArgs, json: bool) -> Result<Verdict, CommandError> {
    let reached = Reached::by(&args.topics)?;
    let (mut dead_letters, total) = list(reached.pipeline(), &args.filter.filter(&[]))?;
    output::progress_done();
    let chosen = dead_letters.len();
    dead_letters.retain(|dead_letter| args.resolved || dead_letter.resolution.is_none());
    let hidden = chosen - dead_letters.len();
    let shown = newest(&dead_letters, args.limit(json));
    if json {
        let mut shown = shown;
        shown.sort_by_key(|dead_letter| dead_letter.position);
        output::json_list("deadLetters", shown.into_iter().map(text::json).collect());
        return Ok(Verdict::Good);
    }
    let matching = dead_letters.len();
    if matching > 0 {
        let width = output::terminal_width().filter(|_| !args.wide);
        text::summary(&groups(&dead_letters), width).iter().for_each(|line| output::styled(line));
        output::line("");
        text::table(shown.iter().copied(), width).iter().for_each(|line| output::styled(line));
    }
    output::line(&last_line(shown.len(), matching, total, hidden));
    Ok(Verdict::Good)
}

/// The newest dead letters, at most `limit` of them, newest first.
fn newest(dead_letters: &[IndexedDeadLetter], limit: Option<usize>) -> Vec<&IndexedDeadLetter> {
    let mut sorted: Vec<&IndexedDeadLetter> = dead_letters.iter().collect();
    sorted.sort_by_key(|dead_letter| Reverse((dead_letter.time, dead_letter.position)));
    sorted.truncate(limit.unwrap_or(usize::MAX));
    sorted
}

/// The last line: how many rows are shown, how many match, and which options show more. `hidden` is the number of
/// matching dead letters that are left out because they are resolved.
fn last_line(shown: usize, matching: usize, total: usize, hidden: usize) -> String {
    let (matching_text, total_text) = (thousands(matching as u64), thousands(total as u64));
    let counted = format!("{matching_text} of {total_text} dead letters");
    let more = match matching - shown {
        0 => String::new(),
        more => format!(
            "; the newest {shown} are shown, {} more are not: --all shows all of them, --limit COUNT as many, --code, --stage and --since only some",
            thousands(more as u64)
        ),
    };
    let hidden = if hidden == 0 { "" } else { "; --resolved includes resolved ones" };
    format!("{counted}{more}{hidden}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_of_the_list_counts_the_rows_left_out_and_names_the_options_that_show_them() {
        assert_eq!(last_line(3, 3, 3, 0), "3 of 3 dead letters");
        // A filter leaves out two dead letters, and none is resolved.
        assert_eq!(last_line(3, 3, 5, 0), "3 of 5 dead letters");
        assert_eq!(last_line(3, 3, 5, 1), "3 of 5 dead letters; --resolved includes resolved ones");
        let text = last_line(20, 1340, 1340, 0);
        assert!(
            text.starts_with("1,340 of 1,340 dead letters; the newest 20 are shown, 1,320 more are not: --all"),
            "{text}"
        );
    }

    #[test]
    fn the_newest_dead_letters_are_listed_first() {
        let dead_letters: Vec<IndexedDeadLetter> = [3000, 1000, 2000]
            .into_iter()
            .map(|time| IndexedDeadLetter { time, ..text::tests::dead_letter(None) })
            .collect();
        let times = |limit| newest(&dead_letters, limit).iter().map(|dead_letter| dead_letter.time).collect::<Vec<_>>();
        assert_eq!(times(Some(2)), [3000, 2000]);
        assert_eq!(times(None), [3000, 2000, 1000]);
    }
}
