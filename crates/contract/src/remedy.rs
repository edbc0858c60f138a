//! Remedies for problems with the topics, as several crates show them in messages.

/// Remedy for a missing topic, for a message that has already named the topic.
pub const CREATE_IT: &str = "create it, for example with `customerio-aep setup apply --only kafka`";

/// Remedy for a missing topic, for a message that has not named the topic.
pub const CREATE_TOPIC: &str = "create the topic, for example with `customerio-aep setup apply --only kafka`";

/// Remedy for topic settings that differ from what the services need.
pub const COMPARE_SETTINGS: &str = "compare them with `customerio-aep setup plan --only kafka`";
