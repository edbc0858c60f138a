//! Names of the headers that dead letters, resolutions and marks have.

/// Stage that wrote the dead letter: `gateway`, `transformer`, `sink` or `platform`.
pub const STAGE: &str = "dead-letter-stage";
/// Stable code of the reason.
pub const CODE: &str = "dead-letter-code";
/// The reason as a text of at most 1 KiB.
pub const MESSAGE: &str = "dead-letter-message";
/// Topic of the original record.
pub const TOPIC: &str = "dead-letter-topic";
/// Partition of the original record, decimal.
pub const PARTITION: &str = "dead-letter-partition";
/// Offset of the original record, decimal.
pub const OFFSET: &str = "dead-letter-offset";
/// Time at which the dead letter or the resolution was written: milliseconds since 1970, decimal.
pub const AT: &str = "dead-letter-at";
/// Version of the software that wrote the dead letter.
pub const VERSION: &str = "dead-letter-version";
/// Only on a dead letter with a truncated value: the size of the original value in bytes, decimal.
pub const ORIGINAL_SIZE: &str = "dead-letter-original-size";
/// Only on a dead letter with a truncated value: the SHA-256 of the original value, 64 lower-case hex digits.
pub const ORIGINAL_SHA256: &str = "dead-letter-original-sha256";
/// Only on a dead letter of the stage `platform`: Platform's id of the failed batch.
pub const BATCH: &str = "dead-letter-batch";
/// On a resolution (a record without a value, in the partition and with the key of the dead letter): the offset of the
/// resolved dead letter, decimal.
pub const RESOLVES: &str = "dead-letter-resolves";
/// On a resolution: `replayed` or `discarded`.
pub const RESOLUTION: &str = "dead-letter-resolution";
/// On a resolution: the person who resolved the dead letter.
pub const BY: &str = "dead-letter-by";
/// On a resolution: explanation by the person who resolved the dead letter.
pub const NOTE: &str = "dead-letter-note";

/// On a mark: the input topic from which a sink has delivered records.
pub const DELIVERED_FROM: &str = "sink-delivered-from";
/// On a mark: the time up to which Platform's failed batches were read, in milliseconds since 1970, decimal.
pub const CHECKED_TO: &str = "failed-batches-checked-to";

/// Common prefix of the header names of dead letters and resolutions.
pub(super) const PREFIX: &str = "dead-letter-";
