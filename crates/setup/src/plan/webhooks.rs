//! Plans the reporting webhooks of Customer.io, one per source.

mod choices;

use std::collections::BTreeMap;

use customerio_api::{FieldChange, Webhook, WebhookUpdate};
use reqwest::Url;
use serde_json::Value;
use sources::SourceName;

use crate::desired::{Permit, WebhookWish};
use crate::key::Key;
use crate::observed::ObservedWorkspace;
use crate::pending::{is_canary, is_paused, pending, without_note};
use crate::plan::planned::{Difference, Plan, Planned};
use crate::refusal::Refusal;
use crate::stage::{Mark, Stage};
use crate::step::{Step, WebhookDraft, WebhookStep};

/// The host of Platform's inlets. A webhook with this host sends to Adobe's own source for Customer.io.
const ADOBE_HOST: &str = "dcs.adobedc.net";

pub(super) fn webhook_objects(
    wishes: &[WebhookWish],
    stage: &Stage,
    found: &BTreeMap<SourceName, ObservedWorkspace>,
    permit: &Permit,
    plan: &mut Plan,
) {
    for wish in wishes {
        let Some(workspace) = found.get(&wish.source) else { continue };
        let planner = Planner { wish, workspace, permit, mark: stage.mark_of(&wish.source), plan: &mut *plan };
        planner.run();
    }
}

struct Planner<'p> {
    wish: &'p WebhookWish,
    workspace: &'p ObservedWorkspace,
    permit: &'p Permit,
    mark: Mark,
    plan: &'p mut Plan,
}

impl<'p> Planner<'p> {
    fn run(mut self) {
        let source = &self.wish.source;
        if let Some(failure) = &self.workspace.failure {
            self.plan.problems.push(format!("source `{source}`: its workspace cannot be read: {failure}"));
            return;
        }
        self.notes();
        let choice = self.choose();
        let found = choice.as_ref().ok().and_then(|choice| choice.map(|(webhook, _)| webhook));
        self.plan.notes.extend(choices::notes(self.wish, found));
        match choice {
            Err(refusal) => self.plan.refusals.push(*refusal),
            Ok(None) => self.create(),
            Ok(Some((webhook, adopted))) => self.existing(webhook, adopted),
        }
    }

    fn key(&self) -> Key {
        Key::Webhook(self.wish.source.clone())
    }

    /// Adds notes about all webhooks of the workspace.
    fn notes(&mut self) {
        let source = &self.wish.source;
        let webhooks = &self.workspace.webhooks;
        self.plan.notes.push(self.workspace_note());
        let names: Vec<String> = webhooks
            .webhooks
            .iter()
            .map(|webhook| {
                let state = if webhook.is_enabled() { "enabled" } else { "disabled" };
                format!("{} `{}` to {} ({state})", webhook.id(), webhook.name(), webhook.shown_endpoint())
            })
            .collect();
        let list = if names.is_empty() { "none".to_owned() } else { names.join("; ") };
        self.plan.notes.push(format!(
            "source `{source}`: the workspace of the App API key {} has these webhooks: {list}",
            self.workspace.key_fingerprint
        ));
        let to_adobe = webhooks
            .webhooks
            .iter()
            .filter(|webhook| webhook.is_enabled() && webhook.endpoint_host().as_deref() == Some(ADOBE_HOST));
        for webhook in to_adobe {
            self.plan.notes.push(format!(
                "source `{source}`: the webhook {} `{}` sends to Adobe's own source ({ADOBE_HOST}); with this product next to it every event reaches Platform twice (docs/connect.md, \"Moving from Adobe's own source\")",
                webhook.id(),
                webhook.name()
            ));
        }
        for unreadable in &webhooks.unreadable {
            self.plan.notes.push(format!("source `{source}`: {unreadable}"));
        }
    }

    /// Our webhook, and whether it is being adopted; `None` if there is none.
    fn choose(&self) -> Result<Option<(&'p Webhook, bool)>, Box<Refusal>> {
        let source_name = self.wish.source.clone();
        let workspace: &'p ObservedWorkspace = self.workspace;
        let webhooks = &workspace.webhooks;
        let is_ours = |name: &str| Mark::of(name).as_ref() == Some(&self.mark);
        if let Some(unreadable) = webhooks.unreadable.iter().find(|found| found.name.as_deref().is_some_and(is_ours)) {
            return Err(Refusal::WebhookUnreadable { source_name, what: unreadable.to_string() }.into());
        }
        let ours: Vec<&'p Webhook> = webhooks.webhooks.iter().filter(|webhook| is_ours(webhook.name())).collect();
        match ours.as_slice() {
            [] => {}
            [only] => return Ok(Some((only, false))),
            several => {
                let ids = several.iter().map(|webhook| webhook.id().to_string()).collect();
                return Err(Refusal::SeveralMarked { key: self.key(), ids, mark: self.mark.clone() }.into());
            }
        }
        let calls_us = |webhook: &&Webhook| webhook.endpoint().parse().is_ok_and(|url: Url| url == self.wish.endpoint);
        match webhooks.webhooks.iter().find(calls_us) {
            None => Ok(None),
            Some(webhook) => match Mark::of(webhook.name()) {
                None if self.permit.adopt => Ok(Some((webhook, true))),
                None => Err(Refusal::SameEndpoint {
                    source_name,
                    id: webhook.id().to_string(),
                    name: webhook.name().to_owned(),
                }
                .into()),
                Some(mark) => Err(Refusal::OfAnotherStage {
                    key: self.key(),
                    name: webhook.name().to_owned(),
                    id: webhook.id().to_string(),
                    mark,
                }
                .into()),
            },
        }
    }

    fn create(mut self) {
        let wish = self.wish;
        let missing =
            |variable, consequence| Refusal::ChoiceMissing { source_name: wish.source.clone(), variable, consequence };
        let mut refusals = Vec::new();
        if wish.events.is_none() {
            refusals.push(missing(choices::EVENTS, choices::EVENTS_CHOICE));
        }
        if wish.resolution.is_none() {
            refusals.push(missing(choices::RESOLUTION, choices::RESOLUTION_CHOICE));
        }
        if wish.content.is_none() {
            refusals.push(missing(choices::CONTENT, choices::CONTENT_CHOICE));
        }
        refusals.extend(self.workspace_refusal());
        self.plan.refusals.extend(refusals);
        let (Some(events), Some(resolution), Some(content)) = (wish.events.clone(), wish.resolution, wish.content)
        else {
            return;
        };
        let name = pending(&self.mark.on("Adobe Experience Platform"));
        let draft = WebhookDraft { name: name.clone(), endpoint: wish.endpoint.clone(), events, resolution, content };
        let mut object = Planned::create(self.key(), name, WebhookStep::Create(draft));
        object.differences.push(Difference::new("enabled", "no", "after a signed round trip through the public URL"));
        self.add(object);
    }

    fn add(&mut self, object: Planned) {
        self.plan.objects.push(object);
    }

    /// The workspace of the App API key, as far as it is known.
    fn workspace_note(&self) -> String {
        let source = &self.wish.source;
        let names: Vec<&str> = self.workspace.workspaces.iter().map(|workspace| workspace.name.as_str()).collect();
        match (&self.wish.workspace, names.as_slice()) {
            (_, [only]) => format!("source `{source}`: the workspace is `{only}`, the only one of the account"),
            (Some(named), _) => {
                format!(
                    "source `{source}`: the workspace is `{named}`, as configured; the account has: {}",
                    names.join(", ")
                )
            }
            (None, []) => format!("source `{source}`: the account lists no workspace"),
            (None, _) => {
                format!("source `{source}`: the workspace is not named; the account has: {}", names.join(", "))
            }
        }
    }

    /// If the account has several workspaces, a person must name the workspace before anything is written in it.
    fn workspace_refusal(&self) -> Option<Refusal> {
        let source_name = self.wish.source.clone();
        let names: Vec<String> = self.workspace.workspaces.iter().map(|workspace| workspace.name.clone()).collect();
        match &self.wish.workspace {
            Some(wanted) if names.contains(wanted) => None,
            Some(wanted) => Some(Refusal::WrongWorkspace { source_name, wanted: wanted.clone(), names }),
            None if names.len() <= 1 => None,
            None => Some(Refusal::WorkspaceNotNamed { source_name, names }),
        }
    }

    fn existing(mut self, webhook: &Webhook, adopted: bool) {
        let wish = self.wish;
        let old = webhook.endpoint_host().unwrap_or_else(|| "(not a URL)".to_owned());
        let new = wish.endpoint.host_str().unwrap_or_default().to_owned();
        let may_move = self.permit.move_endpoint.as_deref().is_some_and(|allowed| allowed.eq_ignore_ascii_case(&old));
        if !old.eq_ignore_ascii_case(&new) && !may_move {
            self.plan.refusals.push(Refusal::EndpointElsewhere {
                source_name: wish.source.clone(),
                id: webhook.id().to_string(),
                old,
                new,
            });
            return;
        }
        if is_canary(webhook) {
            self.canary(webhook);
            return;
        }
        let mut update = WebhookUpdate::of(webhook).endpoint(&wish.endpoint);
        if adopted {
            let name = webhook.name().trim();
            let name = if name.is_empty() { "Adobe Experience Platform" } else { name };
            update = update.name(&self.mark.on(name));
        }
        if let Some(name) = without_note(webhook.name()).filter(|_| webhook.is_enabled()) {
            // A person has enabled the webhook, so the note "not enabled yet" in its name is no longer true.
            update = update.name(name);
        }
        if let Some(events) = &wish.events {
            update = update.events(events);
        }
        if let Some(resolution) = wish.resolution {
            update = update.resolution(resolution);
        }
        if let Some(content) = wish.content {
            update = update.content(content);
        }
        let changes = update.changes();
        let mut differences: Vec<Difference> = changes.iter().map(difference).collect();
        let mut steps = Vec::new();
        if !changes.is_empty() {
            steps.push(Step::from(WebhookStep::Update(Box::new(update))));
        }
        if is_paused(webhook) && !self.permit.enable_webhooks.contains(&wish.source) {
            differences.push(self.paused(webhook));
        } else if !webhook.is_enabled() {
            let current = if is_paused(webhook) { "no, somebody disabled it in Customer.io" } else { "no" };
            differences.push(Difference::new("enabled", current, "after a signed round trip through the public URL"));
            steps.push(Step::from(WebhookStep::Enable(Box::new(webhook.clone()))));
        }
        if !steps.is_empty() {
            self.plan.refusals.extend(self.workspace_refusal());
        }
        let object = Planned::existing(self.key(), webhook.name(), webhook.id().to_string(), differences, steps);
        self.add(object);
    }

    /// A webhook that is enabled for a canary is not changed: until the canary has an outcome, the gateway may refuse
    /// all events.
    fn canary(mut self, webhook: &Webhook) {
        let source = &self.wish.source;
        self.plan.problems.push(format!(
            "source `{source}`: the webhook {} is enabled for a canary ({} events) and has no outcome yet; run `customerio-aep setup webhook canary` again, or stop it with `customerio-aep setup webhook pause`",
            webhook.id(),
            webhook.events().len()
        ));
        let differences = vec![Difference::new("events", "those of a canary", "all that are wanted, after the canary")];
        let object = Planned::existing(self.key(), webhook.name(), webhook.id().to_string(), differences, Vec::new());
        self.add(object);
    }

    /// A webhook that a person has disabled stays disabled, unless the permit allows enabling it.
    fn paused(&mut self, webhook: &Webhook) -> Difference {
        let source = &self.wish.source;
        self.plan.problems.push(format!(
            "source `{source}`: somebody disabled the webhook {} in Customer.io after it had been enabled, so no event is sent; it stays disabled. To enable it again: `customerio-aep setup webhook resume --source {source}`, or `setup apply --enable-webhook {source}`",
            webhook.id()
        ));
        let wanted = format!("stays disabled without --enable-webhook {source}");
        Difference::new("enabled", "no, somebody disabled it in Customer.io", wanted)
    }
}

/// Formats a difference. Of the events, it names only those that are added or removed.
fn difference(change: &FieldChange) -> Difference {
    let names = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    if change.field != "events" {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let shown = |value: &Value| match change.field {
            "endpoint" => text(value).split('?').next().unwrap_or_default().to_owned(),
            _ => text(value),
        };
        return Difference::new(change.field, shown(&change.before), shown(&change.after));
    }
    let (before, after) = (names(&change.before), names(&change.after));
    let only = |these: &[String], those: &[String]| -> String {
        let list: Vec<_> = these.iter().filter(|name| !those.contains(name)).cloned().collect();
        if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
    };
    let removed = format!("{} events (to remove: {})", before.len(), only(&before, &after));
    Difference::new("events", removed, format!("{} events (to add: {})", after.len(), only(&after, &before)))
}
