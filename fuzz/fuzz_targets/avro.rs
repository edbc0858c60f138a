//! Decodes arbitrary bytes as a typed record: decoding never panics, and a decoded event can be encoded again.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use xdm::avro::{Decoder, Encoder, Framing};
use xdm::schema::{ForeignSchema, SCHEMA_JSON};

const SCHEMA_ID: u32 = 7;

static DECODER: LazyLock<Decoder> = LazyLock::new(|| {
    let mut decoder = Decoder::new().expect("a decoder");
    decoder.learn(SCHEMA_ID, ForeignSchema::parse(SCHEMA_JSON));
    decoder
});

static ENCODER: LazyLock<Encoder> =
    LazyLock::new(|| Encoder::new(Framing::Confluent { schema_id: SCHEMA_ID }).expect("an encoder"));

fuzz_target!(|bytes: &[u8]| {
    let (decoder, encoder) = (&*DECODER, &*ENCODER);
    // The bytes are decoded once as they are, and once as the datum of a record with a valid schema id.
    drop(decoder.decode(bytes));
    let framed = [&[0][..], &SCHEMA_ID.to_be_bytes(), bytes].concat();
    let Ok(event) = decoder.decode(&framed) else { return };
    let mut again = Vec::new();
    encoder.encode(&event, &mut again).expect("what was read can be written");
    // The encoded events are compared, because an event with a measure that is NaN is not equal to itself.
    let read = decoder.decode(&again).expect("what was written can be read");
    let mut thrice = Vec::new();
    encoder.encode(&read, &mut thrice).expect("what was read can be written");
    assert_eq!(again, thrice);
    let mut json = Vec::new();
    xdm::write_json(&event, &"acme".parse().expect("a tenant id"), &mut json);
    serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
});
