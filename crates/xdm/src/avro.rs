//! Writes and reads events in Avro, the form on the typed topic. There are two framings: Avro single-object encoding
//! (`C3 01` and the schema's fingerprint) and the Confluent wire format (`00` and a registry's id). A reader
//! distinguishes them by the first byte.
//!
//! The schema evolves additively: a record written with any released schema is read with that schema, and missing
//! fields get their defaults. If this build does not have the schema of a record, the record is not invalid, because a
//! newer build may read it.

use std::collections::HashMap;
use std::fmt;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::event::ExperienceEvent;
use crate::schema::{Fingerprint, ForeignSchema, KNOWN, RELEASED, SCHEMA, SCHEMA_VERSION};

const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
const CONFLUENT: u8 = 0;

/// Form of the bytes before the Avro datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Avro single-object encoding: `C3 01` and the schema's fingerprint.
    SingleObject,
    /// Confluent wire format: `00` and the registry's id of the schema.
    Confluent {
        /// Id of the schema in the registry.
        schema_id: u32,
    },
}

/// Error for an event that cannot be written in Avro.
#[derive(Debug, thiserror::Error)]
#[error("the event does not fit the Avro schema")]
pub struct EncodeError(#[from] apache_avro::Error);

/// Writes events in Avro. Keep one encoder per thread and reuse it.
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
    /// Creates an encoder for this framing.
    ///
    /// # Errors
    /// Returns an [`EncodeError`] if the schema cannot be resolved, which the tests of this crate exclude.
    pub fn new(framing: Framing) -> Result<Self, EncodeError> {
        let writer = GenericDatumWriter::builder(&SCHEMA).human_readable(false).build()?;
        let prefix = match framing {
            Framing::SingleObject => [&SINGLE_OBJECT[..], &Fingerprint::current().0].concat(),
            Framing::Confluent { schema_id } => [&[CONFLUENT][..], &schema_id.to_be_bytes()].concat(),
        };
        Ok(Self { writer, prefix })
    }

    /// Appends the framed event to `out`.
    ///
    /// # Errors
    /// Returns an [`EncodeError`] if the event does not fit the schema. `out` may then contain a part of the event.
    pub fn encode(&self, event: &ExperienceEvent<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.prefix);
        self.writer.write_ser(out, event)?;
        Ok(())
    }
}

/// Reason why bytes cannot be decoded to an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The record contains a registry's id that has not been looked up yet. Look up the id, then call
    /// [`Decoder::learn`].
    #[error("the record names schema id {schema_id} of a registry, which has not been looked up")]
    UnresolvedId {
        /// Id of the schema in the registry.
        schema_id: u32,
    },
    /// The record was written with a schema that this build does not have. The record may be valid: hold it until a
    /// newer build is installed.
    #[error(
        "the record was written with {schema}; this build (release {release}) reads versions {oldest} to {newest}; run a sink that has that version, nothing is lost meanwhile",
        release = env!("CARGO_PKG_VERSION"),
        oldest = RELEASED.first().map_or(SCHEMA_VERSION, |(version, _)| *version),
        newest = SCHEMA_VERSION
    )]
    UnknownSchema {
        /// Description of the schema: version, fingerprint and registry's id, as far as they are known.
        schema: String,
    },
    /// The bytes are not a record of the schema that the frame refers to.
    #[error("the record cannot be decoded: {0}")]
    Undecodable(String),
}

/// Reads events of any framing and any released schema. A record is read with the schema that it was written with, and
/// fields that the schema does not have get their defaults.
pub struct Decoder {
    known: Vec<(Fingerprint, GenericDatumReader<'static>)>,
    /// Schemas by their ids in the registry.
    ids: HashMap<u32, ForeignSchema>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|(fingerprint, _)| fingerprint)).finish()
    }
}

impl Decoder {
    /// Creates a decoder for every released schema and for the schema that this build writes.
    ///
    /// # Errors
    /// Returns an [`EncodeError`] if a schema cannot be resolved, which the tests of this crate exclude.
    pub fn new() -> Result<Self, EncodeError> {
        let mut known = Vec::with_capacity(KNOWN.len());
        for (fingerprint, schema) in KNOWN.iter() {
            known.push((*fingerprint, GenericDatumReader::builder(schema).human_readable(false).build()?));
        }
        Ok(Self { known, ids: HashMap::new() })
    }

    /// Stores the schema of a registry's id, to decode records with this id.
    pub fn learn(&mut self, schema_id: u32, schema: ForeignSchema) {
        self.ids.insert(schema_id, schema);
    }

    /// Reads one framed event.
    ///
    /// # Errors
    /// Returns a [`DecodeError`]. Only [`DecodeError::Undecodable`] means that the record is invalid.
    pub fn decode(&self, bytes: &[u8]) -> Result<ExperienceEvent<'static>, DecodeError> {
        let (reader, mut datum) = self.reader(bytes)?;
        let event = reader.read_deser(&mut datum).map_err(|error| DecodeError::Undecodable(error.to_string()))?;
        if datum.is_empty() {
            Ok(event)
        } else {
            Err(DecodeError::Undecodable(format!("{} bytes are left over", datum.len())))
        }
    }

    /// Returns the reader for a framed event, and the bytes after the frame.
    fn reader<'b>(&self, bytes: &'b [u8]) -> Result<(&GenericDatumReader<'static>, &'b [u8]), DecodeError> {
        let find = |wanted| self.known.iter().find(|(known, _)| *known == wanted).map(|(_, reader)| reader);
        match bytes {
            [0xC3, 0x01, rest @ ..] if rest.len() >= 8 => {
                let (head, datum) = rest.split_at(8);
                let fingerprint = Fingerprint(head.try_into().unwrap_or_default());
                let reader = find(fingerprint).ok_or_else(|| DecodeError::UnknownSchema {
                    schema: format!("the schema of fingerprint {fingerprint}"),
                })?;
                Ok((reader, datum))
            }
            [CONFLUENT, a, b, c, d, datum @ ..] => {
                let schema_id = u32::from_be_bytes([*a, *b, *c, *d]);
                let schema = self.ids.get(&schema_id).ok_or(DecodeError::UnresolvedId { schema_id })?;
                let reader = schema.fingerprint.and_then(find).ok_or_else(|| DecodeError::UnknownSchema {
                    schema: match schema {
                        ForeignSchema { version: Some(version), .. } => {
                            format!("version {version} of the schema (registry id {schema_id})")
                        }
                        ForeignSchema { .. } => format!("a foreign schema (registry id {schema_id})"),
                    },
                })?;
                Ok((reader, datum))
            }
            _ => Err(DecodeError::Undecodable("neither single-object nor Confluent framing".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests;
