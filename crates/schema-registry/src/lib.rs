//! A Schema Registry that speaks Confluent's API: the few calls that writing and reading one subject takes.
//!
//! It moves schemas as text and does not look into them; when to ask again after a failure is the caller's business.

mod answer;
mod args;
mod client;

pub use answer::RegistryError;
pub use args::{RegistryArgs, RegistrySettings, RegistryUrl};
pub use client::{Ensured, SchemaRegistry};
