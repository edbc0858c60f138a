//! A client for a Schema Registry with Confluent's API: the few calls that are necessary to write and read one subject.
//!
//! The client treats schemas as text. The caller decides when to try again after a failure.

mod answer;
mod args;
mod client;

pub use answer::RegistryError;
pub use args::{RegistryArgs, RegistrySettings, RegistryUrl};
pub use client::{Ensured, SchemaRegistry};
