//! The Avro form on the typed topic, in two framings: Avro single-object encoding (`C3 01` and the schema's
//! fingerprint) or the Confluent wire format (`00` and a registry's id). A reader distinguishes them by the first byte.
//!
//! Evolution is additive: a record written with any released schema is read with that schema, and missing fields get
//! their defaults. If this build does not have the schema, the record is not invalid.

use std::collections::HashMap;
use std::fmt;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::event::ExperienceEvent;
use crate::schema::{Fingerprint, ForeignSchema, KNOWN, RELEASED, SCHEMA, SCHEMA_VERSION};

const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
const CONFLUENT: u8 = 0;

/// The bytes before the datum.
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

/// Writes events. Keep one encoder per thread and reuse it.
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

/// Why bytes cannot be decoded to an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The record contains a registry's id that has not been looked up yet. Look it up, then call [`Decoder::learn`].
    #[error("the record names schema id {schema_id} of a registry, which has not been looked up")]
    UnresolvedId {
        /// The registry's id.
        schema_id: u32,
    },
    /// The record was written with a schema that this build does not have. The record may be valid: hold until a newer
    /// build is installed.
    #[error(
        "the record was written with {schema}; this build (release {release}) reads versions {oldest} to {newest}; run a sink that has that version, nothing is lost meanwhile",
        release = env!("CARGO_PKG_VERSION"),
        oldest = RELEASED.first().map_or(SCHEMA_VERSION, |(version, _)| *version),
        newest = SCHEMA_VERSION
    )]
    UnknownSchema {
        /// Describes the schema: version, fingerprint and registry's id, as far as known.
        schema: String,
    },
    /// The bytes are not a record of the schema that they name.
    #[error("the record cannot be decoded: {0}")]
    Undecodable(String),
}

/// Reads events of any framing and any released schema: a record is read with the schema it was written with, and
/// fields that the schema does not have get their defaults.
pub struct Decoder {
    known: Vec<(Fingerprint, GenericDatumReader<'static>)>,
    /// The schemas of a registry's ids.
    ids: HashMap<u32, ForeignSchema>,
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.known.iter().map(|(fingerprint, _)| fingerprint)).finish()
    }
}

impl Decoder {
    /// Creates a decoder for every released schema and the one that this build writes.
    ///
    /// # Errors
    /// [`EncodeError`] if a schema cannot be resolved, which the tests of this crate rule out.
    pub fn new() -> Result<Self, EncodeError> {
        let mut known = Vec::with_capacity(KNOWN.len());
        for (fingerprint, schema) in KNOWN.iter() {
            known.push((*fingerprint, GenericDatumReader::builder(schema).human_readable(false).build()?));
        }
        Ok(Self { known, ids: HashMap::new() })
    }

    /// Stores the schema of a registry's id.
    pub fn learn(&mut self, schema_id: u32, schema: ForeignSchema) {
        self.ids.insert(schema_id, schema);
    }

    /// Reads one framed event.
    ///
    /// # Errors
    /// [`DecodeError`]. Only its last kind means that the record is invalid.
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
