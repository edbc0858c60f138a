//! The XDM ExperienceEvent of this pipeline, in its two forms: an Avro record on the typed topic and JSON for Experience
//! Platform.
//!
//! Pure: no I/O, no clock. It knows nothing of Customer.io's bodies and nothing of Kafka; what becomes of a field is the
//! mapping's business, here is only how it is written.

pub mod avro;
pub mod event;
mod event_json;
mod json;
pub mod schema;

pub use event::{ExperienceEvent, Timestamp};
pub use event_json::write_json;
pub use json::TenantId;
