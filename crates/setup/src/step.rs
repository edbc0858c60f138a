//! The steps of a plan, and the request that each step sends.

use std::collections::BTreeMap;

use customerio_api::{ApiRequest, EventSelection, MessageContent, NewWebhook, Resolution, Webhook, WebhookUpdate};
use kafka::topic::TopicSpec;
use platform::control::{
    FieldGroupBody, FlowAction, Kind, NewBaseConnection, NewDataset, NewFlow, NewNamespace, NewSourceConnection,
    NewTargetConnection, Object, Patch, Request, SchemaBody, create_base_connection, create_dataset,
    create_field_group, create_flow, create_namespace, create_schema, create_source_connection,
    create_target_connection, flow_action, patch_resource, update_dataset, update_object,
};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::pending::enabled;

/// One step, by the service that executes it.
#[derive(Debug, Clone)]
pub enum Step {
    /// Creates a topic.
    Topic(TopicSpec),
    /// Sets the compatibility rule of a subject.
    Compatibility {
        /// Name of the subject.
        subject: String,
    },
    /// A step in Experience Platform.
    Platform(PlatformStep),
    /// A step in Customer.io.
    Webhook(WebhookStep),
}

impl From<PlatformStep> for Step {
    fn from(step: PlatformStep) -> Self {
        Self::Platform(step)
    }
}

impl From<WebhookStep> for Step {
    fn from(step: WebhookStep) -> Self {
        Self::Webhook(step)
    }
}

/// A step in Experience Platform.
#[derive(Debug, Clone)]
pub enum PlatformStep {
    /// Creates a namespace.
    CreateNamespace(NewNamespace),
    /// Creates the field group.
    CreateFieldGroup(FieldGroupBody),
    /// Creates the schema.
    CreateSchema(SchemaBody),
    /// Adds fields or references to a field group or schema.
    PatchResource {
        /// Field group or schema.
        kind: Kind,
        /// Id of the resource.
        id: String,
        /// The changes, as JSON patches.
        patches: Vec<Patch>,
        /// Version that the change is based on.
        etag: Option<String>,
    },
    /// Creates the dataset.
    CreateDataset(NewDataset),
    /// Changes the dataset.
    PatchDataset {
        /// Id of the dataset.
        id: String,
        /// The changes, as JSON patches.
        patches: Vec<Patch>,
        /// Version that the change is based on.
        etag: Option<String>,
    },
    /// Creates the base connection.
    CreateBase(NewBaseConnection),
    /// Creates the source connection.
    CreateSource(NewSourceConnection),
    /// Creates the target connection.
    CreateTarget(NewTargetConnection),
    /// Creates the flow.
    CreateFlow(NewFlow),
    /// Changes a connection or flow.
    PatchObject {
        /// Kind of the object.
        object: Object,
        /// Id of the object.
        id: String,
        /// The changes, as JSON patches.
        patches: Vec<Patch>,
        /// Version that the change is based on.
        etag: String,
    },
    /// Enables a flow.
    EnableFlow {
        /// Id of the flow.
        id: String,
    },
}

/// A step in Customer.io.
#[derive(Debug, Clone)]
pub enum WebhookStep {
    /// Creates a webhook, disabled.
    Create(WebhookDraft),
    /// Replaces a webhook as a whole.
    Update(Box<WebhookUpdate>),
    /// Enables a webhook, after a signed round trip.
    Enable(Box<Webhook>),
}

/// The fields of a webhook to create.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookDraft {
    /// Name of the webhook, with the mark.
    pub name: String,
    /// URL to which Customer.io posts events.
    pub endpoint: Url,
    /// Events to subscribe to.
    pub events: EventSelection,
    /// Reporting of opens and clicks: every one, or only the first of a message.
    pub resolution: Resolution,
    /// Reporting of message bodies: included or omitted.
    pub content: MessageContent,
}

impl WebhookDraft {
    /// The value for the create request. [`NewWebhook`] is not `Clone`, so each request needs a new value.
    #[must_use]
    pub fn new_webhook(&self) -> NewWebhook {
        NewWebhook {
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            events: self.events.clone(),
            resolution: self.resolution,
            content: self.content,
        }
    }
}

/// A request as it is shown before it is sent. It contains no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedRequest {
    /// Name of the service that receives the request.
    pub service: String,
    /// HTTP method; for Kafka, the name of the API.
    pub method: String,
    /// Path and query; for Kafka, the name of the topic.
    pub path: String,
    /// Headers that are specific to this request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The JSON body; `None` if the request has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// The phase in which a step is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Creates and changes objects. A new webhook stays disabled.
    Objects,
    /// Enables the webhook after a signed round trip through the public URL.
    Enabling,
}

impl Step {
    /// The phase in which the step is executed.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Webhook(WebhookStep::Enable(_)) => Phase::Enabling,
            _ => Phase::Objects,
        }
    }

    /// Returns true if the step creates an object, and a repetition of the step could create a second one.
    #[must_use]
    pub fn is_create(&self) -> bool {
        match self {
            Self::Topic(_) | Self::Compatibility { .. } => false,
            Self::Platform(step) => step.is_create(),
            Self::Webhook(step) => matches!(step, WebhookStep::Create(_)),
        }
    }

    /// The request that the step sends.
    #[must_use]
    pub fn request(&self) -> PlannedRequest {
        match self {
            Self::Topic(spec) => create_topic(spec),
            Self::Compatibility { subject } => PlannedRequest {
                service: "Schema Registry".to_owned(),
                method: "PUT".to_owned(),
                path: format!("/config/{subject}"),
                headers: BTreeMap::new(),
                body: Some(json!({"compatibility": "FULL_TRANSITIVE"})),
            },
            Self::Platform(step) => step.request(),
            Self::Webhook(step) => step.request(),
        }
    }
}

impl PlatformStep {
    fn is_create(&self) -> bool {
        match self {
            Self::CreateNamespace(_)
            | Self::CreateFieldGroup(_)
            | Self::CreateSchema(_)
            | Self::CreateDataset(_)
            | Self::CreateBase(_)
            | Self::CreateSource(_)
            | Self::CreateTarget(_)
            | Self::CreateFlow(_) => true,
            Self::PatchResource { .. }
            | Self::PatchDataset { .. }
            | Self::PatchObject { .. }
            | Self::EnableFlow { .. } => false,
        }
    }

    fn request(&self) -> PlannedRequest {
        match self {
            Self::CreateNamespace(new) => of_platform(create_namespace(new).request()),
            Self::CreateFieldGroup(body) => of_platform(create_field_group(body).request()),
            Self::CreateSchema(body) => of_platform(create_schema(body).request()),
            Self::PatchResource { kind, id, patches, etag } => {
                of_platform(patch_resource(*kind, id, patches, etag.as_deref()).request())
            }
            Self::CreateDataset(new) => of_platform(create_dataset(new).request()),
            Self::PatchDataset { id, patches, etag } => {
                of_platform(update_dataset(id, patches, etag.as_deref()).request())
            }
            Self::CreateBase(new) => of_platform(create_base_connection(new).request()),
            Self::CreateSource(new) => of_platform(create_source_connection(new).request()),
            Self::CreateTarget(new) => of_platform(create_target_connection(new).request()),
            Self::CreateFlow(new) => of_platform(create_flow(new).request()),
            Self::PatchObject { object, id, patches, etag } => {
                of_platform(update_object(*object, id, etag, patches).request())
            }
            Self::EnableFlow { id } => of_platform(flow_action(id, FlowAction::Enable, false).request()),
        }
    }
}

impl WebhookStep {
    fn request(&self) -> PlannedRequest {
        of_customerio(&match self {
            Self::Create(draft) => ApiRequest::create_webhook(&draft.new_webhook()),
            Self::Update(update) => ApiRequest::update_webhook(update),
            Self::Enable(webhook) => ApiRequest::update_webhook(&enabled(webhook)),
        })
    }
}

fn create_topic(spec: &TopicSpec) -> PlannedRequest {
    let settings: BTreeMap<_, _> = spec.settings.iter().cloned().collect();
    PlannedRequest {
        service: "Kafka".to_owned(),
        method: "CreateTopics".to_owned(),
        path: spec.name.to_string(),
        headers: BTreeMap::new(),
        body: Some(json!({"partitions": spec.partitions, "replication": spec.replication, "settings": settings})),
    }
}

fn of_platform(request: &Request) -> PlannedRequest {
    PlannedRequest {
        service: "Experience Platform".to_owned(),
        method: request.method.to_string(),
        path: request.path.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
    }
}

fn of_customerio(request: &ApiRequest) -> PlannedRequest {
    PlannedRequest {
        service: "Customer.io".to_owned(),
        method: request.method().to_string(),
        path: request.path().to_owned(),
        headers: BTreeMap::new(),
        body: request.body().cloned(),
    }
}
