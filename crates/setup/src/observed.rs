//! The observed state: what exists now, as the services reported it.

use std::collections::BTreeMap;

use customerio_api::{WebhookList, Workspace};
use platform::control::{
    BaseConnection, Dataset, Flow, Namespace, Resource, Sandbox, SourceConnection, TargetConnection,
};
use sources::SourceName;

/// The whole observed state. A part that was not read is absent.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The topics.
    pub kafka: Option<ObservedKafka>,
    /// The subject in the Schema Registry.
    pub registry: Option<ObservedSubject>,
    /// Experience Platform.
    pub platform: Option<ObservedPlatform>,
    /// The workspaces of Customer.io, by source.
    pub customerio: BTreeMap<SourceName, ObservedWorkspace>,
}

/// The brokers and the wanted topics.
#[derive(Debug, Clone, Default)]
pub struct ObservedKafka {
    /// The number of brokers.
    pub brokers: usize,
    /// The wanted topics that exist, by name.
    pub topics: BTreeMap<String, ObservedTopic>,
}

/// A topic that exists.
#[derive(Debug, Clone)]
pub struct ObservedTopic {
    /// Its partitions.
    pub partitions: usize,
    /// Its settings, or the reason why they could not be read.
    pub settings: Result<BTreeMap<String, String>, String>,
}

/// A subject of the Schema Registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedSubject {
    /// Whether it has any schema.
    pub exists: bool,
    /// Its own compatibility rule, if it has one.
    pub compatibility: Option<String>,
}

/// Experience Platform as this credential sees it.
#[derive(Debug, Clone, Default)]
pub struct ObservedPlatform {
    /// The sandboxes that the credential may use.
    pub sandboxes: Vec<Sandbox>,
    /// The organisation's tenant, without a leading underscore.
    pub tenant: String,
    /// The permissions that `setup` needs, and whether the credential has them; `None` if that could not be queried.
    pub permissions: BTreeMap<String, Option<bool>>,
    /// The content of the stage's sandbox; absent if that cannot be used.
    pub objects: Option<PlatformObjects>,
}

/// The objects that may be ours: those of the wanted name, and those that the state file names.
#[derive(Debug, Clone, Default)]
pub struct PlatformObjects {
    /// All namespaces.
    pub namespaces: Vec<Namespace>,
    /// Field groups.
    pub field_groups: Vec<Resource>,
    /// Schemas.
    pub schemas: Vec<Resource>,
    /// Datasets.
    pub datasets: Vec<Dataset>,
    /// Base connections.
    pub bases: Vec<BaseConnection>,
    /// Source connections.
    pub sources: Vec<SourceConnection>,
    /// Target connections.
    pub targets: Vec<TargetConnection>,
    /// Flows.
    pub flows: Vec<Flow>,
}

/// A workspace of Customer.io.
#[derive(Debug, Clone, Default)]
pub struct ObservedWorkspace {
    /// The fingerprint of the key that it was read with.
    pub key_fingerprint: String,
    /// All workspaces of the account. The API does not say which of them the key belongs to.
    pub workspaces: Vec<Workspace>,
    /// The webhooks of the key's workspace.
    pub webhooks: WebhookList,
    /// The reason why this workspace could not be read, if it could not. The other sources continue.
    pub failure: Option<String>,
}
