//! Generates `docs/mapping.md`, which describes the mapping, from the tables that the transformer uses.

use std::fmt::Write;

use crate::rules::{NEVER_FORWARDED, RULES};
use crate::tables::{self, Row};
use customerio::catalogue::{CATALOGUE, CatalogueEvent, Metric, ObjectType};

const INTRODUCTION: &str = "\
# Mapping

This page shows how each Customer.io reporting webhook becomes an XDM ExperienceEvent. `customerio-aep map --table` prints it from
the tables that the transformer uses; a test compares the two.

To map your own webhook: `customerio-aep map body.json`; `--explain` shows where each field came from, which rule applied, and what
was ignored. A body that cannot be mapped becomes a dead letter: [dead-letters.md](dead-letters.md). Options that change the result
(namespaces, hashing, dropped fields): [sources.md](sources.md). What to do with the events in Platform:
[use-in-platform.md](use-in-platform.md).

A metric, channel or field that Customer.io adds later stops nothing: the event gets the type `customerio.{channel}.{metric}`, no
counter, and the known fields; unknown fields are counted (`customerio_transformer_ignored_fields_total`).

In the channel tables, each name links to an example: a webhook and the event mapped from it, which the tests check.
";

/// Returns the remarks on a channel, in addition to its table.
fn remarks(object_type: ObjectType) -> &'static str {
    match object_type {
        ObjectType::Customer => {
            "Events about the person rather than one message. Customer.io names the channel that caused the change, so they may come \
             as `email`, `unsubscribed` too: with `email_address` and without `recipient` such an event is about the person. \
             `cio_subscription_preferences_changed` carries the new preferences as JSON inside the string `content`, only if the \
             webhook is set to send body content; they become `subscription.topics` and `subscription.channels`."
        }
        ObjectType::Email => {
            "Opens and clicks by machines (`prefetched`, `machine`) are counted like those of people, as in Customer.io, and are \
             distinguished by `interactionType` (`bot_open`, `bot_click`), `isMachine` and `producedBy`. `proxied` alone does not indicate a machine. \
             `bounced` is final (`nonDeliverables`), `deferred` temporary (`bounces`)."
        }
        ObjectType::Sms => {
            "A reply carries `reply.inboundEventID` and the number that was replied to, `reply.to`. The recipient's number becomes an \
             identity only with `INCLUDE_PHONE`, or if there is no other."
        }
        ObjectType::Push => {
            "The first 10 devices are kept, each with its own failure. `pushProvider` is that of the first device. Push tokens are not \
             identities. `dropped` means that the token bounced earlier, so the status is `denylist`."
        }
        ObjectType::InApp => {
            "`opened` counts as an impression and can come long after `sent`, since the message shows only while the app is open. The \
             component that was used, or the answer to a survey, is in `inappMessageTracking.action`; `link.href` may be a link \
             into the app, or absent."
        }
        ObjectType::Slack => "A custom channel without counters: nothing in XDM counts Slack messages.",
        ObjectType::Webhook => "Outgoing webhooks of a workflow; a custom channel without counters.",
        ObjectType::Whatsapp => {
            "`opened` is WhatsApp's read receipt: `feedbackStatus` is `read`, and there is no interaction. Replies and numbers are \
             as with SMS. Only native WhatsApp comes under this name; WhatsApp through Twilio reports as `sms`."
        }
    }
}

fn title(object_type: ObjectType) -> &'static str {
    match object_type {
        ObjectType::Customer => "Customer",
        ObjectType::Email => "Email",
        ObjectType::Sms => "SMS",
        ObjectType::Push => "Push",
        ObjectType::InApp => "In-app",
        ObjectType::Slack => "Slack",
        ObjectType::Webhook => "Webhook",
        ObjectType::Whatsapp => "WhatsApp",
    }
}

/// Order of the channels on the page.
const FAMILIES: [ObjectType; 8] = [
    ObjectType::Customer,
    ObjectType::Email,
    ObjectType::Sms,
    ObjectType::Push,
    ObjectType::InApp,
    ObjectType::Slack,
    ObjectType::Webhook,
    ObjectType::Whatsapp,
];

/// Returns the page as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    write_page(&mut page).expect("a String takes everything");
    page
}

fn write_page(page: &mut String) -> std::fmt::Result {
    write!(page, "\n## Every event\n\n| XDM field | from | rule |\n|---|---|---|\n")?;
    for rule in RULES {
        let from: Vec<String> = rule.inputs.iter().map(|input| format!("`{input}`")).collect();
        writeln!(page, "| `{}` | {} | {} |", rule.output, from.join(", "), rule.rule)?;
    }
    write!(
        page,
        "\nFields that are absent, null or empty are left out. `option` is the transformer's configuration, `header` a header of \
         the raw record.\n\nNever forwarded:\n\n"
    )?;
    for (path, why) in NEVER_FORWARDED {
        writeln!(page, "- `{path}`: {why}")?;
    }
    for object_type in FAMILIES {
        family(page, object_type)?;
    }
    Ok(())
}

fn family(page: &mut String, object_type: ObjectType) -> std::fmt::Result {
    write!(page, "\n## {}\n\n{}\n\n", title(object_type), remarks(object_type))?;
    match tables::channel(object_type) {
        Some((id, kind)) => {
            write!(page, "`channel._id` is `{id}`, `channel._type` `{kind}`.\n\n")?;
        }
        None => write!(page, "There is no `channel`.\n\n")?,
    }
    write!(
        page,
        "| metric | in Customer.io | `eventType` | `directMarketing` | `feedbackStatus` | `interactionType` | `producedBy` |\n|---|---|---|---|---|---|---|\n"
    )?;
    for event in CATALOGUE.iter().filter(|event| event.object_type == object_type) {
        let person = object_type == ObjectType::Customer;
        row(page, event, person)?;
        if (object_type, event.metric) == (ObjectType::Email, Metric::Unsubscribed) {
            row(page, event, true)?;
        }
    }
    Ok(())
}

/// Returns the link to an example, relative to the page's folder.
fn example(event: &CatalogueEvent, shape: &str) -> String {
    if !shape.is_empty() {
        return format!(
            "../crates/mapping/tests/quirks/{}-{}-person.json",
            event.object_type.as_str(),
            event.metric.as_str()
        );
    }
    format!("../crates/mapping/tests/golden/{}.json", event.subscription)
}

fn row(page: &mut String, event: &CatalogueEvent, person: bool) -> std::fmt::Result {
    let row = Row::of(event.object_type, event.metric, person);
    let or_dash = |text: Option<&str>| text.map_or("–".to_owned(), |text| format!("`{text}`"));
    let shape = if person && event.object_type != ObjectType::Customer { " (about the person)" } else { "" };
    let published = if event.documented { "" } else { ", payload not published" };
    let interaction = match row.machine.filter(|_| event.object_type == ObjectType::Email) {
        Some((machine, flag)) => format!("{}; `{flag}`: `{machine}`", or_dash(row.interaction_type)),
        None => or_dash(row.interaction_type),
    };
    writeln!(
        page,
        "| `{}`{shape} | [`{}`]({}){published} | `{}` | {} | {} | {interaction} | `{}` |",
        event.metric.as_str(),
        event.subscription,
        example(event, shape),
        row.event_type,
        or_dash(row.counter.map(tables::Counter::as_str)),
        or_dash(row.feedback_status),
        row.produced_by,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_page_matches_the_tables() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/mapping.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, markdown()).unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, markdown(), "docs/mapping.md is out of step: UPDATE_DOCS=1 cargo test page");
    }

    #[test]
    fn every_catalogued_event_has_a_row_with_a_valid_link() {
        let page = markdown();
        for event in CATALOGUE {
            assert_eq!(page.matches(&format!("| `{}` | [`{}`]", event.metric.as_str(), event.subscription)).count(), 1);
        }
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        let links: Vec<_> = page.split("](../").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert_eq!(links.len(), 74);
        for link in links {
            assert!(docs.join("..").join(link).is_file(), "{link}");
        }
        assert_eq!(FAMILIES.len(), ObjectType::ALL.len());
    }
}
