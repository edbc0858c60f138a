//! Customer.io: the key, the workspace, and the webhook of each source.

use customerio_api::{ApiError, AppApiClient, EventName, MessageContent, SubscribableEvent, Webhook};

use super::{Checks, Line, objects};
use crate::desired::{Desired, Permit, WebhookWish};
use crate::key::Target;
use crate::look::workspace;
use crate::observed::Observed;
use crate::plan::plan;
use crate::stage::Mark;
use crate::who::Who;

const ADOBE_HOST: &str = "dcs.adobedc.net";

pub(super) async fn check(checks: &Checks<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for wish in &checks.desired.webhooks {
        if let Some(client) = checks.clients.customerio.get(&wish.source) {
            lines.extend(source(checks, wish, client).await);
        }
    }
    lines
}

async fn source(checks: &Checks<'_>, wish: &WebhookWish, client: &AppApiClient) -> Vec<Line> {
    let asked = format!("the App API key of source {}", wish.source);
    let found = workspace(client, &wish.source, checks.journal, std::time::Duration::ZERO).await;
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![refused(&asked, client, &error).await],
    };
    let mut lines = vec![Line::good("app_api_key", asked, format!("accepted (fingerprint {})", found.key_fingerprint))];
    let desired = Desired {
        topics: None,
        subject: None,
        platform: None,
        webhooks: vec![wish.clone()],
        stage: checks.desired.stage.clone(),
    };
    let webhooks = found.webhooks.webhooks.clone();
    let observed = Observed { customerio: [(wish.source.clone(), found)].into(), ..Observed::default() };
    let planned = plan(&desired, &observed, &Permit::default());
    lines.extend(objects::lines(&planned, Target::CustomerIo, "webhook"));
    let mark = checks.desired.stage.as_ref().map(|stage| stage.mark_of(&wish.source));
    let ours = webhooks.iter().find(|webhook| mark.is_some() && Mark::of(webhook.name()) == mark);
    lines.extend(ours.map(|webhook| events(wish, webhook)));
    lines.extend(ours.and_then(|webhook| content(wish, webhook)));
    lines.extend(others(wish, &webhooks));
    lines
}

/// A key that is refused in one region may belong to the other.
async fn refused(asked: &str, client: &AppApiClient, error: &ApiError) -> Line {
    if matches!(error, ApiError::KeyRefused { .. })
        && let Some(other) = client.in_other_region()
        && other.workspaces().await.is_ok()
    {
        let region = other.address().region();
        let found = format!("this key belongs to an account in region `{region}`");
        return Line::bad("region", asked, found, Who::You, format!("set CUSTOMERIO_REGION={region}"));
    }
    let text = error.to_string();
    match error {
        ApiError::NotSent { .. }
        | ApiError::NoAnswer { .. }
        | ApiError::Unavailable { .. }
        | ApiError::Unexpected { .. }
        | ApiError::TooManyRequests { .. } => Line::unanswered("app_api_key", asked, text, "as the text says"),
        _ => {
            let step = "Please create an App API key with the scope for reporting webhooks (Account settings > API credentials > App API keys), and allow this machine's address if the key has a list of addresses";
            Line::bad("app_api_key", asked, text, error.remedy().into(), step)
        }
    }
}

/// The events that the catalogue has and the webhook does not.
fn events(wish: &WebhookWish, webhook: &Webhook) -> Line {
    let asked = format!("the events of the webhook of source {}", wish.source);
    let has = |event: SubscribableEvent| webhook.events().iter().any(|name| name.as_str() == event.as_str());
    let missing: Vec<&str> =
        SubscribableEvent::all().filter(|event| !has(*event)).map(SubscribableEvent::as_str).collect();
    let unknown: Vec<String> =
        webhook.events().iter().filter(|name| matches!(name, EventName::Unknown(_))).map(ToString::to_string).collect();
    let mut found = match missing.as_slice() {
        [] => "every event of the catalogue is reported".to_owned(),
        missing => {
            let few: Vec<_> = missing.iter().take(8).copied().collect();
            format!("{} events are not reported, such as {}", missing.len(), few.join(", "))
        }
    };
    if !unknown.is_empty() {
        found.push_str(&format!("; this version does not know: {}", unknown.join(", ")));
    }
    if missing.is_empty() && unknown.is_empty() {
        Line::good("events", asked, found)
    } else {
        Line::note("events", asked, found)
    }
}

fn content(wish: &WebhookWish, webhook: &Webhook) -> Option<Line> {
    let asked = format!("the content that the webhook of source {} reports", wish.source);
    let has_preferences = webhook.events().iter().any(|name| name.as_str() == "cio_subscription_preferences_changed");
    (has_preferences && webhook.content() == MessageContent::Omitted).then(|| {
        Line::note("content", asked, "message bodies are left out, so preference changes do not say what has changed")
    })
}

/// Adobe's own source next to this one.
fn others(wish: &WebhookWish, webhooks: &[Webhook]) -> Vec<Line> {
    let to_adobe = webhooks
        .iter()
        .filter(|webhook| webhook.is_enabled() && webhook.endpoint_host().as_deref() == Some(ADOBE_HOST));
    to_adobe
        .map(|webhook| {
            let asked = format!("the other webhooks of source {}'s workspace", wish.source);
            let found = format!(
                "the webhook {} `{}` sends to Adobe's own source as well: every event reaches Platform twice",
                webhook.id(),
                webhook.name()
            );
            let step =
                "Please disable it once this product delivers (docs/connect.md, \"Moving from Adobe's own source\")";
            Line::bad("adobe_source", asked, found, Who::CustomerIoAdministrator, step)
        })
        .collect()
}
