//! The rows of the live tail, and the filter of a page.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use customerio::catalogue::CATALOGUE;
use operator::tail::{Ended, Outcome};
use serde::{Deserialize, Serialize};

use super::tail::Beat;
use crate::failure::Failure;
use crate::format::{self, Moment};
use crate::links::{self, PublicId};
use crate::mask;
use crate::page::render;

/// Filter of a page. An empty field includes every event.
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

    /// Returns the filter as the query of a URL. Names of sources, channels and metrics are not personal data.
    pub(super) fn query(&self) -> String {
        let Self { source, channel, metric, outcome } = self;
        let pairs = [("source", source), ("channel", channel), ("metric", metric), ("outcome", outcome)];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish()
    }
}

/// Returns the channels and the metrics that events can have.
pub(super) fn choices() -> (Vec<&'static str>, Vec<&'static str>) {
    let channels: BTreeSet<&str> = CATALOGUE.iter().map(|event| event.object_type.as_str()).collect();
    let metrics: BTreeSet<&str> = CATALOGUE.iter().map(|event| event.metric.as_str()).collect();
    (channels.into_iter().collect(), metrics.into_iter().collect())
}

/// A row of the live tail.
pub(super) struct TailRow {
    pub(super) time: Moment,
    pub(super) state: &'static str,
    pub(super) mark: &'static str,
    pub(super) word: &'static str,
    /// The batch of an accepted event, or the stage and code of a dead letter.
    pub(super) detail: String,
    /// Path of the list of dead letters with the same stage and code.
    pub(super) detail_href: Option<String>,
    pub(super) event: String,
    pub(super) source: String,
    pub(super) event_id: String,
    /// Path of the page of the event; `None` if the id may be personal data.
    pub(super) href: Option<String>,
    /// Beginning of the person key, which is a hash.
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
        let id = ended.event_id.as_deref().and_then(PublicId::of);
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
            href: id.map(|id| links::event_since(&id, received_at)),
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

/// A message of a stream in the form that `console.js` reads.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    /// HTML of the new table rows, the newest first.
    rows: String,
    left_out: u64,
    said: Option<String>,
}

/// Returns the message of a [`Beat`] as JSON, because a line break in the text would end a server-sent event early.
pub(super) fn message(beat: &Beat) -> Result<String, Failure> {
    let rows = beat.ended.iter().rev().map(|ended| TailRow::of(ended)).collect();
    let rows = if beat.ended.is_empty() { String::new() } else { render(&Rows { rows })?.0 };
    let message = Message { rows, left_out: beat.left_out, said: beat.said.clone() };
    serde_json::to_string(&message).map_err(|_| Failure::Defect("a message of the tail could not be written"))
}

/// Returns the newest rows that match a filter, at most `most`.
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
    fn a_filter_includes_events_by_source_channel_metric_and_outcome() {
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
    fn the_link_of_a_row_contains_the_event_id_and_the_receive_time() {
        let row = html(ended());
        assert!(row.contains("/events/event?id=01X&#38;since=1700000001300") && row.contains("180 ms"), "{row}");
    }

    #[test]
    fn scripts_and_personal_data_in_a_row_are_masked() {
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
