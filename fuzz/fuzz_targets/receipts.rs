//! Any bytes as a receipt: what is read of it is what a receipt with these entries says.

#![no_main]

use contract::receipt::Receipt;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|bytes: &[u8]| {
    let Some(receipt) = Receipt::read(bytes) else { return };
    let entries: Vec<_> =
        receipt.records.iter().map(|entry| json!([entry.0, entry.1, entry.2, entry.3, entry.4])).collect();
    let written =
        json!({"sentAt": receipt.sent_at, "status": receipt.status, "batchId": receipt.batch_id, "records": entries});
    let written = written.to_string();
    let again = Receipt::read(written.as_bytes()).expect("a receipt");
    assert_eq!(format!("{again:?}"), format!("{receipt:?}"));
    for (entry, again) in receipt.records.iter().zip(&again.records) {
        assert_eq!(entry.is_accepted(), again.is_accepted());
        assert_eq!(entry.is_accepted(), entry.4 == "accepted");
    }
});
