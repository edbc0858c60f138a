//! What a person does about the topics, as messages of several crates say it.

/// What to do about a missing topic, after a message has named the topic.
pub const CREATE_IT: &str = "create it, for example with `customerio-aep setup apply --only kafka`";

/// What to do about a missing topic that the message does not name before.
pub const CREATE_TOPIC: &str = "create the topic, for example with `customerio-aep setup apply --only kafka`";

/// How to compare the settings of the topics with what the services need.
pub const COMPARE_SETTINGS: &str = "compare them with `customerio-aep setup plan --only kafka`";
