//! Collects the events that a failed batch rejected, with Platform's reasons as one text for each event.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::control::batches::{FailedRow, RowError};

/// Names of rules of JSON Schema and of Adobe's validation that [`Rejection::keyword`] returns. The list is closed,
/// because Platform's text can be anything.
const KEYWORDS: &[&str] = &[
    "type",
    "required",
    "additionalProperties",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "maxItems",
    "minItems",
    "const",
    "not",
    "oneOf",
    "anyOf",
];

/// Name that stands for every rule outside of [`KEYWORDS`].
const OTHER: &str = "other";

/// Every name that [`Rejection::keyword`] returns.
pub fn rejection_keywords() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().copied().chain([OTHER])
}

/// An event that Platform rejected after it had accepted it.
#[derive(Clone, PartialEq)]
pub struct Rejection {
    /// `_id` of the event; `None` if its row does not have one.
    pub event_id: Option<String>,
    /// Platform's reasons, in Platform's order. Their texts can quote a value of the event.
    pub reasons: Vec<RowError>,
    /// A failed row of the event. It contains personal data.
    pub row: Map<String, Value>,
}

/// Does not show the row, because it contains personal data.
impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection").field("event_id", &self.event_id).finish_non_exhaustive()
    }
}

impl Rejection {
    /// Returns the broken rule of the first reason, as one of [`rejection_keywords`].
    #[must_use]
    pub fn keyword(&self) -> &'static str {
        let first = self.reasons.first().and_then(|reason| reason.keyword.as_deref());
        KEYWORDS.iter().copied().find(|known| Some(*known) == first).unwrap_or(OTHER)
    }

    /// Returns the reasons as text for a person: Platform's texts with the rule and the location. Adobe uses one code
    /// for several reasons, so the code is shown but never interpreted.
    #[must_use]
    pub fn text(&self) -> String {
        if self.reasons.is_empty() {
            return "Platform gives no reason".to_owned();
        }
        self.reasons.iter().map(text).collect::<Vec<_>>().join("; ")
    }
}

fn text(reason: &RowError) -> String {
    let text = reason.message.as_deref().unwrap_or("no text");
    let details = [("rule", &reason.keyword), ("at", &reason.pointer), ("code", &reason.code)];
    let details: Vec<String> =
        details.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_deref()?))).collect();
    if details.is_empty() { text.to_owned() } else { format!("{text} ({})", details.join(", ")) }
}

/// Returns one rejection for each event in the rows of one batch, even if an event has several rows. A row without an
/// id counts as a separate event.
#[must_use]
pub fn rejections(rows: impl IntoIterator<Item = FailedRow>) -> Vec<Rejection> {
    let mut found: Vec<Rejection> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for FailedRow { id, errors, row } in rows {
        let known = id.as_ref().and_then(|id| places.get(id)).copied();
        match known.and_then(|place| found.get_mut(place)) {
            Some(rejection) => {
                let new: Vec<RowError> =
                    errors.into_iter().filter(|error| !rejection.reasons.contains(error)).collect();
                rejection.reasons.extend(new);
            }
            None => {
                if let Some(id) = &id {
                    places.insert(id.clone(), found.len());
                }
                found.push(Rejection { event_id: id, reasons: errors, row });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: Option<&str>, keyword: &str, message: &str) -> FailedRow {
        let error = RowError {
            message: Some(message.to_owned()),
            keyword: Some(keyword.to_owned()),
            pointer: Some("#/_id".to_owned()),
            ..RowError::default()
        };
        let row = serde_json::json!({"email": "a@example.com"}).as_object().unwrap().clone();
        FailedRow { id: id.map(str::to_owned), errors: vec![error], row }
    }

    #[test]
    fn rows_of_the_same_event_become_one_rejection_with_all_reasons() {
        let rows = [
            row(Some("1"), "type", "expected type: String, found: Long"),
            row(None, "required", "m"),
            row(Some("1"), "type", "expected type: String, found: Long"),
            row(Some("1"), "format", "no date"),
            row(None, "required", "m"),
        ];
        let found = rejections(rows);
        let ids: Vec<_> = found.iter().map(|rejection| rejection.event_id.as_deref()).collect();
        assert_eq!(ids, [Some("1"), None, None]);
        assert_eq!(
            found[0].text(),
            "expected type: String, found: Long (rule type, at #/_id); no date (rule format, at #/_id)"
        );
        assert!(!format!("{found:?}").contains("example.com"), "`Debug` shows no content of a row");
    }

    #[test]
    fn the_keyword_of_a_rejection_comes_from_a_closed_list() {
        let of = |keyword: &str| rejections([row(Some("1"), keyword, "m")])[0].keyword();
        assert_eq!(
            (of("type"), of("additionalProperties"), of("a@example.com")),
            ("type", "additionalProperties", OTHER)
        );
        let coded = RowError { code: Some("DCVS-1106-400".to_owned()), ..RowError::default() };
        let coded = Rejection { event_id: None, reasons: vec![coded], row: Map::new() };
        assert_eq!((coded.keyword(), coded.text().as_str()), (OTHER, "no text (code DCVS-1106-400)"));
        assert!(rejection_keywords().any(|name| name == OTHER));
        let none = Rejection { event_id: None, reasons: Vec::new(), row: Map::new() };
        assert_eq!((none.keyword(), none.text().as_str()), (OTHER, "Platform gives no reason"));
    }
}
