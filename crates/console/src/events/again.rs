//! "Map again with today's rules": maps the webhook without writing anything, and compares the result with the stored
//! event field by field.

use std::collections::BTreeSet;

use serde_json::Value;

use super::found_event::{FoundEvent, Today};
use crate::mask::{self, Field, Form, Values};

/// A field that differs between the stored event and the event of today's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) path: String,
    /// Value in the stored event; `None` if the event does not have the field.
    pub(super) stored: Option<String>,
    pub(super) today: Option<String>,
}

/// Comparison of the stored event with the event of today's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Again {
    Same,
    Different(Vec<Difference>),
    /// There is no stored event. The list has all fields of the event of today's rules.
    Only(Vec<Difference>),
    Refused(String),
    /// Reason for which the webhook cannot be mapped, as a sentence.
    Unknown(&'static str),
}

impl Again {
    /// Returns a summary of the comparison.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Same => "Today's rules make the same event: nothing differs.".to_owned(),
            Self::Different(fields) => match fields.len() {
                1 => "Today's rules make another event: one field differs.".to_owned(),
                more => format!("Today's rules make another event: {more} fields differ."),
            },
            Self::Only(_) => "There is no stored event to compare with. Today's rules make this one.".to_owned(),
            Self::Refused(why) => format!("With today's rules this webhook becomes a dead letter: {why}."),
            Self::Unknown(why) => (*why).to_owned(),
        }
    }

    pub(super) fn differences(&self) -> &[Difference] {
        match self {
            Self::Different(fields) | Self::Only(fields) => fields,
            Self::Same | Self::Refused(_) | Self::Unknown(_) => &[],
        }
    }

    pub(super) fn of(found: &FoundEvent, values: Values) -> Self {
        let today = match &found.today {
            Today::Explained(explanation) => &explanation.event,
            Today::Rejected { code, message } => return Self::Refused(format!("{code}, {message}")),
            Today::Unknown(why) => return Self::Unknown(why),
        };
        match found.sent.as_ref().and_then(|sent| sent.event()) {
            Some(stored) if stored == today => Self::Same,
            Some(stored) => Self::Different(differences(stored, today, values)),
            None => Self::Only(differences(&Value::Null, today, values)),
        }
    }
}

fn differences(stored: &Value, today: &Value, values: Values) -> Vec<Difference> {
    let exact = |event: &Value| mask::fields(Form::Xdm, event, Values::Revealed).0;
    let (exact_stored, exact_today) = (exact(stored), exact(today));
    let equal: BTreeSet<&str> = exact_stored
        .iter()
        .filter(|field| {
            exact_today.iter().any(|other| other.exact_path == field.exact_path && other.value == field.value)
        })
        .map(|field| field.exact_path.as_str())
        .collect();
    let shown = |event: &Value| -> Vec<Field> {
        let (fields, _) = mask::fields(Form::Xdm, event, values);
        fields
            .into_iter()
            .filter(|field| !field.exact_path.is_empty() && !equal.contains(field.exact_path.as_str()))
            .collect()
    };
    let (of_stored, mut of_today) = (shown(stored), shown(today));
    let mut found = Vec::new();
    for field in of_stored {
        let other = of_today.iter().position(|other| other.exact_path == field.exact_path);
        let today = other.map(|other| of_today.remove(other).value);
        found.push(Difference { path: field.path, stored: Some(field.value), today });
    }
    found.extend(of_today.into_iter().map(|field| Difference {
        path: field.path,
        stored: None,
        today: Some(field.value),
    }));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(stored: &Value, today: &Value, values: Values) -> Vec<(String, Option<String>, Option<String>)> {
        differences(stored, today, values).into_iter().map(|field| (field.path, field.stored, field.today)).collect()
    }

    #[test]
    fn mapping_again_shows_only_the_fields_that_differ_with_masked_values() {
        let event = |id: &str, namespace: &str| json!({"_id": "01X", "identityMap": {namespace: [{"id": id, "primary": true}]}, "producedBy": "self"});
        let some = |text: &str| Some(text.to_owned());
        let changed = texts(&event("jo", "CRM"), &event("mo", "CRM"), Values::Revealed);
        assert_eq!(changed, [("identityMap.CRM[0].id".to_owned(), some("jo"), some("mo"))]);
        let masked = texts(&event("jo", "CRM"), &event("mo", "CRM"), Values::Masked);
        assert_eq!(masked, [("identityMap.CRM[0].id".to_owned(), some(mask::MASK), some(mask::MASK))]);
        let moved = texts(&event("jo", "CRM"), &event("jo", "Shop"), Values::Masked);
        assert_eq!(moved.len(), 4);
        assert_eq!(moved[0], ("identityMap.CRM[0].id".to_owned(), some(mask::MASK), None));
        assert_eq!(moved[3], ("identityMap.Shop[0].primary".to_owned(), None, some("true")));
        assert_eq!(texts(&Value::Null, &json!({"_id": "01X"}), Values::Masked).len(), 1);
    }
}
