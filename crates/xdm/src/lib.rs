//! The XDM ExperienceEvent of this pipeline in two forms: an Avro record on the typed topic, and JSON for Experience
//! Platform.
//!
//! The crate is pure: it uses no I/O and no clock. It does not know Customer.io's bodies or Kafka. The mapping
//! determines the value of a field; this crate only writes and reads the value.

pub mod avro;
pub mod event;
mod event_json;
mod json;
pub mod schema;

pub use event::{ExperienceEvent, Timestamp};
pub use event_json::write_json;
pub use json::TenantId;
