//! Joins each receipt with the typed records whose outcome it reports.

use std::collections::{BTreeMap, VecDeque};

use contract::Position;
use contract::dead_letter::DeadLetter;
use contract::receipt::{Receipt, ReceiptVerdict};

use super::ended::{Ended, Outcome};

/// Maximum number of typed records that are kept in memory. For a receipt of an older record, only the event id is
/// known.
const REMEMBERED: usize = 100_000;

/// Details of a record that are kept until its event ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) event_id: Option<String>,
    pub(super) source: Option<String>,
    pub(super) event: Option<String>,
    pub(super) person: Option<String>,
    pub(super) received_at: Option<i64>,
}

impl Seen {
    fn ended(self, time: i64, outcome: Outcome) -> Ended {
        let Self { event_id, source, event, person, received_at } = self;
        let age = received_at.map(|received_at| time.saturating_sub(received_at).max(0));
        Ended { time, outcome, event_id, source, event, person, age }
    }
}

/// Typed records whose events have not ended.
#[derive(Debug, Default)]
pub(super) struct Feed {
    seen: BTreeMap<Position, Seen>,
    order: VecDeque<Position>,
}

impl Feed {
    /// Adds a typed record.
    pub(super) fn typed(&mut self, position: Position, seen: Seen) {
        if self.seen.insert(position, seen).is_none() {
            self.order.push_back(position);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
    }

    /// Returns the events that Platform accepted according to a receipt. A refused event ends with its dead letter
    /// instead.
    pub(super) fn receipt(&mut self, receipt: &Receipt<'_>) -> Vec<Ended> {
        let accepted = receipt.records.iter().filter(|entry| entry.verdict == ReceiptVerdict::Accepted);
        let ended = accepted.map(|entry| {
            let mut seen = self.seen.remove(&entry.position).unwrap_or_default();
            seen.event_id = Some(entry.event_id.to_string());
            let batch_id = receipt.batch_id.as_ref().map(ToString::to_string);
            seen.ended(receipt.sent_at, Outcome::Accepted { batch_id })
        });
        ended.collect()
    }

    /// Returns the event that ends with a dead letter. `of_itself` contains the details from the dead letter's own
    /// record.
    pub(super) fn dead_letter(position: Position, time: i64, head: DeadLetter, of_itself: Seen) -> Ended {
        of_itself.ended(time, Outcome::DeadLettered { stage: head.stage, code: head.code, position })
    }
}

#[cfg(test)]
mod tests {
    use contract::receipt::ReceiptEntry;

    use super::*;

    fn receipt(verdict: ReceiptVerdict) -> Receipt<'static> {
        let position = Position::new(0, 7);
        let entry = ReceiptEntry { position, event_id: "01X".into(), xaction_id: None, verdict };
        Receipt { sent_at: 1500, status: 207, inlet_id: None, batch_id: Some("b".into()), records: vec![entry] }
    }

    fn seen() -> Seen {
        let event = Some("email_opened".to_owned());
        Seen { event, source: Some("default".to_owned()), received_at: Some(1000), ..Seen::default() }
    }

    #[test]
    fn an_accepted_event_has_the_details_of_its_typed_record() {
        let mut feed = Feed::default();
        feed.typed(Position::new(0, 7), seen());
        let ended = feed.receipt(&receipt(ReceiptVerdict::Accepted));
        let expected = Ended {
            time: 1500,
            outcome: Outcome::Accepted { batch_id: Some("b".to_owned()) },
            event_id: Some("01X".to_owned()),
            source: Some("default".to_owned()),
            event: Some("email_opened".to_owned()),
            person: None,
            age: Some(500),
        };
        assert_eq!(ended, [expected]);
        let again = feed.receipt(&receipt(ReceiptVerdict::Accepted));
        assert_eq!((again[0].event_id.as_deref(), &again[0].event, again[0].age), (Some("01X"), &None, None));
        assert_eq!(feed.receipt(&receipt(ReceiptVerdict::Refused)), []);
    }

    #[test]
    fn an_event_age_that_overflows_i64_milliseconds_is_clamped() {
        let seen = Seen { received_at: Some(i64::MIN), ..seen() };
        assert_eq!(seen.ended(i64::MAX, Outcome::Accepted { batch_id: None }).age, Some(i64::MAX));
    }

    #[test]
    fn at_most_100_000_typed_records_are_kept() {
        let mut feed = Feed::default();
        for offset in 0..REMEMBERED + 5 {
            feed.typed(Position::new(0, i64::try_from(offset).unwrap()), seen());
        }
        assert_eq!((feed.seen.len(), feed.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!feed.seen.contains_key(&Position::new(0, 4)) && feed.seen.contains_key(&Position::new(0, 5)));
    }
}
