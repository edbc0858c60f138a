//! The rows of the tail, and which of them a page wants.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use customerio::catalogue::CATALOGUE;
use operator::tail::{Ended, Outcome};
use serde::{Deserialize, Serialize};

use super::tail::Beat;
use crate::failure::Failure;
use crate::format::{self, Moment};
use crate::links;
use crate::mask;
use crate::page::render;

/// Which events a page wants; an empty text is every one.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct TailFilter {
    #[serde(default)]
    pub(super) source: String,
    #[serde(default)]
    pub(super) channel: String,
    #[serde(default)]
    pub(super) metric: String,
    #[serde(default)]
    pub(super) outcome: String,
}

impl TailFilter {
    pub(super) fn includes(&self, ended: &Ended) -> bool {
        let event = ended.event.as_deref().unwrap_or_default();
        let is_event = match (self.channel.as_str(), self.metric.as_str()) {
            ("", "") => true,
            (channel, "") => event.strip_prefix(channel).is_some_and(|rest| rest.starts_with('_')),
            ("", metric) => event.strip_suffix(metric).is_some_and(|rest| rest.ends_with('_')),
            (channel, metric) => event == format!("{channel}_{metric}"),
        };
        is_event
            && (self.source.is_empty() || ended.source.as_ref() == Some(&self.source))
            && (self.outcome.is_empty() || ended.outcome.as_str() == self.outcome)
    }

    pub(super) fn is_channel(&self, name: &str) -> bool {
        self.channel == name
    }

    pub(super) fn is_metric(&self, name: &str) -> bool {
        self.metric == name
    }

    /// As the query of an address. The names of sources, channels and metrics are no personal data.
    pub(super) fn query(&self) -> String {
        let Self { source, channel, metric, outcome } = self;
        let pairs = [("source", source), ("channel", channel), ("metric", metric), ("outcome", outcome)];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish()
    }
}

/// The channels and the metrics that events can have.
pub(super) fn choices() -> (Vec<&'static str>, Vec<&'static str>) {
    let channels: BTreeSet<&str> = CATALOGUE.iter().map(|event| event.object_type.as_str()).collect();
    let metrics: BTreeSet<&str> = CATALOGUE.iter().map(|event| event.metric.as_str()).collect();
    (channels.into_iter().collect(), metrics.into_iter().collect())
}

/// One row.
pub(super) struct TailRow {
    pub(super) time: Moment,
    pub(super) state: &'static str,
    pub(super) mark: &'static str,
    pub(super) word: &'static str,
    /// The batch, or the stage and the code of the dead letter.
    pub(super) detail: String,
    /// The dead letters of this kind.
    pub(super) detail_href: Option<String>,
    pub(super) event: String,
    pub(super) source: String,
    pub(super) event_id: String,
    /// The page of the event. An id that may be personal data has none.
    pub(super) href: Option<String>,
    /// The beginning of the hash that is the key of the record.
    pub(super) person: String,
    pub(super) age: String,
}

impl TailRow {
    pub(super) fn of(ended: &Ended) -> Self {
        let shown = |text: &Option<String>| text.as_deref().map_or(format::UNKNOWN.to_owned(), mask::code);
        let (state, mark, word, detail, detail_href) = match &ended.outcome {
            Outcome::Accepted { batch_id } => ("good", "✓", "accepted", format!("batch {}", shown(batch_id)), None),
            Outcome::DeadLettered { stage, code, .. } => {
                let href = mask::is_code(code).then(|| links::dead_letters(stage.as_str(), code));
                ("bad", "✕", "dead letter", format!("{stage}: {}", mask::code(code)), href)
            }
        };
        let received_at = ended.time.saturating_sub(ended.age.unwrap_or_default());
        let id = ended.event_id.as_deref().filter(|id| links::may_be_in_address(id));
        Self {
            time: Moment::of_millis(ended.time),
            state,
            mark,
            word,
            detail,
            detail_href,
            event: shown(&ended.event),
            source: shown(&ended.source),
            event_id: shown(&ended.event_id),
            href: id.map(|id| links::event_since(id, received_at)),
            person: shown(&ended.person),
            age: ended.age.map_or(format::UNKNOWN.to_owned(), |age| format::seconds(age as f64 / 1000.0)),
        }
    }
}

#[derive(Template)]
#[template(path = "events/rows.html")]
struct Rows {
    rows: Vec<TailRow>,
}

/// What a stream sends, as `console.js` reads it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    /// Rows of the table, the newest first.
    rows: String,
    left_out: u64,
    said: Option<String>,
}

/// The message of a beat. JSON, because a text with line breaks would end a message early.
pub(super) fn message(beat: &Beat) -> Result<String, Failure> {
    let rows = beat.ended.iter().rev().map(|ended| TailRow::of(ended)).collect();
    let rows = if beat.ended.is_empty() { String::new() } else { render(&Rows { rows })?.0 };
    let message = Message { rows, left_out: beat.left_out, said: beat.said.clone() };
    serde_json::to_string(&message).map_err(|_| Failure::Defect("a message of the tail could not be written"))
}

/// The newest rows that a filter includes.
pub(super) fn rows(newest: &[Arc<Ended>], filter: &TailFilter, most: usize) -> Vec<TailRow> {
    newest.iter().filter(|ended| filter.includes(ended)).take(most).map(|ended| TailRow::of(ended)).collect()
}

#[cfg(test)]
mod tests {
    use contract::Position;
    use contract::dead_letter::Stage;

    use super::*;

    fn ended() -> Ended {
        Ended {
            time: 1_700_000_001_480,
            outcome: Outcome::Accepted { batch_id: Some("b".to_owned()) },
            event_id: Some("01X".to_owned()),
            source: Some("shop".to_owned()),
            event: Some("in_app_clicked".to_owned()),
            person: Some("bbb36600".to_owned()),
            age: Some(180),
        }
    }

    fn html(ended: Ended) -> String {
        let beat = Beat { ended: vec![Arc::new(ended)], ..Beat::default() };
        let message: serde_json::Value = serde_json::from_str(&message(&beat).unwrap()).unwrap();
        message["rows"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_filter_chooses_by_source_channel_metric_and_outcome() {
        let filter = |source: &str, channel: &str, metric: &str, outcome: &str| TailFilter {
            source: source.to_owned(),
            channel: channel.to_owned(),
            metric: metric.to_owned(),
            outcome: outcome.to_owned(),
        };
        for wanted in [
            filter("", "", "", ""),
            filter("shop", "in_app", "clicked", "accepted"),
            filter("", "in_app", "", ""),
            filter("", "", "clicked", ""),
        ] {
            assert!(wanted.includes(&ended()), "{wanted:?}");
        }
        for other in [
            filter("app", "", "", ""),
            filter("", "in", "clicked", ""),
            filter("", "email", "", ""),
            filter("", "", "opened", ""),
            filter("", "", "", "dead_lettered"),
        ] {
            assert!(!other.includes(&ended()), "{other:?}");
        }
        assert_eq!(filter("a b", "", "opened", "").query(), "source=a+b&metric=opened");
        let (channels, metrics) = choices();
        assert!(channels.contains(&"email") && metrics.contains(&"opened"));
    }

    #[test]
    fn a_row_leads_to_its_event_and_searches_from_its_receipt_on() {
        let row = html(ended());
        assert!(row.contains("/events/event?id=01X&#38;since=1700000001300") && row.contains("180 ms"), "{row}");
    }

    #[test]
    fn nothing_that_may_be_a_value_or_a_script_is_in_a_row() {
        for hostile in ["<script>alert(1)</script>", "jo@example.com", "\u{202e}x", "a\r\ndata: x", "+491234567890"] {
            let some = || Some(hostile.to_owned());
            let (code, position) = (hostile.to_owned(), Position::new(3, 12));
            let dead_letter = Outcome::DeadLettered { stage: Stage::Transformer, code, position };
            for outcome in [dead_letter, Outcome::Accepted { batch_id: some() }] {
                let all = Ended { event_id: some(), source: some(), event: some(), person: some(), outcome, ..ended() };
                let row = html(all);
                assert!(!row.contains(hostile) && !row.contains("<script") && row.contains(mask::MASK), "{row}");
            }
        }
    }
}
