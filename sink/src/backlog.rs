//! Holds the records that have been read and not decoded yet. There is one queue for each partition, and the partitions
//! take turns, so that a large backlog in one partition does not delay the others. Records of one partition stay in
//! order.

use std::collections::VecDeque;

use kafka::ledger::Claim;

/// The queues of all partitions, which take turns.
#[derive(Debug)]
pub(crate) struct Backlog<R> {
    /// The queues, indexed by partition number.
    queues: Vec<VecDeque<(Claim, R)>>,
    /// The partitions that have records, each once, in the order of their turns.
    turns: VecDeque<usize>,
}

impl<R> Default for Backlog<R> {
    fn default() -> Self {
        Self { queues: Vec::new(), turns: VecDeque::new() }
    }
}

impl<R> Backlog<R> {
    /// Appends a record to its partition's queue.
    pub(crate) fn push(&mut self, claim: Claim, record: R) {
        let partition = index(&claim);
        if partition >= self.queues.len() {
            self.queues.resize_with(partition + 1, VecDeque::new);
        }
        let queue = &mut self.queues[partition];
        if queue.is_empty() {
            self.turns.push_back(partition);
        }
        queue.push_back((claim, record));
    }

    /// Removes and returns the next record of the partition whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<(Claim, R)> {
        let partition = self.turns.pop_front()?;
        let queue = &mut self.queues[partition];
        let next = queue.pop_front();
        if !queue.is_empty() {
            self.turns.push_back(partition);
        }
        next
    }

    /// Undoes the last [`Self::pop`].
    pub(crate) fn put_back(&mut self, claim: Claim, record: R) {
        let partition = index(&claim);
        if self.turns.back() == Some(&partition) {
            self.turns.pop_back();
        }
        self.turns.push_front(partition);
        self.queues[partition].push_front((claim, record));
    }

    /// Removes the records for which `gone` returns true, and returns their claims.
    pub(crate) fn remove(&mut self, gone: impl Fn(&Claim) -> bool) -> Vec<Claim> {
        let mut removed = Vec::new();
        for queue in &mut self.queues {
            queue.retain(|(claim, _)| {
                let gone = gone(claim);
                if gone {
                    removed.push(*claim);
                }
                !gone
            });
            if queue.is_empty() {
                // The queue of a revoked partition must not keep the memory of its backlog.
                queue.shrink_to_fit();
            }
        }
        let queues = &self.queues;
        self.turns.retain(|&partition| !queues[partition].is_empty());
        removed
    }
}

fn index(claim: &Claim) -> usize {
    usize::try_from(claim.partition.0).expect("Kafka numbers the partitions of an assignment from 0")
}

#[cfg(test)]
mod tests {
    use contract::{Partition, Position};
    use kafka::ledger::Ledgers;
    use proptest::prelude::*;

    use super::*;

    const PARTITIONS: i32 = 5;

    /// Creates claims as the consumer does.
    struct Source(Ledgers, Vec<i64>);

    impl Source {
        fn new() -> Self {
            let mut ledgers = Ledgers::default();
            for partition in 0..PARTITIONS {
                ledgers.assign(Position::new(partition, 0));
            }
            Self(ledgers, vec![0; 5])
        }

        fn next(&mut self, partition: i32) -> Claim {
            let offset = &mut self.1[usize::try_from(partition).unwrap()];
            *offset += 1;
            self.0.charge(Position::new(partition, *offset), 1).unwrap().unwrap()
        }
    }

    #[test]
    fn a_record_does_not_wait_for_the_backlog_of_another_partition() {
        let (mut source, mut backlog) = (Source::new(), Backlog::default());
        (0..100_000).for_each(|_| backlog.push(source.next(0), ()));
        (0..500).for_each(|_| assert!(backlog.pop().is_some()));
        backlog.push(source.next(1), ());
        let position =
            (1..).find(|_| backlog.pop().is_some_and(|(claim, ())| claim.partition == Partition(1))).unwrap();
        assert!(position <= 2, "the record was popped as number {position}");
        assert_eq!(std::iter::from_fn(|| backlog.pop()).count(), 100_000 - 500 - position + 1);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(i32),
        Pop,
        PutBack,
        Remove(i32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..PARTITIONS).prop_map(Step::Push),
            3 => Just(Step::Pop),
            1 => Just(Step::PutBack),
            1 => (0..PARTITIONS).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn every_record_is_popped_once_in_order_and_no_partition_starves(
            steps in prop::collection::vec(step(), 0..300),
        ) {
            let (mut source, mut backlog) = (Source::new(), Backlog::default());
            let mut waiting = vec![VecDeque::new(); 5];
            // For each waiting partition, the number of records of other partitions that were popped since its last
            // turn.
            let mut passed_over = [0; 5];
            for step in steps {
                match step {
                    Step::Push(partition) => {
                        let claim = source.next(partition);
                        backlog.push(claim, claim.offset);
                        waiting[index(&claim)].push_back(claim);
                    }
                    Step::Pop | Step::PutBack => {
                        let Some((claim, record)) = backlog.pop() else {
                            prop_assert!(waiting.iter().all(VecDeque::is_empty));
                            continue;
                        };
                        prop_assert_eq!(record, claim.offset);
                        prop_assert_eq!(waiting[index(&claim)].front(), Some(&claim));
                        if matches!(step, Step::PutBack) {
                            backlog.put_back(claim, record);
                            continue;
                        }
                        waiting[index(&claim)].pop_front();
                        for partition in 0..5 {
                            passed_over[partition] = if partition == index(&claim) || waiting[partition].is_empty() {
                                0
                            } else {
                                passed_over[partition] + 1
                            };
                            prop_assert!(passed_over[partition] < 5, "partition {} starves", partition);
                        }
                    }
                    Step::Remove(partition) => {
                        let removed = backlog.remove(|claim| claim.partition == Partition(partition));
                        passed_over[usize::try_from(partition).unwrap()] = 0;
                        let expected = std::mem::take(&mut waiting[usize::try_from(partition).unwrap()]);
                        prop_assert_eq!(removed, Vec::from(expected));
                    }
                }
            }
        }
    }
}
