//! Reads responses leniently, because Adobe's documentation and its services differ in details.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An HTTP answer.
#[derive(Clone, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `ETag`.
    pub etag: Option<String>,
    /// The body, as far as it is read.
    pub body: Bytes,
    /// Whether the body was longer than what is read.
    pub is_cut: bool,
}

/// The body can hold personal data: only its length is shown.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("body_bytes", &self.body.len()).finish()
    }
}

/// A response that does not have the documented form. The error does not quote the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not of the documented form: {0}")]
pub struct Unreadable(pub String);

impl Answer {
    /// The body as JSON of this type.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Unreadable> {
        if self.is_cut {
            return Err(Unreadable(format!("it is longer than {} bytes", self.body.len())));
        }
        // The error's own text can quote a value of the body.
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = if error.is_data() { "a member is missing or of another type" } else { "it is not JSON" };
            Unreadable(format!("{what} (line {}, column {})", error.line(), error.column()))
        })
    }
}

/// The reader for calls whose success has no content.
pub(crate) fn no_content(_: &crate::control::Request, _: &Answer) -> Result<(), Unreadable> {
    Ok(())
}

/// Whole numbers, also as text; anything else is read as absent.
pub(crate) fn number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<i64>, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(whole)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

#[allow(clippy::cast_possible_truncation, reason = "a cast from a float saturates")]
fn whole(number: f64) -> i64 {
    number as i64
}

/// Text, also from a number; anything else is read as absent.
pub(crate) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A value, or its default if the response has `null`.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Lenient {
        #[serde(default, deserialize_with = "number")]
        count: Option<i64>,
        #[serde(default, deserialize_with = "text")]
        version: Option<String>,
        #[serde(default, deserialize_with = "or_default")]
        items: Vec<String>,
    }

    fn answer(body: &'static str) -> Answer {
        Answer { status: 200, body: Bytes::from_static(body.as_bytes()), ..Answer::default() }
    }

    #[test]
    fn numbers_and_texts_are_read_in_either_form() {
        for (body, count, version) in [
            (r#"{"count":7,"version":"1.0","items":null}"#, Some(7), Some("1.0")),
            (r#"{"count":"7","version":1}"#, Some(7), Some("1")),
            (r#"{"count":7.0,"version":{}}"#, Some(7), None),
            (r#"{"count":"many"}"#, None, None),
        ] {
            let read: Lenient = answer(body).json().unwrap();
            assert_eq!((read.count, read.version.as_deref()), (count, version), "{body}");
            assert!(read.items.is_empty());
        }
    }

    #[test]
    fn an_unreadable_answer_is_not_quoted() {
        for body in [r#"{"items":"topsecret"}"#, "<html>topsecret</html>"] {
            let error = answer(body).json::<Lenient>().unwrap_err().to_string();
            assert!(error.contains("line 1") && !error.contains("topsecret"), "{error}");
        }
        let cut = Answer { is_cut: true, ..answer("{}") };
        assert!(cut.json::<Lenient>().unwrap_err().0.contains("longer than"));
    }
}
