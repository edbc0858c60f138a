//! Reads the event of a typed record.

use xdm::ExperienceEvent;
use xdm::avro::{DecodeError, Decoder};
use xdm::schema::ForeignSchema;

/// Reads events; it keeps the schemas that it has seen.
#[derive(Default)]
pub(crate) struct EventReader(Option<Decoder>);

/// An event as it was read.
pub(crate) struct ReadEvent {
    pub(crate) event: ExperienceEvent<'static>,
    /// The schema is a registry's, and this build's schema was used instead.
    pub(crate) assumed: bool,
}

impl EventReader {
    /// The event; `None` if the value is not one.
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
