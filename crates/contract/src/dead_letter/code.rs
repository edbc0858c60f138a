//! Codes of dead letters of the stages `gateway`, `sink` and `platform`. The crate `mapping` has the transformer's
//! codes.

/// Code of the gateway: the body is larger than the limit.
pub const BODY_TOO_LARGE: &str = "body_too_large";

/// Code of the sink: Platform refused the record, and accepted another one in the same request or a later one.
pub const REFUSED: &str = "refused";

/// Code of the sink: the record alone exceeds the size limit of a request.
pub const TOO_LARGE: &str = "too_large";

/// Code of the sink: Platform responds with 500 every time the sink sends only this record.
pub const SERVER_ERROR: &str = "server_error";

/// Code of the sink: the bytes of the typed record are not an event.
pub const UNDECODABLE: &str = "undecodable";

/// Code of the stage `platform`: Platform rejected the record after it had accepted it.
pub const REJECTED_AFTER_ACCEPTANCE: &str = "rejected_after_acceptance";

/// All codes of dead letters of the stage `gateway`.
pub const GATEWAY: &[&str] = &[BODY_TOO_LARGE];

/// All codes of dead letters of the stage `sink`.
pub const SINK: &[&str] = &[REFUSED, TOO_LARGE, SERVER_ERROR, UNDECODABLE];

/// All codes of dead letters of the stage `platform`.
pub const PLATFORM: &[&str] = &[REJECTED_AFTER_ACCEPTANCE];
