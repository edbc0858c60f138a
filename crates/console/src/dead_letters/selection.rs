//! Filter for dead letters in a URL or a form. It never contains personal data.

use contract::Position;
use contract::dead_letter::Stage;
use operator::dead_letters::{Filter, UnresolvedDeadLetter};
use operator::rfc3339;
use serde::Deserialize;
use settings::parse_bound;

use crate::failure::Failure;

/// Maximum length of a code or a source name, in bytes.
const LONGEST_NAME: usize = 100;

/// The unchecked fields of a filter in a URL or a form.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    pub(super) stage: String,
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) source: String,
    #[serde(default)]
    pub(super) since: String,
    #[serde(default)]
    pub(super) until: String,
    #[serde(default)]
    pub(super) position: String,
}

/// A checked filter. A dead letter must match all fields that are set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) stage: Option<Stage>,
    pub(super) code: Option<String>,
    pub(super) source: Option<String>,
    /// Inclusive start of the write times: milliseconds since 1970.
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
    /// Position of the only dead letter to include.
    pub(super) position: Option<Position>,
}

/// Returns whether a text can be a code or the name of a source. Codes and names are part of URLs and of log lines.
pub(super) fn is_name(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= LONGEST_NAME && text.chars().all(is_good)
}

impl Wanted {
    /// Checks the fields. `now` is in milliseconds since 1970; times such as `1h` are relative to it.
    ///
    /// # Errors
    /// [`Failure::Invalid`] with the name of the field that is invalid.
    pub(super) fn read(&self, now: i64) -> Result<Selection, Failure> {
        let invalid = |field: &str, why: &str| Failure::Invalid(format!("“{field}” cannot be used: {why}."));
        let name = |field: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text if is_name(text) => Ok(Some(text.to_owned())),
            _ => Err(invalid(field, "it consists of letters, digits, `-`, `_` and `.`")),
        };
        let bound = |field: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => parse_bound(text, now).map(Some).map_err(|error| invalid(field, &error)),
        };
        let stage = match self.stage.trim() {
            "" => None,
            text => Some(Stage::from_name(text).ok_or_else(|| invalid("Stage", "there is no such stage"))?),
        };
        let position = match self.position.trim() {
            "" => None,
            text => Some(text.parse::<Position>().map_err(|error| invalid("Position", &error))?),
        };
        let selection = Selection {
            stage,
            code: name("Code", &self.code)?,
            source: name("Source", &self.source)?,
            since: bound("From", &self.since)?,
            until: bound("To", &self.until)?,
            position,
        };
        match (selection.since, selection.until) {
            (Some(since), Some(until)) if since >= until => {
                Err(Failure::Invalid("The range is empty: “From” must be before “To”.".to_owned()))
            }
            _ => Ok(selection),
        }
    }
}

impl Selection {
    pub(super) fn includes(&self, dead_letter: &UnresolvedDeadLetter<'_>) -> bool {
        self.stage.is_none_or(|stage| stage == dead_letter.stage)
            && self.code.as_ref().is_none_or(|code| code == dead_letter.code)
            && self.source.as_ref().is_none_or(|source| source == dead_letter.source)
            && self.since.is_none_or(|since| dead_letter.time >= since)
            && self.until.is_none_or(|until| dead_letter.time < until)
            && self.position.is_none_or(|position| position == dead_letter.position)
    }

    /// Returns the same filter for an operation of the crate `operator`.
    pub(super) fn filter(&self) -> Filter {
        Filter {
            positions: self.position.into_iter().collect(),
            codes: self.code.iter().cloned().collect(),
            stage: self.stage,
            source: self.source.clone(),
            since: self.since,
            until: self.until,
            event_ids: Vec::new(),
        }
    }

    /// Limits the filter to dead letters that were written before this time, so that an operation does not include
    /// later ones.
    pub(super) fn before(self, now: i64) -> Self {
        let until = self.until.map_or(now, |until| until.min(now));
        Self { until: Some(until), ..self }
    }

    /// Returns the names and values of the fields that are set, for a form or a URL.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let fields = [
            ("stage", self.stage.map(|stage| stage.to_string())),
            ("code", self.code.clone()),
            ("source", self.source.clone()),
            ("since", self.since.map(rfc3339)),
            ("until", self.until.map(rfc3339)),
            ("position", self.position.map(|position| position.to_string())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Returns the path of the screen with this filter.
    pub(super) fn address(&self, page: usize) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.fields());
        if page > 1 {
            query.append_pair("page", &page.to_string());
        }
        let query = query.finish();
        if query.is_empty() { "/dead-letters".to_owned() } else { format!("/dead-letters?{query}") }
    }

    /// Returns the filter as text for pages and the log.
    pub(super) fn words(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.position.map(|position| format!("the one at {position}")));
        words.extend(self.stage.map(|stage| format!("stage {stage}")));
        words.extend(self.code.as_ref().map(|code| format!("code {code}")));
        words.extend(self.source.as_ref().map(|source| format!("source {source}")));
        words.extend(self.since.map(|since| format!("written from {} on", rfc3339(since))));
        words.extend(self.until.map(|until| format!("written before {}", rfc3339(until))));
        if words.is_empty() { "all unresolved dead letters".to_owned() } else { words.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::NOW;

    fn wanted(change: impl FnOnce(&mut Wanted)) -> Result<Selection, Failure> {
        let mut wanted = Wanted::default();
        change(&mut wanted);
        wanted.read(NOW)
    }

    #[test]
    fn an_invalid_filter_is_refused_with_the_name_of_the_field() {
        type Change = fn(&mut Wanted);
        let changes: [(&str, Change); 6] = [
            ("Stage", |wanted| wanted.stage = "sinc".to_owned()),
            ("Code", |wanted| wanted.code = "<b>".to_owned()),
            ("Source", |wanted| wanted.source = "ann@example.com".to_owned()),
            ("From", |wanted| wanted.since = "soon".to_owned()),
            ("To", |wanted| wanted.until = "9".repeat(5000)),
            ("Position", |wanted| wanted.position = "3".to_owned()),
        ];
        for (field, change) in changes {
            let Err(Failure::Invalid(text)) = wanted(change) else { panic!("{field} is accepted") };
            assert!(text.contains(&format!("“{field}”")), "{text}");
        }
        let range = wanted(|wanted| (wanted.since, wanted.until) = ("1h".to_owned(), "2h".to_owned()));
        assert!(matches!(range, Err(Failure::Invalid(text)) if text.contains("empty")));
        assert_eq!(wanted(|_| {}), Ok(Selection::default()));
    }

    #[test]
    fn the_url_the_text_and_the_operator_filter_of_a_selection_agree() {
        let selection = wanted(|wanted| {
            (wanted.stage, wanted.code, wanted.source) = ("sink".to_owned(), "refused".to_owned(), "shop".to_owned());
            wanted.since = "2023-11-01".to_owned();
        });
        let selection = selection.unwrap().before(NOW);
        assert_eq!(
            selection.address(2),
            "/dead-letters?stage=sink&code=refused&source=shop&since=2023-11-01T00%3A00%3A00.000Z&until=2023-11-14T22%3A13%3A20.000Z&page=2"
        );
        assert!(selection.words().starts_with("stage sink, code refused, source shop, written from 2023-11-01"));
        let filter = selection.filter();
        assert_eq!(
            (filter.codes, filter.since, filter.until),
            (vec!["refused".to_owned()], selection.since, Some(NOW))
        );
        let found = |time| UnresolvedDeadLetter {
            position: Position::new(0, 1),
            time,
            stage: Stage::Sink,
            code: "refused",
            source: "shop",
            message: None,
        };
        assert!(selection.includes(&found(NOW - 1)) && !selection.includes(&found(NOW)));
        assert!(!selection.includes(&UnresolvedDeadLetter { source: "other", ..found(NOW - 1) }));
        assert_eq!(Selection::default().address(1), "/dead-letters");
    }
}
