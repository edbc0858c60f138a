//! Avro schemas of an ExperienceEvent: the schema that this build writes, and every released schema, so that older
//! records on a topic can be read.
//!
//! The schema evolves additively (FULL_TRANSITIVE): `tests/schema_history.rs` refuses any other change.

use std::fmt;
use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use serde_json::Value;

/// The schema that this build writes, as text.
pub const SCHEMA_JSON: &str = include_str!("../../../schemas/experience-event.avsc");

/// The version of [`SCHEMA_JSON`]; a test compares it with the attribute `schemaVersion`.
pub const SCHEMA_VERSION: u32 = 1;

/// Every released schema with its version, oldest first: the files of `schemas/released/`.
pub const RELEASED: &[(u32, &str)] = &[(1, include_str!("../../../schemas/released/experience-event.v1.avsc"))];

/// Other fingerprints that records of a released schema can have, each with the version of the schema. Builds before
/// the first release computed another fingerprint for the first schema: their canonical form kept the `{"type":"long"}`
/// of a logical type, which the specification reduces to `"long"`.
const FORMER: &[(u32, Fingerprint)] = &[(1, Fingerprint([0xa4, 0x8f, 0x38, 0xc8, 0xe5, 0x50, 0x92, 0x4d]))];

pub(crate) static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse_str(SCHEMA_JSON).expect("the schema file is part of this build and tested"));

/// Schemas that records are read with: all released schemas, and the schema that this build writes.
pub(crate) static KNOWN: LazyLock<Vec<(Fingerprint, Schema)>> = LazyLock::new(|| {
    let mut known = vec![(Fingerprint::of(&SCHEMA), SCHEMA.clone())];
    for (version, json) in RELEASED {
        let schema = Schema::parse_str(json).expect("the schema file is part of this build and tested");
        let former = FORMER.iter().filter(|(of, _)| of == version).map(|(_, fingerprint)| *fingerprint);
        for fingerprint in former.chain([Fingerprint::of(&schema)]) {
            if known.iter().all(|(known, _)| *known != fingerprint) {
                known.push((fingerprint, schema.clone()));
            }
        }
    }
    known
});

/// CRC-64-AVRO of a schema's parsing canonical form (Avro specification, "Schema Fingerprints"), in the byte order of
/// the single-object framing: least significant byte first. Documentation, attributes and logical types do not change
/// it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub(crate) [u8; 8]);

impl Fingerprint {
    /// Returns the fingerprint of the schema that this build writes.
    #[must_use]
    pub fn current() -> Self {
        Self::of(&SCHEMA)
    }

    pub(crate) fn of(schema: &Schema) -> Self {
        let bytes = without_logical_types(schema).fingerprint::<Rabin>().bytes;
        Self(bytes.try_into().unwrap_or_default())
    }
}

/// Removes logical types from a schema so that apache-avro computes the correct canonical form. apache-avro 0.22 keeps
/// the `{"type":"long"}` of a logical type, but the specification's rules STRIP and PRIMITIVES reduce it to `"long"`.
fn without_logical_types(schema: &Schema) -> Schema {
    fn strip(schema: &mut Value) {
        match schema {
            Value::Array(branches) => branches.iter_mut().for_each(strip),
            Value::Object(members) => {
                members.remove("logicalType");
                // A default is data, not a schema.
                members.iter_mut().filter(|(name, _)| *name != "default").for_each(|(_, member)| strip(member));
            }
            _ => {}
        }
    }
    let stripped = serde_json::to_value(schema).ok().and_then(|mut json| {
        strip(&mut json);
        Schema::parse(&json).ok()
    });
    // A valid schema is still valid without its logical types, so parsing it cannot fail.
    stripped.unwrap_or_else(|| schema.clone())
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

/// A schema from a registry, with the properties by which this build recognises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignSchema {
    /// Fingerprint, if the text is a valid schema.
    pub fingerprint: Option<Fingerprint>,
    /// Attribute `schemaVersion`, if it is a schema of this project.
    pub version: Option<u32>,
}

impl ForeignSchema {
    /// Parses the text of a schema, as a registry returns it.
    #[must_use]
    pub fn parse(json: &str) -> Self {
        let schema = Schema::parse_str(json).ok();
        let version = match &schema {
            Some(Schema::Record(record)) => record.attributes.get("schemaVersion").and_then(Value::as_u64),
            _ => None,
        };
        Self {
            fingerprint: schema.as_ref().map(Fingerprint::of),
            version: version.and_then(|version| version.try_into().ok()),
        }
    }

    /// Whether this build can read records that were written with this schema.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.fingerprint.is_some_and(|fingerprint| KNOWN.iter().any(|(known, _)| *known == fingerprint))
    }
}
