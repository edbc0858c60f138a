//! Receipts: Platform's decision on each record of one request. `docs/receipts.md` has the schema.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::position::Position;

/// Version of the JSON form. Each receipt has it in the header [`VERSION`](crate::header::VERSION).
pub const RECEIPT_VERSION: &str = "1";

/// A receipt: one response of Platform, with the records that it decided. It does not contain personal data.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt<'a> {
    /// Time at which the request was sent: milliseconds since 1970.
    pub sent_at: i64,
    /// HTTP status of the response.
    pub status: u16,
    /// Platform's id of the inlet, if the response contains it.
    #[serde(borrow)]
    pub inlet_id: Option<Cow<'a, str>>,
    /// Platform's id of the batch, if the response contains it.
    #[serde(borrow)]
    pub batch_id: Option<Cow<'a, str>>,
    /// One entry for each decided record.
    #[serde(borrow)]
    pub records: Vec<ReceiptEntry<'a>>,
}

/// A record of the request, with Platform's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptEntry<'a> {
    /// Position of the typed record.
    pub position: Position,
    /// The `_id` of the event.
    pub event_id: Cow<'a, str>,
    /// Platform's `xactionId` of the record, if the response contains it.
    pub xaction_id: Option<Cow<'a, str>>,
    /// Platform's decision on the record.
    pub verdict: ReceiptVerdict,
}

/// Platform's decision on one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptVerdict {
    /// Platform accepted the record.
    Accepted,
    /// Platform refused the record; its dead letter was written before the receipt.
    Refused,
}

impl ReceiptVerdict {
    /// Name of the verdict in the JSON form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }
}

/// The JSON form of an entry: `[partition, offset, event id, xactionId, verdict]`.
#[derive(Deserialize)]
struct Fields<'a>(
    i32,
    i64,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    #[serde(borrow)] Cow<'a, str>,
);

impl<'de: 'a, 'a> Deserialize<'de> for ReceiptEntry<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields(partition, offset, event_id, xaction_id, verdict) = Fields::deserialize(deserializer)?;
        let position = Position::new(partition, offset);
        let is_accepted = verdict == ReceiptVerdict::Accepted.as_str();
        let verdict = if is_accepted { ReceiptVerdict::Accepted } else { ReceiptVerdict::Refused };
        Ok(Self { position, event_id, xaction_id, verdict })
    }
}

/// Writes the JSON form of [`Fields`], without copying the texts.
impl Serialize for ReceiptEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Position { partition, offset } = self.position;
        (partition.0, offset.0, &self.event_id, &self.xaction_id, self.verdict.as_str()).serialize(serializer)
    }
}

impl<'a> Receipt<'a> {
    /// Reads the value of a record of the receipts topic; `None` if it is not a receipt.
    #[must_use]
    pub fn read(value: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// Value of the receipt as a record of the receipts topic: JSON.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts can always be written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn receipt() -> Receipt<'static> {
        let entry = |position, event_id: &'static str, xaction_id: Option<&'static str>, verdict| ReceiptEntry {
            position,
            event_id: event_id.into(),
            xaction_id: xaction_id.map(Cow::Borrowed),
            verdict,
        };
        Receipt {
            sent_at: 1_700_000_000_000,
            status: 207,
            inlet_id: Some("i".into()),
            batch_id: Some("b".into()),
            records: vec![
                entry(Position::new(3, 42), "01X", Some("1565628583792:1485:153:0"), ReceiptVerdict::Accepted),
                entry(Position::new(3, 43), "01Y", None, ReceiptVerdict::Refused),
            ],
        }
    }

    #[test]
    fn a_receipt_is_read_as_it_was_written() {
        let bare = Receipt { inlet_id: None, batch_id: None, ..receipt() };
        for receipt in [receipt(), bare] {
            assert_eq!(Receipt::read(&receipt.json()), Some(receipt));
        }
        let json = br#"{"sentAt":5,"status":207,"inletId":"i","batchId":"b","records":[[3,42,"01X","x1","accepted"],[3,43,"01Y",null,"refused"]]}"#;
        let read = Receipt::read(json).unwrap();
        assert_eq!((read.sent_at, read.status, read.batch_id.as_deref()), (5, 207, Some("b")));
        assert_eq!(read.json(), json);
        assert!(Receipt::read(b"{}").is_none());
    }

    #[test]
    fn a_receipt_matches_the_schema_in_docs_receipts_md() {
        let page = include_str!("../../../docs/receipts.md");
        let schema = page.split("```json").nth(1).unwrap().split("```").next().unwrap();
        let schema: Value = serde_json::from_str(schema).unwrap();
        assert_eq!(schema["title"], format!("Receipt, version {RECEIPT_VERSION}"));
        let schema = jsonschema::validator_for(&schema).unwrap();
        let is_valid = |receipt: &Receipt<'_>| schema.is_valid(&serde_json::from_slice(&receipt.json()).unwrap());
        let bare = Receipt { inlet_id: None, batch_id: None, ..receipt() };
        assert!(is_valid(&receipt()) && is_valid(&bare));
        assert!(!is_valid(&Receipt { records: Vec::new(), ..receipt() }), "a receipt contains at least one record");
        let mut other: Value = serde_json::from_slice(&receipt().json()).unwrap();
        other["records"][0][4] = "maybe".into();
        assert!(!schema.is_valid(&other));
    }
}
