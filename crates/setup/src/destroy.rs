//! Removes the objects that `setup` created, as far as they can and may be removed.
//!
//! Only objects with our mark are removed. Namespaces and objects that are enabled for Profile cannot be removed.
//! Topics are kept. A dataset that holds records is kept unless a person allows its removal.

mod draining;
mod steps;

use std::fmt;

use customerio_api::{Webhook, WebhookId};
use reqwest::Url;
use sources::SourceName;

use crate::desired::{Desired, WebhookWish};
use crate::key::Key;
use crate::observed::{Observed, ObservedWorkspace, PlatformObjects};
use crate::plan::Candidate;
use crate::refusal::Refusal;
use crate::stage::{Mark, Stage};

pub use draining::{Drained, Traffic, Undrained};
pub use steps::{destroy, disable_webhooks};

/// Permissions that a person has given for this removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestroyPermit {
    /// Name of the dataset that may be deleted together with its records.
    pub delete_data: Option<String>,
    /// The number of unresolved dead letters that may be lost.
    pub abandon: u64,
    /// Name of the sandbox that a person has confirmed.
    pub confirmed_sandbox: Option<String>,
    /// True if the run may wait until the services have delivered what is in Kafka and are stopped.
    pub waits: bool,
}

/// One request of a removal.
#[derive(Debug, Clone)]
pub enum Removal {
    /// Disables a webhook, so that no more events arrive.
    Disable {
        /// The source of the webhook.
        source: SourceName,
        /// The webhook to disable.
        webhook: Box<Webhook>,
    },
    /// Removes an object of Platform.
    Object {
        /// Key of the object.
        key: Key,
        /// Id of the object.
        id: String,
        /// Name of the object.
        name: String,
    },
    /// Removes a webhook.
    Webhook {
        /// The source of the webhook.
        source: SourceName,
        /// Id of the webhook.
        id: WebhookId,
        /// Name of the webhook.
        name: String,
    },
}

impl Removal {
    /// The object that the request changes or removes.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Disable { source, .. } | Self::Webhook { source, .. } => Key::Webhook(source.clone()),
            Self::Object { key, .. } => key.clone(),
        }
    }

    /// The object's id in its service.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Disable { webhook, .. } => webhook.id().to_string(),
            Self::Object { id, .. } => id.clone(),
            Self::Webhook { id, .. } => id.to_string(),
        }
    }

    /// The request as one line of text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Disable { webhook, .. } => {
                format!("disable the {} {} `{}`", self.key(), webhook.id(), webhook.name())
            }
            Self::Object { key, id, name } => format!("remove the {key} `{name}` ({id})"),
            Self::Webhook { id, name, .. } => format!("remove the {} {id} `{name}`", self.key()),
        }
    }
}

/// An object that is not removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Key of the object.
    pub key: Key,
    /// Id of the object, or its name if it has no id.
    pub id: String,
    /// The reason, and the next step if there is one.
    pub reason: String,
    /// True if the object can never be removed.
    pub forever: bool,
}

/// The removals, ordered so that no object is removed while another one refers to it.
#[derive(Debug, Clone, Default)]
pub struct DestroyPlan {
    /// The requests, in order.
    pub removals: Vec<Removal>,
    /// The objects that are not removed.
    pub kept: Vec<Kept>,
    /// Facts that could not be determined.
    pub notes: Vec<String>,
    /// The reasons why the plan must not be applied.
    pub refusals: Vec<String>,
    /// The sandbox whose name a person has to confirm; `None` if it is not a production sandbox.
    pub confirmation: Option<Confirmation>,
    /// The reasons why the flow cannot be removed yet. They do not prevent the run, which first disables the webhooks
    /// or waits until the pipeline is empty.
    pub undrained: Vec<Undrained>,
}

/// A sandbox whose name a person has to confirm before anything is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confirmation {
    /// The sandbox is a production sandbox.
    Production(String),
    /// Platform was not asked for the sandbox, or did not answer.
    Unknown(String),
}

impl Confirmation {
    /// Name of the sandbox.
    #[must_use]
    pub fn sandbox(&self) -> &str {
        match self {
            Self::Production(name) | Self::Unknown(name) => name,
        }
    }
}

impl fmt::Display for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Production(name) => write!(f, "the sandbox `{name}` is a PRODUCTION sandbox"),
            Self::Unknown(name) => write!(
                f,
                "it is not known whether the sandbox `{name}` is a PRODUCTION sandbox: Platform was not asked, or did not answer"
            ),
        }
    }
}

impl DestroyPlan {
    /// Returns true if the plan disables a webhook.
    #[must_use]
    pub fn disables_webhooks(&self) -> bool {
        self.removals.iter().any(|removal| matches!(removal, Removal::Disable { .. }))
    }

    /// Returns true if the plan removes the flow, through which the sink delivers.
    #[must_use]
    pub fn removes_flow(&self) -> bool {
        self.removals.iter().any(|removal| removal.key() == Key::Flow)
    }

    /// The removals that `other` does not contain, as text. A person who confirmed `other` has not agreed to these.
    #[must_use]
    pub fn not_in(&self, other: &Self) -> Vec<String> {
        let is_known = |removal: &&Removal| {
            other.removals.iter().any(|known| (known.key(), known.id()) == (removal.key(), removal.id()))
        };
        self.removals.iter().filter(|removal| !is_known(removal)).map(Removal::text).collect()
    }
}

/// Plans the removal of a stage, without side effects. `traffic` is `None` if Kafka was not queried.
#[must_use]
pub fn plan_destroy(
    desired: &Desired,
    observed: &Observed,
    traffic: Option<Traffic>,
    permit: &DestroyPermit,
) -> DestroyPlan {
    let mut plan = DestroyPlan::default();
    let Some(stage) = &desired.stage else { return plan };
    let mark = stage.shared_mark();
    let webhooks = marked_webhooks(desired, stage, observed, &mut plan);
    for (source, webhook) in webhooks.iter().filter(|(_, webhook)| webhook.is_enabled()) {
        plan.removals.push(Removal::Disable { source: source.clone(), webhook: Box::new((*webhook).clone()) });
    }
    if let Some(platform) = &observed.platform {
        if let Some(error) = &platform.failure {
            plan.refusals.push(format!("the objects in Platform could not be read, so nothing is removed: {error}"));
        }
        if let Some(objects) = &platform.objects {
            platform_removals(objects, &mark, permit, &mut plan);
            namespaces(desired, objects, &mut plan);
        }
    }
    let deletions = webhooks.iter().map(|(source, webhook)| Removal::Webhook {
        source: source.clone(),
        id: webhook.id(),
        name: webhook.name().to_owned(),
    });
    plan.removals.extend(deletions);
    for topic in desired.topics.iter().flat_map(|wish| wish.names()) {
        let reason =
            "topics stay: they hold the proof of what was delivered. Remove them with kafka-topics.sh --delete"
                .to_owned();
        plan.kept.push(Kept { key: Key::Topic(topic.to_string()), id: topic.to_string(), reason, forever: false });
    }
    unmarked_webhooks(desired, observed, &mut plan);
    undrained(traffic, permit, &mut plan);
    plan.confirmation = confirmation(stage, observed);
    if let Some(confirmation) = &plan.confirmation
        && permit.confirmed_sandbox.as_deref() != Some(confirmation.sandbox())
        && !plan.removals.is_empty()
    {
        let name = confirmation.sandbox();
        plan.refusals.push(format!("{confirmation}; confirm its name (type it, or --confirm-sandbox {name})"));
    }
    plan
}

/// The sandbox to confirm, also if only webhooks are removed: [`Observed::sandbox`] then contains the sandbox.
fn confirmation(stage: &Stage, observed: &Observed) -> Option<Confirmation> {
    let name = stage.sandbox.as_str();
    let sandbox = match &observed.platform {
        Some(platform) => platform.sandboxes.iter().find(|sandbox| sandbox.name == name),
        None => observed.sandbox.as_ref(),
    };
    match sandbox {
        Some(sandbox) if sandbox.is_production() => Some(Confirmation::Production(name.to_owned())),
        Some(_) => None,
        None => Some(Confirmation::Unknown(name.to_owned())),
    }
}

/// The webhooks with a mark of the stage, and the source of each. Adds a refusal for a workspace or a marked webhook
/// that cannot be read, and for several webhooks with the same mark.
fn marked_webhooks<'o>(
    desired: &Desired,
    stage: &Stage,
    observed: &'o Observed,
    plan: &mut DestroyPlan,
) -> Vec<(SourceName, &'o Webhook)> {
    let mut found = Vec::new();
    for (wish, workspace) in workspaces(desired, observed) {
        let (source, mark) = (&wish.source, stage.mark_of(&wish.source));
        if let Some(failure) = &workspace.failure {
            plan.refusals.push(format!(
                "source `{source}`: its workspace cannot be read, so its webhook may still send events, and nothing is removed: {failure}"
            ));
        }
        let is_ours = |name: &str| Mark::of(name).as_ref() == Some(&mark);
        let unreadable = &workspace.webhooks.unreadable;
        for unreadable in unreadable.iter().filter(|found| found.name.as_deref().is_some_and(is_ours)) {
            let what = unreadable.to_string();
            plan.refusals.push(Refusal::WebhookUnreadable { source_name: source.clone(), what }.to_string());
        }
        let ours: Vec<&Webhook> =
            workspace.webhooks.webhooks.iter().filter(|webhook| is_ours(webhook.name())).collect();
        let ids = ours.iter().map(|webhook| webhook.id().to_string()).collect();
        refuse_several(Key::Webhook(source.clone()), ids, &mark, plan);
        found.extend(ours.into_iter().map(|webhook| (source.clone(), webhook)));
    }
    found
}

/// The workspaces that were read, with the webhook that each one should have.
fn workspaces<'d, 'o>(
    desired: &'d Desired,
    observed: &'o Observed,
) -> impl Iterator<Item = (&'d WebhookWish, &'o ObservedWorkspace)> {
    desired.webhooks.iter().filter_map(move |wish| Some((wish, observed.customerio.get(&wish.source)?)))
}

/// Adds the webhooks that call the gateway and have no mark: a person created or renamed them, so they are kept. An
/// enabled one still needs the flow, so it is a refusal if the plan removes the flow.
fn unmarked_webhooks(desired: &Desired, observed: &Observed, plan: &mut DestroyPlan) {
    let removes_flow = plan.removes_flow();
    for (wish, workspace) in workspaces(desired, observed) {
        let source = &wish.source;
        let calls_us = |webhook: &&Webhook| webhook.endpoint().parse().is_ok_and(|url: Url| url == wish.endpoint);
        let unmarked = |webhook: &&Webhook| Mark::of(webhook.name()).is_none();
        for webhook in workspace.webhooks.webhooks.iter().filter(calls_us).filter(unmarked) {
            let (id, name) = (webhook.id().to_string(), webhook.name());
            if webhook.is_enabled() && removes_flow {
                plan.refusals.push(format!(
                    "the webhook {id} (`{name}`) calls this gateway's URL for source `{source}`, is enabled, and its name has no mark of this tool: a person created it, or changed its name. Disable or delete it in Customer.io (Data & Integrations > Integrations > Reporting Webhooks) first"
                ));
            }
            let reason = format!(
                "`{name}` calls this gateway's URL and its name has no mark of this tool: a person created it, or changed its name. Delete it in Customer.io, if no one needs it"
            );
            plan.kept.push(Kept { key: Key::Webhook(source.clone()), id, reason, forever: false });
        }
    }
}

/// Adds a refusal if several objects carry the same mark, because a person must choose between them.
fn refuse_several(key: Key, ids: Vec<String>, mark: &Mark, plan: &mut DestroyPlan) {
    if ids.len() > 1 {
        plan.refusals.push(Refusal::SeveralMarked { key, ids, mark: mark.clone() }.to_string());
    }
}

/// Adds the reasons why the flow cannot be removed yet. Lag and running services do not prevent a run that disables a
/// webhook or waits. Unresolved dead letters prevent every run, because a person must decide about them first.
fn undrained(traffic: Option<Traffic>, permit: &DestroyPermit, plan: &mut DestroyPlan) {
    if !plan.removes_flow() {
        return;
    }
    let Some(traffic) = traffic else {
        plan.notes.push(
            "Kafka is not among the parts, so it is not known whether records wait for delivery; add kafka to --only"
                .to_owned(),
        );
        return;
    };
    let may_begin = permit.waits || plan.disables_webhooks();
    for undrained in traffic.undrained(permit) {
        match undrained {
            Undrained::Lag(_) | Undrained::Members(_) if may_begin => plan.undrained.push(undrained),
            _ => plan.refusals.push(undrained.to_string()),
        }
    }
}

/// Returns the candidates with our mark. Adds a refusal if there are several.
fn ours<'c, C: Candidate>(candidates: &'c [C], mark: &Mark, key: &Key, plan: &mut DestroyPlan) -> Vec<&'c C> {
    let ours: Vec<&C> = candidates.iter().filter(|candidate| candidate.mark().as_ref() == Some(mark)).collect();
    let ids = ours.iter().map(|candidate| candidate.id().to_owned()).collect();
    refuse_several(key.clone(), ids, mark, plan);
    ours
}

/// Returns the removals of the candidates with our mark.
fn marked<C: Candidate>(candidates: &[C], mark: &Mark, key: &Key, plan: &mut DestroyPlan) -> Vec<Removal> {
    let removal = |candidate: &C| Removal::Object {
        key: key.clone(),
        id: candidate.id().to_owned(),
        name: candidate.name().to_owned(),
    };
    ours(candidates, mark, key, plan).into_iter().map(removal).collect()
}

fn platform_removals(objects: &PlatformObjects, mark: &Mark, permit: &DestroyPermit, plan: &mut DestroyPlan) {
    let connections = [
        marked(&objects.flows, mark, &Key::Flow, plan),
        marked(&objects.targets, mark, &Key::TargetConnection, plan),
        marked(&objects.sources, mark, &Key::SourceConnection, plan),
        marked(&objects.bases, mark, &Key::BaseConnection, plan),
    ];
    plan.removals.extend(connections.into_iter().flatten());
    let schema_is_used = dataset_removals(objects, mark, permit, plan);
    let group_is_used = schema_removals(objects, mark, schema_is_used, plan);
    for group in marked(&objects.field_groups, mark, &Key::FieldGroup, plan) {
        match group {
            Removal::Object { key, id, .. } if group_is_used => {
                let reason = "the schema that stays needs it".to_owned();
                plan.kept.push(Kept { key, id, reason, forever: false });
            }
            removal => plan.removals.push(removal),
        }
    }
}

/// Plans the removal of the dataset. Returns true if a dataset stays.
fn dataset_removals(objects: &PlatformObjects, mark: &Mark, permit: &DestroyPermit, plan: &mut DestroyPlan) -> bool {
    let mut schema_is_used = false;
    for dataset in ours(&objects.datasets, mark, &Key::Dataset, plan) {
        let (key, id, name) = (Key::Dataset, dataset.id.clone(), dataset.name.clone());
        let may_delete = permit.delete_data.as_deref() == Some(dataset.name.as_str());
        let kept = if dataset.is_profile_enabled() {
            Some((format!("`{name}` is enabled for Profile; see Datasets > {name} on Platform's screen"), true))
        } else if dataset.last_batch_id.is_some() && !may_delete {
            Some((format!("it holds records; to delete it with them, add --delete-data \"{name}\""), false))
        } else {
            None
        };
        match kept {
            Some((reason, forever)) => {
                schema_is_used = true;
                plan.kept.push(Kept { key, id, reason, forever });
            }
            None => plan.removals.push(Removal::Object { key, id, name }),
        }
    }
    schema_is_used
}

/// Plans the removal of the schema. Returns true if a schema stays.
fn schema_removals(objects: &PlatformObjects, mark: &Mark, schema_is_used: bool, plan: &mut DestroyPlan) -> bool {
    let mut group_is_used = false;
    for schema in ours(&objects.schemas, mark, &Key::Schema, plan) {
        let (key, id, name) = (Key::Schema, schema.id.clone(), schema.title.clone());
        let kept = if schema.is_profile_enabled() {
            Some((format!("`{name}` is enabled for Profile; see Schemas > {name} on Platform's screen"), true))
        } else if schema_is_used {
            Some(("the dataset that stays needs it".to_owned(), false))
        } else {
            None
        };
        match kept {
            Some((reason, forever)) => {
                group_is_used = true;
                plan.kept.push(Kept { key, id, reason, forever });
            }
            None => plan.removals.push(Removal::Object { key, id, name }),
        }
    }
    group_is_used
}

fn namespaces(desired: &Desired, objects: &PlatformObjects, plan: &mut DestroyPlan) {
    let codes = desired.platform.iter().flat_map(|wish| &wish.namespaces);
    for code in codes.filter(|code| objects.namespaces.iter().any(|found| found.code == **code)) {
        let reason = "Platform has no way to remove a namespace (screen: Identities)".to_owned();
        plan.kept.push(Kept { key: Key::Namespace(code.clone()), id: code.clone(), reason, forever: true });
    }
}
