//! Tests the ledger against a naive model, and in special cases.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[test]
fn the_frontier_stays_at_the_oldest_record_without_a_durable_outcome() {
    let mut ledger = Ledger::new(Offset(10));
    for offset in [10, 11, 12] {
        ledger.charge(Offset(offset), 1).unwrap();
    }
    ledger.settle(Offset(12)).unwrap();
    ledger.settle(Offset(11)).unwrap();
    assert_eq!(ledger.frontier(), Offset(10));
    ledger.settle(Offset(10)).unwrap();
    assert_eq!(ledger.frontier(), Offset(13));
}

#[test]
fn gaps_between_offsets_do_not_stop_the_frontier() {
    let mut ledger = Ledger::new(Offset(0));
    ledger.charge(Offset(5), 1).unwrap();
    assert_eq!(ledger.frontier(), Offset(5));
    ledger.settle(Offset(5)).unwrap();
    assert_eq!(ledger.frontier(), Offset(6));
    ledger.polled_to(Offset(9));
    assert_eq!(ledger.frontier(), Offset(9));
    ledger.charge(Offset(20), 1).unwrap();
    ledger.polled_to(Offset(30));
    assert_eq!(ledger.frontier(), Offset(20));
}

#[test]
fn a_record_can_be_polled_and_settled_only_once() {
    let mut ledger = Ledger::new(Offset(0));
    ledger.charge(Offset(0), 7).unwrap();
    let out_of_order = LedgerError::OutOfOrder { offset: Offset(0), next: Offset(1) };
    assert_eq!(ledger.charge(Offset(0), 7), Err(out_of_order));
    assert_eq!(ledger.settle(Offset(0)), Ok(7));
    assert_eq!(ledger.settle(Offset(0)), Err(LedgerError::NotOutstanding(Offset(0))));
    assert_eq!(ledger.settle(Offset(99)), Err(LedgerError::NotOutstanding(Offset(99))));
}

#[test]
fn a_released_record_is_not_in_progress_but_stops_the_frontier() {
    let mut ledger = Ledger::new(Offset(0));
    for offset in 0..3 {
        ledger.charge(Offset(offset), 10).unwrap();
    }
    ledger.settle(Offset(0)).unwrap();
    ledger.release(Offset(1)).unwrap();
    ledger.settle(Offset(2)).unwrap();
    assert_eq!((ledger.frontier(), ledger.outstanding(), ledger.outstanding_bytes()), (Offset(1), 0, 0));
}

#[test]
fn settling_a_claim_of_an_earlier_assignment_changes_nothing() {
    let mut ledgers = Ledgers::default();
    let first = Position::new(0, 0);
    ledgers.assign(first);
    let old = ledgers.charge(first, 1).unwrap().unwrap();
    ledgers.revoke(first.partition);
    ledgers.assign(first);
    ledgers.charge(first, 1).unwrap().unwrap();
    assert_eq!(ledgers.settle(old), Ok(Completion::Stale));
    assert_eq!(ledgers.frontier(first.partition), Some(first.offset));
}

#[derive(Debug, Clone)]
enum Op {
    Poll { partition: Partition, gap: i64 },
    Settle(prop::sample::Index),
    Release(prop::sample::Index),
    End { partition: Partition, markers: i64 },
    Revoke(Partition),
    Assign(Partition),
    Commit,
}

fn partition() -> impl Strategy<Value = Partition> {
    (0..3).prop_map(Partition)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (partition(), 0..3i64).prop_map(|(partition, gap)| Op::Poll { partition, gap }),
        6 => any::<prop::sample::Index>().prop_map(Op::Settle),
        1 => any::<prop::sample::Index>().prop_map(Op::Release),
        1 => (partition(), 0..3i64).prop_map(|(partition, markers)| Op::End { partition, markers }),
        1 => partition().prop_map(Op::Revoke),
        1 => partition().prop_map(Op::Assign),
        1 => Just(Op::Commit),
    ]
}

/// A model of the ledger, written as simply as possible.
#[derive(Default)]
struct Model {
    position: BTreeMap<Partition, Offset>,
    unsettled: BTreeMap<Partition, BTreeSet<Offset>>,
    broker: BTreeMap<Partition, Offset>,
}

impl Model {
    fn frontier(&self, partition: Partition) -> Offset {
        let lowest = self.unsettled[&partition].first().copied();
        lowest.unwrap_or(self.position[&partition])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn committed_offsets_never_pass_a_record_without_a_durable_outcome(ops in prop::collection::vec(op(), 1..200)) {
        let mut ledgers = Ledgers::default();
        let mut model = Model::default();
        let mut claims: Vec<Claim> = Vec::new();
        let mut live: BTreeMap<Partition, Epoch> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Assign(partition) if !live.contains_key(&partition) => {
                    let start = model.broker.get(&partition).copied().unwrap_or(Offset(0));
                    live.insert(partition, ledgers.assign(Position::of(partition, start)));
                    model.position.insert(partition, start);
                    model.unsettled.insert(partition, BTreeSet::new());
                }
                Op::Revoke(partition) => {
                    ledgers.revoke(partition);
                    live.remove(&partition);
                }
                Op::Poll { partition, gap } => {
                    let offset = model.position.get(&partition).map_or(Offset(0), |position| Offset(position.0 + gap));
                    let claim = ledgers.charge(Position::of(partition, offset), 3).unwrap();
                    prop_assert_eq!(claim.is_some(), live.contains_key(&partition));
                    if let Some(claim) = claim {
                        claims.push(claim);
                        model.unsettled.get_mut(&partition).unwrap().insert(offset);
                        model.position.insert(partition, offset.next());
                    }
                }
                Op::Settle(index) if !claims.is_empty() => {
                    let claim = claims.swap_remove(index.index(claims.len()));
                    let current = live.get(&claim.partition) == Some(&claim.epoch);
                    prop_assert_eq!(ledgers.settle(claim).unwrap() == Completion::Counted, current);
                    if current {
                        model.unsettled.get_mut(&claim.partition).unwrap().remove(&claim.offset);
                    }
                }
                Op::Release(index) if !claims.is_empty() => {
                    // A released record stays unsettled in the model. Only `outstanding_bytes` no longer includes it.
                    let claim = claims.swap_remove(index.index(claims.len()));
                    ledgers.release(claim).unwrap();
                }
                Op::End { partition, markers } if live.contains_key(&partition) => {
                    let position = Offset(model.position[&partition].0 + markers);
                    ledgers.polled_to(Position::of(partition, position));
                    model.position.insert(partition, position);
                }
                Op::Commit => {
                    let due: Vec<_> = ledgers.to_commit().collect();
                    for position in due {
                        prop_assert_eq!(position.offset, model.frontier(position.partition));
                        ledgers.committed(position);
                        model.broker.insert(position.partition, position.offset);
                    }
                    prop_assert_eq!(ledgers.to_commit().count(), 0);
                }
                Op::Assign(_) | Op::Settle(_) | Op::Release(_) | Op::End { .. } => {}
            }
            for &partition in live.keys() {
                prop_assert_eq!(ledgers.frontier(partition), Some(model.frontier(partition)));
            }
            let outstanding =
                claims.iter().filter(|claim| live.get(&claim.partition) == Some(&claim.epoch)).count();
            prop_assert_eq!(ledgers.outstanding_bytes(), outstanding * 3);
        }
    }
}
