//! Tests the encoded bytes with apache-avro's generic reader, and bytes that must be refused.

use apache_avro::types::Value;
use proptest::prelude::*;

use apache_avro::Schema;

use super::*;
use crate::event::{
    CustomerioDetails, Device, IdentityMap, Open, Preference, RECORDS, Subscription, Tenant, Timestamp,
};
use crate::schema::SCHEMA_JSON;

fn encode(event: &ExperienceEvent<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new(Framing::SingleObject).unwrap().encode(event, &mut out).unwrap();
    out
}

fn full() -> ExperienceEvent<'static> {
    let mut event = ExperienceEvent {
        id: "01X".into(),
        timestamp: Timestamp(1_700_000_000_000),
        event_type: "directMarketing.emailOpened".into(),
        produced_by: "self".into(),
        channel: Some(crate::event::Channel { id: "c".into(), channel_type: Some("t".into()), ..Default::default() }),
        direct_marketing: Some(crate::event::DirectMarketing { opens: Some(1.0.into()), ..Default::default() }),
        push_notification_tracking: Some(crate::event::PushNotificationTracking {
            push_provider: Some("apns".into()),
            custom_action: Some(crate::event::CustomAction { action_id: Some("1".into()) }),
        }),
        inapp_message_tracking: Some(crate::event::InappMessageTracking { action: Some("a".into()) }),
        ..ExperienceEvent::default()
    };
    event.identity_map.add("CustomerioID".into(), "42".into());
    event.identity_map.add("Email".into(), "a@b".into());
    event.tenant = Tenant {
        customerio: CustomerioDetails {
            object_type: "email".into(),
            metric: "opened".into(),
            devices: vec![Device { device_id: Some("t".into()), ..Device::default() }],
            is_machine: Some(true),
            open: Some(Open { prefetched: Some(true), ..Open::default() }),
            subscription: Some(Subscription {
                topics: vec![Preference { id: "topic_1".into(), subscribed: true }],
                channels: vec![Preference { id: "email".into(), subscribed: false }],
                ..Subscription::default()
            }),
            received_at: Some(Timestamp(5)),
            ..CustomerioDetails::default()
        },
    };
    event
}

#[test]
fn the_generic_avro_reader_finds_every_field_of_the_schema() {
    let bytes = encode(&full());
    let schema = Schema::parse_str(SCHEMA_JSON).unwrap();
    let reader = GenericDatumReader::builder(&schema).build().unwrap();
    let mut datum = &bytes[10..];
    let Value::Record(fields) = reader.read_value(&mut datum).unwrap() else { panic!("a record") };
    assert!(datum.is_empty());
    assert_eq!(fields[0], ("_id".to_owned(), Value::String("01X".to_owned())));
    assert_eq!(fields[1], ("timestamp".to_owned(), Value::TimestampMillis(1_700_000_000_000)));
    let Value::Map(identities) = &fields[4].1 else { panic!("a map") };
    let Value::Array(identities) = &identities["CustomerioID"] else { panic!("an array") };
    let Value::Record(identity) = &identities[0] else { panic!("a record") };
    assert_eq!(identity[1].1, Value::Enum(0, "ambiguous".to_owned()));
    assert_eq!(identity[2].1, Value::Boolean(true));
    let Value::Record(tenant) = &fields[9].1 else { panic!("a record") };
    let Value::Record(details) = &tenant[0].1 else { panic!("a record") };
    let Schema::Record(record) = &schema else { panic!("a record schema") };
    assert_eq!(fields.len(), record.fields.len());
    assert_eq!(details.len(), 33);
}

#[test]
fn every_declared_avro_record_has_the_fields_of_the_schema_in_its_order() {
    fn collect(schema: &serde_json::Value, found: &mut Vec<(String, Vec<String>)>) {
        if schema["type"] == "record" {
            let fields = schema["fields"].as_array().unwrap();
            let names = fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect();
            found.push((schema["name"].as_str().unwrap().to_owned(), names));
        }
        match schema {
            serde_json::Value::Object(members) => members.values().for_each(|member| collect(member, found)),
            serde_json::Value::Array(elements) => elements.iter().for_each(|element| collect(element, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(SCHEMA_JSON).unwrap(), &mut found);
    let mut declared: Vec<_> = RECORDS
        .iter()
        .map(|(name, fields)| ((*name).to_owned(), fields.iter().map(ToString::to_string).collect::<Vec<_>>()))
        .collect();
    declared.sort();
    found.sort();
    assert_eq!(declared, found);
}

#[test]
fn an_empty_and_a_full_event_are_unchanged_by_encoding_and_decoding() {
    let decoder = Decoder::new().unwrap();
    for event in [full(), ExperienceEvent::default()] {
        assert_eq!(decoder.decode(&encode(&event)).unwrap(), event);
    }
}

#[test]
fn an_unknown_schema_is_reported_as_unknown_and_not_as_undecodable() {
    let decoder = Decoder::new().unwrap();
    let mut bytes = encode(&full());
    bytes[5] ^= 1;
    assert!(matches!(decoder.decode(&bytes), Err(DecodeError::UnknownSchema { .. })));
    let mut bytes = Vec::new();
    Encoder::new(Framing::Confluent { schema_id: 7 }).unwrap().encode(&full(), &mut bytes).unwrap();
    assert_eq!(bytes[..5], [0, 0, 0, 0, 7]);
    assert!(matches!(decoder.decode(&bytes), Err(DecodeError::UnresolvedId { schema_id: 7 })));
}

#[test]
fn a_record_with_a_registry_id_is_decoded_after_its_schema_is_learnt() {
    let mut decoder = Decoder::new().unwrap();
    let mut bytes = Vec::new();
    Encoder::new(Framing::Confluent { schema_id: 7 }).unwrap().encode(&full(), &mut bytes).unwrap();
    // A registry may return the schema with other white space.
    let compact = serde_json::from_str::<serde_json::Value>(SCHEMA_JSON).unwrap().to_string();
    decoder.learn(7, ForeignSchema::parse(&compact));
    assert_eq!(decoder.decode(&bytes).unwrap(), full());

    let newer = compact.replace("\"schemaVersion\":1", "\"schemaVersion\":9").replace("broadcastID", "broadcastKey");
    assert!(!ForeignSchema::parse(&newer).is_known());
    decoder.learn(7, ForeignSchema::parse(&newer));
    let words = decoder.decode(&bytes).unwrap_err().to_string();
    assert!(words.contains("version 9 of the schema (registry id 7)") && words.contains("versions 1 to 1"), "{words}");
    decoder.learn(7, ForeignSchema::parse("\"string\""));
    assert!(decoder.decode(&bytes).unwrap_err().to_string().contains("a foreign schema (registry id 7)"));
    decoder.learn(7, ForeignSchema::parse("not a schema"));
    assert!(matches!(decoder.decode(&bytes), Err(DecodeError::UnknownSchema { .. })));
}

#[test]
fn a_record_of_an_older_release_is_decoded_with_the_schema_of_that_release() {
    // The schema of an older release: it lacks a field in the middle of a record, nested records, and an array.
    let mut older: serde_json::Value = serde_json::from_str(SCHEMA_JSON).unwrap();
    let fields = older["fields"].as_array_mut().unwrap();
    fields.retain(|field| field["name"] != "inappMessageTracking");
    let tenant = fields.iter_mut().find(|field| field["name"] == "_tenant").unwrap();
    let details = tenant["type"]["fields"][0]["type"]["fields"].as_array_mut().unwrap();
    details.retain(|field| !["isMachine", "open", "devices"].contains(&field["name"].as_str().unwrap()));
    let older = Schema::parse(&older).unwrap();

    // A record of that release, which the generic writer encodes from a value with field names.
    let current = Schema::parse_str(SCHEMA_JSON).unwrap();
    let mut expected = full();
    // A map in a generic value has no order.
    expected.identity_map.0.truncate(1);
    let bytes = encode(&expected);
    let value = GenericDatumReader::builder(&current).build().unwrap().read_value(&mut &bytes[10..]).unwrap();
    let value = value.resolve(&older).unwrap();
    let datum = GenericDatumWriter::builder(&older).build().unwrap().write_value_to_vec(value).unwrap();

    let fingerprint = Fingerprint::of(&older);
    assert_ne!(fingerprint, Fingerprint::current());
    let leaked: &'static Schema = Box::leak(Box::new(older));
    let mut decoder = Decoder::new().unwrap();
    decoder.known.push((fingerprint, GenericDatumReader::builder(leaked).human_readable(false).build().unwrap()));
    decoder.learn(3, ForeignSchema { fingerprint: Some(fingerprint), version: Some(0) });
    expected.inapp_message_tracking = None;
    let details = &mut expected.tenant.customerio;
    (details.is_machine, details.open, details.devices) = (None, None, Vec::new());
    for frame in [[&SINGLE_OBJECT[..], &fingerprint.0].concat(), vec![CONFLUENT, 0, 0, 0, 3]] {
        let bytes = [frame, datum.clone()].concat();
        let mut event = decoder.decode(&bytes).unwrap();
        // The generic writer does not keep the order of maps.
        event.identity_map.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert_eq!(event, expected);
    }
}

#[test]
fn damaged_bytes_are_undecodable() {
    let decoder = Decoder::new().unwrap();
    let good = encode(&full());
    let mut longer = good.clone();
    longer.push(0);
    for bytes in [&b""[..], b"{}", &[0xC3, 0x01], &good[..good.len() - 1], &longer] {
        assert!(matches!(decoder.decode(bytes), Err(DecodeError::Undecodable(_))), "{bytes:?}");
    }
}

#[test]
fn the_frame_of_a_record_contains_the_published_schema_fingerprint() {
    // This value changes with the schema. A new schema needs a release, and its fingerprint is then added to the list
    // of released ones.
    let bytes = encode(&full());
    assert_eq!(bytes[..2], [0xC3, 0x01]);
    // The documented byte order is that of a record: least significant byte first.
    let published = include_str!("../../../../schemas/experience-event.fingerprint").trim();
    assert_eq!(hex(&bytes[2..10]), published);
    assert_eq!(Fingerprint::current().to_string(), published);
}

#[test]
fn fingerprints_equal_those_of_java_and_fastavro() {
    // Computed by fastavro 1.13 as `fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")`. Java's Avro 1.12
    // computes the same value for the first schema.
    let cases = [
        (SCHEMA_JSON, "6d794ef2cc8f0bd8"),
        (r#"{"type":"long","logicalType":"timestamp-millis"}"#, "b71df49344e154d0"),
        (r#""long""#, "b71df49344e154d0"),
        (r#"["null",{"type":"long","logicalType":"timestamp-micros"}]"#, "4a8040ed5813ca98"),
        (r#"{"type":"array","items":{"type":"int","logicalType":"date"}}"#, "beb463c94f812b52"),
        (r#"{"type":"map","values":{"type":"string","logicalType":"uuid"}}"#, "724586925d96ce86"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#, "651920c3da16c04f"),
        (r#"{"type":"fixed","name":"F","size":12,"logicalType":"duration"}"#, "3a82509712eed7f3"),
        (
            r#"{"type":"record","name":"R","namespace":"n","fields":[{"name":"logicalType","type":"string","default":"x"},{"name":"b","type":{"type":"long","logicalType":"time-micros"},"default":0},{"name":"c","type":["null","R"],"default":null}]}"#,
            "9f823388e1022c86",
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(Fingerprint::of(&Schema::parse_str(json).unwrap()).to_string(), expected, "{json}");
    }
}

/// A record that an earlier build wrote with another fingerprint of the first schema.
const FORMER_FULL: &str = concat!(
    "c301a48f38c8e550924d0630315880a0abfef962366469726563744d61726b6574696e672e656d61696c4f70656e65640873",
    "656c660418437573746f6d6572696f4944020434320001000a456d61696c0206614062000000000202630202740002000000",
    "02000000000000f03f00000000000000000002020861706e7302020231020202610a656d61696c0c6f70656e656400000000",
    "00000000000000000000000002020274000000000000020100020002010000000200020e746f7069635f310100020a656d61",
    "696c000000020a000000",
);
const FORMER_EMPTY: &str = concat!(
    "c301a48f38c8e550924d00000000000000000000000000000000000000000000000000000000000000000000000000000000",
    "0000",
);

#[test]
fn records_with_the_fingerprint_of_earlier_builds_are_decoded() {
    let decoder = Decoder::new().unwrap();
    for (record, event) in [(FORMER_FULL, full()), (FORMER_EMPTY, ExperienceEvent::default())] {
        assert!(record.starts_with("c301a48f38c8e550924d"));
        assert_eq!(decoder.decode(&bytes_of(record)).unwrap(), event);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn text() -> impl Strategy<Value = std::borrow::Cow<'static, str>> {
    any::<String>().prop_map(Into::into)
}

proptest! {
    #[test]
    fn any_encoded_event_decodes_to_the_same_event(
        id in text(),
        millis in any::<i64>(),
        subject in proptest::option::of(text()),
        identities in prop::collection::btree_map(any::<String>(), any::<String>(), 0..5),
        machine in any::<Option<bool>>(),
    ) {
        let mut event = full();
        event.id = id;
        event.timestamp = Timestamp(millis);
        event.tenant.customerio.subject = subject;
        event.tenant.customerio.is_machine = machine;
        event.identity_map = IdentityMap::default();
        for (namespace, value) in identities {
            event.identity_map.add(namespace.into(), value.into());
        }
        prop_assert_eq!(Decoder::new().unwrap().decode(&encode(&event)).unwrap(), event);
    }

    #[test]
    fn decoding_any_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Decoder::new().unwrap().decode(&bytes));
        drop(Decoder::new().unwrap().decode(&[&encode(&full())[..10], &bytes].concat()));
    }
}
