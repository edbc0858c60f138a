//! Converts a record of a topic to a fact for the audit.

use contract::dead_letter::Entry;
use contract::receipt::Receipt;
use contract::{Offset, Partition, Position};
use kafka::{Record, TopicName, partition_of};
use reconcile::{DeadLetter, DeadLetterOrigin, IdHash, KeyHash, Resolution, TypedRecord};

use crate::record::{event_id, position};

pub(super) fn typed_record(record: &Record<'_>) -> TypedRecord {
    let typed = contract::TypedRecord::read(record.headers(), record.timestamp());
    TypedRecord {
        position: position(record),
        raw_offset: typed.raw_offset.map(|Offset(offset)| offset),
        id: IdHash::of(typed.event_id.as_bytes()),
        time: record.timestamp().unwrap_or_default(),
        received: typed.received_at,
        key: record.key().and_then(key_hash),
        replay: typed.replay_of.is_some(),
    }
}

/// Returns the partitioner's hash of a key. The hash has 31 bits, so with 2^31 partitions the partition number equals
/// the hash.
fn key_hash(key: &[u8]) -> Option<KeyHash> {
    partition_of(key, 1 << 31).and_then(|Partition(hash)| u32::try_from(hash).ok()).map(KeyHash)
}

pub(super) fn receipt_entries(record: &Record<'_>, facts: &mut Vec<reconcile::Receipt>) {
    let Some(receipt) = Receipt::read(record.value()) else { return };
    facts.extend(receipt.records.iter().map(|entry| reconcile::Receipt {
        typed: entry.position,
        id: IdHash::of(entry.event_id.as_bytes()),
        verdict: entry.verdict,
    }));
}

pub(super) enum DeadLetterFact {
    DeadLetter(DeadLetter),
    Resolution(Resolution),
}

pub(super) fn dead_letter_fact(record: &Record<'_>, raw: &TopicName, typed: &TopicName) -> Option<DeadLetterFact> {
    let position = position(record);
    match Entry::read(record.headers()) {
        Entry::DeadLetter(dead_letter) => {
            let rejection = dead_letter.batch.as_deref().map(|batch| rejection(batch, event_id(record).as_deref()));
            let origin = match dead_letter.origin {
                None => DeadLetterOrigin::None,
                Some(origin) if origin.topic == raw.as_str() => DeadLetterOrigin::Raw(origin.position),
                Some(origin) if origin.topic == typed.as_str() => DeadLetterOrigin::Typed(origin.position),
                Some(_) => DeadLetterOrigin::Elsewhere,
            };
            Some(DeadLetterFact::DeadLetter(DeadLetter { position, stage: dead_letter.stage, origin, rejection }))
        }
        Entry::Resolution(resolution) => {
            let dead_letter = Position { offset: resolution.dead_letter, ..position };
            Some(DeadLetterFact::Resolution(Resolution { dead_letter, kind: resolution.kind }))
        }
        Entry::Mark(_) | Entry::Foreign => None,
    }
}

/// Identifies the rejection of one event in one failed batch of Platform.
fn rejection(batch: &str, event_id: Option<&str>) -> IdHash {
    // A batch id contains no line break, so the separator is unambiguous.
    IdHash::of(format!("{batch}\n{}", event_id.unwrap_or_default()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_is_its_hash_modulo_the_partition_count() {
        for key in ["21", "foobar", "bbb3660007f68b86e00e9ea8af5f57b7"] {
            let KeyHash(hash) = key_hash(key.as_bytes()).unwrap();
            for count in [1, 2, 11, 12, 1000] {
                let Partition(partition) = partition_of(key.as_bytes(), count).unwrap();
                assert_eq!(hash as usize % count, usize::try_from(partition).unwrap(), "{key} of {count}");
            }
        }
    }
}
