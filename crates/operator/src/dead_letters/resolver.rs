//! Resolving dead letters: one writer at a time for the dead-letter topic, and no dead letter twice.

use std::time::{Duration, Instant};

use contract::Position;
use contract::dead_letter::{Resolution, ResolutionKind};
use kafka::producer::NewRecord;
use kafka::transaction::TransactionalWriter;
use kafka::{Headers, KafkaError};

use super::index::IndexedDeadLetter;
use crate::pipeline::Pipeline;

/// How long the transaction coordinator may take to respond.
const OPEN: Duration = Duration::from_secs(60);

/// Who resolves dead letters, why, and how fast.
#[derive(Debug, Clone)]
pub struct Resolving {
    /// The person; the resolution keeps the name.
    pub by: String,
    /// Why, for a later reader.
    pub note: Option<String>,
    /// At most this many dead letters a second; 0 for no limit.
    pub rate: u32,
}

/// A dead letter that is resolved: its position and its key, which the resolution has as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolve {
    pub(super) position: Position,
    pub(super) key: Option<Vec<u8>>,
}

impl Resolve {
    pub(super) fn of(dead_letter: &IndexedDeadLetter) -> Self {
        Self { position: dead_letter.position, key: dead_letter.key.clone() }
    }
}

/// The right to resolve dead letters of the topic. Opening a second one, in any process, takes it away from the first.
///
/// The right covers the whole topic, because the dead letters of one record need not be in one partition. An index of
/// the dead letters that is read after [`Resolver::open`] stays correct while this resolver can write: only the holder
/// of the right resolves dead letters.
#[derive(Debug)]
pub(super) struct Resolver<'p> {
    pub(super) writer: TransactionalWriter,
    pipeline: Pipeline<'p>,
    kind: ResolutionKind,
    resolving: &'p Resolving,
}

impl<'p> Resolver<'p> {
    /// Takes the right.
    pub(super) fn open(
        pipeline: Pipeline<'p>,
        kind: ResolutionKind,
        resolving: &'p Resolving,
    ) -> Result<Self, KafkaError> {
        // Do not change this name: different versions that run at the same time must share the right.
        let id = format!("{}-closing-all", pipeline.topics.dead_letters);
        let writer = TransactionalWriter::open(pipeline.connection, &id, OPEN)?;
        Ok(Self { writer, pipeline, kind, resolving })
    }

    /// The record that resolves a dead letter.
    pub(super) fn record<'a>(&'a self, resolve: &'a Resolve) -> NewRecord<'a> {
        let resolution = Resolution {
            dead_letter: resolve.position.offset,
            kind: self.kind,
            by: Some(self.resolving.by.clone()),
            note: self.resolving.note.clone(),
            at: Some(service::unix_millis()),
        };
        let headers = Headers::with_capacity(5).with_all(resolution.headers());
        let (partition, key) = (Some(resolve.position.partition), resolve.key.as_deref());
        NewRecord { topic: &self.pipeline.topics.dead_letters, partition, key, value: None, headers }
    }
}

/// Limits the rate.
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

    /// How many dead letters one transaction may resolve: few enough for the rate to be smooth.
    pub(super) fn chunk(&self) -> usize {
        if self.rate == 0 { 500 } else { (self.rate / 10).clamp(1, 500) as usize }
    }

    /// Waits until the rate allows this number of further resolutions.
    pub(super) fn wait(&mut self, count: usize) {
        self.done += count as u64;
        if let Some(due) = self.due() {
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
        }
    }

    /// The time after the start at which the rate allows the current number of resolutions.
    fn due(&self) -> Option<Duration> {
        (self.rate > 0).then(|| Duration::from_millis(self.done.saturating_mul(1000) / u64::from(self.rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_determines_when_the_next_dead_letter_may_be_resolved() {
        let mut pace = Pace::new(100);
        assert_eq!((pace.chunk(), Pace::new(0).chunk(), Pace::new(3).chunk()), (10, 500, 1));
        pace.done = 250;
        assert_eq!(pace.due(), Some(Duration::from_millis(2500)));
        assert_eq!(Pace::new(0).due(), None);
    }
}
