//! `audit`: checks that every raw and every typed record of a range has the expected outcome, and reports each record
//! that does not.

mod text;

use clap::Args;
use contract::defaults;
use kafka::Connection;
use mapping::Sources;
use mapping_options::MappingArgs;
use operator::audit::{Audit, AuditScope, RawOffsets};
use operator::{Committed, PipelineTopics, audit};
use settings::{ByteCount, DurationArg, Problems};

use crate::pipeline::{GroupArgs, Reached};
use crate::topics::TopicArgs;
use crate::when::parse_bound;
use crate::{CommandError, UsageError, Verdict, output};

/// Prove for a range of time that every event is accepted, a dead letter, or still in progress
///
/// Reads the four topics and the services' committed offsets, and writes nothing: it is safe while the pipeline runs.
/// Exit code 0 if everything is explained and nothing is late, 1 if not, and every record with a problem is listed; 3
/// if Kafka does not respond. The mapping options and variables are the transformer's. docs/operate.md explains the
/// columns.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// From this time on: 2026-11-24, 2026-11-24T09:30:00Z, or 24h for that long ago [default: everything that is
    /// retained]
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    since: Option<i64>,

    /// Up to this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    until: Option<i64>,

    /// Only these raw offsets of one partition (without the last one), and their typed records: for example 3:1000-2000
    #[arg(long, value_name = "PARTITION:FROM-TO", conflicts_with_all = ["since", "until"])]
    offsets: Option<RawOffsets>,

    /// Maximum number of records to list; all are counted
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: usize,

    /// Records written before this time were delivered while the receipts were off: their acceptance is inferred from
    /// the sink's committed offsets
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    receipts_since: Option<i64>,

    /// Records that have been ahead of their reader's committed offset for longer than this are late: they are listed,
    /// and the exit code is 1
    #[arg(long, default_value = "15m", value_name = "DURATION")]
    late: DurationArg,

    #[command(flatten)]
    dedup: DedupArgs,

    /// Maximum size of a body after decompression
    #[arg(
        long,
        env = "GATEWAY_MAX_BODY",
        default_value = defaults::MAX_BODY,
        value_name = "SIZE",
        help_heading = "Services"
    )]
    max_body: ByteCount,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    topics: TopicArgs,

    #[command(flatten)]
    mapping: MappingArgs,
}

/// The transformer's search for duplicates, as an audit has to know it.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Services")]
pub(crate) struct DedupArgs {
    /// Time for which the transformer recognises duplicates
    #[arg(
        long = "dedup-window",
        env = "TRANSFORMER_DEDUP_WINDOW",
        default_value = defaults::DEDUP_WINDOW,
        value_name = "DURATION"
    )]
    pub(crate) window: DurationArg,

    /// Number of ids per partition that the transformer keeps for this
    #[arg(
        long = "dedup-max-ids",
        env = "TRANSFORMER_DEDUP_MAX_IDS",
        default_value_t = defaults::DEDUP_MAX_IDS,
        value_name = "COUNT"
    )]
    pub(crate) max_ids: u32,
}

impl AuditArgs {
    /// The mapping options of all sources, and the connection, which is not open yet.
    fn inputs(&self) -> Result<(Sources, Connection), Problems> {
        let mut problems = Problems::default();
        let sources = problems.collect(self.mapping.sources());
        let connection = problems.collect(self.topics.connection());
        sources.zip(connection).ok_or(problems)
    }

    /// The problems of the options.
    pub(crate) fn problems(&self) -> Problems {
        self.inputs().err().unwrap_or_default()
    }

    fn scope(&self) -> AuditScope {
        AuditScope {
            since: self.since,
            until: self.until,
            offsets: self.offsets.clone(),
            receipts_since: self.receipts_since,
            late: self.late.0,
            dedup_window: self.dedup.window.0,
            dedup_max_ids: self.dedup.max_ids,
            max_body: self.max_body.0,
            name_at_most: self.limit,
            committed: Committed::Groups(self.groups.groups()),
        }
    }
}

pub(crate) async fn run(args: AuditArgs, json: bool) -> Result<Verdict, CommandError> {
    let (sources, connection) = args.inputs().map_err(UsageError::from)?;
    let reached = Reached::with(connection, args.topics.names())?;
    let scope = args.scope();
    let audit = audit::run(reached.pipeline(), &sources, &scope).await?;
    output::progress_done();
    if json {
        output::json(&audit::as_json(&audit, &reached.topics, &scope));
    } else {
        show(&audit, &reached.topics, &scope);
    }
    Ok(if audit.is_explained() { Verdict::Good } else { Verdict::Problem })
}

/// Prints an audit: a table, the notes that explain the table, every record with a problem, and the verdict.
pub(crate) fn show(audit: &Audit, topics: &PipelineTopics, scope: &AuditScope) {
    text::table(audit, topics, scope).iter().for_each(|line| output::line(line));
    for note in &audit.notes {
        output::line(&format!("note: {note}"));
    }
    text::problems(audit, topics).iter().for_each(|line| output::problem(line));
    output::line(text::verdict(audit));
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        audit: AuditArgs,
    }

    #[tokio::test]
    async fn the_problems_of_the_mapping_options_and_of_the_connection_are_reported_together() {
        let wrong =
            ["audit", "--kafka-bootstrap-servers=a:1", "--kafka-ssl-key=/nowhere", "--identity-namespace-id=Email"];
        let matches = <Command as clap::CommandFactory>::command().get_matches_from(wrong);
        let args = Command::from_arg_matches(&matches).unwrap().audit;
        let error = run(args, false).await.unwrap_err();
        assert!(error.is::<UsageError>(), "{error}");
        let text = error.to_string();
        for part in ["these options are invalid", "IDENTITY_NAMESPACE_ID", "KAFKA_SSL_KEY"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
