//! Values of a webhook body. A value is parsed only when one of its methods needs it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::visible;

/// A value of the body, not yet interpreted. `Field::default()` is an absent value.
#[derive(Clone, Copy, Default)]
pub struct Field<'a>(pub(crate) Option<&'a RawValue>);

/// Shows only the type of the value, because the value may be personal data.
impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.first() {
            None => "absent",
            Some(b'"') => "string",
            Some(b'{') => "object",
            Some(b'[') => "array",
            Some(b't' | b'f') => "boolean",
            Some(b'n') => "null",
            Some(_) => "number",
        })
    }
}

impl<'a> Field<'a> {
    pub(super) fn first(self) -> Option<u8> {
        self.0.and_then(|raw| raw.get().as_bytes().first().copied())
    }

    /// Parses JSON that is the content of a string. Returns `None` if the text is not JSON.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok().map(|raw| Self(Some(raw)))
    }

    /// Whether the key is missing.
    #[must_use]
    pub fn is_absent(self) -> bool {
        self.0.is_none()
    }

    /// Whether the value is null.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.first() == Some(b'n')
    }

    /// Returns the text of a string, or the digits of an integer as they were written. Leading zeros in a string and
    /// numbers beyond 64 bits are kept. Returns `None` for any other value. Lone surrogates become U+FFFD.
    #[must_use]
    pub fn text(self) -> Option<Cow<'a, str>> {
        let raw = self.0?.get();
        match raw.as_bytes().first()? {
            b'"' => Some(string(raw)),
            b'-' | b'0'..=b'9' => is_integer(raw).then_some(Cow::Borrowed(raw)),
            _ => None,
        }
    }

    /// Whether [`Field::text`] returns a text. This check is cheaper than reading the text.
    #[must_use]
    pub fn is_text(self) -> bool {
        match (self.first(), self.0) {
            (Some(b'"'), _) => true,
            (Some(b'-' | b'0'..=b'9'), Some(raw)) => is_integer(raw.get()),
            _ => false,
        }
    }

    /// Returns the visible part of [`Field::text`] (see [`visible()`]); `None` if nothing is visible.
    #[must_use]
    pub fn non_blank(self) -> Option<Cow<'a, str>> {
        let text = match self.text()? {
            Cow::Borrowed(text) => visible(text),
            Cow::Owned(text) => Cow::Owned(visible(&text).into_owned()),
        };
        (!text.is_empty()).then_some(text)
    }

    /// Whether the key is missing, or the value is null or a string without visible characters.
    #[must_use]
    pub fn is_blank(self) -> bool {
        self.is_absent() || self.is_null() || (self.is_text() && self.non_blank().is_none())
    }

    /// Returns a boolean; `None` for any other value.
    #[must_use]
    pub fn boolean(self) -> Option<bool> {
        match self.0?.get() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Returns a whole number that is written in any unambiguous form: an integer, a number with a fraction of zeros or
    /// with an exponent (`1700000000.0`, `1.7e9`), or one of these in a string. An integer must fit into an `i64`. In
    /// the other forms, the absolute value must be below 2^53, because larger doubles are not exact. Returns `None` for
    /// any other value.
    #[must_use]
    pub fn whole_number(self) -> Option<i64> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let text = match self.first()? {
            b'"' => self.non_blank()?,
            b'-' | b'0'..=b'9' => Cow::Borrowed(self.0?.get()),
            _ => return None,
        };
        if let Ok(integer) = text.parse() {
            return Some(integer);
        }
        let number: f64 = text.parse().ok().filter(|number: &f64| number.fract() == 0.0 && number.abs() < EXACT)?;
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        Some(number as i64)
    }

    /// Returns the elements of an array, in order; none for any other value.
    #[must_use]
    pub fn elements(self) -> Vec<Field<'a>> {
        let Some(raw) = self.0.filter(|_| self.first() == Some(b'[')) else { return Vec::new() };
        let elements: Vec<&'a RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        elements.into_iter().map(|element| Field(Some(element))).collect()
    }

    /// Returns the JSON text of the value, as received.
    #[must_use]
    pub fn json(self) -> Option<&'a str> {
        self.0.map(RawValue::get)
    }

    /// Returns the byte range of the value in the body that the value was read from; `None` for any other body.
    #[must_use]
    pub fn span(self, body: &[u8]) -> Option<Range<usize>> {
        let raw = self.0?.get();
        let start = raw.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
        let end = start.checked_add(raw.len())?;
        (end <= body.len()).then_some(start..end)
    }

    /// Returns the entries of an object in order, including repeated keys; none for any other value.
    #[must_use]
    pub fn entries(self) -> Vec<(Cow<'a, str>, Field<'a>)> {
        let Some(raw) = self.0.filter(|_| self.first() == Some(b'{')) else { return Vec::new() };
        serde_json::Deserializer::from_str(raw.get()).deserialize_map(EntriesVisitor).unwrap_or_default()
    }
}

fn is_integer(raw: &str) -> bool {
    raw.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

/// Returns the text of a JSON string. `raw` must be a well-formed string literal.
fn string(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    match serde_json::from_str::<String>(raw) {
        Ok(text) => Cow::Owned(text),
        // The only possible error is a lone surrogate escape, which serde_json accepts when it decodes to bytes.
        Err(_) => Cow::Owned(lossy(raw)),
    }
}

fn lossy(raw: &str) -> String {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }
        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
        fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<String, E> {
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
    }
    serde_json::Deserializer::from_str(raw).deserialize_bytes(Bytes).unwrap_or_default()
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Vec<(Cow<'de, str>, Field<'de>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(Key(key)) = map.next_key_seed(KeySeed)? {
            entries.push((key, Field(Some(map.next_value()?))));
        }
        Ok(entries)
    }
}

/// A key of an object. It borrows from the body if possible, and accepts invalid Unicode.
pub(crate) struct Key<'a>(pub(crate) Cow<'a, str>);

pub(crate) struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key<'de>, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_bytes<E>(self, key: &'de [u8]) -> Result<Key<'de>, E> {
        // Almost all keys are valid UTF-8, and the check is faster than the lossy conversion.
        Ok(Key(std::str::from_utf8(key).map_or_else(|_| String::from_utf8_lossy(key), Cow::Borrowed)))
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(String::from_utf8_lossy(key).into_owned())))
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }

    fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }
}
