//! Creates and maintains all objects that the pipeline needs outside its three services: the topics, the compatibility
//! rule of the typed topic's subject in the Schema Registry, the objects in Experience Platform, and Customer.io's
//! reporting webhooks.
//!
//! - [`mod@look`] reads the services. [`mod@plan`] compares the result with the desired state, as a pure function.
//!   [`mod@apply`] executes the plan, and computes it again after each step.
//! - Our webhooks and our objects in Platform carry a mark ([`stage::Mark`]). Objects without our mark are not changed
//!   unless a person allows it.
//! - A run can be killed after any request and run again ([`journal`]).
//! - The library returns values and reports progress through a callback ([`clients::Progress`]). It neither prints nor
//!   prompts: each decision that a person has to make is a [`refusal::Refusal`].

pub mod apply;
pub mod canary;
pub mod check;
pub mod clients;
pub mod desired;
pub mod destroy;
pub mod enable;
pub mod env_text;
pub mod error;
pub mod journal;
pub mod key;
mod look;
pub mod manifest;
pub mod observed;
mod pending;
pub mod plan;
pub mod plan_file;
mod profile;
pub mod refusal;
pub mod round_trip;
pub mod settling;
pub mod stage;
pub mod step;
pub mod switch;
pub mod topics;
pub mod values;
pub mod who;
mod xdm_files;

pub use look::look;
pub use pending::is_paused;
