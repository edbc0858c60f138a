//! One record of a topic as a fact for the audit.

use contract::receipt::Receipt;
use kafka::dead_letter::{self, Entry};
use kafka::record::header;
use kafka::{Record, TopicName, partition_of};
use reconcile::{DeadLetter, DeadLetterOrigin, IdHash, KeyHash, Place, Resolution, ResolutionKind, Stage, TypedRecord};

pub(super) fn place(record: &Record<'_>) -> Place {
    Place { partition: record.partition(), offset: record.offset() }
}

pub(super) fn has(record: &Record<'_>, name: &str) -> bool {
    record.headers().any(|header| header.name == name)
}

pub(super) fn number(value: Option<&[u8]>) -> Option<i64> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}

pub(super) fn typed_record(record: &Record<'_>) -> TypedRecord {
    TypedRecord {
        place: place(record),
        raw_offset: number(record.header(header::RAW_OFFSET)),
        id: IdHash::of(record.header(header::EVENT_ID).unwrap_or_default()),
        time: record.timestamp().unwrap_or_default(),
        received: number(record.header(header::RECEIVED_AT)).or(record.timestamp()).unwrap_or_default(),
        key: record.key().and_then(key_hash),
        replay: has(record, header::REPLAY_OF),
    }
}

/// The partitioner's hash of a key: it has 31 bits, so among 2^31 partitions its number is the hash itself.
fn key_hash(key: &[u8]) -> Option<KeyHash> {
    partition_of(key, 1 << 31).and_then(|hash| u32::try_from(hash).ok()).map(KeyHash)
}

pub(super) fn receipt_entries(record: &Record<'_>, facts: &mut Vec<reconcile::Receipt>) {
    let Some(receipt) = Receipt::read(record.value()) else { return };
    facts.extend(receipt.records.iter().map(|entry| reconcile::Receipt {
        typed: Place { partition: entry.0, offset: entry.1 },
        id: IdHash::of(entry.2.as_bytes()),
        verdict: if entry.is_accepted() { reconcile::Verdict::Accepted } else { reconcile::Verdict::Refused },
    }));
}

pub(super) enum DeadLetterFact {
    DeadLetter(DeadLetter),
    Closed(Resolution),
}

pub(super) fn dead_letter_fact(record: &Record<'_>, raw: &TopicName, typed: &TopicName) -> Option<DeadLetterFact> {
    match Entry::read(record.headers()) {
        Entry::DeadLetter(dead_letter) => {
            let origin = match dead_letter.origin {
                None => DeadLetterOrigin::None,
                Some(origin) => {
                    let place = Place { partition: origin.partition, offset: origin.offset };
                    match origin.topic {
                        topic if topic == raw.as_str() => DeadLetterOrigin::Raw(place),
                        topic if topic == typed.as_str() => DeadLetterOrigin::Typed(place),
                        _ => DeadLetterOrigin::Elsewhere,
                    }
                }
            };
            let stage = match dead_letter.stage {
                dead_letter::Stage::Gateway => Stage::Gateway,
                dead_letter::Stage::Transformer => Stage::Transformer,
                dead_letter::Stage::Sink => Stage::Sink,
                dead_letter::Stage::Platform => Stage::Platform,
            };
            Some(DeadLetterFact::DeadLetter(DeadLetter { place: place(record), stage, origin }))
        }
        Entry::Closed(closed) => {
            let dead_letter = Place { partition: record.partition(), offset: closed.dead_letter };
            let kind = match closed.resolution {
                dead_letter::Resolution::Replayed => ResolutionKind::Replayed,
                dead_letter::Resolution::Discarded => ResolutionKind::Discarded,
            };
            Some(DeadLetterFact::Closed(Resolution { dead_letter, kind }))
        }
        Entry::Foreign => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_key_leads_to_the_partitioners_partition_for_any_count() {
        for key in ["21", "foobar", "bbb3660007f68b86e00e9ea8af5f57b7"] {
            let KeyHash(hash) = key_hash(key.as_bytes()).unwrap();
            for count in [1, 2, 11, 12, 1000] {
                let partition = partition_of(key.as_bytes(), count).unwrap();
                assert_eq!(hash as usize % count, usize::try_from(partition).unwrap(), "{key} of {count}");
            }
        }
    }
}
