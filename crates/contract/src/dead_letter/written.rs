//! The headers of a dead letter.

use super::cut::Cut;
use super::header;
use super::stage::Stage;
use crate::position::Position;

/// Maximum length of a `dead-letter-message`, in bytes.
pub const MESSAGE_LIMIT: usize = 1024;

/// Content of the headers that a dead letter has in addition to the original ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Stage that wrote the dead letter.
    pub stage: Stage,
    /// Stable code of the reason, from the list of the stage.
    pub code: String,
    /// The reason as a text of at most [`MESSAGE_LIMIT`] bytes.
    pub message: String,
    /// The original record; `None` for a dead letter of the gateway, and for a rejection whose typed record has
    /// expired.
    pub origin: Option<Origin>,
    /// Time at which the dead letter was written: milliseconds since 1970.
    pub at: Option<i64>,
    /// Size and hash of the original value, if the dead letter contains only the beginning of the value.
    pub cut: Option<Cut>,
    /// Platform's id of the failed batch that contained the record; only for [`Stage::Platform`].
    pub batch: Option<String>,
}

/// The original record of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Topic of the original record.
    pub topic: String,
    /// Position of the original record in that topic.
    pub position: Position,
}

impl DeadLetter {
    /// Creates a dead letter with a complete value and without an original record. Truncates the message to
    /// [`MESSAGE_LIMIT`] bytes.
    #[must_use]
    pub fn new(stage: Stage, code: &str, message: &str, at: i64) -> Self {
        // Truncates between code points.
        let message = message[..message.floor_char_boundary(MESSAGE_LIMIT)].to_owned();
        Self { stage, code: code.to_owned(), message, origin: None, at: Some(at), cut: None, batch: None }
    }

    /// Sets the original record.
    #[must_use]
    pub fn of(self, topic: &str, position: Position) -> Self {
        Self { origin: Some(Origin { topic: topic.to_owned(), position }), ..self }
    }

    /// Marks the value as truncated.
    #[must_use]
    pub fn cut(self, cut: Cut) -> Self {
        Self { cut: Some(cut), ..self }
    }

    /// Sets Platform's id of the failed batch.
    #[must_use]
    pub fn batch(self, batch: &str) -> Self {
        Self { batch: Some(batch.to_owned()), ..self }
    }

    /// Headers of the dead letter. The writer puts them after the original headers.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            (header::STAGE, self.stage.as_str().to_owned()),
            (header::CODE, self.code.clone()),
            (header::MESSAGE, self.message.clone()),
        ];
        if let Some(Origin { topic, position }) = &self.origin {
            headers.extend([
                (header::TOPIC, topic.clone()),
                (header::PARTITION, position.partition.to_string()),
                (header::OFFSET, position.offset.to_string()),
            ]);
        }
        headers.extend(self.at.map(|at| (header::AT, at.to_string())));
        headers.push((header::VERSION, env!("CARGO_PKG_VERSION").to_owned()));
        if let Some(Cut { size, sha256 }) = &self.cut {
            headers.extend([(header::ORIGINAL_SIZE, size.to_string()), (header::ORIGINAL_SHA256, sha256.clone())]);
        }
        headers.extend(self.batch.iter().map(|batch| (header::BATCH, batch.clone())));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_has_one_header_for_each_field_that_is_set() {
        let dead_letter = DeadLetter::new(Stage::Transformer, "not_json", "line 1", 99).of("raw", Position::new(7, 42));
        let expected = [
            ("dead-letter-stage", "transformer"),
            ("dead-letter-code", "not_json"),
            ("dead-letter-message", "line 1"),
            ("dead-letter-topic", "raw"),
            ("dead-letter-partition", "7"),
            ("dead-letter-offset", "42"),
            ("dead-letter-at", "99"),
            ("dead-letter-version", env!("CARGO_PKG_VERSION")),
        ];
        assert_eq!(dead_letter.headers(), expected.map(|(name, value)| (name, value.to_owned())));
        let cut = dead_letter.cut(Cut { size: 9, sha256: "ab".to_owned() });
        let expected = [("dead-letter-original-size", "9"), ("dead-letter-original-sha256", "ab")];
        assert_eq!(cut.headers()[8..], expected.map(|(name, value)| (name, value.to_owned())));
        let rejected = DeadLetter::new(Stage::Platform, "rejected_after_acceptance", "type", 99).batch("01B");
        assert_eq!(rejected.headers().last(), Some(&("dead-letter-batch", "01B".to_owned())));
    }

    #[test]
    fn a_long_message_is_truncated_between_code_points() {
        let cut = |message: &str| DeadLetter::new(Stage::Sink, "refused", message, 0).message;
        let long = "ä".repeat(MESSAGE_LIMIT);
        assert_eq!(cut(&long).len(), MESSAGE_LIMIT);
        assert_eq!(cut(&format!("x{long}")).len(), MESSAGE_LIMIT - 1);
        assert_eq!(cut("short"), "short");
    }
}
