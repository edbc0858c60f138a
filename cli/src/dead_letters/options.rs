//! Options that the commands for dead letters share.

use clap::Args;
use contract::Position;
use contract::dead_letter::Stage;
use operator::dead_letters::{Filter, Resolving};

use crate::when::parse_bound;

/// Filters for dead letters.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which dead letters")]
pub(super) struct FilterArgs {
    /// Only these codes, for example not_json,refused
    #[arg(long, value_delimiter = ',', value_name = "CODE,...")]
    code: Vec<String>,

    /// Only those that this stage wrote: gateway, transformer, sink or platform
    #[arg(long, value_name = "STAGE", value_parser = parse_stage)]
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

fn parse_stage(name: &str) -> Result<Stage, String> {
    Stage::from_name(name)
        .ok_or_else(|| format!("no such stage; the stages are {}", Stage::ALL.map(Stage::as_str).join(", ")))
}

impl FilterArgs {
    /// The filter, for the dead letters at these positions or, if there are none, for all.
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
    /// Who resolves and how fast; `None` for a dry run.
    pub(super) fn resolving(&self, note: Option<&str>) -> Option<Resolving> {
        let resolving = || Resolving { by: self.by.clone(), note: note.map(str::to_owned), rate: self.rate };
        self.yes.then(resolving)
    }
}
