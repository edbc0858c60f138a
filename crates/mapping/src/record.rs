//! Maps one raw record to one event: decodes the body, maps it with the options of the record's source, and limits the
//! effect of a panic to this record. The transformer, the audit, `find`, a replay and `map` all use [`map_record`], so
//! they have the same results. [`explain`](crate::explain()) handles a panic in the same way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use contract::RawRecord;

use crate::decoding::decoded;
use crate::rejection::{Rejection, RejectionCode};
use crate::{Mapped, ReceivedAt, SourceOptions, map};

/// Maps a raw record and passes the event to `finish`. A compressed body is decompressed into `buffer`, up to `limit`
/// bytes.
///
/// # Errors
/// Returns the [`Rejection`] for the record's dead letter, also if the mapping or `finish` panics.
pub fn map_record<T>(
    record: &RawRecord<'_>,
    source: &SourceOptions,
    limit: usize,
    buffer: &mut Vec<u8>,
    finish: impl FnOnce(Mapped<'_>) -> Result<T, Rejection>,
) -> Result<T, Rejection> {
    guarded(|| {
        let body = decoded(record.content_encoding, record.body, limit, buffer)?;
        finish(map(body, ReceivedAt::from_millis(record.received_at), source)?)
    })
}

/// Runs the mapping of one record. A panic becomes a rejection of this record.
pub(crate) fn guarded<T>(map: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Rejection> {
    // No state is inconsistent after a panic, because buffers are cleared before each use.
    catch_unwind(AssertUnwindSafe(map)).unwrap_or_else(|_| {
        Err(Rejection::new(
            RejectionCode::MappingPanic,
            "the mapping panicked on this record; please report it with the record",
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const BODY: &[u8] = br#"{"event_id":"01X","object_type":"email","metric":"sent","timestamp":1700000000,"data":{}}"#;

    fn record<'a>(body: &'a [u8], content_encoding: Option<&'a [u8]>) -> RawRecord<'a> {
        let received_at = 1_700_000_001_480;
        RawRecord { body, content_encoding, received_at, source: None, reprocess: false, replay_of: None }
    }

    fn id(record: &RawRecord<'_>, limit: usize) -> Result<String, Rejection> {
        map_record(record, &SourceOptions::default(), limit, &mut Vec::new(), |mapped| Ok(mapped.event.id.into_owned()))
    }

    #[test]
    fn a_compressed_record_is_mapped_like_a_plain_record() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(BODY).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(id(&record(BODY, None), 1000), Ok("01X".to_owned()));
        assert_eq!(id(&record(&packed, Some(b"gzip")), 1000), Ok("01X".to_owned()));
        assert_eq!(id(&record(&packed, Some(b"gzip")), 10).unwrap_err().code, RejectionCode::TooLarge);
    }

    #[test]
    fn a_timestamp_more_than_a_day_after_received_at_is_rejected() {
        let early = RawRecord { received_at: 0, ..record(BODY, None) };
        assert_eq!(id(&early, 1000).unwrap_err().code, RejectionCode::BadTimestamp);
    }

    #[test]
    fn a_panic_becomes_a_rejection_of_the_record() {
        let source = SourceOptions::default();
        let panics = |_: Mapped<'_>| -> Result<(), Rejection> { panic!("a defect") };
        let mapped = map_record(&record(BODY, None), &source, 1000, &mut Vec::new(), panics);
        assert_eq!(mapped.unwrap_err().code, RejectionCode::MappingPanic);
    }
}
