//! `map`: maps one webhook to XDM with the transformer's code, without a connection.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use contract::RawRecord;
use contract::limits::LARGEST_BODY;
use mapping::{Explanation, ReceivedAt, Rejection, SourceOptions, map_record};
use mapping_options::MappingArgs;
use serde_json::{Value, json};
use xdm::TenantId;
use xdm::avro::{Encoder, Framing};

use crate::when::parse_time;
use crate::{CommandError, UsageError, Verdict, output};

/// Map one webhook body to the XDM event that Platform would get, or say why it would become a dead letter
///
/// Offline: it needs neither Kafka nor Platform. Exit code 1 and the dead-letter code on standard error when the body
/// would be refused. The mapping options and variables are the transformer's.
#[derive(Debug, Args)]
pub(crate) struct MapArgs {
    /// File with the body; standard input if left out or `-`
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Print the event on one line, byte for byte as the sink sends it
    #[arg(long, conflicts_with_all = ["explain", "table"])]
    compact: bool,

    /// Say for each field of the event where it came from and by which rule, and list what was ignored
    #[arg(long, conflicts_with = "table")]
    explain: bool,

    /// Print the whole mapping as Markdown (docs/mapping.md) instead of mapping a body
    #[arg(long, conflicts_with = "file")]
    table: bool,

    /// Tenant id, the key of the organisation's own fields
    #[arg(long, env = "PLATFORM_TENANT", default_value = "_tenant", value_name = "ID")]
    tenant: TenantId,

    /// Name of the source whose options apply
    #[arg(long, value_name = "NAME", default_value = contract::raw::DEFAULT_SOURCE)]
    source: String,

    /// When the gateway received the webhook, as RFC 3339 or milliseconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    received_at: Option<i64>,

    #[command(flatten)]
    mapping: MappingArgs,
}

pub(crate) fn run(args: &MapArgs, json: bool) -> Result<Verdict, CommandError> {
    if json && (args.table || args.compact) {
        return Err(
            UsageError("--json prints another format than --table and --compact; leave one out".to_owned()).into()
        );
    }
    if args.table {
        output::text(&mapping::page::markdown());
        return Ok(Verdict::Good);
    }
    let sources = args.mapping.sources().map_err(UsageError::from)?;
    let source = sources.get(Some(&args.source)).ok_or_else(|| {
        let names = sources.names();
        UsageError(format!("there is no source of the name that --source gives; SOURCES_FILE names: {names}"))
    })?;
    let body = body(args).map_err(UsageError)?;
    let received_at = args.received_at.unwrap_or_else(service::unix_millis);
    match map(&body, received_at, source, &args.tenant) {
        Ok(bytes) if args.compact => output::line(&String::from_utf8_lossy(&bytes)),
        Ok(bytes) if !args.explain => {
            let event = serde_json::from_slice::<Value>(&bytes)?;
            if json { output::json(&json!({"version": 1, "event": event})) } else { output::pretty(&event) }
        }
        Ok(_) => {
            let mut buffer = Vec::new();
            let body = mapping::decoded(None, &body, LARGEST_BODY, &mut buffer)?;
            let explanation = mapping::explain(body, ReceivedAt::from_millis(received_at), source, &args.tenant)?;
            if json { output::json(&as_json(&explanation)) } else { output::text(&as_text(&explanation)) }
        }
        Err(rejection) => {
            if json {
                let rejected = json!({"code": rejection.code.as_str(), "message": rejection.message});
                output::json(&json!({"version": 1, "rejected": rejected}));
            }
            output::problem(&format!(
                "{rejection}\nThis body would become a dead letter; docs/dead-letters.md says what `{}` means and what to do.",
                rejection.code.as_str()
            ));
            return Ok(Verdict::Problem);
        }
    }
    Ok(Verdict::Good)
}

/// Returns the event's JSON. Like in the transformer, the event must also be valid against the Avro schema.
fn map(body: &[u8], received_at: i64, source: &SourceOptions, tenant: &TenantId) -> Result<Vec<u8>, Rejection> {
    let record =
        RawRecord { body, content_encoding: None, received_at, source: None, reprocess: false, replay_of: None };
    map_record(&record, source, LARGEST_BODY, &mut Vec::new(), |mapped| {
        Encoder::new(Framing::SingleObject)?.encode(&mapped.event, &mut Vec::new())?;
        let mut json = Vec::with_capacity(body.len() * 2);
        xdm::write_json(&mapped.event, tenant, &mut json);
        Ok(json)
    })
}

fn body(args: &MapArgs) -> Result<Vec<u8>, String> {
    let stdin = std::path::Path::new("-");
    match args.file.as_deref().filter(|path| *path != stdin) {
        // The bytes are not changed: the transformer does not remove a byte order mark either.
        Some(path) => {
            std::fs::read(path).map_err(|error| format!("cannot read the file with the body: {error}; check the path"))
        }
        None => {
            let mut body = Vec::new();
            let read = std::io::stdin().read_to_end(&mut body);
            read.map(|_| body).map_err(|error| format!("cannot read standard input: {error}"))
        }
    }
}

fn as_json(explanation: &Explanation) -> Value {
    let fields = explanation.fields.iter().map(|field| {
        json!({"path": field.path, "value": field.value, "from": field.from, "rule": field.rule.map(|rule| rule.rule)})
    });
    let ignored =
        explanation.ignored.iter().map(|ignored| json!({"path": ignored.path, "reason": ignored.reason.as_str()}));
    json!({
        "version": 1,
        "event": explanation.event,
        "fields": fields.collect::<Vec<_>>(),
        "ignored": ignored.collect::<Vec<_>>(),
    })
}

fn as_text(explanation: &Explanation) -> String {
    let mut text = String::new();
    for field in &explanation.fields {
        let from = if field.from.is_empty() { "the mapping itself".to_owned() } else { field.from.join(", ") };
        let rule = field.rule.map_or("", |rule| rule.rule);
        text.push_str(&format!("{} = {}\n    from {from}\n    rule: {rule}\n", field.path, field.value));
    }
    text.push_str(if explanation.ignored.is_empty() { "\nNothing was ignored.\n" } else { "\nIgnored:\n" });
    for ignored in &explanation.ignored {
        text.push_str(&format!("    {}: {}\n", ignored.path, ignored.reason.as_str()));
    }
    text
}
