//! Decodes the events of typed records.

use xdm::ExperienceEvent;
use xdm::avro::{DecodeError, Decoder};
use xdm::schema::ForeignSchema;

/// Decodes events, and caches the schemas.
#[derive(Default)]
pub(crate) struct EventReader(Option<Decoder>);

/// A decoded event.
pub(crate) struct ReadEvent {
    pub(crate) event: ExperienceEvent<'static>,
    /// Whether the event was decoded with this build's schema, because its own schema is only in a Schema Registry.
    pub(crate) assumed: bool,
}

impl EventReader {
    /// Decodes an event; returns `None` if the value is not an event.
    pub(crate) fn read(&mut self, value: &[u8]) -> Option<ReadEvent> {
        let decoder = match &mut self.0 {
            Some(decoder) => decoder,
            empty => empty.insert(Decoder::new().ok()?),
        };
        let (decoded, assumed) = match decoder.decode(value) {
            Err(DecodeError::UnresolvedId { schema_id }) => {
                decoder.learn(schema_id, ForeignSchema::parse(xdm::schema::SCHEMA_JSON));
                (decoder.decode(value), true)
            }
            decoded => (decoded, false),
        };
        Some(ReadEvent { event: decoded.ok()?, assumed })
    }
}
