//! Follows the topics and reports each event that ends.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::dead_letter::{Entry, Stage};
use contract::receipt::Receipt;
use contract::{Offset, Partition, Position, RawRecord, TypedRecord};
use customerio::webhook::Webhook;
use kafka::follower::{Follower, Next};
use kafka::offsets::Offsets;
use kafka::{KafkaError, Record, TopicName, Watermarks};

use super::ended::Ended;
use super::feed::{Feed, Seen};
use crate::error::OperatorError;
use crate::pipeline::Pipeline;
use crate::record::{event_id, position, unpacked};
use crate::typed_event::EventReader;

/// Maximum time to wait for a record before `goes_on` is called again.
const WAIT: Duration = Duration::from_millis(100);

/// Number of the newest typed records of each partition that are read at the start. An event with such a record is
/// reported with its details, and not only with its id.
const TAIL: i64 = 500;

/// News about reading the topics, not about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The topics are being read from now on.
    Started {
        /// Whether a receipts topic exists.
        has_receipts: bool,
    },
    /// A problem that may end without intervention.
    Trouble(String),
}

/// The last reported problem, which is not reported again until a record arrives.
#[derive(Debug, Default)]
struct Trouble(Option<String>);

impl Trouble {
    fn news(&mut self, next: Next) -> Option<News> {
        match next {
            Next::Nothing => None,
            Next::Record => {
                self.0 = None;
                None
            }
            Next::Trouble(what) if self.0.as_ref() == Some(&what) => None,
            Next::Trouble(what) => {
                self.0 = Some(what.clone());
                Some(News::Trouble(what))
            }
        }
    }
}

/// Number of characters of a record's key that are shown.
const PERSON: usize = 8;

/// Passes every event that ends from now on to `visit`, until `goes_on` returns `false`. `hears` first gets
/// [`News::Started`], and then a [`News::Trouble`] for each new problem. Without a receipts topic, `visit` gets only
/// dead letters. The call blocks.
///
/// # Errors
/// Returns [`OperatorError::Kafka`] if the topics cannot be read.
pub fn run(
    pipeline: Pipeline<'_>,
    mut hears: impl FnMut(&News),
    goes_on: impl Fn() -> bool,
    mut visit: impl FnMut(&Ended),
) -> Result<(), OperatorError> {
    let topics = pipeline.topics;
    let offsets = Offsets::new(pipeline.connection)?;
    let mut starts: Vec<(&TopicName, Position)> = Vec::new();
    let mut start = |topic, watermarks: BTreeMap<Partition, Watermarks>, before: i64| {
        let from = |watermarks: Watermarks| watermarks.low.max(Offset(watermarks.high.0.saturating_sub(before)));
        let position = |(partition, watermarks)| (topic, Position::of(partition, from(watermarks)));
        starts.extend(watermarks.into_iter().map(position));
    };
    start(&topics.dead_letters, offsets.watermarks(&topics.dead_letters)?, 0);
    let receipts = match &topics.receipts {
        Some(topic) => match offsets.watermarks(topic) {
            Ok(watermarks) => Some((topic, watermarks)),
            Err(KafkaError::NoTopic(_)) => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let has_receipts = receipts.is_some();
    if let Some((topic, watermarks)) = receipts {
        start(topic, watermarks, 0);
        start(&topics.typed, offsets.watermarks(&topics.typed)?, TAIL);
    }
    let follower = Follower::new(pipeline.connection, starts)?;
    let mut reading = Reading { pipeline, feed: Feed::default(), events: EventReader::default() };
    hears(&News::Started { has_receipts });
    let mut trouble = Trouble::default();
    while goes_on() {
        let mut ended = Vec::new();
        let next = follower.next(WAIT, |topic, record| ended = reading.read(topic, record))?;
        trouble.news(next).iter().for_each(&mut hears);
        ended.iter().for_each(&mut visit);
    }
    Ok(())
}

struct Reading<'r> {
    pipeline: Pipeline<'r>,
    feed: Feed,
    events: EventReader,
}

impl Reading<'_> {
    /// Returns the events that end with this record.
    fn read(&mut self, topic: &str, record: &Record<'_>) -> Vec<Ended> {
        let topics = self.pipeline.topics;
        if topic == topics.typed.as_str() {
            let seen = self.typed(record);
            self.feed.typed(position(record), seen);
            Vec::new()
        } else if topic == topics.dead_letters.as_str() {
            self.dead_letter(record).into_iter().collect()
        } else {
            Receipt::read(record.value()).map(|receipt| self.feed.receipt(&receipt)).unwrap_or_default()
        }
    }

    fn typed(&mut self, record: &Record<'_>) -> Seen {
        let typed = TypedRecord::read(record.headers(), record.timestamp());
        Seen {
            event_id: Some(typed.event_id.into_owned()).filter(|id| !id.is_empty()),
            source: Some(source(record)),
            event: self.event(record.value()),
            person: person(record),
            received_at: Some(typed.received_at),
        }
    }

    /// Returns channel and metric of a typed record, for example `email_opened`.
    fn event(&mut self, value: &[u8]) -> Option<String> {
        let event = self.events.read(value)?.event;
        let details = &event.tenant.customerio;
        Some(format!("{}_{}", details.object_type, details.metric))
    }

    fn dead_letter(&mut self, record: &Record<'_>) -> Option<Ended> {
        let Entry::DeadLetter(head) = Entry::read(record.headers()) else { return None };
        let time = head.at.or(record.timestamp()).unwrap_or_default();
        let is_typed = matches!(head.stage, Stage::Sink | Stage::Platform);
        let seen = if is_typed { self.typed(record) } else { webhook(record) };
        Some(Feed::dead_letter(position(record), time, head, seen))
    }
}

/// Returns the details of a record that contains a webhook.
fn webhook(record: &Record<'_>) -> Seen {
    let mut buffer = Vec::new();
    let raw = RawRecord::read(record.headers(), record.value(), record.timestamp());
    let received_at = Some(raw.received_at);
    let event = Webhook::parse(unpacked(record, &mut buffer))
        .ok()
        .and_then(|webhook| Some(format!("{}_{}", webhook.object_type.non_blank()?, webhook.metric.non_blank()?)));
    Seen { event_id: event_id(record), source: Some(source(record)), event, person: person(record), received_at }
}

fn source(record: &Record<'_>) -> String {
    RawRecord::read(record.headers(), record.value(), record.timestamp()).source_name().to_owned()
}

/// Returns the beginning of a record's key, if the key is a hash.
fn person(record: &Record<'_>) -> Option<String> {
    let key = std::str::from_utf8(record.key()?).ok()?;
    let is_hash = key.chars().all(|c| c.is_ascii_hexdigit());
    is_hash.then(|| key.chars().take(PERSON).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_problem_is_reported_once_until_a_record_arrives() {
        let mut trouble = Trouble::default();
        let down = || Next::Trouble("down".to_owned());
        let reported = Some(News::Trouble("down".to_owned()));
        assert_eq!(trouble.news(down()), reported);
        assert_eq!((trouble.news(Next::Nothing), trouble.news(down())), (None, None));
        assert_eq!((trouble.news(Next::Record), trouble.news(down())), (None, reported));
    }
}
