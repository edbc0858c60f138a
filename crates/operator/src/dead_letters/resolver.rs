//! Resolves dead letters. Only one process at a time can write resolutions, so no dead letter is resolved twice.

use std::time::{Duration, Instant};

use contract::Position;
use contract::dead_letter::{Resolution, ResolutionKind};
use kafka::producer::NewRecord;
use kafka::transaction::TransactionalWriter;
use kafka::{Headers, KafkaError};

use super::index::IndexedDeadLetter;
use crate::pipeline::Pipeline;

/// Maximum time until the transaction coordinator responds.
const OPEN: Duration = Duration::from_secs(60);

/// Person who resolves dead letters, with a note and a rate limit.
#[derive(Debug, Clone)]
pub struct Resolving {
    /// Name of the person, which the resolution contains.
    pub by: String,
    /// Explanation for later readers of the resolution.
    pub note: Option<String>,
    /// Maximum number of dead letters per second; 0 means no limit.
    pub rate: u32,
}

/// Position and key of a dead letter to resolve. The resolution gets the same key.
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

/// Exclusive right to resolve dead letters of the topic. Opening a second resolver, in any process, takes the right
/// from the first.
///
/// The right covers the whole topic, because the dead letters of one record can be in different partitions. An index
/// that is read after [`Resolver::open`] stays correct as long as this resolver can write, because only the holder of
/// the right resolves dead letters.
#[derive(Debug)]
pub(super) struct Resolver<'p> {
    pub(super) writer: TransactionalWriter,
    pipeline: Pipeline<'p>,
    kind: ResolutionKind,
    resolving: &'p Resolving,
}

impl<'p> Resolver<'p> {
    /// Takes the exclusive right to resolve dead letters.
    pub(super) fn open(
        pipeline: Pipeline<'p>,
        kind: ResolutionKind,
        resolving: &'p Resolving,
    ) -> Result<Self, KafkaError> {
        // Do not change this transactional id: processes of different versions must compete for the same right.
        let id = format!("{}-closing-all", pipeline.topics.dead_letters);
        let writer = TransactionalWriter::open(pipeline.connection, &id, OPEN)?;
        Ok(Self { writer, pipeline, kind, resolving })
    }

    /// Returns the record that resolves a dead letter.
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

/// Limits the rate of resolutions.
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

    /// Returns the maximum number of dead letters per transaction: with a rate limit, those of a tenth of a second.
    pub(super) fn chunk(&self) -> usize {
        if self.rate == 0 { 500 } else { (self.rate / 10).clamp(1, 500) as usize }
    }

    /// Adds `count` to the number of resolutions, and waits until the rate allows the new number.
    pub(super) fn wait(&mut self, count: usize) {
        self.done += count as u64;
        if let Some(due) = self.due() {
            std::thread::sleep(due.saturating_sub(self.begun.elapsed()));
        }
    }

    /// Returns the time after the start at which the rate allows the current number of resolutions; `None` without a
    /// limit.
    fn due(&self) -> Option<Duration> {
        (self.rate > 0).then(|| Duration::from_millis(self.done.saturating_mul(1000) / u64::from(self.rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_limit_sets_the_transaction_size_and_the_time_of_the_next_resolution() {
        let mut pace = Pace::new(100);
        assert_eq!((pace.chunk(), Pace::new(0).chunk(), Pace::new(3).chunk()), (10, 500, 1));
        pace.done = 250;
        assert_eq!(pace.due(), Some(Duration::from_millis(2500)));
        assert_eq!(Pace::new(0).due(), None);
    }
}
