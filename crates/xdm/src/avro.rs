//! The Avro form on the typed topic, in two framings: Avro single-object encoding (`C3 01` and the schema's fingerprint)
//! or the Confluent wire format (`00` and a registry's id). A reader tells them apart by the first byte.
//!
//! Evolution is additive: a record written with any released schema is read with that schema, and fields it lacks take
//! their defaults. A schema that this build does not have is no fault of the record.

use std::fmt;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::event::ExperienceEvent;

/// The schema this build writes, as text.
pub const SCHEMA_JSON: &str = include_str!("../../../schemas/experience-event.avsc");

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse_str(SCHEMA_JSON).expect("the schema file is part of this build and tested"));

const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
const CONFLUENT: u8 = 0;

/// CRC-64-AVRO of a schema's parsing canonical form, as it stands in single-object framing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 8]);

impl Fingerprint {
    /// The fingerprint of the schema this build writes.
    #[must_use]
    pub fn current() -> Self {
        Self::of(&SCHEMA)
    }

    fn of(schema: &Schema) -> Self {
        let bytes = schema.fingerprint::<Rabin>().bytes;
        Self(bytes.try_into().unwrap_or_default())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What stands before the datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Avro single-object encoding.
    SingleObject,
    /// Confluent wire format.
    Confluent {
        /// The registry's id of the schema.
        schema_id: u32,
    },
}

/// An event could not be written.
#[derive(Debug, thiserror::Error)]
#[error("the event does not fit the Avro schema")]
pub struct EncodeError(#[from] apache_avro::Error);

/// Writes events. Keep one a thread and reuse it.
pub struct Encoder {
    writer: GenericDatumWriter<'static>,
    prefix: Vec<u8>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder for this framing.
    ///
    /// # Errors
    /// [`EncodeError`] if the schema cannot be resolved, which the tests of this crate rule out.
    pub fn new(framing: Framing) -> Result<Self, EncodeError> {
        let writer = GenericDatumWriter::builder(&SCHEMA).human_readable(false).build()?;
        let prefix = match framing {
            Framing::SingleObject => [&SINGLE_OBJECT[..], &Fingerprint::current().0].concat(),
            Framing::Confluent { schema_id } => [&[CONFLUENT][..], &schema_id.to_be_bytes()].concat(),
        };
        Ok(Self { writer, prefix })
    }

    /// Appends the framed event.
    ///
    /// # Errors
    /// [`EncodeError`]; `out` may then hold a part of it.
    pub fn encode(&self, event: &ExperienceEvent<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.prefix);
        self.writer.write_ser(out, event)?;
        Ok(())
    }
}

/// Why bytes are no event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The record was written with a schema this build does not have: not the record's fault. Hold, and upgrade.
    #[error("the record was written with schema {schema}, which this version ({version}) does not know; upgrade the sink to the version that wrote it", version = env!("CARGO_PKG_VERSION"))]
    UnknownSchema {
        /// The fingerprint, or the registry's id.
        schema: String,
    },
    /// The bytes are no record of the schema they name.
    #[error("the record cannot be decoded: {0}")]
    Undecodable(String),
}

/// Reads events of any framing and any released schema.
pub struct Decoder {
    released: Vec<(Fingerprint, GenericDatumReader<'static>)>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.released.iter().map(|(fingerprint, _)| fingerprint)).finish()
    }
}

impl Decoder {
    /// A decoder for every released schema; today that is one.
    ///
    /// # Errors
    /// [`EncodeError`] if a schema cannot be resolved, which the tests of this crate rule out.
    pub fn new() -> Result<Self, EncodeError> {
        let reader = GenericDatumReader::builder(&SCHEMA).human_readable(false).build()?;
        Ok(Self { released: vec![(Fingerprint::current(), reader)] })
    }

    /// Reads one framed event.
    ///
    /// # Errors
    /// [`DecodeError`]: tell the two kinds apart.
    pub fn decode(&self, bytes: &[u8]) -> Result<ExperienceEvent<'static>, DecodeError> {
        let (reader, mut datum) = match bytes {
            [0xC3, 0x01, rest @ ..] if rest.len() >= 8 => {
                let (head, datum) = rest.split_at(8);
                let fingerprint = Fingerprint(head.try_into().unwrap_or_default());
                let known = self.released.iter().find(|(known, _)| *known == fingerprint);
                let (_, reader) =
                    known.ok_or_else(|| DecodeError::UnknownSchema { schema: fingerprint.to_string() })?;
                (reader, datum)
            }
            [CONFLUENT, a, b, c, d, ..] => {
                let id = u32::from_be_bytes([*a, *b, *c, *d]);
                return Err(DecodeError::UnknownSchema { schema: format!("registry id {id}") });
            }
            _ => return Err(DecodeError::Undecodable("neither single-object nor Confluent framing".to_owned())),
        };
        let event = reader.read_deser(&mut datum).map_err(|error| DecodeError::Undecodable(error.to_string()))?;
        if datum.is_empty() {
            Ok(event)
        } else {
            Err(DecodeError::Undecodable(format!("{} bytes are left over", datum.len())))
        }
    }
}

#[cfg(test)]
mod tests;
