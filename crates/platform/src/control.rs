//! A client of Experience Platform's control plane: sandboxes, permissions, namespaces, schemas, datasets, Flow
//! Service, and the results of accepted events.
//!
//! Each endpoint is a function that returns a [`Call`]: the request as a value, and the pure function that reads the
//! response. A caller can list calls without sending them; only [`ControlClient`] sends calls. The client repeats only
//! requests that are safe to repeat ([`Request::is_repeatable`]). If a create request ends without a response, the
//! error is [`ErrorKind::OutcomeUnknown`]: the caller must look for the object before it sends the request again.

mod access;
mod address;
mod answer;
mod batches;
mod catalog;
mod client;
mod connections;
mod descriptors;
mod error;
mod field_gaps;
mod flows;
mod namespaces;
mod paging;
mod patch;
mod problem;
mod profile;
mod registry;
mod rejections;
mod request;
mod sandboxes;

pub use access::{EffectivePolicies, PermissionReference, effective_policies, permission_reference};
pub use address::ApiUrl;
pub use answer::{Answer, Unreadable};
pub use batches::{
    Batch, BatchError, FailedFile, FailedRow, FailedRows, RowError, download_failed, failed_batches, failed_files,
    row_error_files,
};
pub use catalog::{
    Dataset, NewDataset, SchemaRef, create_dataset, dataset, datasets, datasets_named, delete_dataset, update_dataset,
};
pub use client::{ControlClient, ControlSettings, Retries, Visibility};
pub use connections::{
    BaseConnection, DATA_LAKE_SPEC, HTTP_API_SPEC, NewBaseConnection, NewSourceConnection, NewTargetConnection, Object,
    SourceConnection, SpecRef, StreamingParams, TargetConnection, base_connection, base_connections,
    create_base_connection, create_source_connection, create_target_connection, delete_object, source_connection,
    source_connections, target_connection, target_connections, update_object,
};
pub use descriptors::{Descriptor, NewDescriptor, create_descriptor, delete_descriptor, descriptor, descriptors};
pub use error::{ControlError, ErrorKind, Interruption, Remedy, Who};
pub use field_gaps::{FIELD_GROUP_DEFINITION, FieldGap, field_gaps, tenant_definition};
pub use flows::{
    Flow, FlowAction, FlowRun, NewFlow, RunError, XDM_FLOW_SPEC, create_flow, flow, flow_action, flow_runs, flows,
};
pub use namespaces::{IdType, Namespace, NewNamespace, create_namespace, namespace, namespaces};
pub use paging::{BadLink, Next, Page, following};
pub use patch::{Patch, PatchOperation};
pub use problem::Problem;
pub use profile::{ProfileEvent, profile_events};
pub use registry::{
    FieldGroupBody, Kind, Reference, Resource, ResourceSummary, SchemaBody, Stats, create_field_group, create_schema,
    delete_resource, patch_resource, replace_field_group, replace_schema, resource, resources, stats,
};
pub use rejections::{Rejection, rejection_keywords, rejections};
pub use request::{Call, Created, Effect, Method, Request};
pub use sandboxes::{Sandbox, SandboxState, SandboxType, all_sandboxes, sandbox, usable_sandboxes};
