//! Reads responses leniently, because Adobe's documentation and its services differ in details.

use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An HTTP response of the control plane.
#[derive(Clone, Default)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Value of the header `ETag`.
    pub etag: Option<String>,
    /// The body, truncated if `is_cut` is set.
    pub body: Bytes,
    /// Whether the body is longer than the limit up to which the client reads it.
    pub is_cut: bool,
}

/// Shows only the length of the body, because the body can contain personal data.
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
    /// Parses the body as JSON into a `T`.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Unreadable> {
        if self.is_cut {
            return Err(Unreadable(format!("it is longer than {} bytes", self.body.len())));
        }
        // The text of serde_json's error can quote a value of the body, so the text is not used.
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = if error.is_data() { "a member is missing or of another type" } else { "it is not JSON" };
            Unreadable(format!("{what} (line {}, column {})", error.line(), error.column()))
        })
    }
}

/// Accepts any response, for calls that return no content.
pub(crate) fn no_content(_: &crate::control::Request, _: &Answer) -> Result<(), Unreadable> {
    Ok(())
}

/// Reads an integer from a JSON number or from text. Any other value is read as absent.
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

/// Reads text from a JSON string or number. Any other value is read as absent.
pub(crate) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(input)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// Reads a value; `null` is read as the default of its type.
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
    fn numbers_and_texts_are_read_from_json_numbers_and_strings() {
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
    fn the_error_for_an_unreadable_response_does_not_quote_the_body() {
        for body in [r#"{"items":"topsecret"}"#, "<html>topsecret</html>"] {
            let error = answer(body).json::<Lenient>().unwrap_err().to_string();
            assert!(error.contains("line 1") && !error.contains("topsecret"), "{error}");
        }
        let cut = Answer { is_cut: true, ..answer("{}") };
        assert!(cut.json::<Lenient>().unwrap_err().0.contains("longer than"));
    }
}
