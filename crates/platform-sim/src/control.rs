//! Simulates Experience Platform's control plane: Schema Registry, Catalog, Identity, Flow Service, sandboxes, access
//! control, and the results of accepted events.
//!
//! The simulated control plane keeps state, like Platform. Objects refer to each other, titles are unique, an update
//! with an outdated version is refused, and lists have pages. A new object becomes visible only after a delay. Events
//! that are sent too early after a change are lost.
//!
//! The simulator is stricter than Platform: it refuses every unknown path, query parameter and member of a body.
//! Permissions, namespaces and responses follow Adobe's specification files. Where these files define nothing, a
//! comment in the code says so.

#![allow(clippy::result_large_err, reason = "a refusal is an answer like any other, and used at once")]

mod access;
mod admin;
mod body;
mod catalog;
mod descriptors;
mod failed_batch;
mod fields;
mod flow_objects;
mod flow_service;
mod gate;
mod identity;
mod ingestion;
mod json_patch;
mod plane;
mod profile;
mod profile_event;
mod records;
mod registry;
mod reply;
mod request;
mod results;
mod seed;
mod server;
mod store;
mod world;

pub(crate) mod faults;

pub(crate) use ingestion::{Delivery, Inlet};
pub(crate) use plane::Control;
pub use records::{ControlRequest, LostEvent};
pub(crate) use server::routes;
