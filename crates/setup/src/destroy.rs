//! Removes the objects that `setup` created, as far as they can and may be removed.
//!
//! Only objects with our mark are removed. Namespaces and objects that are enabled for Profile cannot be removed.
//! Topics are kept. A dataset that holds records is kept unless a person allows its removal.

mod steps;

use customerio_api::{Webhook, WebhookId};
use sources::SourceName;

use crate::desired::Desired;
use crate::key::Key;
use crate::observed::{Observed, PlatformObjects};
use crate::plan::Candidate;
use crate::stage::Mark;

pub use steps::destroy;

/// Records and consumers that are still in the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Number of records that are not processed yet.
    pub lag: u64,
    /// Number of members of the two consumer groups.
    pub members: usize,
    /// Number of unresolved dead letters.
    pub unresolved: u64,
}

/// Permissions that a person has given for this removal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestroyPermit {
    /// Name of the dataset that may be deleted together with its records.
    pub delete_data: Option<String>,
    /// The number of unresolved dead letters that may be lost.
    pub abandon: u64,
    /// Name of the production sandbox that a person has confirmed.
    pub confirmed_sandbox: Option<String>,
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
    /// Name of the sandbox if it is a production sandbox.
    pub production_sandbox: Option<String>,
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
    let webhooks = marked_webhooks(desired, observed);
    for (source, webhook) in webhooks.iter().filter(|(_, webhook)| webhook.is_enabled()) {
        plan.removals.push(Removal::Disable { source: source.clone(), webhook: Box::new((*webhook).clone()) });
    }
    if let Some(platform) = &observed.platform {
        let sandbox = platform.sandboxes.iter().find(|sandbox| sandbox.name == stage.sandbox.as_str());
        plan.production_sandbox = sandbox.filter(|sandbox| sandbox.is_production()).map(|sandbox| sandbox.name.clone());
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
    traffic_refusals(traffic, permit, &mut plan);
    if let Some(name) = &plan.production_sandbox
        && permit.confirmed_sandbox.as_ref() != Some(name)
        && !plan.removals.is_empty()
    {
        plan.refusals.push(format!(
            "the sandbox `{name}` is a PRODUCTION sandbox: confirm its name (type it, or --confirm-sandbox {name})"
        ));
    }
    plan
}

fn marked_webhooks<'o>(desired: &Desired, observed: &'o Observed) -> Vec<(SourceName, &'o Webhook)> {
    let Some(stage) = &desired.stage else { return Vec::new() };
    let mut found = Vec::new();
    for wish in &desired.webhooks {
        let mark = stage.mark_of(&wish.source);
        let Some(workspace) = observed.customerio.get(&wish.source) else { continue };
        let ours =
            workspace.webhooks.webhooks.iter().filter(|webhook| Mark::of(webhook.name()).as_ref() == Some(&mark));
        found.extend(ours.map(|webhook| (wish.source.clone(), webhook)));
    }
    found
}

fn traffic_refusals(traffic: Option<Traffic>, permit: &DestroyPermit, plan: &mut DestroyPlan) {
    let removes_flow = plan.removals.iter().any(|removal| removal.key() == Key::Flow);
    if !removes_flow {
        return;
    }
    let Some(traffic) = traffic else {
        plan.notes.push(
            "Kafka is not among the parts, so it is not known whether records wait for delivery; add kafka to --only"
                .to_owned(),
        );
        return;
    };
    if traffic.members > 0 {
        plan.refusals.push(format!(
            "the consumer groups have {} members: stop the services first, the sinks last, so that they can deliver what is left",
            traffic.members
        ));
    }
    if traffic.lag > 0 {
        plan.refusals.push(format!(
            "{} records in Kafka are not delivered yet: disable the webhook in Customer.io (Data & Integrations > Integrations > Reporting Webhooks), let the services drain the topics, and run this again",
            traffic.lag
        ));
    }
    if traffic.unresolved > permit.abandon {
        plan.refusals.push(format!(
            "{} dead letters are unresolved: replay or discard them (`customerio-aep dead-letters list`), or give them up with --abandon {}",
            traffic.unresolved, traffic.unresolved
        ));
    }
}

/// Removals of all candidates with our mark.
fn marked<C: Candidate>(candidates: &[C], mark: &Mark, key: Key) -> Vec<Removal> {
    let ours = candidates.iter().filter(|candidate| candidate.mark().as_ref() == Some(mark));
    ours.map(|candidate| Removal::Object {
        key: key.clone(),
        id: candidate.id().to_owned(),
        name: candidate.name().to_owned(),
    })
    .collect()
}

fn platform_removals(objects: &PlatformObjects, mark: &Mark, permit: &DestroyPermit, plan: &mut DestroyPlan) {
    plan.removals.extend(marked(&objects.flows, mark, Key::Flow));
    plan.removals.extend(marked(&objects.targets, mark, Key::TargetConnection));
    plan.removals.extend(marked(&objects.sources, mark, Key::SourceConnection));
    plan.removals.extend(marked(&objects.bases, mark, Key::BaseConnection));
    let mut schema_is_used = false;
    for dataset in objects.datasets.iter().filter(|dataset| dataset.mark().as_ref() == Some(mark)) {
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
    let mut group_is_used = false;
    for schema in objects.schemas.iter().filter(|schema| schema.mark().as_ref() == Some(mark)) {
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
    for group in marked(&objects.field_groups, mark, Key::FieldGroup) {
        match group {
            Removal::Object { key, id, .. } if group_is_used => {
                let reason = "the schema that stays needs it".to_owned();
                plan.kept.push(Kept { key, id, reason, forever: false });
            }
            removal => plan.removals.push(removal),
        }
    }
}

fn namespaces(desired: &Desired, objects: &PlatformObjects, plan: &mut DestroyPlan) {
    let codes = desired.platform.iter().flat_map(|wish| &wish.namespaces);
    for code in codes.filter(|code| objects.namespaces.iter().any(|found| found.code == **code)) {
        let reason = "Platform has no way to remove a namespace (screen: Identities)".to_owned();
        plan.kept.push(Kept { key: Key::Namespace(code.clone()), id: code.clone(), reason, forever: true });
    }
}
