//! The note in the name of a webhook that has never been enabled.
//!
//! `apply` creates a webhook disabled, and enables it later. The note distinguishes it from one that somebody has disabled
//! since, which must not be enabled without a word. It is in the name because Customer.io keeps nothing else for us, and a state
//! file can be lost.

use customerio_api::{Webhook, WebhookUpdate};

const NOTE: &str = " (not enabled yet)";

/// The name of a new webhook.
pub(crate) fn pending(name: &str) -> String {
    format!("{name}{NOTE}")
}

/// The name without the note, if it has one.
pub(crate) fn without_note(name: &str) -> Option<&str> {
    name.trim_end().strip_suffix(NOTE)
}

/// Whether somebody has disabled a webhook of ours after it had been enabled.
pub(crate) fn is_paused(webhook: &Webhook) -> bool {
    !webhook.is_enabled() && without_note(webhook.name()).is_none()
}

/// The request that enables a webhook. The note goes with it.
pub(crate) fn enabled(webhook: &Webhook) -> WebhookUpdate {
    let update = WebhookUpdate::of(webhook).enable();
    match without_note(webhook.name()) {
        Some(name) => update.name(name),
        None => update,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn webhook(name: &str, disabled: bool) -> Webhook {
        let value =
            json!({"id": 1, "name": name, "endpoint": "https://x.example/", "disabled": disabled, "events": []});
        Webhook::parse(&value).unwrap()
    }

    #[test]
    fn only_a_disabled_webhook_without_the_note_is_paused() {
        let new = pending("ours [a/B@AdobeOrg/dev/default]");
        assert!(!is_paused(&webhook(&new, true)) && !is_paused(&webhook("ours", false)));
        assert!(is_paused(&webhook("ours", true)));
    }

    #[test]
    fn enabling_removes_the_note_and_nothing_else() {
        let changes = |webhook: &Webhook| -> Vec<(&str, serde_json::Value)> {
            enabled(webhook).changes().into_iter().map(|change| (change.field, change.after)).collect()
        };
        let mut changed = changes(&webhook(&pending("ours"), true));
        changed.sort_by_key(|(field, _)| *field);
        assert_eq!(changed, [("disabled", json!(false)), ("name", json!("ours"))]);
        assert_eq!(changes(&webhook("ours", true)), [("disabled", json!(false))]);
    }
}
