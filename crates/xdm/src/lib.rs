//! The XDM ExperienceEvent of this pipeline, in its two forms: an Avro record on the typed topic and JSON for Experience
//! Platform.
//!
//! Pure: no I/O, no clock. It does not know Customer.io's bodies or Kafka. The mapping decides the value of a field;
//! this crate only writes and reads it.

pub mod avro;
pub mod event;
mod event_json;
mod json;
pub mod schema;

pub use event::{ExperienceEvent, Timestamp};
pub use event_json::write_json;
pub use json::TenantId;
