//! Status of the whole system at one moment: services, traffic, holds, dead letters, Platform and Customer.io.
//!
//! `compute` is a pure function from the collected responses to the status, and `findings` lists what a person should
//! know. `admin` queries the services, `topics` Kafka, and `outside` Platform and Customer.io.

mod admin;
mod asked;
mod compute;
mod exposition;
mod findings;
mod history;
mod inquiry;
mod look;
mod outside;
mod services;
mod severity;
mod topics;
mod traffic;
mod value;

pub use admin::{AdminAddresses, AdminError, client, look};
pub use asked::Asked;
pub use compute::status;
pub use exposition::{Exposition, Histogram, NotASample, Sample};
pub use findings::OLDEST as OLDEST_SECONDS;
pub use history::History;
pub use inquiry::{Inquiry, Outside, WebhookAccess};
pub use look::{Answer, Look};
pub use outside::{FlowState, LastRun, RUNS, WebhookState, flow_state, webhook_state};
pub use services::{Health, Hold, ServiceState, Wait};
pub use severity::{Finding, Severity};
pub use topics::{LastWebhook, TAIL, TopicState, topics};
pub use traffic::{Backlog, EventAge, Rates};
pub use value::{Answers, Status};
