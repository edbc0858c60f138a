//! The note in the name of a webhook that is not enabled for all its events yet.
//!
//! `apply` creates a webhook disabled, and enables it later; a canary enables it for a few events first. The note
//! distinguishes both from a webhook that somebody has disabled since, which must not be enabled without a word. It is in
//! the name because Customer.io keeps nothing else for us, and a state file can be lost.

use customerio_api::{Webhook, WebhookUpdate};

/// Of a webhook that has never been enabled for all its events.
const NOT_ENABLED: &str = " (not enabled yet)";
/// Of a webhook that is enabled for the events of a canary only.
const CANARY: &str = " (canary)";

/// The name of a new webhook.
pub(crate) fn pending(name: &str) -> String {
    format!("{name}{NOT_ENABLED}")
}

/// The name of a webhook whose canary has no outcome yet.
pub(crate) fn canary(name: &str) -> String {
    format!("{name}{CANARY}")
}

/// The name without its note, if it has one.
pub(crate) fn without_note(name: &str) -> Option<&str> {
    let name = name.trim_end();
    name.strip_suffix(NOT_ENABLED).or_else(|| name.strip_suffix(CANARY))
}

/// Whether somebody has disabled a webhook of ours after it had been enabled.
pub(crate) fn is_paused(webhook: &Webhook) -> bool {
    !webhook.is_enabled() && without_note(webhook.name()).is_none()
}

/// Whether a webhook is enabled for the events of a canary only.
pub(crate) fn is_canary(webhook: &Webhook) -> bool {
    webhook.is_enabled() && webhook.name().trim_end().ends_with(CANARY)
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
    fn only_a_disabled_webhook_without_a_note_is_paused() {
        let new = pending("ours [a/B@AdobeOrg/dev/default]");
        assert!(!is_paused(&webhook(&new, true)) && !is_paused(&webhook("ours", false)));
        assert!(is_paused(&webhook("ours", true)));
        assert!(!is_paused(&webhook(&canary("ours"), true)), "it has never been enabled for all its events");
    }

    #[test]
    fn only_an_enabled_webhook_with_its_note_is_a_canary() {
        assert!(is_canary(&webhook(&canary("ours"), false)));
        assert!(!is_canary(&webhook(&canary("ours"), true)) && !is_canary(&webhook(&pending("ours"), false)));
    }

    #[test]
    fn enabling_removes_the_note_and_nothing_else() {
        let changes = |webhook: &Webhook| -> Vec<(&str, serde_json::Value)> {
            enabled(webhook).changes().into_iter().map(|change| (change.field, change.after)).collect()
        };
        for name in [pending("ours"), canary("ours")] {
            let mut changed = changes(&webhook(&name, true));
            changed.sort_by_key(|(field, _)| *field);
            assert_eq!(changed, [("disabled", json!(false)), ("name", json!("ours"))]);
        }
        assert_eq!(changes(&webhook("ours", true)), [("disabled", json!(false))]);
    }
}
