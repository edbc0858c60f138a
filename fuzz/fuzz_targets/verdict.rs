//! Parses arbitrary bytes as Platform's response: each record gets exactly one verdict, and only the statuses 200, 207,
//! 400, 413 and 422 decide records.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use platform::verdict::retry_after;
use platform::{Answer, RecordVerdict, Response, Verdict, classify};

// The first four bytes give the status, the number of records in the request, and whether the first line of the rest is
// a `Retry-After`.
fuzz_target!(|bytes: &[u8]| {
    let Some(([high, low, count, waits], body)) = bytes.split_first_chunk::<4>() else { return };
    let status = 100 + u16::from_be_bytes([*high, *low]) % 500;
    let records = usize::from(*count % 40) + 1;
    let (wait, body) = match body.iter().position(|byte| *byte == b'\n').filter(|_| waits % 2 == 1) {
        Some(end) => {
            (retry_after(&String::from_utf8_lossy(&body[..end]), jiff::Timestamp::UNIX_EPOCH), &body[end + 1..])
        }
        None => (None, body),
    };
    assert!(wait.is_none_or(|wait| wait.as_secs() <= 3600));
    let answer = Answer::Response(Response { status, retry_after: wait, body: Bytes::copy_from_slice(body) });
    let verdict = classify(&answer, records);
    assert_eq!(verdict, classify(&answer, records));
    let message = match &verdict {
        Verdict::Records { records: verdicts, .. } => {
            assert_eq!(verdicts.len(), records);
            assert!([200, 207, 400, 413, 422].contains(&status), "{status} decides nothing");
            for verdict in verdicts {
                if let RecordVerdict::Refused { message, .. } = verdict {
                    assert!(message.len() <= 1024);
                }
            }
            None
        }
        Verdict::Bisect { message } => Some(message),
        Verdict::RetryAll { .. } | Verdict::Halve { .. } | Verdict::Hold(_) => None,
    };
    assert!(message.is_none_or(|message| message.len() <= 1024));
    let _ = verdict.refuses_the_token();
});
