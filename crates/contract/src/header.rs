//! Headers of Kafka records: a type for one header, and the header names that the services agree on.

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Name of the header.
    pub name: &'a str,
    /// Value of the header; Kafka allows null.
    pub value: Option<&'a [u8]>,
}

/// Time at which the gateway had received the headers of the HTTP request: milliseconds since 1970, decimal.
pub const RECEIVED_AT: &str = "received-at";
/// Name of the configured source.
pub const SOURCE: &str = "source";
/// The request's `X-CIO-Timestamp`, as received.
pub const CIO_TIMESTAMP: &str = "cio-timestamp";
/// The request's `X-CIO-Signature`, as received.
pub const CIO_SIGNATURE: &str = "cio-signature";
/// The request's `Content-Type`, as received.
pub const CONTENT_TYPE: &str = "content-type";
/// The request's `Content-Encoding`, as received.
pub const CONTENT_ENCODING: &str = "content-encoding";
/// W3C trace context of the request, as received.
pub const TRACEPARENT: &str = "traceparent";
/// On a typed record: the XDM `_id`.
pub const EVENT_ID: &str = "event-id";
/// On a typed record: the offset of the raw record that it was mapped from, decimal; the partition is the same.
pub const RAW_OFFSET: &str = "raw-offset";
/// On a raw or typed record that was replayed: the position of its dead letter, `topic/partition/offset`.
pub const REPLAY_OF: &str = "replay-of";
/// On a raw record: the transformer maps the event even if it was mapped before. The value does not matter.
pub const REPROCESS: &str = "reprocess";
/// On a receipt: the version of its JSON form.
pub const VERSION: &str = "version";

/// Parses a header's value as a decimal number; `None` if the value is missing or not a number.
pub(crate) fn number(value: Option<&[u8]>) -> Option<i64> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::dead_letter::header as dead_letter;

    /// The headers of raw records, typed records and receipts. A name never changes, because records that are already
    /// on the topics, and programs of others, use it.
    const OF_RECORDS: [(&str, &str); 12] = [
        (super::RECEIVED_AT, "received-at"),
        (super::SOURCE, "source"),
        (super::CIO_TIMESTAMP, "cio-timestamp"),
        (super::CIO_SIGNATURE, "cio-signature"),
        (super::CONTENT_TYPE, "content-type"),
        (super::CONTENT_ENCODING, "content-encoding"),
        (super::TRACEPARENT, "traceparent"),
        (super::EVENT_ID, "event-id"),
        (super::RAW_OFFSET, "raw-offset"),
        (super::REPLAY_OF, "replay-of"),
        (super::REPROCESS, "reprocess"),
        (super::VERSION, "version"),
    ];

    /// The headers that only records of the dead-letter topic have.
    const OF_DEAD_LETTERS: [(&str, &str); 17] = [
        (dead_letter::STAGE, "dead-letter-stage"),
        (dead_letter::CODE, "dead-letter-code"),
        (dead_letter::MESSAGE, "dead-letter-message"),
        (dead_letter::TOPIC, "dead-letter-topic"),
        (dead_letter::PARTITION, "dead-letter-partition"),
        (dead_letter::OFFSET, "dead-letter-offset"),
        (dead_letter::AT, "dead-letter-at"),
        (dead_letter::VERSION, "dead-letter-version"),
        (dead_letter::ORIGINAL_SIZE, "dead-letter-original-size"),
        (dead_letter::ORIGINAL_SHA256, "dead-letter-original-sha256"),
        (dead_letter::BATCH, "dead-letter-batch"),
        (dead_letter::RESOLVES, "dead-letter-resolves"),
        (dead_letter::RESOLUTION, "dead-letter-resolution"),
        (dead_letter::BY, "dead-letter-by"),
        (dead_letter::NOTE, "dead-letter-note"),
        (dead_letter::DELIVERED_FROM, "sink-delivered-from"),
        (dead_letter::CHECKED_TO, "failed-batches-checked-to"),
    ];

    /// Returns the names of the public constants of a module.
    fn constants(source: &str) -> Vec<&str> {
        source
            .lines()
            .filter_map(|line| line.strip_prefix("pub const ")?.split_once(':'))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn every_header_keeps_the_name_that_existing_records_use() {
        for (constant, name) in OF_RECORDS.into_iter().chain(OF_DEAD_LETTERS) {
            assert_eq!(constant, name);
        }
        assert_eq!(constants(include_str!("header.rs")).len(), OF_RECORDS.len(), "a header is not in OF_RECORDS");
        let source = include_str!("dead_letter/header.rs");
        assert_eq!(constants(source).len(), OF_DEAD_LETTERS.len(), "a header is not in OF_DEAD_LETTERS");
    }

    #[test]
    fn docs_dead_letters_md_describes_exactly_the_existing_headers() {
        // The pieces with odd numbers were between backquotes. The page shortens a name after a longer one:
        // `-partition` stands for `dead-letter-partition`.
        let page = include_str!("../../../docs/dead-letters.md");
        let quoted: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
        for (_, name) in OF_DEAD_LETTERS {
            let short = name.strip_prefix("dead-letter").unwrap_or(name);
            assert!(
                quoted.contains(&name) || quoted.contains(&short),
                "docs/dead-letters.md does not describe `{name}`"
            );
        }
        for name in quoted.iter().filter(|name| name.starts_with("dead-letter-")) {
            assert!(OF_DEAD_LETTERS.iter().any(|(known, _)| known == name), "`{name}` is not a header");
        }
        assert!(quoted.contains(&super::REPLAY_OF));
    }
}
