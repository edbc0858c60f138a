//! Creates and maintains everything that the pipeline needs outside its three services, by comparing the desired and
//! the actual state: topics, the Schema Registry's rule, the objects in Experience Platform, and Customer.io's
//! reporting webhooks.
//!
//! - [`mod@look`] reads the services; [`mod@plan`] compares the result with the desired state, as a pure function; [`mod@apply`] carries
//!   the plan out, and plans again after each step.
//! - Every object carries a mark ([`stage::Mark`]). Nothing without our mark is changed unless a person allows it.
//! - A run can be killed after any request and run again ([`journal`]).
//! - The library returns values and reports progress through a callback ([`clients::Progress`]). It prints nothing, and asks
//!   nothing: what a person has to decide is a [`refusal::Refusal`].

pub mod apply;
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
pub mod observed;
mod pending;
pub mod plan;
pub mod plan_file;
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
