//! The settings of a webhook that have no default, and the consequence of each value.

use customerio_api::{MessageContent, Resolution, SubscribableEvent, Webhook};

use crate::desired::WebhookWish;

pub(super) const EVENTS: &str = "CUSTOMERIO_EVENTS";
pub(super) const RESOLUTION: &str = "CUSTOMERIO_FULL_RESOLUTION";
pub(super) const CONTENT: &str = "CUSTOMERIO_WITH_CONTENT";

pub(super) const EVENTS_CHOICE: &str = "`all`, channels such as `email,push`, or events such as `email_sent,email_opened`. Nothing arrives that is not chosen, and new channels are not added by themselves";
pub(super) const RESOLUTION_CHOICE: &str =
    "`false` reports only the first open and click of a message, `true` every one (many times as many events)";
pub(super) const CONTENT_CHOICE: &str = "`false` leaves message bodies out, and preference changes then do not say what changed; `true` puts whole messages into Kafka for the raw topic's retention";

/// The consequence of each setting of a source's webhook. Without a wish, an existing webhook keeps its value.
pub(super) fn notes(wish: &WebhookWish, found: Option<&Webhook>) -> Vec<String> {
    let all = SubscribableEvent::all().count();
    let events = match (&wish.events, found) {
        (Some(events), _) => Some(events.iter().count()),
        (None, Some(webhook)) => Some(webhook.events().iter().filter(|event| event.subscribable().is_some()).count()),
        (None, None) => None,
    };
    let events = events.map(|count| {
        let missing = match all - count.min(all) {
            0 => String::new(),
            missing => format!("; {missing} are not reported, and never arrive"),
        };
        format!("{EVENTS}: {count} of {all} events{missing}. New channels are not added by themselves")
    });
    let resolution = wish.resolution.or_else(|| found.map(Webhook::resolution)).map(|resolution| match resolution {
        Resolution::FirstOnly => format!("{RESOLUTION}=false: only the first open and click of a message is reported"),
        Resolution::Every => {
            format!("{RESOLUTION}=true: every open and click of a message is reported, many times as many events")
        }
    });
    let content = wish.content.or_else(|| found.map(Webhook::content)).map(|content| match content {
        MessageContent::Omitted => {
            format!("{CONTENT}=false: message bodies are left out, and preference changes do not say what changed")
        }
        MessageContent::Included => {
            format!("{CONTENT}=true: whole messages are in Kafka for the raw topic's retention")
        }
    });
    let of_source = |text: String| format!("source `{}`: {text}", wish.source);
    [events, resolution, content].into_iter().flatten().map(of_source).collect()
}

#[cfg(test)]
mod tests {
    use customerio_api::EventSelection;
    use serde_json::json;
    use sources::SourceName;

    use super::*;

    fn wish() -> WebhookWish {
        WebhookWish {
            source: SourceName::default(),
            endpoint: "https://x.example/webhooks/customerio".parse().unwrap(),
            events: None,
            resolution: None,
            content: None,
            workspace: None,
        }
    }

    #[test]
    fn the_consequence_of_each_choice_is_noted_for_a_new_and_for_an_existing_webhook() {
        assert!(notes(&wish(), None).is_empty(), "a missing choice is a refusal");
        let chosen = WebhookWish {
            events: Some(EventSelection::all()),
            resolution: Some(Resolution::Every),
            content: Some(MessageContent::Included),
            ..wish()
        };
        let text = notes(&chosen, None).join("\n");
        for words in ["72 of 72 events. New", "many times as many events", "whole messages are in Kafka"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let value = json!({"id": 1, "name": "x", "endpoint": "https://x.example/", "disabled": false,
            "full_resolution": false, "with_content": false, "events": ["email_sent"]});
        let text = notes(&wish(), Some(&Webhook::parse(&value).unwrap())).join("\n");
        for words in ["1 of 72 events; 71 are not reported", "only the first open", "do not say what changed"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with("source `default`: CUSTOMERIO_")).count(), 3);
    }
}
