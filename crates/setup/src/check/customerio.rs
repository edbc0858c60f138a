//! Checks of Customer.io: the App API key, the workspace, and the webhook of each source.

use std::collections::BTreeMap;

use customerio_api::{
    ApiError, AppApiClient, EventName, MessageContent, Region, SenderAddress, SubscribableEvent, Webhook,
};
use futures_util::future::join_all;
use sources::SourceName;

use super::{Checks, Line, TIMEOUT, objects};
use crate::desired::{Desired, Permit, WebhookWish};
use crate::key::Target;
use crate::look::workspace;
use crate::observed::{Observed, ObservedWorkspace};
use crate::pending::is_paused;
use crate::plan::plan;
use crate::stage::{Mark, Stage};
use crate::who::Who;

const ADOBE_HOST: &str = "dcs.adobedc.net";

/// The finding for a webhook that is not compared because the stage, whose mark the webhook carries, is unknown.
const NO_STAGE: &str =
    "not compared: PLATFORM_IMS_ORG and PLATFORM_SANDBOX, which say whose webhook it is, are not set";
const NO_URL: &str = "not compared: there is no public URL (CUSTOMERIO_PUBLIC_URL)";

pub(super) async fn check(checks: &Checks<'_>) -> Vec<Line> {
    // `senders` is polled first, so that its few requests come before those of the sources: all share one request
    // budget.
    let of_sources = join_all(checks.sources.iter().map(|source| of_source(checks, source)));
    let (senders, lines) = tokio::join!(senders(checks), of_sources);
    lines.into_iter().flatten().chain(senders).collect()
}

async fn of_source(checks: &Checks<'_>, source: &SourceName) -> Vec<Line> {
    match checks.clients.customerio.get(source) {
        Some(client) => workspace_of(checks, source, &client.answering_within(TIMEOUT)).await,
        None => {
            let asked = format!("the webhook of source {source}");
            vec![Line::skipped("webhook", asked, "not asked: there is no usable App API key")]
        }
    }
}

/// One line for each region of the sources: the addresses from which Customer.io sends webhooks.
async fn senders(checks: &Checks<'_>) -> Vec<Line> {
    let clients = checks.clients.customerio.values();
    let by_region: BTreeMap<String, &AppApiClient> =
        clients.map(|client| (client.address().region().to_string(), client)).collect();
    join_all(by_region.into_iter().map(|(region, client)| of_region(region, client))).await
}

async fn of_region(region: String, client: &AppApiClient) -> Line {
    let asked = format!("the addresses from which Customer.io (region {region}) sends webhooks");
    match client.answering_within(TIMEOUT).sender_addresses().await {
        Ok(addresses) => {
            let addresses: Vec<&str> = addresses.iter().map(SenderAddress::as_str).collect();
            let found = format!("a firewall in front of the gateway must let these through: {}", addresses.join(", "));
            Line::note("senders", asked, found)
        }
        Err(error) => Line::skipped("senders", asked, format!("not known: {error}")),
    }
}

async fn workspace_of(checks: &Checks<'_>, source: &SourceName, client: &AppApiClient) -> Vec<Line> {
    let asked = format!("the App API key of source {source}");
    let found = workspace(client, source, checks.journal, std::time::Duration::ZERO).await;
    let found = match found {
        Ok(found) => found,
        Err(error) => return vec![refused(&asked, client, &error).await],
    };
    let mut lines = vec![Line::good("app_api_key", asked, format!("accepted (fingerprint {})", found.key_fingerprint))];
    let webhooks = found.webhooks.webhooks.clone();
    match (checks.wish(source), &checks.desired.stage) {
        (Some(wish), Some(stage)) => lines.extend(webhook(wish, stage, found)),
        (wish, _) => {
            let why = if wish.is_none() { NO_URL } else { NO_STAGE };
            lines.push(Line::skipped("webhook", format!("the webhook of source {source}"), why));
        }
    }
    lines.extend(others(source, &webhooks));
    lines
}

/// The lines about the differences between the webhook of a source and the desired webhook, and about its state.
fn webhook(wish: &WebhookWish, stage: &Stage, found: ObservedWorkspace) -> Vec<Line> {
    let desired = Desired {
        topics: None,
        subject: None,
        platform: None,
        webhooks: vec![wish.clone()],
        stage: Some(stage.clone()),
    };
    let mark = stage.mark_of(&wish.source);
    let webhooks = found.webhooks.webhooks.clone();
    let observed = Observed { customerio: [(wish.source.clone(), found)].into(), ..Observed::default() };
    let planned = plan(&desired, &observed, &Permit::default());
    let mut lines = objects::lines(&planned, Target::CustomerIo, "webhook");
    let ours = webhooks.iter().find(|webhook| Mark::of(webhook.name()).as_ref() == Some(&mark));
    lines.extend(ours.filter(|webhook| is_paused(webhook)).map(|webhook| paused(wish, webhook)));
    lines.extend(ours.map(|webhook| events(wish, webhook)));
    lines.extend(ours.and_then(|webhook| content(wish, webhook)));
    lines
}

/// The line about a webhook of this stage that a person has disabled in Customer.io.
fn paused(wish: &WebhookWish, webhook: &Webhook) -> Line {
    let source = &wish.source;
    let asked = format!("whether the webhook of source {source} sends events");
    let found = format!(
        "somebody disabled the webhook {} in Customer.io after it had been enabled: no event is sent, and events of this time are probably never sent",
        webhook.id()
    );
    let step = format!(
        "find out who disabled it and why; then run `customerio-aep setup webhook resume --source {source}` (or `setup apply --enable-webhook {source}`). `setup apply` alone leaves it disabled"
    );
    Line::bad("webhook_paused", asked, found, Who::You, step)
}

/// The line about an App API key that belongs to an account in the other region, which is `region`.
fn belongs_to(asked: &str, region: Region) -> Line {
    let found = format!("this key belongs to an account in region `{region}`");
    Line::bad("region", asked, found, Who::You, format!("set CUSTOMERIO_REGION={region}"))
}

/// The line about a failed request to the App API. If Customer.io refuses the key, this also tries the other region.
async fn refused(asked: &str, client: &AppApiClient, error: &ApiError) -> Line {
    if matches!(error, ApiError::KeyRefused { .. })
        && let Some(other) = client.in_other_region()
        && other.workspaces().await.is_ok()
    {
        return belongs_to(asked, other.address().region());
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

/// The line about the events of the catalogue to which the webhook does not subscribe, and about its events that this
/// version does not know.
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

/// The lines about enabled webhooks of the workspace that still send to Adobe's own source.
fn others(source: &SourceName, webhooks: &[Webhook]) -> Vec<Line> {
    let to_adobe = webhooks
        .iter()
        .filter(|webhook| webhook.is_enabled() && webhook.endpoint_host().as_deref() == Some(ADOBE_HOST));
    to_adobe
        .map(|webhook| {
            let asked = format!("the other webhooks of source {source}'s workspace");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    #[test]
    fn the_finding_for_a_key_of_the_other_region_contains_the_setting_to_change() {
        let line = belongs_to("the App API key", Region::Eu);
        assert_eq!((line.level, line.found.as_str()), (Level::Bad, "this key belongs to an account in region `eu`"));
        assert_eq!(line.next.unwrap().step, "set CUSTOMERIO_REGION=eu");
    }
}
