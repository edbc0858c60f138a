//! Default values of options that several programs have. A program that reads the records of another one must use the
//! same values.

use std::time::Duration;

/// Default of `GATEWAY_MAX_BODY`, as in the configuration.
pub const MAX_BODY: &str = "10MiB";
/// [`MAX_BODY`] in bytes.
pub const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

/// Default of `TRANSFORMER_DEDUP_WINDOW`, as in the configuration.
pub const DEDUP_WINDOW: &str = "2h";
/// [`DEDUP_WINDOW`] as a duration.
pub const DEDUP_WINDOW_DURATION: Duration = Duration::from_secs(2 * 60 * 60);

/// Default of `TRANSFORMER_DEDUP_MAX_IDS`.
pub const DEDUP_MAX_IDS: u32 = 200_000;

/// Default consumer group of the transformer, which reads the raw topic.
pub const TRANSFORMER_GROUP: &str = "customerio-transformer";
/// Default consumer group of the sink, which reads the typed topic.
pub const SINK_GROUP: &str = "customerio-sink";
