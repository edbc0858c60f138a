//! The observed state: the objects that exist now, as the services returned them.

use std::collections::BTreeMap;

use customerio_api::{WebhookList, Workspace};
use platform::control::{
    BaseConnection, ControlError, Dataset, ErrorKind, Flow, Namespace, Resource, Sandbox, SourceConnection,
    TargetConnection, Who,
};
use sources::SourceName;

use crate::key::Key;

/// The whole observed state. A part that was not read is absent.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The brokers and topics.
    pub kafka: Option<ObservedKafka>,
    /// The subject in the Schema Registry.
    pub registry: Option<ObservedSubject>,
    /// The sandboxes of Experience Platform and the objects in the stage's sandbox.
    pub platform: Option<ObservedPlatform>,
    /// The stage's sandbox, if the objects in it are not read; `None` also if Platform was not asked or did not answer.
    pub sandbox: Option<Sandbox>,
    /// The addresses from which Customer.io sends webhooks, by region. A region that did not answer is absent.
    pub senders: BTreeMap<String, Vec<String>>,
    /// The workspaces of Customer.io, by source.
    pub customerio: BTreeMap<SourceName, ObservedWorkspace>,
}

/// The brokers and the wanted topics.
#[derive(Debug, Clone, Default)]
pub struct ObservedKafka {
    /// Number of brokers.
    pub brokers: usize,
    /// The wanted topics that exist, by name.
    pub topics: BTreeMap<String, ObservedTopic>,
}

/// A topic that exists.
#[derive(Debug, Clone)]
pub struct ObservedTopic {
    /// Number of partitions.
    pub partitions: usize,
    /// The topic's settings, or the reason why they could not be read.
    pub settings: Result<BTreeMap<String, String>, String>,
}

/// A subject of the Schema Registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedSubject {
    /// True if the subject has any schema.
    pub exists: bool,
    /// The subject's own compatibility rule, if one is set.
    pub compatibility: Option<String>,
}

/// Experience Platform as this credential sees it.
#[derive(Debug, Clone, Default)]
pub struct ObservedPlatform {
    /// The sandboxes that the credential may use.
    pub sandboxes: Vec<Sandbox>,
    /// The organisation's tenant, without a leading underscore.
    pub tenant: String,
    /// The permissions that `setup` needs. True if the credential has the permission; `None` if that is not known.
    pub permissions: BTreeMap<String, Option<bool>>,
    /// The content of the stage's sandbox; `None` if the sandbox cannot be used or its content could not be read.
    pub objects: Option<PlatformObjects>,
    /// The error that prevented reading the content of the sandbox.
    pub failure: Option<ControlError>,
}

impl ObservedPlatform {
    /// Returns [`ObservedPlatform::failure`] if its cause is a missing permission. In this case, an administrator must
    /// add a role, or the role is not active yet.
    #[must_use]
    pub fn forbidden(&self) -> Option<&ControlError> {
        let is_role = |error: &&ControlError| {
            matches!(*error.kind, ErrorKind::Forbidden(_)) && error.remedy().who == Who::AdobeAdministrator
        };
        self.failure.as_ref().filter(is_role)
    }
}

/// The objects that may be ours: those with our mark or the wanted name, and those whose id is in the state file.
#[derive(Debug, Clone, Default)]
pub struct PlatformObjects {
    /// All namespaces of the organisation.
    pub namespaces: Vec<Namespace>,
    /// Field groups that may be ours.
    pub field_groups: Vec<Resource>,
    /// Schemas that may be ours.
    pub schemas: Vec<Resource>,
    /// Datasets that may be ours.
    pub datasets: Vec<Dataset>,
    /// Base connections that may be ours.
    pub bases: Vec<BaseConnection>,
    /// Source connections that may be ours.
    pub sources: Vec<SourceConnection>,
    /// Target connections that may be ours.
    pub targets: Vec<TargetConnection>,
    /// Flows that may be ours.
    pub flows: Vec<Flow>,
    /// Number of resources whose description was not read because the sandbox has too many, by the object that was
    /// searched for. One of them may be ours under another name.
    pub unexamined: BTreeMap<Key, usize>,
}

/// A workspace of Customer.io.
#[derive(Debug, Clone, Default)]
pub struct ObservedWorkspace {
    /// Fingerprint of the App API key with which the workspace was read.
    pub key_fingerprint: String,
    /// All workspaces of the account. The API does not say which of them the key belongs to.
    pub workspaces: Vec<Workspace>,
    /// The webhooks of the key's workspace.
    pub webhooks: WebhookList,
    /// The reason why this workspace could not be read, if reading failed. The other sources continue.
    pub failure: Option<String>,
}
