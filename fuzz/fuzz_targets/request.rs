//! Sends arbitrary bytes to the gateway on one connection: the gateway sends only its documented responses, and stores
//! only signed bodies, unchanged. `SIGNATURE` in the headers of the first request is replaced by the correct signature,
//! so that fuzzing also reaches the code after the signature check.

#![no_main]

use std::sync::LazyLock;

use customerio::{SignatureTimestamp, SigningKey, person_key, sign, verify};
use ingest_gateway::fuzzing::Harness;
use libfuzzer_sys::fuzz_target;

const KEY: &str = "a-signing-key-that-is-no-secret";

static HARNESS: LazyLock<Harness> = LazyLock::new(|| Harness::new(KEY));

fuzz_target!(|bytes: &[u8]| {
    let request = signed(bytes);
    let (answers, stored) = HARNESS.serve(&request);
    let mut accepted = 0;
    // Counts the responses: each begins with a status line, and no body contains such a line.
    for line in answers.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"HTTP/1.")) {
        let status = std::str::from_utf8(&line[9..12]).expect("a status");
        assert!(
            ["100", "202", "400", "401", "404", "405", "408", "413", "414", "431", "503"].contains(&status),
            "{status}"
        );
        accepted += usize::from(status == "202");
    }
    assert!(!contains(&answers, KEY.as_bytes()));
    assert!(stored.len() >= accepted && stored.len() <= accepted + 1, "202 stands for a record that is stored");
    for record in stored.iter().filter(|record| record.raw) {
        let header = |name: &str| {
            let found = record.headers.iter().find(|(found, _)| found == name);
            found.map(|(_, value)| value.as_slice()).unwrap_or_default()
        };
        let (timestamp, signature) = (header("cio-timestamp"), header("cio-signature"));
        let timestamp = SignatureTimestamp::parse(timestamp).expect("a timestamp");
        assert!(verify(&[SigningKey::new(KEY)], timestamp, &record.body, signature).is_ok());
        assert_eq!(record.key.as_deref(), Some(person_key(&record.body).as_bytes()));
        assert!(record.body.len() <= 1024);
    }
    for (_, value) in stored.iter().flat_map(|record| &record.headers) {
        assert!(value.len() <= 1024);
    }
});

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Replaces `SIGNATURE` in the headers by the signature of the bytes after them.
fn signed(bytes: &[u8]) -> Vec<u8> {
    const PLACE: &[u8] = b"SIGNATURE";
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    let Some(end) = end else { return bytes.to_vec() };
    let (head, body) = bytes.split_at(end);
    let Some(place) = head.windows(PLACE.len()).position(|window| window == PLACE) else { return bytes.to_vec() };
    let text = String::from_utf8_lossy(head).to_lowercase();
    let timestamp = text.split_once("x-cio-timestamp:").map(|(_, rest)| rest.lines().next().unwrap_or_default().trim());
    let signature = sign(&SigningKey::new(KEY), timestamp.unwrap_or_default(), body);
    [&head[..place], signature.as_bytes(), &head[place + PLACE.len()..], body].concat()
}
