//! Receipts, read: what the sink wrote of each request that Platform answered.

use std::borrow::Cow;

use serde::Deserialize;

/// The parts of a receipt that are looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt<'a> {
    /// When the request was sent: milliseconds since 1970.
    pub sent_at: i64,
    /// Its HTTP status.
    pub status: u16,
    /// Platform's id of the batch.
    #[serde(borrow)]
    pub batch_id: Option<Cow<'a, str>>,
    /// An entry for each record.
    #[serde(borrow)]
    pub records: Vec<Entry<'a>>,
}

/// `[partition, offset, event id, xactionId, verdict]` of a typed record.
#[derive(Debug, Deserialize)]
pub struct Entry<'a>(
    /// Partition.
    pub i32,
    /// Offset.
    pub i64,
    /// Event id.
    #[serde(borrow)]
    pub Cow<'a, str>,
    /// Platform's xactionId.
    #[serde(borrow)]
    pub Option<Cow<'a, str>>,
    /// Verdict.
    #[serde(borrow)]
    pub Cow<'a, str>,
);

impl Entry<'_> {
    /// Whether Platform has taken the record.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.4 == "accepted"
    }
}

impl<'a> Receipt<'a> {
    /// Reads the value of a record of the receipts topic; `None` if it is not a receipt.
    #[must_use]
    pub fn read(value: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_read_as_the_sink_writes_it() {
        let json = br#"{"sentAt":5,"status":207,"inletId":"i","batchId":"b","records":[[3,42,"01X","x1","accepted"],[3,43,"01Y",null,"refused"]]}"#;
        let receipt = Receipt::read(json).unwrap();
        assert_eq!((receipt.sent_at, receipt.status, receipt.batch_id.as_deref()), (5, 207, Some("b")));
        let [accepted, refused] = receipt.records.as_slice() else { panic!("two entries") };
        assert!(accepted.is_accepted() && !refused.is_accepted());
        assert_eq!((accepted.0, accepted.1, &*accepted.2, accepted.3.as_deref()), (3, 42, "01X", Some("x1")));
        assert!(Receipt::read(b"{}").is_none());
    }
}
