//! The settings of the simulator.

use std::time::Duration;

/// Organisation and objects of the simulator, and its behaviour.
#[derive(Debug, Clone)]
pub struct SimSettings {
    /// Id of the inlet, as in its address. It must begin with `sim`: the sink recognises a simulator by this prefix.
    pub inlet_id: String,
    /// `$id` of the schema that exists from the start.
    pub schema_id: String,
    /// Id of the dataset that exists from the start.
    pub dataset_id: String,
    /// Id of the organisation, `…@AdobeOrg`.
    pub ims_org: String,
    /// Key of the tenant's fields, with a leading underscore. Each event must contain an object with this key.
    pub tenant: String,
    /// Client id and client secret that get tokens. If `None`, the inlet does not require a token.
    pub credential: Option<(String, String)>,
    /// Time until a token expires.
    pub token_lifetime: Duration,
    /// Minimum time that an ingestion request takes.
    pub latency: Duration,
    /// Maximum random time that is added to `latency`.
    pub jitter: Duration,
    /// Whether accepted events are only counted. Under a high load, storing their ids would need too much memory.
    pub count_only: bool,
    /// Behaviour of the control plane.
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

/// Behaviour of the simulated control plane.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// Whether the simulator starts without any schema, dataset and flow. Otherwise it starts with those in
    /// [`SimSettings`].
    pub fresh: bool,
    /// Time after the creation of an object in which lists and look-ups do not return it.
    pub visible_after: Duration,
    /// Factor for the times after a change in which events are lost: five minutes for a flow, fifteen minutes for a
    /// schema. With 0, no event is lost because of a change. The length of a flow run, one hour, has the same factor.
    pub settle_scale: f64,
    /// Maximum number of entries on a page.
    pub page_size: usize,
    /// The `host:port` in the addresses of inlets. If `None`, the `Host` header of the request is used.
    pub public_host: Option<String>,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self { fresh: false, visible_after: Duration::ZERO, settle_scale: 1.0, page_size: 100, public_host: None }
    }
}
