//! The reasons why `setup` stops until a person decides. Each message contains the cause and the remedy.

use sources::SourceName;

use crate::key::Key;
use crate::stage::Mark;
use crate::who::Who;

/// A decision or change that a person has to make before anything is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sandbox does not exist, or the credential is not allowed to use it.
    #[error(
        "this credential may use no sandbox `{name}`; it may use: {}. Set PLATFORM_SANDBOX to one of them, or let an Adobe \
         administrator add the credential to a role with this sandbox (Permissions > Roles)", listed(.usable)
    )]
    NoSuchSandbox {
        /// Name of the configured sandbox.
        name: String,
        /// Names of the sandboxes that the credential may use.
        usable: Vec<String>,
    },
    /// The sandbox is not active.
    #[error("the sandbox `{name}` is in the state `{state}`; wait until it is active, and run this again")]
    SandboxState {
        /// Name of the sandbox.
        name: String,
        /// State of the sandbox.
        state: String,
    },
    /// The configured tenant is not the organisation's tenant.
    #[error(
        "PLATFORM_TENANT is `{configured}`, and the tenant of this organisation is `{found}`; remove PLATFORM_TENANT (setup \
         looks it up), or set PLATFORM_IMS_ORG to the other organisation"
    )]
    WrongTenant {
        /// The configured tenant.
        configured: String,
        /// The organisation's tenant.
        found: String,
    },
    /// Several objects carry the same mark.
    #[error(
        "several objects carry the mark `{mark}` of the {key}: {}. Nothing is changed. Find out which one the sink uses \
         (PLATFORM_DATASET_ID, PLATFORM_FLOW_ID), remove the mark from the other's name, description and tags, or delete it, \
         and run this again. Two runs on two machines at the same time can create such a pair", listed(.ids)
    )]
    SeveralMarked {
        /// The object that should exist once.
        key: Key,
        /// Ids of the objects with the mark.
        ids: Vec<String>,
        /// The mark that they share.
        mark: Mark,
    },
    /// An object has the wanted name but no mark.
    #[error(
        "a {} named `{name}` exists ({}) and was not created by this tool. Either take it over with --adopt, which marks it \
         and brings it in line; or rename it; or set another DEPLOYMENT, which changes the names of this tool's objects",
        .key.kind(), listed(.ids)
    )]
    NotOurs {
        /// The wanted object.
        key: Key,
        /// The wanted name.
        name: String,
        /// Ids of the existing objects with this name.
        ids: Vec<String>,
    },
    /// An object has the wanted name and the mark of another stage.
    #[error(
        "the {} `{name}` ({id}) belongs to another stage, marked `{mark}`; set another DEPLOYMENT, or the PLATFORM_SANDBOX \
         and PLATFORM_IMS_ORG of that stage", .key.kind()
    )]
    OfAnotherStage {
        /// The wanted object.
        key: Key,
        /// Name of the existing object.
        name: String,
        /// Id of the existing object.
        id: String,
        /// Mark of the existing object.
        mark: Mark,
    },
    /// A property differs from the desired state and cannot be changed.
    #[error("the {key} ({id}) has {field} `{current}`, wanted `{wanted}`, and this cannot be changed. {remedy}")]
    CannotChange {
        /// The existing object.
        key: Key,
        /// Id of the object.
        id: String,
        /// Name of the property.
        field: String,
        /// The observed value.
        current: String,
        /// The wanted value.
        wanted: String,
        /// The next step, as a sentence.
        remedy: &'static str,
    },
    /// An object that would be adopted is enabled for Profile.
    #[error(
        "the {key} ({id}) is enabled for Profile, which cannot be undone: its events would enter profiles at once. To accept \
         that, add --enable-profile {sandbox}; else rename it, or set another DEPLOYMENT"
    )]
    ProfileEnabled {
        /// The object that would be adopted.
        key: Key,
        /// Id of the object.
        id: String,
        /// Name of the sandbox, which is the option's value.
        sandbox: String,
    },
    /// A base connection with the stage's `sourceId` has another name and no mark.
    #[error(
        "the base connection `{name}` ({id}) has the sourceId `{source_id}` of this stage, which can exist only once in the \
         organisation, and was not created by this tool. Either take it over with --adopt; or delete it in Platform (Sources > \
         Accounts); or set another DEPLOYMENT"
    )]
    SourceIdTaken {
        /// Name of the base connection.
        name: String,
        /// Id of the base connection.
        id: String,
        /// The `sourceId` of the stage.
        source_id: String,
    },
    /// Platform refuses to create an object because a conflicting one exists, which the sandbox's lists do not contain.
    #[error(
        "Platform does not create the {key}: {problem}. The existing object ({}) is not a {} of this sandbox that this \
         credential can see: it is of another kind, or in another sandbox. Rename or remove it, or set another DEPLOYMENT, \
         which changes the names of this tool's objects", .existing.as_deref().unwrap_or("its id is not in the answer"), .key.kind()
    )]
    ExistsElsewhere {
        /// The wanted object.
        key: Key,
        /// Id of the existing object, if Platform's response contains it.
        existing: Option<String>,
        /// Platform's response.
        problem: String,
    },
    /// A namespace exists with another spelling of its code.
    #[error(
        "the identity namespace `{wanted}` exists as `{found}`; a code is used exactly as it is written: set \
         IDENTITY_NAMESPACE_ID or IDENTITY_NAMESPACE_CIO_ID to `{found}`"
    )]
    NamespaceSpelling {
        /// The configured code.
        wanted: String,
        /// The code of the existing namespace.
        found: String,
    },
    /// An existing namespace is not active or not meant for people.
    #[error(
        "the identity namespace `{code}` has the type {found} and the state {status}; events need an active namespace of a \
         type for people, such as Cross_device. Configure another code (IDENTITY_NAMESPACE_ID, IDENTITY_NAMESPACE_CIO_ID)"
    )]
    NamespaceUnfit {
        /// Code of the namespace.
        code: String,
        /// Type of the namespace.
        found: String,
        /// State of the namespace.
        status: String,
    },
    /// A webhook with our mark posts to another host.
    #[error(
        "the webhook {id} of source `{source_name}` calls the host `{old}`, wanted `{new}`. It may be another installation's. To \
         move it here, add --move-endpoint {old}"
    )]
    EndpointElsewhere {
        /// The source of the webhook.
        source_name: SourceName,
        /// Id of the webhook.
        id: String,
        /// The host to which the webhook posts.
        old: String,
        /// The configured host.
        new: String,
    },
    /// A webhook without our mark posts to our URL.
    #[error(
        "the webhook {id} (`{name}`) calls this gateway's URL for source `{source_name}`, and its name has no mark of this tool: a \
         person created it, or changed its name. A second one would send every event twice. Take it over with --adopt, which \
         adds the mark to its name, or delete it in Customer.io"
    )]
    SameEndpoint {
        /// The source of the URL.
        source_name: SourceName,
        /// Id of the webhook.
        id: String,
        /// Name of the webhook.
        name: String,
    },
    /// A webhook that may be ours cannot be read.
    #[error(
        "source `{source_name}`: {what}; it may be this tool's. Look at it in Customer.io (Reporting Webhooks), and report the problem"
    )]
    WebhookUnreadable {
        /// The source of the webhook.
        source_name: SourceName,
        /// The error of the Customer.io client.
        what: String,
    },
    /// A setting without a default is missing.
    #[error("source `{source_name}`: {variable} is not set, and a new webhook needs the choice: {consequence}")]
    ChoiceMissing {
        /// The source of the new webhook.
        source_name: SourceName,
        /// The variable that must be set.
        variable: &'static str,
        /// The possible values and the meaning of each.
        consequence: &'static str,
    },
    /// The account has several workspaces, and it is unknown which one the key belongs to.
    #[error(
        "source `{source_name}`: the account has several workspaces ({}), and the API does not say which one the key belongs to. \
         Name it with CUSTOMERIO_WORKSPACE (or `workspace` in SOURCES_FILE) before a webhook is created or changed in it",
        listed(.names)
    )]
    WorkspaceNotNamed {
        /// The source of the key.
        source_name: SourceName,
        /// Names of the account's workspaces.
        names: Vec<String>,
    },
    /// The sandbox is a production sandbox, and its name was not confirmed.
    #[error(
        "the sandbox `{name}` is a PRODUCTION sandbox. Set up a development sandbox first; to continue here, confirm the name \
         (type it, or --confirm-sandbox {name})"
    )]
    ProductionNotConfirmed {
        /// Name of the sandbox.
        name: String,
    },
    /// The plan would change a schema or flow that receives events now.
    #[error(
        "the plan changes a schema or flow that takes events now, and Platform loses what is sent in the minutes after such a \
         change (five for a flow, fifteen for a schema). Either hold the sinks (`customerio-aep setup sink hold`), add \
         --sinks-held, and release them after the PLATFORM_NOT_BEFORE that is written; or stop all sinks of this stage, confirm \
         that with --sinks-stopped, and start them with that value. Kafka keeps the events in the meantime"
    )]
    LiveFlow,
    /// The stage has no webhook that could be enabled or disabled.
    #[error("source `{source_name}` has no webhook of this stage; `customerio-aep setup apply` creates it")]
    NoWebhook {
        /// The source without a webhook.
        source_name: SourceName,
    },
    /// The webhook differs from the desired state and must be updated before it is enabled.
    #[error(
        "the webhook {id} of source `{source_name}` is not as it is wanted ({fields}); run `customerio-aep setup apply` first"
    )]
    WebhookDiffers {
        /// The source of the webhook.
        source_name: SourceName,
        /// Id of the webhook.
        id: String,
        /// Names of the fields that differ.
        fields: String,
    },
    /// A canary of the webhook has no outcome yet.
    #[error(
        "the webhook {id} of source `{source_name}` is enabled for a canary that has no outcome yet; run \
         `customerio-aep setup webhook canary` again, or stop it with `customerio-aep setup webhook pause`"
    )]
    CanaryRuns {
        /// The source of the webhook.
        source_name: SourceName,
        /// Id of the webhook.
        id: String,
    },
    /// At least one of the canary's events is not among the wanted ones.
    #[error(
        "source `{source_name}`: the canary's event {event} is not among the events that are wanted (CUSTOMERIO_EVENTS, or \
         `events` in SOURCES_FILE); choose one of these"
    )]
    CanaryOutside {
        /// The source of the canary.
        source_name: SourceName,
        /// The first event that is not wanted.
        event: String,
    },
    /// The gateways' counters cannot be read, so a canary would have no outcome.
    #[error(
        "source `{source_name}`: {problem}. A canary decides by the gateways' metrics: name the admin address of every gateway \
         with --services (CONSOLE_SERVICES), and run this where it can be reached"
    )]
    NoGateway {
        /// The source of the canary.
        source_name: SourceName,
        /// The problem as text.
        problem: String,
    },
    /// The configured workspace does not exist in the account.
    #[error("source `{source_name}`: the account of this key has no workspace `{wanted}`; it has: {}", listed(.names))]
    WrongWorkspace {
        /// The source of the key.
        source_name: SourceName,
        /// The configured name.
        wanted: String,
        /// Names of the account's workspaces.
        names: Vec<String>,
    },
}

impl Refusal {
    /// An identifier for machine-readable output.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchSandbox { .. } => "no_such_sandbox",
            Self::SandboxState { .. } => "sandbox_not_active",
            Self::WrongTenant { .. } => "wrong_tenant",
            Self::SeveralMarked { .. } => "several_marked",
            Self::NotOurs { .. } => "not_ours",
            Self::OfAnotherStage { .. } => "of_another_stage",
            Self::CannotChange { .. } => "cannot_change",
            Self::ProfileEnabled { .. } => "profile_enabled",
            Self::SourceIdTaken { .. } => "source_id_taken",
            Self::ExistsElsewhere { .. } => "exists_elsewhere",
            Self::NamespaceSpelling { .. } => "namespace_spelling",
            Self::NamespaceUnfit { .. } => "namespace_unfit",
            Self::EndpointElsewhere { .. } => "endpoint_elsewhere",
            Self::SameEndpoint { .. } => "same_endpoint",
            Self::WebhookUnreadable { .. } => "webhook_unreadable",
            Self::ChoiceMissing { .. } => "choice_missing",
            Self::WorkspaceNotNamed { .. } => "workspace_not_named",
            Self::WrongWorkspace { .. } => "wrong_workspace",
            Self::NoWebhook { .. } => "no_webhook",
            Self::WebhookDiffers { .. } => "webhook_differs",
            Self::CanaryRuns { .. } => "canary_runs",
            Self::CanaryOutside { .. } => "canary_outside",
            Self::NoGateway { .. } => "no_gateway",
            Self::ProductionNotConfirmed { .. } => "production_not_confirmed",
            Self::LiveFlow => "live_flow",
        }
    }

    /// The person who can resolve the refusal.
    #[must_use]
    pub fn who(&self) -> Who {
        match self {
            Self::NoSuchSandbox { .. } | Self::SandboxState { .. } => Who::AdobeAdministrator,
            _ => Who::You,
        }
    }

    /// The source that the refusal concerns; `None` if it is not limited to one source. Other sources can continue.
    #[must_use]
    pub fn source(&self) -> Option<&SourceName> {
        match self {
            Self::EndpointElsewhere { source_name, .. }
            | Self::SameEndpoint { source_name, .. }
            | Self::WebhookUnreadable { source_name, .. }
            | Self::ChoiceMissing { source_name, .. }
            | Self::WorkspaceNotNamed { source_name, .. }
            | Self::WrongWorkspace { source_name, .. }
            | Self::NoWebhook { source_name }
            | Self::WebhookDiffers { source_name, .. }
            | Self::CanaryRuns { source_name, .. }
            | Self::CanaryOutside { source_name, .. }
            | Self::NoGateway { source_name, .. } => Some(source_name),
            Self::SeveralMarked { key: Key::Webhook(source), .. } => Some(source),
            _ => None,
        }
    }
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
