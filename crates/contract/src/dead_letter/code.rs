//! The codes of the dead letters of the gateway, of the sink, and of Platform. The mapping has the transformer's.

/// The gateway: the body is over the limit.
pub const BODY_TOO_LARGE: &str = "body_too_large";

/// The sink: Platform refused this record, and accepted others.
pub const REFUSED: &str = "refused";

/// The sink: the record is larger than a request may be.
pub const TOO_LARGE: &str = "too_large";

/// The sink: Platform responds with 500 to this record alone, every time.
pub const SERVER_ERROR: &str = "server_error";

/// The sink: the bytes are not an event.
pub const UNDECODABLE: &str = "undecodable";

/// Platform: it rejected the record after it had accepted it.
pub const REJECTED_AFTER_ACCEPTANCE: &str = "rejected_after_acceptance";

/// All codes of the gateway.
pub const GATEWAY: &[&str] = &[BODY_TOO_LARGE];

/// All codes of the sink.
pub const SINK: &[&str] = &[REFUSED, TOO_LARGE, SERVER_ERROR, UNDECODABLE];

/// All codes of Platform.
pub const PLATFORM: &[&str] = &[REJECTED_AFTER_ACCEPTANCE];
