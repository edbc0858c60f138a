//! Options that all commands for dead letters share.

use std::collections::BTreeSet;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use contract::Position;
use contract::dead_letter::Stage;
use operator::dead_letters::{Filter, Resolving, codes};

use crate::when::parse_bound;

/// Filters for dead letters.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which dead letters")]
pub(super) struct FilterArgs {
    /// Only these codes
    #[arg(long, value_delimiter = ',', value_parser = code_parser(), value_name = "CODE,...")]
    code: Vec<String>,

    /// Only those that this stage wrote
    #[arg(long, value_name = "STAGE", value_parser = stage_parser())]
    stage: Option<Stage>,

    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only those written at this time or later: 2026-11-24, 2026-11-24T09:30:00Z, or 24h for that long ago
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    since: Option<i64>,

    /// Only those written before this time
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    until: Option<i64>,

    /// Only those of these events
    #[arg(long, value_delimiter = ',', value_name = "ID,...")]
    event_id: Vec<String>,
}

/// Accepts the codes that any stage writes.
fn code_parser() -> PossibleValuesParser {
    let names: BTreeSet<&str> = codes().map(|(_, code)| code).collect();
    PossibleValuesParser::new(names)
}

/// Accepts the names of the stages.
fn stage_parser() -> impl TypedValueParser<Value = Stage> {
    PossibleValuesParser::new(Stage::ALL.map(Stage::as_str))
        .try_map(|name| Stage::from_name(&name).ok_or("there is no such stage"))
}

impl FilterArgs {
    /// The filter. With positions, it selects only the dead letters at these positions.
    pub(super) fn filter(&self, positions: &[Position]) -> Filter {
        Filter {
            positions: positions.to_vec(),
            codes: self.code.clone(),
            stage: self.stage,
            source: self.source.clone(),
            since: self.since,
            until: self.until,
            event_ids: self.event_id.clone(),
        }
    }
}

/// How dead letters are resolved.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Resolving")]
pub(super) struct ResolveArgs {
    /// Apply the changes (default: dry run)
    #[arg(long)]
    pub(super) yes: bool,

    /// At most this many dead letters a second; 0 for no limit
    #[arg(long, default_value_t = 500, value_name = "COUNT")]
    rate: u32,

    /// The name of the person who resolves them; it is kept with the resolution
    #[arg(long, env = "USER", default_value = "unknown", value_name = "NAME")]
    by: String,
}

impl ResolveArgs {
    /// The person, the note and the rate for the resolutions; `None` for a dry run.
    pub(super) fn resolving(&self, note: Option<&str>) -> Option<Resolving> {
        let resolving = || Resolving { by: self.by.clone(), note: note.map(str::to_owned), rate: self.rate };
        self.yes.then(resolving)
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn parse(given: &[&str]) -> Result<Filter, String> {
        let command = FilterArgs::augment_args(Command::new("list"));
        let matches = command.try_get_matches_from([&["list"], given].concat()).map_err(|error| error.to_string())?;
        Ok(FilterArgs::from_arg_matches(&matches).unwrap().filter(&[]))
    }

    #[test]
    fn an_unknown_code_or_stage_is_refused_with_a_suggestion() {
        let filter = parse(&["--code", "not_json,refused", "--stage", "sink"]).unwrap();
        assert_eq!(
            (filter.codes, filter.stage),
            (vec!["not_json".to_owned(), "refused".to_owned()], Some(Stage::Sink))
        );
        for (_, code) in codes() {
            assert!(parse(&["--code", code]).is_ok(), "{code}");
        }
        let error = parse(&["--code", "not_jsn"]).unwrap_err();
        assert!(error.contains("a similar value exists: 'not_json'"), "{error}");
        let error = parse(&["--stage", "sinc"]).unwrap_err();
        assert!(error.contains("a similar value exists: 'sink'"), "{error}");
    }
}
