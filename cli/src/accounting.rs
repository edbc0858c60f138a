//! The demo's accounting: read from the topics and from the simulator, not from the services' own counts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kafka::dead_letter::header as dead_letter;
use kafka::offsets::Offsets;
use kafka::reader::{Isolation, TopicReader};
use kafka::record::header;
use kafka::{Connection, KafkaError, TopicName};
use serde::Serialize;

use crate::topics::settled;

/// The outcomes of all webhooks of a demo.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
pub(crate) struct Accounting {
    /// Webhooks sent.
    pub(crate) sent: u64,
    /// Refused by the gateway, because they were not authentic.
    pub(crate) refused: u64,
    /// Raw records.
    pub(crate) stored: u64,
    /// Typed records.
    pub(crate) mapped: u64,
    /// Dead letters by code.
    pub(crate) dead_letters: BTreeMap<String, u64>,
    /// Different events that Platform has accepted.
    pub(crate) accepted: u64,
    /// Stored, but neither accepted nor a dead letter; or acknowledged with a 2xx, but not stored.
    pub(crate) lost: u64,
    /// More than one typed record or dead letter for one raw record, or accepted more than once.
    pub(crate) doubled: u64,
}

impl Accounting {
    /// Reads the topics.
    pub(crate) fn read(
        connection: &Connection,
        [raw, typed, dead_letters]: [&TopicName; 3],
        accepted: &HashMap<String, u32>,
        sent: u64,
        refused: u64,
    ) -> Result<Self, KafkaError> {
        const READ: Duration = Duration::from_secs(30);
        let offsets = Offsets::new(connection)?;
        let read = |topic: &TopicName, visit: &mut dyn FnMut(&kafka::Record<'_>)| {
            // The brokers end a transaction in one partition after the other; before that, a reader of committed
            // records sees less.
            settled(&offsets, topic)?;
            TopicReader::new(connection, topic, Isolation::ReadCommitted)?.read_to_end(READ, |record| visit(record))
        };
        let mut accounting = Self { sent, refused, ..Self::default() };
        // How many outcomes each raw record has.
        let mut ends: HashMap<(i32, i64), u64> = HashMap::new();
        read(raw, &mut |record| {
            ends.insert((record.partition(), record.offset()), 0);
        })?;
        accounting.stored = ends.len() as u64;
        let mut not_accepted = 0;
        read(typed, &mut |record| {
            accounting.mapped += 1;
            let offset = number(record.header(header::RAW_OFFSET));
            *ends.entry((record.partition(), offset)).or_default() += 1;
            let id = String::from_utf8_lossy(record.header(header::EVENT_ID).unwrap_or_default()).into_owned();
            not_accepted += u64::from(!accepted.contains_key(&id));
        })?;
        read(dead_letters, &mut |record| {
            let code = String::from_utf8_lossy(record.header(dead_letter::CODE).unwrap_or_default()).into_owned();
            *accounting.dead_letters.entry(code).or_default() += 1;
            if record.header(dead_letter::STAGE) == Some(b"transformer") {
                let partition = i32::try_from(number(record.header(dead_letter::PARTITION))).unwrap_or(-1);
                *ends.entry((partition, number(record.header(dead_letter::OFFSET)))).or_default() += 1;
            } else {
                // A refused event is a dead letter instead of an accepted one.
                not_accepted = not_accepted.saturating_sub(1);
            }
        })?;
        accounting.accepted = accepted.len() as u64;
        let never_ended = ends.values().filter(|&&count| count == 0).count() as u64;
        let never_stored = (sent - refused).saturating_sub(accounting.stored);
        accounting.lost = never_ended + never_stored + not_accepted;
        accounting.doubled = ends.values().map(|count| count.saturating_sub(1)).sum::<u64>()
            + accepted.values().map(|&count| u64::from(count) - 1).sum::<u64>();
        Ok(accounting)
    }

    /// Whether every webhook is where it should be.
    pub(crate) fn balances(&self) -> bool {
        let dead: u64 = self.dead_letters.values().sum();
        self.lost == 0
            && self.doubled == 0
            && self.sent == self.refused + self.stored
            && self.stored == self.accepted + dead
    }

    /// The table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let row = |name: &str, count: u64, note: &str| format!("  {name:<28}{count:>6}  {note}").trim_end().to_owned();
        let mut lines = vec![
            row("sent", self.sent, ""),
            row("refused", self.refused, "401: not signed with a live key"),
            row("stored", self.stored, "raw records"),
            row("mapped", self.mapped, "typed Avro records"),
        ];
        for (code, count) in &self.dead_letters {
            lines.push(row(&format!("dead-lettered: {code}"), *count, ""));
        }
        lines.push(row("accepted", self.accepted, "by Experience Platform (simulated)"));
        lines.push(row("lost", self.lost, ""));
        lines.push(row("doubled", self.doubled, ""));
        lines.push(if self.balances() { "  balanced".to_owned() } else { "  NOT balanced".to_owned() });
        lines
    }
}

fn number(value: Option<&[u8]>) -> i64 {
    value.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_balances_only_when_every_row_agrees() {
        let good = Accounting {
            sent: 10,
            refused: 1,
            stored: 9,
            mapped: 7,
            dead_letters: BTreeMap::from([("not_json".to_owned(), 2)]),
            accepted: 7,
            lost: 0,
            doubled: 0,
        };
        assert!(good.balances());
        assert!(good.lines().last().unwrap().contains("balanced"));
        assert!(!Accounting { lost: 1, ..Accounting::default() }.balances());
        assert!(!Accounting { doubled: 1, ..Accounting::default() }.balances());
        assert!(!Accounting { sent: 1, ..Accounting::default() }.balances());
        assert!(!Accounting { sent: 1, stored: 1, ..Accounting::default() }.balances());
    }
}
