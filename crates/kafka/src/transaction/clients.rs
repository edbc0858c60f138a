//! Producer and consumer of one session, which implement [`Client`] for the machine.

use contract::{Partition, Position, TopicName};
use rdkafka::error::KafkaError as RdError;

use super::machine::{Client, Mark, Outcome};
use super::producer::{CALL, TransactionalProducer};
use crate::consumed::Consumed;
use crate::group::GroupClient;
use crate::health::{KafkaHealth, trouble};
use crate::log_watch::Latest;
use crate::partition_list;

/// Producer and consumer of one session, as the machine sees them.
pub(super) struct Clients<'s, C> {
    pub(super) producer: &'s TransactionalProducer,
    pub(super) consumer: &'s C,
    pub(super) topic: &'s TopicName,
    /// Fingerprint of the last accepted record of each partition.
    pub(super) latest: &'s Latest,
    pub(super) health: &'s KafkaHealth,
    /// Value of [`crate::Connection::keeps_transactional_offsets`].
    pub(super) keeps_transactional_offsets: bool,
}

impl<C> Clients<'_, C> {
    /// Reports that the group's committed offsets could not be read. The machine then repeats the query.
    fn unconfirmed(&self, error: &RdError) -> Outcome {
        self.health.group.failed(trouble(error));
        Outcome::Retry
    }

    /// Returns the metadata of a committed offset: the fingerprint of the last record, and the processed records
    /// after the offset.
    fn metadata(&self, mark: &Mark) -> Option<String> {
        let last = self.latest.get(&mark.position.partition);
        let last = last.filter(|last| last.offset < mark.end).map(ToString::to_string);
        match (last, &mark.note) {
            (Some(last), Some(note)) => Some(format!("{last} {note}")),
            (last, note) => last.or_else(|| note.clone()),
        }
    }
}

impl<C: GroupClient> Client for Clients<'_, C> {
    fn begin(&mut self) -> Outcome {
        self.producer.begin()
    }

    fn send_offsets(&mut self, marks: &[Mark]) -> Outcome {
        if !self.producer.drained() {
            return Outcome::Retry;
        }
        if let Some(reason) = self.producer.failure() {
            return Outcome::Abort(reason);
        }
        let positions: Vec<Position> = marks.iter().map(|mark| mark.position).collect();
        let metadata = |partition| self.metadata(marks.iter().find(|mark| mark.position.partition == partition)?);
        let list = match partition_list::with_metadata(self.topic, &positions, metadata) {
            Ok(list) => list,
            Err(error) => return Outcome::Broken(error.to_string()),
        };
        let Some(metadata) = self.consumer.metadata() else {
            return Outcome::Abort("the consumer has left its group".to_owned());
        };
        // A client that has lost its membership has no member id for a moment, and the brokers accept offsets without a
        // member id from any client. The metadata is read before this check, so the check covers it.
        if self.consumer.is_assignment_lost() {
            return Outcome::Abort("the partitions were lost".to_owned());
        }
        self.producer.send_offsets(&list, &metadata)
    }

    fn commit(&mut self) -> Outcome {
        self.producer.commit()
    }

    fn abort(&mut self) -> Outcome {
        self.producer.abort()
    }

    fn confirm(&mut self, known: &[Mark]) -> Outcome {
        if known.is_empty() || !self.keeps_transactional_offsets {
            return Outcome::Done;
        }
        let partitions: Vec<Partition> = known.iter().map(|mark| mark.position.partition).collect();
        let list = partition_list::partitions(self.topic, &partitions);
        // Open transactions of other members can delay the response beyond `CALL`. The machine then repeats the query.
        let committed = match self.consumer.committed(list, CALL) {
            Ok(committed) => committed,
            Err(error) => return self.unconfirmed(&error),
        };
        for mark in known {
            let Position { partition, offset } = mark.position;
            let Some(found) = partition_list::find(&committed, self.topic, partition) else { return Outcome::Retry };
            if let Err(error) = found.error() {
                return self.unconfirmed(&error);
            }
            // While a record is deferred, the committed offset stays the same, and only the metadata changes.
            let consumed = Consumed::read(offset, found.metadata());
            if partition_list::offset(&found) != Some(offset) || consumed.note() != mark.note {
                return Outcome::Evicted(format!(
                    "the group's committed offset of {}[{partition}] is {:?} ({}) and not {offset} ({}): another member has processed the partition",
                    self.topic,
                    found.offset(),
                    found.metadata(),
                    mark.note.as_deref().unwrap_or_default()
                ));
            }
        }
        self.health.group.succeeded();
        Outcome::Done
    }

    fn rewind(&mut self, positions: &[Position]) -> Outcome {
        if positions.is_empty() {
            return Outcome::Done;
        }
        let list = match partition_list::positions(self.topic, positions) {
            Ok(list) => list,
            Err(error) => return Outcome::Broken(error.to_string()),
        };
        match self.consumer.seek(list, CALL) {
            Ok(list) if list.elements().iter().all(|element| element.error().is_ok()) => Outcome::Done,
            Ok(_) => Outcome::Retry,
            // The call did not finish in time; the machine decides how often to repeat it.
            Err(RdError::Seek(_)) => Outcome::Retry,
            Err(error) => Outcome::Broken(format!("setting the consumer back failed: {error}")),
        }
    }
}
