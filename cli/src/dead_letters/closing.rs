//! Closing letters: one writer at a time for each partition of the dead-letter topic, and never a letter twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clap::Args;
use kafka::dead_letter::{Closed, Resolution, resolution_headers};
use kafka::producer::NewRecord;
use kafka::transaction::TransactionalWriter;
use kafka::{Connection, KafkaError, TopicName};

use super::register::{self, Registered};
use crate::topics::PlaceArg;

/// How long the transaction coordinator has to answer.
const OPEN: Duration = Duration::from_secs(60);

/// How letters are closed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Closing")]
pub(super) struct ClosingArgs {
    /// Do it; without this it is only said what would be done
    #[arg(long)]
    pub(super) yes: bool,

    /// The most letters a second; 0 for no limit
    #[arg(long, default_value_t = 500, value_name = "COUNT")]
    pub(super) rate: u32,

    /// Who closes them, for whoever looks later
    #[arg(long, env = "USER", default_value = "unknown", value_name = "NAME")]
    pub(super) by: String,
}

/// Letters of one partition, in order.
pub(super) fn by_partition(letters: Vec<Registered>) -> BTreeMap<i32, Vec<Registered>> {
    let mut partitions: BTreeMap<i32, Vec<Registered>> = BTreeMap::new();
    for letter in letters {
        partitions.entry(letter.place.partition).or_default().push(letter);
    }
    partitions
}

/// The right to close the letters of one partition. A second one for the same partition, in whatever process, takes it
/// away from the first.
#[derive(Debug)]
pub(super) struct Closing<'c> {
    pub(super) writer: TransactionalWriter,
    topic: &'c TopicName,
    closed: BTreeSet<i64>,
    resolution: Resolution,
    by: String,
    note: Option<String>,
}

impl<'c> Closing<'c> {
    /// Takes the right; `first` is the first letter to be closed. Which letters others have closed is read only now, when
    /// nobody else can close any more.
    pub(super) fn open(
        connection: &Connection,
        topic: &'c TopicName,
        first: PlaceArg,
        resolution: Resolution,
        by: &str,
        note: Option<&str>,
    ) -> Result<Self, KafkaError> {
        let id = format!("{topic}-closing-{}", first.partition);
        let writer = TransactionalWriter::open(connection, &id, OPEN)?;
        let closed = register::closed_since(connection, topic, first)?.into_keys().collect();
        let (by, note) = (by.to_owned(), note.map(str::to_owned));
        Ok(Self { writer, topic, closed, resolution, by, note })
    }

    /// Whether the letter was closed before the right was taken.
    pub(super) fn is_closed(&self, letter: PlaceArg) -> bool {
        self.closed.contains(&letter.offset)
    }

    /// The record that closes a letter.
    pub(super) fn record<'a>(&'a self, letter: PlaceArg, key: Option<&'a [u8]>) -> NewRecord<'a> {
        let closed = Closed {
            letter: letter.offset,
            resolution: self.resolution,
            by: Some(self.by.clone()),
            note: self.note.clone(),
            at: Some(service::unix_millis()),
        };
        let headers = resolution_headers(&closed);
        NewRecord { topic: self.topic, partition: Some(letter.partition), key, value: None, headers }
    }
}

/// Keeps to a rate.
#[derive(Debug)]
pub(super) struct Pace {
    rate: u32,
    begun: Instant,
    done: u64,
}

impl Pace {
    pub(super) fn new(rate: u32) -> Self {
        Self { rate, begun: Instant::now(), done: 0 }
    }

    /// How many letters one transaction may hold: few enough for the rate to be smooth.
    pub(super) fn chunk(&self) -> usize {
        if self.rate == 0 { 500 } else { (self.rate / 10).clamp(1, 500) as usize }
    }

    /// Waits until so many more may have been done.
    pub(super) fn wait(&mut self, count: usize) {
        self.done += count as u64;
        if let Some(due) = self.due() {
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
        }
    }

    /// When, after the beginning, what is done now may have been done.
    fn due(&self) -> Option<Duration> {
        (self.rate > 0).then(|| Duration::from_millis(self.done.saturating_mul(1000) / u64::from(self.rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_says_when_the_next_may_be_done() {
        let mut pace = Pace::new(100);
        assert_eq!((pace.chunk(), Pace::new(0).chunk(), Pace::new(3).chunk()), (10, 500, 1));
        pace.done = 250;
        assert_eq!(pace.due(), Some(Duration::from_millis(2500)));
        assert_eq!(Pace::new(0).due(), None);
    }
}
