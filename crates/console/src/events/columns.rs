//! The three columns of an event's page: the webhook as received, the mapping rules, and the event as sent. Each field
//! links to its rules, and each rule links to its input and output fields.

use std::collections::HashMap;

use askama::Template;
use mapping::Explanation;
use operator::dead_letters::Body;

use super::found_event::{FoundEvent, Today, WebhookBody};
use crate::format;
use crate::mask::{self, Field, Form, Values};

/// A link to a row of another column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct To {
    pub(super) text: String,
    /// Link to the row; `None` if the row is not shown or the text is not a field.
    pub(super) href: Option<String>,
}

/// A field of the webhook or the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldRow {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) value: String,
    pub(super) is_masked: bool,
    /// Links to the rules that use or produce the field.
    pub(super) rules: Vec<To>,
    /// Reason why a field of the webhook is not in the event; empty if it is in the event.
    pub(super) note: &'static str,
    /// Ids of the related rows in the other columns.
    pub(super) related: String,
}

/// A rule in the middle column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleRow {
    pub(super) id: String,
    pub(super) to: To,
    pub(super) from: Vec<To>,
    pub(super) rule: &'static str,
    pub(super) related: String,
}

/// The column of the webhook or the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Template)]
#[template(path = "events/column.html")]
pub(super) struct Column {
    /// Topic and position of the shown record.
    pub(super) record: String,
    pub(super) rows: Vec<FieldRow>,
    /// Whether fields beyond the limit were left out.
    pub(super) is_cut: bool,
    /// Text that is shown if the value has no fields.
    pub(super) text: Option<String>,
    /// Sentences about the webhook or the event.
    pub(super) notes: Vec<String>,
}

/// The three columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub(super) webhook: Column,
    pub(super) rules: Vec<RuleRow>,
    /// Sentences about the rules.
    pub(super) rules_notes: Vec<String>,
    pub(super) sent: Column,
}

/// Links from one row to rows of the other columns.
#[derive(Default)]
struct Links {
    rules: Vec<To>,
    related: Vec<String>,
}

impl Columns {
    pub(super) fn of(found: &FoundEvent, values: Values) -> Self {
        let (webhook_fields, mut webhook) = webhook(found, values);
        let (sent_fields, mut sent) = sent(found, values);
        let (mut of_webhook, mut of_sent) = (links(&webhook_fields), links(&sent_fields));
        let (mut rules, mut rules_notes) = (Vec::new(), Vec::new());
        match &found.today {
            Today::Explained(explanation) => {
                if found.sent.as_ref().and_then(|sent| sent.event()).is_some_and(|event| *event != explanation.event) {
                    rules_notes.push(
                        "Today's rules or options are not those with which this event was mapped. Below are today's."
                            .to_owned(),
                    );
                }
                let at = Places { webhook: index(&webhook_fields), sent: index(&sent_fields) };
                rules = rule_rows(explanation, &at, values, &mut of_webhook, &mut of_sent);
            }
            Today::Rejected { code, message } => rules_notes.push(format!("Refused as {code}: {message}.")),
            Today::Unknown(why) => rules_notes.push((*why).to_owned()),
        }
        let note = |field: &Field| match &found.today {
            Today::Explained(explanation) => ignored(explanation, &field.exact_path),
            Today::Rejected { .. } | Today::Unknown(_) => "",
        };
        webhook.rows = rows("w", webhook_fields, of_webhook, note);
        sent.rows = rows("x", sent_fields, of_sent, |_| "");
        Self { webhook, rules, rules_notes, sent }
    }
}

fn links(fields: &[Field]) -> Vec<Links> {
    fields.iter().map(|_| Links::default()).collect()
}

fn index(fields: &[Field]) -> HashMap<String, usize> {
    fields.iter().enumerate().map(|(index, field)| (field.exact_path.clone(), index)).collect()
}

/// Row numbers of the fields by exact path.
struct Places {
    webhook: HashMap<String, usize>,
    sent: HashMap<String, usize>,
}

fn rows(column: &str, fields: Vec<Field>, links: Vec<Links>, note: impl Fn(&Field) -> &'static str) -> Vec<FieldRow> {
    let row = |(index, (field, links)): (usize, (Field, Links))| FieldRow {
        id: format!("{column}-{index}"),
        note: if links.rules.is_empty() { note(&field) } else { "" },
        path: field.path,
        value: field.value,
        is_masked: field.is_masked,
        rules: links.rules,
        related: links.related.join(" "),
    };
    fields.into_iter().zip(links).enumerate().map(row).collect()
}

fn rule_rows(
    explanation: &Explanation,
    at: &Places,
    values: Values,
    of_webhook: &mut [Links],
    of_sent: &mut [Links],
) -> Vec<RuleRow> {
    let (today, _) = mask::fields(Form::Xdm, &explanation.event, values);
    let shown: HashMap<&str, &str> = today.iter().map(|field| (&*field.exact_path, &*field.path)).collect();
    let mut rows = Vec::new();
    for (number, origin) in explanation.fields.iter().enumerate() {
        // A field beyond the limit of the page has no row.
        let Some(path) = shown.get(origin.path.as_str()) else { continue };
        let id = format!("r-{number}");
        let sent = at.sent.get(&origin.path).copied();
        let sources: Vec<(&String, Option<usize>)> =
            origin.from.iter().map(|from| (from, at.webhook.get(from).copied())).collect();
        let sent_id = sent.map(|sent| format!("x-{sent}"));
        let webhook_ids = sources.iter().filter_map(|(_, webhook)| webhook.map(|webhook| format!("w-{webhook}")));
        let related: Vec<String> = webhook_ids.chain(sent_id.clone()).collect();
        for index in sources.iter().filter_map(|(_, webhook)| *webhook) {
            of_webhook[index].rules.push(To { text: (*path).to_owned(), href: Some(format!("#{id}")) });
            of_webhook[index].related.push(id.clone());
            of_webhook[index].related.extend(sent_id.clone());
        }
        if let Some(sent) = sent {
            of_sent[sent].rules.push(To { text: "its rule".to_owned(), href: Some(format!("#{id}")) });
            of_sent[sent].related.push(id.clone());
            of_sent[sent].related.extend(related.iter().filter(|id| id.starts_with('w')).cloned());
        }
        let from = |(from, webhook): &(&String, Option<usize>)| To {
            text: (*from).clone(),
            href: webhook.map(|webhook| format!("#w-{webhook}")),
        };
        rows.push(RuleRow {
            to: To { text: (*path).to_owned(), href: sent_id.map(|id| format!("#{id}")) },
            from: sources.iter().map(from).collect(),
            rule: origin.rule.map_or("", |rule| rule.rule),
            related: related.join(" "),
            id,
        });
    }
    rows
}

/// Returns the reason for which a value of the webhook is not in the event; empty if it is in the event.
fn ignored(explanation: &Explanation, path: &str) -> &'static str {
    let is_in = |container: &str| {
        path.strip_prefix(container).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    explanation.ignored.iter().find(|ignored| is_in(&ignored.path)).map_or("", |ignored| ignored.reason.as_str())
}

fn webhook(found: &FoundEvent, values: Values) -> (Vec<Field>, Column) {
    let Some(webhook) = &found.webhook else {
        let notes = vec!["The webhook is not stored any more: it has expired from its topic.".to_owned()];
        return (Vec::new(), Column { notes, ..Column::default() });
    };
    let source = webhook.source.as_deref().map_or(contract::raw::DEFAULT_SOURCE.to_owned(), mask::code);
    let size = format::count(webhook.size);
    let mut column = Column {
        record: webhook.record.to_string(),
        notes: vec![format!("{size} bytes, from the source {source}.")],
        ..Column::default()
    };
    let fields = match &webhook.body {
        WebhookBody::Json(json) => {
            let (fields, is_cut) = mask::fields(Form::Webhook, json, values);
            column.is_cut = is_cut;
            fields
        }
        WebhookBody::Text(text) => {
            column.notes.push("It cannot be read as JSON, so no field of it is known.".to_owned());
            column.text = Some(shown_text(text, values));
            Vec::new()
        }
        WebhookBody::TooLarge => {
            column.notes.push("It is larger than this page shows.".to_owned());
            Vec::new()
        }
    };
    (fields, column)
}

fn shown_text(text: &str, values: Values) -> String {
    match values {
        Values::Masked => mask::MASK.to_owned(),
        Values::Revealed => mask::cut(text, mask::LONGEST_VALUE).into_owned(),
    }
}

fn sent(found: &FoundEvent, values: Values) -> (Vec<Field>, Column) {
    let Some(sent) = &found.sent else {
        let notes = vec!["There is no event of it: the timeline says why.".to_owned()];
        return (Vec::new(), Column { notes, ..Column::default() });
    };
    let mut column = Column { record: sent.record.to_string(), ..Column::default() };
    let fields = match &sent.body {
        Body::Event { event, assumed } => {
            if *assumed {
                column.notes.push(
                    "Its schema is a registry's; it was read with the schema of this build, which may be another."
                        .to_owned(),
                );
            }
            let (fields, is_cut) = mask::fields(Form::Xdm, event, values);
            column.is_cut = is_cut;
            fields
        }
        Body::Json(json) => {
            let (fields, is_cut) = mask::fields(Form::Xdm, json, values);
            column.is_cut = is_cut;
            fields
        }
        Body::Text(text) | Body::Bytes(text) => {
            column.notes.push(format!("{} bytes, which are no event.", format::count(sent.size as u64)));
            column.text = Some(shown_text(text, values));
            Vec::new()
        }
    };
    (fields, column)
}
