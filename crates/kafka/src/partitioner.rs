//! Computes the partition of a key like librdkafka's `murmur2_random` and Java's default partitioner, so that the
//! records of one key are found without reading all partitions.

use contract::Partition;

/// Returns the partition of a key in a topic with this number of partitions; `None` if the number is 0.
#[must_use]
pub fn partition_of(key: &[u8], partitions: usize) -> Option<Partition> {
    let partitions = u32::try_from(partitions).ok().filter(|&count| count > 0)?;
    i32::try_from((murmur2(key) & 0x7fff_ffff) % partitions).ok().map(Partition)
}

/// MurmurHash 2 as implemented in Apache Kafka (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in (0..).zip(rest) {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_returns_the_same_hashes_as_apache_kafka() {
        // These cases are from `org.apache.kafka.common.utils.UtilsTest.testMurmur2`.
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
        assert_eq!(partition_of(b"21", 0), None);
    }
}
