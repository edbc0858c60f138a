//! Parses arbitrary bytes as a webhook's body, with the code that the gateway and the transformer use first.

#![no_main]

use customerio::webhook::{Data, Field, Identifiers, Webhook};
use customerio::{SignatureTimestamp, SigningKey, person_key, sign, verify};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let key = person_key(body);
    let read = Webhook::parse(body);
    // `serde_json` is stricter (no lone surrogates, limited depth). Of the bodies that it accepts, exactly the objects
    // are webhooks.
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        assert_eq!(read.is_ok(), value.is_object());
    }
    match read {
        Ok(webhook) => {
            for field in [webhook.event_id, webhook.object_type, webhook.metric, webhook.timestamp] {
                check(field, body);
            }
            if let Some(data) = Data::of(webhook.data) {
                check(data.recipient, body);
                assert!(data.devices(10).len() <= 10);
                if let Some(identifiers) = Identifiers::of(data.identifiers) {
                    for field in [identifiers.id, identifiers.email, identifiers.cio_id] {
                        check(field, body);
                    }
                }
            }
        }
        Err(_) => assert_eq!(key, person_key(body), "each delivery of a body has the same key"),
    }
    // A signature is valid only for exactly these bytes.
    let keys = [SigningKey::new("fuzz")];
    let signature = sign(&keys[0], "1700000000", body);
    let timestamp = SignatureTimestamp::parse(b"1700000000").expect("a timestamp");
    assert!(verify(&keys, timestamp, body, signature.as_bytes()).is_ok());
    assert!(verify(&keys, timestamp, &[body, b" "].concat(), signature.as_bytes()).is_err());
});

fn check(field: Field<'_>, body: &[u8]) {
    if let Some(json) = field.json() {
        let span = field.span(body).expect("a value of the body");
        assert_eq!(&body[span], json.as_bytes());
    }
    if let Some(text) = field.text() {
        // The result begins and ends with a visible character, and consists of characters of the text in the same
        // order.
        let seen = field.non_blank().unwrap_or_default();
        assert_eq!(seen.trim(), seen);
        let mut rest = text.chars();
        assert!(seen.chars().all(|c| rest.any(|other| other == c)), "{seen:?} is no part of {text:?}");
    }
}
