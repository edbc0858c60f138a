//! Tests with the published vectors, and with signatures that must be refused.

use proptest::prelude::*;

use super::*;

const KEY_A: &str = "8f2a6c1d9e4b47f0a3c5d7e9b1f20486";
const B1: &str = r#"{"metric":"subscribed","event_id":"01E4C4CT6YDC7Y5M7FE1GWWPQJ","object_type":"customer","timestamp":1613063089,"data":{"customer_id":"0200000001","email_address":"test@example.com","identifiers":{"id":"42","email":"test@example.com","cio_id":"d9c106000001"}}}"#;
const B2: &str = r#"{"event_id":"01HXYZ7T3Q9K2M4N6P8R0S1V5W","object_type":"email","metric":"sent","timestamp":1713484800,"data":{"subject":"Größe – 日本語 – 🎉","recipient":"zoë@exämple.com"}}"#;

/// Verifies a request as the gateway does: the header first, then the signature.
fn verify(keys: &[SigningKey], timestamp: &[u8], body: &[u8], signature: &[u8]) -> Result<(), SignatureMismatch> {
    let timestamp = SignatureTimestamp::parse(timestamp).ok_or(SignatureMismatch)?;
    super::verify(keys, timestamp, body, signature)
}

/// B2 with every non-ASCII character as a UTF-16 escape.
fn b2_escaped() -> String {
    let mut text = String::new();
    for c in B2.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

fn vectors() -> Vec<(&'static str, &'static str, Vec<u8>, &'static str)> {
    let b1_newline = format!("{B1}\n");
    assert_eq!((B1.len(), B2.len(), b2_escaped().len(), b1_newline.len()), (259, 186, 225, 260));
    vec![
        (KEY_A, "1613063090", B1.into(), "0a604d0d3510bd30d6980d5a7f69551963e32c5e6191b643f11f44e8b51a9e4f"),
        (KEY_A, "1613066690", B1.into(), "1d599004d6e1fc3017a1629aeae9c6770db75fb86f475bc85ec446b979422300"),
        (KEY_A, "1613063090", b1_newline.into(), "2f02a6843a1d26d6e7f1426f92e7fcfebd257c5d7198b2520b20953f1a668d34"),
        (KEY_A, "1713484801", B2.into(), "f46c60f63d184f7ef59ee7404640ce7fd3b01a3120f369677fcaf9f2a66e5d30"),
        (KEY_A, "1713484801", b2_escaped().into(), "1882879a9cc95eb4dbb90d22bebd2b189b43af0c1bd765f494b013494e7d5d03"),
        (KEY_A, "1613063090", Vec::new(), "62a864a4982d381f581123944fb3e2f9add7992300fa5968963aa34bed4e6c70"),
        (
            KEY_A,
            "1713484801",
            br#"v0:1:{"a":":"}"#.into(),
            "13aae98825cf698167ad0158ccaa570dd9a36df7d41d1b4a81a954ff6fc12e53",
        ),
        (
            KEY_A,
            "1713484801",
            vec![0xff, 0xfe, 0x00, 0x7b, 0x7d],
            "95678877f806766b5cf2da9ab631c21dd9e99718918a0e6142bf0f89c9e69aa6",
        ),
        (
            KEY_A,
            "1713484801",
            b"{\r\n  \"metric\": \"sent\"\r\n}".into(),
            "77f8d5d95a5e811e91ebc636948bf664c6807fc5b31b464dc22a8c199f7d572a",
        ),
        ("klüs-🔑", "1713484801", b"{}".into(), "13d25ebe44523097732b808342257815b291353f72a310f428e5f99c6c68168c"),
        (
            "test_webhook_secret_123",
            "1700000000",
            br#"{"metric": "unsubscribed", "data": {"email_address": "user@example.com"}}"#.into(),
            "d420af7b54688d0eba1ead433711f99909a7f81de2f0c3e9d00bf1d42f6738ee",
        ),
    ]
}

#[test]
fn every_published_vector_is_signed_and_verified() {
    for (number, (key, timestamp, body, signature)) in vectors().into_iter().enumerate() {
        let key = SigningKey::new(key);
        assert_eq!(sign(&key, timestamp, &body), signature, "vector {}", number + 1);
        let keys = [SigningKey::new("another"), key];
        assert_eq!(verify(&keys, timestamp.as_bytes(), &body, signature.as_bytes()), Ok(()));
        assert_eq!(verify(&keys, timestamp.as_bytes(), &body, signature.to_uppercase().as_bytes()), Ok(()));
        assert_eq!(verify(&keys[..1], timestamp.as_bytes(), &body, signature.as_bytes()), Err(SignatureMismatch));
    }
}

#[test]
fn every_invalid_signature_vector_is_refused() {
    let keys = [SigningKey::new(KEY_A)];
    let right = vectors()[0].3;
    let refused = [
        ("body only", "ef2cfbd9553e54d95132e23941a17e81343489db3875822e4784a988beaba13b".to_owned()),
        ("timestamp.body", "5179c337a8c0c5aa353fc9eaed868f29d6168e235010d35feac1d79595d1c520".to_owned()),
        ("hex-decoded key", "89b34b93d0eb382a086e9437a982b5724ddc28e15585d806edb65efb646c751b".to_owned()),
        ("prefix", format!("v0={right}")),
        ("empty", String::new()),
        ("too short", right[..63].to_owned()),
        ("too long", format!("{right}0")),
        ("not hex", format!("g{}", &right[1..])),
        ("multi-byte", "ä".repeat(32)),
    ];
    for (name, signature) in refused {
        assert_eq!(verify(&keys, b"1613063090", B1.as_bytes(), signature.as_bytes()), Err(SignatureMismatch), "{name}");
    }
    assert_eq!(verify(&[], b"1613063090", B1.as_bytes(), right.as_bytes()), Err(SignatureMismatch), "no key");
}

#[test]
fn only_1_to_20_ascii_digits_are_a_timestamp() {
    for digits in ["0", "1613063090", "18446744073709551615"] {
        assert!(SignatureTimestamp::parse(digits.as_bytes()).is_some(), "{digits}");
    }
    let others =
        ["", "123456789012345678901", "1613063090:", ":", "16 13", " 1", "1 ", "+1", "-1", "1.0", "1e9", "0x1", "１２"];
    for other in others {
        assert_eq!(SignatureTimestamp::parse(other.as_bytes()), None, "{other}");
    }
    let seconds = |text: &'static str| SignatureTimestamp::parse(text.as_bytes()).unwrap().seconds();
    assert_eq!(seconds("1613063090"), Some(1_613_063_090));
    assert_eq!(seconds("18446744073709551615"), None, "a signed 64-bit integer cannot hold this number");
}

#[test]
fn a_key_never_shows_in_debug_output() {
    assert!(!format!("{:?}", SigningKey::new(KEY_A)).contains("8f2a"));
}

proptest! {
    #[test]
    fn a_request_with_any_bit_flipped_is_refused(
        body in prop::collection::vec(any::<u8>(), 1..200),
        timestamp in "[0-9]{1,12}",
        bit in any::<prop::sample::Index>(),
        part in 0..3,
    ) {
        let key = SigningKey::new(KEY_A);
        let signature = sign(&key, &timestamp, &body);
        let mut parts = [timestamp.into_bytes(), body, signature.into_bytes()];
        let keys = [key];
        prop_assert_eq!(verify(&keys, &parts[0], &parts[1], &parts[2]), Ok(()));
        let flipped = &mut parts[usize::try_from(part).unwrap()];
        let bit = bit.index(flipped.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        // A hex letter with its case bit flipped is the same digit.
        prop_assume!(part != 2 || bit % 8 != 5 || !parts[2][bit / 8].is_ascii_alphabetic());
        prop_assert_eq!(verify(&keys, &parts[0], &parts[1], &parts[2]), Err(SignatureMismatch));
    }

    #[test]
    fn moving_bytes_between_timestamp_and_body_makes_a_signature_invalid(
        timestamp in "[0-9]{1,20}",
        // Many colons with digits between them, so that the text before a colon may look like a timestamp.
        body in "[0-9:a{}\" ]{0,60}",
    ) {
        let key = SigningKey::new(KEY_A);
        let signature = sign(&key, &timestamp, body.as_bytes());
        let signed = format!("{timestamp}:{body}");
        let keys = [key];
        for (at, _) in signed.match_indices(':') {
            let (claimed, rest) = (&signed.as_bytes()[..at], &signed.as_bytes()[at + 1..]);
            let expected = if at == timestamp.len() { Ok(()) } else { Err(SignatureMismatch) };
            prop_assert_eq!(verify(&keys, claimed, rest, signature.as_bytes()), expected, "boundary at {}", at);
        }
    }

    #[test]
    fn a_body_in_two_pieces_is_verified_like_a_complete_body(body in prop::collection::vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
        let key = SigningKey::new(KEY_A);
        let signature = sign(&key, "1", &body);
        let (head, tail) = body.split_at(cut.index(body.len() + 1));
        let mut verifier = Verifier::new(&[key], SignatureTimestamp::parse(b"1").unwrap());
        verifier.update(head);
        verifier.update(tail);
        prop_assert_eq!(verifier.finish(signature.as_bytes()), Ok(()));
    }
}
