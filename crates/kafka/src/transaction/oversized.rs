//! Finds the input records whose output a topic refuses because of its size.
//!
//! A broker that finds a batch too large refuses all records of that batch, so a refusal alone does not show which
//! record is the cause. A suspected record is therefore read again, and its output is alone in its batch. Only a
//! refusal of that batch counts against the record and its topic.

use std::collections::BTreeMap;

use contract::{Offset, Partition, Position, TopicName};

/// The refusals of one input record's output.
#[derive(Debug, Default)]
struct Known {
    /// For each topic, the number of outputs of this record that were refused although each was alone in its batch.
    refusals: BTreeMap<String, u32>,
}

/// The input records with a refused output that are not committed yet.
#[derive(Debug, Default)]
pub(super) struct Oversized {
    known: BTreeMap<Position, Known>,
}

impl Oversized {
    /// Notes that an output of this record was in a batch that `topic` refused because of its size. `alone` means that
    /// the batch contained nothing else. Returns whether this is progress: the first suspicion against the record, or a
    /// refusal that counts against it.
    pub(super) fn refused(&mut self, record: Position, topic: &str, alone: bool) -> bool {
        let is_new = !self.known.contains_key(&record);
        let known = self.known.entry(record).or_default();
        if alone {
            *known.refusals.entry(topic.to_owned()).or_default() += 1;
        }
        is_new || alone
    }

    /// Whether the outputs of this record must be alone in their batches.
    pub(super) fn is_suspected(&self, record: Position) -> bool {
        self.known.contains_key(&record)
    }

    /// Number of outputs of this record that `topic` refused although each was alone in its batch.
    pub(super) fn refusals(&self, record: Position, topic: &TopicName) -> u32 {
        let known = self.known.get(&record);
        known.and_then(|known| known.refusals.get(topic.as_str())).copied().unwrap_or(0)
    }

    /// Forgets the records of the partition before `offset`, which are committed.
    pub(super) fn committed(&mut self, partition: Partition, offset: Offset) {
        self.known.retain(|known, _| known.partition != partition || known.offset >= offset);
    }

    /// Forgets the records of a revoked partition.
    pub(super) fn forget(&mut self, partition: Partition) {
        self.known.retain(|known, _| known.partition != partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_a_batch_with_one_record_counts_against_that_record() {
        let topic: TopicName = "typed".parse().unwrap();
        let mut oversized = Oversized::default();
        let record = Position::new(0, 7);
        assert!(!oversized.is_suspected(record));
        assert!(oversized.refused(record, "typed", false), "the first suspicion is progress");
        assert!(!oversized.refused(record, "typed", false), "a repeated suspicion is not");
        assert!(oversized.is_suspected(record));
        assert_eq!(oversized.refusals(record, &topic), 0);
        assert!(oversized.refused(record, "typed", true));
        assert_eq!(oversized.refusals(record, &topic), 1);
        assert_eq!(oversized.refusals(Position::new(0, 8), &topic), 0);
    }

    #[test]
    fn committed_records_and_records_of_a_revoked_partition_are_forgotten() {
        let mut oversized = Oversized::default();
        let records = [Position::new(0, 7), Position::new(0, 9), Position::new(1, 7)];
        for record in records {
            oversized.refused(record, "typed", false);
        }
        oversized.committed(Partition(0), Offset(8));
        let left = |oversized: &Oversized| records.map(|record| oversized.is_suspected(record));
        assert_eq!(left(&oversized), [false, true, true]);
        oversized.forget(Partition(1));
        assert_eq!(left(&oversized), [false, true, false]);
    }
}
