//! The settings of the simulator.

use std::time::Duration;

/// The organisation and objects that the simulator serves.
#[derive(Debug, Clone)]
pub struct SimSettings {
    /// The inlet's id, as in its address. It begins with `sim`, by which the sink recognises a simulator.
    pub inlet_id: String,
    /// `$id` of the schema that is there from the start.
    pub schema_id: String,
    /// The dataset that is there from the start.
    pub dataset_id: String,
    /// The organisation.
    pub ims_org: String,
    /// The tenant's key, with its leading underscore; events must hold an object there.
    pub tenant: String,
    /// The credential that gets tokens; with `None`, the inlet needs no token.
    pub credential: Option<(String, String)>,
    /// How long a token lasts.
    pub token_lifetime: Duration,
    /// How long an ingestion request takes.
    pub latency: Duration,
    /// Maximum additional time, at random.
    pub jitter: Duration,
    /// Only count what is accepted; ids are not kept. For loads that would fill the memory.
    pub count_only: bool,
    /// The control plane.
    pub control: ControlOptions,
}

impl Default for SimSettings {
    fn default() -> Self {
        Self {
            inlet_id: "sim0000000000000000000000000000000000000000000000000000000000inlet".to_owned(),
            schema_id: "https://ns.adobe.com/acme/schemas/customerio-message-events".to_owned(),
            dataset_id: "5e72608b10f6e318ad2dee0f".to_owned(),
            ims_org: "ACME@AdobeOrg".to_owned(),
            tenant: "_acme".to_owned(),
            credential: Some(("sim-client".to_owned(), "sim-secret".to_owned())),
            token_lifetime: Duration::from_secs(86_399),
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            count_only: false,
            control: ControlOptions::default(),
        }
    }
}

/// Behaviour of the control plane.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// Start without any schema, dataset or flow; otherwise with those that [`SimSettings`] names.
    pub fresh: bool,
    /// How long a created object is missing from lists and look-ups.
    pub visible_after: Duration,
    /// Factor on the times in which events are lost (five minutes after a flow changed, fifteen after a schema did) and on
    /// the hour of a flow run. 0 loses nothing.
    pub settle_scale: f64,
    /// The maximum number of entries of one page.
    pub page_size: usize,
    /// The `host:port` in the addresses of inlets; without it, the one that the request was sent to.
    pub public_host: Option<String>,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self { fresh: false, visible_after: Duration::ZERO, settle_scale: 1.0, page_size: 100, public_host: None }
    }
}
