//! Decodes the value of a dead letter as far as possible.

use serde_json::Value;
use xdm::TenantId;

use crate::typed_event::{EventReader, ReadEvent};

/// Value of a dead letter, decoded as far as possible.
#[derive(Debug, Clone)]
pub enum Body {
    /// A JSON document.
    Json(Value),
    /// A decoded Avro event.
    Event {
        /// The event as XDM JSON.
        event: Value,
        /// Whether the event was decoded with this build's schema, because its own schema is only in a Schema Registry.
        assumed: bool,
    },
    /// Text that is not JSON.
    Text(String),
    /// Hexadecimal digits of a value that is neither text nor an event.
    Bytes(String),
}

impl Body {
    /// Decodes the value of a dead letter. `tenant` is the key of the organisation's own fields in an event.
    #[must_use]
    pub fn read(value: &[u8], tenant: &TenantId) -> Self {
        if let Some(event) = event(value, tenant) {
            return event;
        }
        if let Ok(json) = serde_json::from_slice(value) {
            return Self::Json(json);
        }
        match std::str::from_utf8(value) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(value.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}

fn event(value: &[u8], tenant: &TenantId) -> Option<Body> {
    let ReadEvent { event, assumed } = EventReader::default().read(value)?;
    let mut json = Vec::new();
    xdm::write_json(&event, tenant, &mut json);
    Some(Body::Event { event: serde_json::from_slice(&json).ok()?, assumed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(value: &[u8]) -> Body {
        Body::read(value, &"acme".parse().unwrap())
    }

    #[test]
    fn a_value_is_decoded_as_an_event_or_as_json_or_as_text_or_as_hexadecimal_digits() {
        assert!(matches!(body_of(b"{\"a\":1}"), Body::Json(_)));
        assert!(matches!(body_of(b"not json"), Body::Text(_)));
        assert!(matches!(body_of(&[0xff, 0x00]), Body::Bytes(hex) if hex == "ff00"));
        let mut event = Vec::new();
        let webhook = br#"{"event_id":"01X","object_type":"email","metric":"sent","timestamp":1700000000,"data":{}}"#;
        let source = mapping::SourceOptions::default();
        let mapped = mapping::map(webhook, mapping::ReceivedAt::from_millis(1_700_000_000_000), &source).unwrap();
        let framing = xdm::avro::Framing::Confluent { schema_id: 3 };
        xdm::avro::Encoder::new(framing).unwrap().encode(&mapped.event, &mut event).unwrap();
        let Body::Event { event, assumed: true } = body_of(&event) else { panic!("an event") };
        assert_eq!(event["_id"], "01X");
    }
}
