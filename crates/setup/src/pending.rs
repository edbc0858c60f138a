//! The note in the name of a webhook that is not enabled for all its events yet.
//!
//! `apply` creates a webhook disabled, and enables it later; a canary first enables it for a few events. The note
//! distinguishes these two states from a webhook that a person has disabled, which must not be enabled without
//! permission. The note is in the name because Customer.io stores no other text of ours, and a state file can be lost.

use customerio_api::{Webhook, WebhookUpdate};

/// Note of a webhook that has never been enabled for all its events.
const NOT_ENABLED: &str = " (not enabled yet)";
/// Note of a webhook that is enabled only for the events of a canary.
const CANARY: &str = " (canary)";

/// The name of a webhook that is not enabled yet.
pub(crate) fn pending(name: &str) -> String {
    format!("{name}{NOT_ENABLED}")
}

/// The name of a webhook whose canary has no outcome yet.
pub(crate) fn canary(name: &str) -> String {
    format!("{name}{CANARY}")
}

/// The name without its note; `None` if it has no note.
pub(crate) fn without_note(name: &str) -> Option<&str> {
    let name = name.trim_end();
    name.strip_suffix(NOT_ENABLED).or_else(|| name.strip_suffix(CANARY))
}

/// Returns true if a person has disabled a webhook of ours after it had been enabled.
#[must_use]
pub fn is_paused(webhook: &Webhook) -> bool {
    !webhook.is_enabled() && without_note(webhook.name()).is_none()
}

/// Returns true if a webhook is enabled only for the events of a canary.
pub(crate) fn is_canary(webhook: &Webhook) -> bool {
    webhook.is_enabled() && webhook.name().trim_end().ends_with(CANARY)
}

/// The update that enables a webhook and removes the note from its name.
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
    fn only_an_enabled_webhook_with_the_canary_note_is_a_canary() {
        assert!(is_canary(&webhook(&canary("ours"), false)));
        assert!(!is_canary(&webhook(&canary("ours"), true)) && !is_canary(&webhook(&pending("ours"), false)));
    }

    #[test]
    fn enabling_changes_only_the_state_and_the_note_in_the_name() {
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
