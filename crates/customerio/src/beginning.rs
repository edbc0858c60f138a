//! Reads fields from the beginning of a body: for compressed bodies, and for dead letters with a truncated value.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::webhook::{Field, Key, KeySeed};

/// Maximum number of compressed bytes, and of decompressed bytes, that are read of one body.
const LIMIT: usize = 64 * 1024;

/// First bytes of every gzip stream (RFC 1952). No JSON text begins with them.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Fields that identify the event and the person of a body, as far as the body can be read.
///
/// Unlike [`Webhook`](crate::webhook::Webhook), a `Beginning` does not need a complete JSON object: the fields before
/// the first error are kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beginning<'a> {
    /// Unique id of the event.
    pub event_id: Field<'a>,
    /// `data.delivery_id`: the id of one message to one person.
    pub delivery_id: Field<'a>,
    pub(crate) customer_id: Field<'a>,
    pub(crate) email_address: Field<'a>,
    pub(crate) id: Field<'a>,
    pub(crate) cio_id: Field<'a>,
    pub(crate) email: Field<'a>,
}

impl<'a> Beginning<'a> {
    /// Reads the fields in `text` up to the first error.
    #[must_use]
    pub fn read(text: &'a [u8]) -> Self {
        let mut found = Self::default();
        let collect = Collect { object: Object::Webhook, found: &mut found };
        // A truncated body ends with an error. The fields before the error are kept.
        drop(collect.deserialize(&mut serde_json::Deserializer::from_slice(text)));
        found
    }

    /// Returns the text to read: the decompressed beginning of a gzip stream, or the unchanged bytes.
    #[must_use]
    pub fn text(body: &[u8]) -> Cow<'_, [u8]> {
        if is_gzip(body) { Cow::Owned(unpack_beginning(body)) } else { Cow::Borrowed(body) }
    }
}

pub(crate) fn is_gzip(body: &[u8]) -> bool {
    body.starts_with(&GZIP_MAGIC)
}

fn unpack_beginning(body: &[u8]) -> Vec<u8> {
    let input = body.get(..LIMIT).unwrap_or(body);
    let mut text = Vec::new();
    // The bytes that were decompressed before an error or before the end of `input` are kept.
    drop(MultiGzDecoder::new(input).take(LIMIT as u64).read_to_end(&mut text));
    text
}

/// The objects that contain fields to keep.
#[derive(Clone, Copy)]
enum Object {
    Webhook,
    Data,
    Identifiers,
}

/// Writes the fields of an object to `found` one by one, so that they survive an error after them.
struct Collect<'f, 'a> {
    object: Object,
    found: &'f mut Beginning<'a>,
}

impl<'de> DeserializeSeed<'de> for Collect<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Collect<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { object, found } = self;
        while let Some(Key(key)) = map.next_key_seed(KeySeed)? {
            let field = match (object, key.as_ref()) {
                (Object::Webhook, "data") => {
                    map.next_value_seed(Collect { object: Object::Data, found: &mut *found })?;
                    continue;
                }
                (Object::Data, "identifiers") => {
                    map.next_value_seed(Collect { object: Object::Identifiers, found: &mut *found })?;
                    continue;
                }
                (Object::Webhook, "event_id") => &mut found.event_id,
                (Object::Data, "delivery_id") => &mut found.delivery_id,
                (Object::Data, "customer_id") => &mut found.customer_id,
                (Object::Data, "email_address") => &mut found.email_address,
                (Object::Identifiers, "id") => &mut found.id,
                (Object::Identifiers, "cio_id") => &mut found.cio_id,
                (Object::Identifiers, "email") => &mut found.email,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *field = Field(Some(map.next_value()?));
        }
        Ok(())
    }

    // A value that is not an object has no fields to keep.

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn fields_before_the_truncation_are_read() {
        let body =
            br#"{"event_id":"01X","data":{"delivery_id":"D","identifiers":{"id":"42","cio_id":"d9"},"content":"cut he"#;
        let found = Beginning::read(body);
        assert_eq!(found.event_id.text().unwrap(), "01X");
        assert_eq!(found.delivery_id.text().unwrap(), "D");
        assert_eq!(found.id.text().unwrap(), "42");
        assert!(found.email.is_absent());
        assert!(Beginning::read(br#"{"data":{"identifiers":{"id":"42"#).id.is_absent(), "half an id is not an id");
    }

    #[test]
    fn data_that_is_not_an_object_is_skipped() {
        for data in ["[1,{\"id\":2}]", "\"text\"", "true", "-1", "1", "1.5", "null"] {
            let body = format!(r#"{{"data":{data},"event_id":"01X"}}"#);
            let found = Beginning::read(body.as_bytes());
            assert_eq!(found.event_id.text().unwrap(), "01X", "{data}");
            assert!(found.id.is_absent());
        }
        assert!(Beginning::read(b"not json").event_id.is_absent());
    }

    #[test]
    fn a_gzip_stream_is_decompressed_only_up_to_the_limit() {
        let bomb = gzip(&vec![b' '; 50_000_000]);
        let text = Beginning::text(&bomb);
        assert_eq!(text.len(), LIMIT);
        // Empty gzip members that exceed the limit on compressed bytes, so that the member after them is not read.
        let members = [gzip(b"").repeat(10_000), gzip(b"{}")].concat();
        assert!(members.len() > LIMIT);
        assert_eq!(Beginning::text(&members).as_ref(), b"");
        assert_eq!(Beginning::text(&[gzip(b"{\"a\""), gzip(b":1}")].concat()).as_ref(), b"{\"a\":1}");
        assert_eq!(Beginning::text(b"{}").as_ref(), b"{}");
    }
}
