//! Tests of events that were mapped again, mostly in another partition.

use super::*;

/// A time long before the tested deliveries. Records with this time show which partitions existed then.
const EARLY: i64 = -60 * 60 * 1000;

/// A delivery of event 1, with its own raw and typed record: partition, receive time (`received-at`), key.
type Delivery = (i32, i64, Option<KeyHash>);

/// Returns the facts of these deliveries. Each partition in `early` also has a record with the time [`EARLY`].
fn deliveries(early: impl IntoIterator<Item = i32>, deliveries: &[Delivery]) -> Facts {
    let mut facts = play(&[Vec::new()], 0);
    facts.scopes.clear();
    facts.receipts_kept = Receipts::Off;
    let mut add = |event: u32, (partition, received, key): Delivery| {
        let offset = i64::try_from(facts.raw.len()).unwrap();
        let position = position(partition, offset);
        let id = id(event);
        facts.raw.push(RawRecord {
            position,
            id: Some(id),
            time: received,
            reprocess: false,
            replay: false,
            check: false,
        });
        let raw_offset = Some(offset);
        facts.typed.push(TypedRecord { position, raw_offset, id, time: received, received, key, replay: false });
    };
    for partition in early {
        add(100 + u32::try_from(partition).unwrap(), (partition, EARLY, key(partition)));
    }
    deliveries.iter().for_each(|&delivery| add(1, delivery));
    let end = i64::try_from(facts.raw.len()).unwrap();
    facts.scopes = (0..12).map(|number| (number, scope(end, end, end, end))).collect();
    facts
}

fn kinds(report: &Report) -> Vec<FindingKind> {
    assert_sums(report);
    report.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_repeat_in_another_partition_is_reported_only_within_the_dedup_window() {
    let second = |received: i64| deliveries(0..12, &[(3, 0, key(3)), (7, received, key(3))]).classify();
    let report = second(900);
    assert_eq!(kinds(&report), [FindingKind::RepeatedElsewhere]);
    assert_eq!((report.typed.repeats_elsewhere, report.typed.repeats), (1, 0));
    let report = second(2100);
    assert!(report.balances());
    assert_eq!((report.typed.repeats_elsewhere, report.typed.repeats), (0, 1));
    // Two different keys do not explain the repeat.
    let report = deliveries(0..12, &[(3, 0, key(3)), (7, 900, key(7))]).classify();
    assert_eq!(kinds(&report), [FindingKind::RepeatedElsewhere]);
}

#[test]
fn a_repeat_in_another_partition_is_not_reported_after_its_id_has_left_the_dedup_window() {
    let mut facts = deliveries(0..12, &[(3, 0, key(3)), (7, 900, key(3))]);
    let first = facts.typed[12];
    for number in 0..10 {
        let offset = first.position.offset.0 + 2 + number;
        let event = u32::try_from(200 + number).unwrap();
        let typed =
            TypedRecord { position: position(3, offset), raw_offset: Some(offset), id: id(event), time: 500, ..first };
        facts.typed.push(typed);
        facts.raw.push(RawRecord {
            position: typed.position,
            id: Some(typed.id),
            time: 500,
            reprocess: false,
            replay: false,
            check: false,
        });
        assert_eq!(facts.classify().typed.repeats_elsewhere, u64::from(number < 8), "{number}");
        facts.scopes.insert(3, scope(offset + 1, offset + 1, offset + 1, offset + 1));
    }
}

#[test]
fn a_repeat_without_a_key_in_another_partition_is_reported_as_repeated_without_key() {
    let spread: Vec<Delivery> = (0..10).map(|number| (number % 6, i64::from(number), None)).collect();
    let report = deliveries(0..12, &spread).classify();
    assert!(!report.balances());
    // Deliveries with an earlier delivery in the same partition count as `repeats_within`.
    assert_eq!((report.typed.repeats_without_key, report.typed.repeats_within), (5, 4));
    assert_eq!(kinds(&report).len(), 9);
    // Only the second delivery has a key.
    let report = deliveries(0..12, &[(3, 0, None), (7, 900, key(7))]).classify();
    assert_eq!(kinds(&report), [FindingKind::RepeatedWithoutKey]);
}

#[test]
fn a_partition_with_a_record_from_before_the_deliveries_does_not_count_as_added() {
    // With 11 partitions the key leads to partition 5, with 12 to partition 4. So adding the twelfth partition would
    // explain both records.
    let hash = (0..).find(|hash| hash % 11 == 5 && hash % 12 == 4).map(KeyHash);
    let two = [(5, 0, hash), (4, 900, hash)];
    let report = deliveries(0..11, &two).classify();
    assert!(report.balances());
    assert_eq!((report.typed.repeats_after_growth, report.typed.repeats), (1, 0));
    let report = deliveries(0..12, &two).classify();
    assert_eq!(kinds(&report), [FindingKind::RepeatedElsewhere]);
    // Kafka only adds partitions, so removing the twelfth partition is not an explanation.
    let report = deliveries(0..11, &[(4, 0, hash), (5, 900, hash)]).classify();
    assert_eq!(kinds(&report), [FindingKind::RepeatedElsewhere]);
}

proptest! {
    #[test]
    fn without_added_partitions_a_second_delivery_in_another_partition_is_reported(
        hash in any::<u32>(), other in 0..12i32, after in 0..900i64,
    ) {
        let hash = KeyHash(hash);
        let first = hash.partition(12).unwrap();
        prop_assume!(first != other);
        let report = deliveries(0..12, &[(first, 0, Some(hash)), (other, after, Some(hash))]).classify();
        prop_assert_eq!(kinds(&report), [FindingKind::RepeatedElsewhere]);
    }

    #[test]
    fn a_repeat_that_added_partitions_explain_is_counted_but_not_reported(
        hash in any::<u32>(), before in 1..12u32, added in 1..11u32, after in 0..900i64, early in any::<u16>(),
    ) {
        let (hash, now) = (KeyHash(hash), (before + added).min(12));
        let (first, second) = (hash.partition(before).unwrap(), hash.partition(now).unwrap());
        prop_assume!(first != second);
        let early = (0..i32::try_from(before).unwrap()).filter(|number| early & 1 << number != 0);
        let mut facts = deliveries(early, &[(first, 0, Some(hash)), (second, after, Some(hash))]);
        let report = facts.classify();
        prop_assert!(report.balances(), "{:?}", report);
        prop_assert_eq!(report.typed.repeats_after_growth, 1);
        // The transformer may map the second delivery before the first one.
        let length = facts.typed.len();
        facts.typed[length - 2].time += 5000;
        prop_assert_eq!(facts.classify().typed.repeats_after_growth, 1);
    }
}
