//! `dead-letters show`: shows one complete dead letter.

use clap::Args;
use contract::Position;
use operator::dead_letters::{Body, Shown, show};
use operator::rfc3339;
use serde_json::{Map, Value, json};
use xdm::TenantId;

use super::text;
use crate::pipeline::Reached;
use crate::printable::{printable, printable_json, printable_lines};
use crate::topics::TopicArgs;
use crate::{CommandError, Verdict, output};

/// Show one complete dead letter: headers, reason, and the body with all its personal data
///
/// A webhook is shown as JSON or text, a typed record as its XDM event.
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Position of the dead letter, as `list` shows it
    #[arg(value_name = "PARTITION:OFFSET")]
    position: Position,

    /// Tenant id, the key of the organisation's own fields in an event
    #[arg(long, env = "PLATFORM_TENANT", default_value = "_tenant", value_name = "ID")]
    tenant: TenantId,

    #[command(flatten)]
    topics: TopicArgs,
}

pub(super) fn run(args: &ShowArgs, json: bool) -> Result<Verdict, CommandError> {
    let reached = Reached::by(&args.topics)?;
    let shown = show(reached.pipeline(), args.position)?;
    output::progress_done();
    let body = Body::read(&shown.record.value, &args.tenant);
    if json {
        output::json(&output::versioned(as_json(&shown, &body)));
    } else {
        let Shown { dead_letter, .. } = &shown;
        output::line(&format!("{} {}: {}", reached.topics.dead_letters, args.position, dead_letter.state()));
        lines(&shown, &body).iter().for_each(|line| output::line(line));
    }
    Ok(Verdict::Good)
}

fn lines(Shown { dead_letter, record }: &Shown, body: &Body) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(closed) = &dead_letter.resolution {
        let by = closed.by.as_deref().unwrap_or("unknown");
        let at = closed.at.map(rfc3339).unwrap_or_default();
        let note = closed.note.as_deref().unwrap_or_default();
        lines.push(printable(&format!("resolved by {by} {at} {note}")).into_owned());
    }
    lines.extend(text::cut(dead_letter).map(|cut| printable(&cut).into_owned()));
    lines.push(format!("key  {}", record.key.as_deref().map_or_else(|| "none".to_owned(), lossy)));
    for header in record.headers() {
        let value = header.value.map_or_else(|| "null".to_owned(), lossy);
        lines.push(format!("{}  {value}", printable(header.name)));
    }
    lines.extend([String::new(), body_text(body)]);
    lines
}

fn as_json(Shown { dead_letter, record }: &Shown, body: &Body) -> Value {
    let text_or_null = |bytes: Option<&[u8]>| bytes.map_or(Value::Null, |bytes| lossy(bytes).into());
    let headers: Map<String, Value> =
        record.headers().map(|header| (header.name.to_owned(), text_or_null(header.value))).collect();
    let mut shown = text::json(dead_letter);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("key".to_owned(), text_or_null(record.key.as_deref()));
        shown.insert("headers".to_owned(), headers.into());
        shown.insert("body".to_owned(), body_json(body));
    }
    shown
}

fn body_json(body: &Body) -> Value {
    match body {
        Body::Json(value) => json!({"json": value}),
        Body::Event { event, assumed } => json!({"event": event, "schemaAssumed": assumed}),
        Body::Text(text) => json!({"text": text}),
        Body::Bytes(hex) => json!({"hex": hex}),
    }
}

fn body_text(body: &Body) -> String {
    let pretty = |value: &Value| printable_json(&serde_json::to_string_pretty(value).unwrap_or_default()).into_owned();
    match body {
        Body::Json(value) => pretty(value),
        Body::Event { event, assumed: false } => pretty(event),
        Body::Event { event, assumed: true } => {
            format!("{}\n(read with this build's schema, without asking the registry)", pretty(event))
        }
        Body::Text(text) => printable_lines(text).into_owned(),
        Body::Bytes(hex) => format!("{} bytes that are neither text nor an event: {hex}", hex.len() / 2),
    }
}

fn lossy(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes)).into_owned()
}
