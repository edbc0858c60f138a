//! Tests the verdicts that `docs/outcomes.md` documents, and properties that hold for every response.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::failure::Unreached;

fn response(status: u16, body: impl Into<Bytes>) -> Answer {
    Answer::Response(Response { status, retry_after: None, body: body.into() })
}

fn multi(responses: &Value) -> Answer {
    response(207, json!({"inletId":"i","batchId":"b","receivedTimeMs":"1","responses":responses}).to_string())
}

fn records(verdict: Verdict) -> Vec<RecordVerdict> {
    match verdict {
        Verdict::Records { records, .. } => records,
        other => panic!("{other:?}"),
    }
}

/// Returns one character per record: A for accepted, R for refused, T for a record to send again.
fn marks(verdict: Verdict) -> String {
    records(verdict)
        .iter()
        .map(|verdict| match verdict {
            RecordVerdict::Accepted { .. } => 'A',
            RecordVerdict::Refused { .. } => 'R',
            RecordVerdict::Retry(_) => 'T',
        })
        .collect()
}

#[test]
fn inlet_batch_and_transaction_ids_are_read_from_a_success() {
    let answer = multi(&json!([{"xactionId":"1:2:3:0"},{"xactionId":"1:2:3:1"}]));
    let Verdict::Records { inlet_id, batch_id, records } = classify(&answer, 2) else { panic!() };
    assert_eq!((inlet_id.as_deref(), batch_id.as_deref()), (Some("i"), Some("b")));
    assert_eq!(records[1], RecordVerdict::Accepted { xaction_id: Some("1:2:3:1".into()) });
}

#[test]
fn a_failed_entry_without_xaction_id_is_matched_by_position() {
    let answer = multi(
        &json!([{"xactionId":"1:2:3:0"},{"statusCode":400,"message":"unknown xdm format"},{"xactionId":"1:2:3:2"}]),
    );
    let records = records(classify(&answer, 3));
    assert_eq!(records[1], RecordVerdict::Refused { status: 400, message: "unknown xdm format".into() });
    assert_eq!(marks(classify(&answer, 3)), "ARA");
}

#[test]
fn entries_that_all_have_an_index_are_matched_by_index() {
    let answer = multi(&json!([
        {"xactionId":"u-u-2","status":400,"message":"m"}, {"xactionId":"u-u-0"}, {"xactionId":"u-u-1","status":"503"}
    ]));
    assert_eq!(marks(classify(&answer, 3)), "ATR");
}

#[test]
fn entries_that_differ_in_number_from_the_records_are_matched_only_by_index() {
    let indexed = multi(&json!([{"xactionId":"u-0"},{"xactionId":"u-3","status":400}]));
    assert_eq!(marks(classify(&indexed, 4)), "ATTR");
    let mixed = multi(&json!([{"xactionId":"a:0"},{"statusCode":400},{"xactionId":"a:3"},{"xactionId":"a:4"}]));
    assert_eq!(classify(&mixed, 5), Verdict::Halve { reason: RetryReason::Undeterminable });
    let more = multi(&json!([{"xactionId":"a:0"},{"xactionId":"a:1"},{"xactionId":"a:2"}]));
    assert_eq!(classify(&more, 2), Verdict::Halve { reason: RetryReason::Undeterminable });
    assert_eq!(classify(&more, 1), Verdict::RetryAll { after: None, reason: RetryReason::Undeterminable });
}

#[test]
fn entries_with_repeated_or_invalid_indices_are_matched_by_position() {
    let repeated = multi(&json!([{"xactionId":"a:3"},{"xactionId":"a:3","status":400}]));
    assert_eq!(marks(classify(&repeated, 2)), "AR");
    let foreign = multi(&json!([{"xactionId":"1565650704337:2124:92:7","status":429},{"xactionId":"no digits"}]));
    assert_eq!(marks(classify(&foreign, 2)), "TA");
}

#[test]
fn only_the_status_of_an_entry_decides_its_verdict() {
    let cases = [
        (json!({"xactionId":"a"}), 'A'),
        (json!({"status":200}), 'A'),
        (json!({"status":"207"}), 'A'),
        (json!({"status":400}), 'R'),
        (json!({"statusCode":"404"}), 'R'),
        (json!({"status":413}), 'R'),
        (json!({"status":401}), 'T'),
        (json!({"status":403}), 'T'),
        (json!({"status":408}), 'T'),
        (json!({"status":429}), 'T'),
        (json!({"status":500}), 'T'),
        (json!({"statusCode":503}), 'T'),
        (json!({"status":302}), 'T'),
        (json!({"status":null}), 'T'),
        (json!({"status":"x"}), 'T'),
        (json!({"status":{}}), 'T'),
        (json!({"status":-1}), 'T'),
        (json!("accepted"), 'T'),
        (json!(null), 'T'),
    ];
    for (entry, expected) in cases {
        assert_eq!(marks(classify(&multi(&json!([entry])), 1)), expected.to_string(), "{entry}");
    }
}

#[test]
fn records_of_a_207_without_readable_entries_are_sent_again() {
    for body in ["", "<html>", "[]", "{}", r#"{"responses":[]}"#, r#"{"responses":{}}"#] {
        assert_eq!(classify(&response(207, body), 3), Verdict::Halve { reason: RetryReason::Undeterminable }, "{body}");
        assert!(matches!(classify(&response(207, body), 1), Verdict::RetryAll { .. }), "{body}");
    }
}

#[test]
fn every_status_has_the_documented_verdict() {
    let all = |status, body: &'static str| classify(&response(status, body), 2);
    assert_eq!(all(400, "bad"), Verdict::Bisect { message: "bad".into() });
    assert_eq!(marks(classify(&response(400, "bad"), 1)), "R");
    assert_eq!(all(413, ""), Verdict::Halve { reason: RetryReason::TooLarge });
    assert_eq!(marks(classify(&response(413, ""), 1)), "R");
    assert_eq!(all(401, ""), Verdict::Hold(HoldReason::Unauthorized));
    assert_eq!(all(403, "{}"), Verdict::Hold(HoldReason::Unauthorized));
    assert_eq!(all(403, ""), Verdict::Hold(HoldReason::Blocked));
    for status in [301, 302, 404, 405, 409, 410, 418, 501] {
        assert_eq!(all(status, "x"), Verdict::Hold(HoldReason::Endpoint), "{status}");
    }
    for (status, reason) in [
        (408, RetryReason::Timeout),
        (429, RetryReason::Throttled),
        (500, RetryReason::ServerError),
        (502, RetryReason::Unavailable),
        (503, RetryReason::Unavailable),
        (504, RetryReason::Unavailable),
        (599, RetryReason::ServerError),
        (204, RetryReason::Undeterminable),
    ] {
        assert_eq!(all(status, ""), Verdict::RetryAll { after: None, reason }, "{status}");
    }
    let waiting =
        Answer::Response(Response { status: 503, retry_after: Some(Duration::from_secs(7)), body: Bytes::new() });
    assert_eq!(
        classify(&waiting, 2),
        Verdict::RetryAll { after: Some(Duration::from_secs(7)), reason: RetryReason::Unavailable }
    );
}

#[test]
fn without_a_response_or_a_token_no_record_is_refused() {
    for failure in [Failure::Connect(Unreached::Other), Failure::Timeout, Failure::Interrupted] {
        assert!(matches!(classify(&Answer::Failed(failure), 1), Verdict::RetryAll { .. }));
    }
    let refused = TokenError::Refused { status: 400, code: None, names: crate::CredentialNames::default() };
    assert_eq!(classify(&Answer::NoToken(refused), 1), Verdict::Hold(HoldReason::Unauthorized));
    for passing in [
        TokenError::NoAnswer(Failure::Timeout),
        TokenError::Unavailable(503),
        TokenError::Unusable("its response is not a JSON object"),
    ] {
        assert!(matches!(classify(&Answer::NoToken(passing), 1), Verdict::RetryAll { .. }));
    }
}

#[test]
fn retry_after_is_read_as_seconds_and_as_a_date() {
    let now: jiff::Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
    assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
    assert_eq!(retry_after("99999999", now), Some(Duration::from_secs(3600)));
    assert_eq!(retry_after("Mon, 23 Nov 2026 10:00:30 GMT", now), Some(Duration::from_secs(30)));
    assert_eq!(retry_after("Mon, 23 Nov 2026 09:00:00 GMT", now), None);
    assert_eq!(retry_after("soon", now), None);
}

#[test]
fn an_entry_with_neither_a_clear_status_nor_an_id_is_sent_again() {
    for entry in
        [json!({}), json!({"message":"accepted"}), json!({"xactionId":7}), json!({"status":200,"statusCode":400})]
    {
        assert_eq!(marks(classify(&multi(&json!([entry])), 1)), "T", "{entry}");
    }
    assert_eq!(marks(classify(&multi(&json!([{"xactionId":"a"}])), 1)), "A");
}

#[test]
fn an_index_that_contradicts_the_position_makes_all_records_undeterminable() {
    let answer = multi(
        &json!([{"xactionId":"1565650704337:2124:92:3"}, {"statusCode":400}, {"statusCode":400}, {"statusCode":400}]),
    );
    assert_eq!(classify(&answer, 4), Verdict::Halve { reason: RetryReason::Undeterminable });
}

#[test]
fn debug_output_of_a_response_omits_the_body() {
    let shown = format!("{:?}", response(400, "someone@example.com is no enum value"));
    assert!(!shown.contains("115, 111") && !shown.contains("example.com"), "{shown}");
}

fn entry() -> impl Strategy<Value = Value> {
    let status = prop_oneof![
        Just(None),
        (0..700u64).prop_map(|status| Some(json!(status))),
        "[0-9a-z]{0,4}".prop_map(|text| Some(json!(text)))
    ];
    let id = prop_oneof![
        Just(None),
        (0..12usize).prop_map(|index| Some(format!("u-{index}"))),
        "[a-z:0-9-]{0,8}".prop_map(Some)
    ];
    (status, id, any::<bool>()).prop_map(|(status, id, shape)| {
        let mut entry = Map::new();
        if let Some(status) = status {
            entry.insert(if shape { "status" } else { "statusCode" }.into(), status);
        }
        if let Some(id) = id {
            entry.insert("xactionId".into(), json!(id));
        }
        Value::Object(entry)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_207_never_accepts_more_records_than_it_has_successful_entries(
        entries in prop::collection::vec(entry(), 0..10),
        count in 1..10usize,
    ) {
        let good = entries
            .iter()
            .filter(|entry| {
                let status = entry.get("status").or_else(|| entry.get("statusCode"));
                status.is_none_or(|status| {
                    status.as_u64().or_else(|| status.as_str()?.parse().ok()).is_some_and(|status| (200..300).contains(&status))
                })
            })
            .count();
        if let Verdict::Records { records, .. } = classify(&multi(&json!(entries)), count) {
            prop_assert_eq!(records.len(), count);
            let accepted = records.iter().filter(|verdict| matches!(verdict, RecordVerdict::Accepted { .. })).count();
            prop_assert!(accepted <= good, "{accepted} accepted, {good} good entries");
        }
    }

    #[test]
    fn only_200_or_207_accepts_and_only_400_413_or_422_refuses_a_record(
        status in 100..600u16,
        body in prop::collection::vec(any::<u8>(), 0..60),
        count in 1..4usize,
    ) {
        if let Verdict::Records { records, .. } = classify(&response(status, body), count) {
            prop_assert_eq!(records.len(), count);
            for verdict in records {
                match verdict {
                    RecordVerdict::Accepted { .. } => prop_assert!(matches!(status, 200 | 207)),
                    RecordVerdict::Refused { .. } => prop_assert!(count == 1 && matches!(status, 400 | 413 | 422)),
                    RecordVerdict::Retry(_) => {}
                }
            }
        }
    }
}
