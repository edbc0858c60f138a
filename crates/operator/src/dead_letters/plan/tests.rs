use std::cell::RefCell;

use contract::dead_letter::{Cut, Resolution};

use super::super::index::tests::indexed;
use super::*;

fn topics() -> [TopicName; 3] {
    ["raw", "typed", "dead"].map(|name| name.parse().unwrap())
}

fn context([raw, typed, dead_letters]: &[TopicName; 3]) -> ReplayContext<'_> {
    let raw_starts = BTreeMap::from([(Partition(0), Offset(5)), (Partition(1), Offset(50))]);
    ReplayContext { raw, typed, dead_letters, raw_starts, typed_partitions: 2 }
}

/// Returns a dead letter of the sink at `position`. Its typed record is 0:`typed`, mapped from the raw record 0:`raw`.
fn of(position: &str, typed: i64, raw: i64) -> IndexedDeadLetter {
    let mut dead_letter = indexed(position, Stage::Sink, "refused");
    dead_letter.dead_letter.origin = Some(Origin { topic: "typed".to_owned(), position: Position::new(0, typed) });
    dead_letter.raw_offset = Some(Offset(raw));
    dead_letter
}

fn resolve(dead_letter: &mut IndexedDeadLetter, kind: ResolutionKind) {
    dead_letter.resolution =
        Some(Resolution { dead_letter: dead_letter.position.offset, kind, by: None, note: None, at: None });
}

fn index(dead_letters: impl IntoIterator<Item = IndexedDeadLetter>) -> BTreeMap<Position, IndexedDeadLetter> {
    dead_letters.into_iter().map(|dead_letter| (dead_letter.position, dead_letter)).collect()
}

/// Plans the replay of the dead letters at these positions.
fn plan_of(index: &BTreeMap<Position, IndexedDeadLetter>, positions: &[&str], how: SinkDeadLetters) -> ReplayPlan {
    let chosen: Vec<_> = positions.iter().map(|position| &index[&position.parse().unwrap()]).collect();
    let (open, done): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|dead_letter| dead_letter.resolution.is_none());
    ReplayPlan::new(index, (&open, done.len() as u64), how, &context(&topics())).unwrap()
}

fn positions(resolves: &[Resolve]) -> Vec<String> {
    resolves.iter().map(|resolve| resolve.position.to_string()).collect()
}

/// Returns each dead letter from which a record is written, with the dead letters that are resolved with it.
fn writes(plan: &ReplayPlan) -> Vec<(String, Vec<String>)> {
    plan.writes.iter().map(|(position, write)| (position.to_string(), positions(&write.resolves))).collect()
}

#[test]
fn a_replay_writes_a_record_with_two_dead_letters_once_and_resolves_both() {
    // The dead letters of one record can be in different partitions.
    let index = index([of("0:3", 7, 70), of("1:4", 7, 70), of("0:9", 8, 80)]);
    let plan = plan_of(&index, &["0:3", "0:9", "1:4"], SinkDeadLetters::AsIs);
    let expected = [("0:3", vec!["0:3", "1:4"]), ("0:9", vec!["0:9"])];
    assert_eq!(
        writes(&plan),
        expected.map(|(of, with)| (of.to_owned(), with.into_iter().map(str::to_owned).collect()))
    );
    assert_eq!((plan.resolves(), plan.resolve_only.len()), (3, 0));
    // The dead letter 0:3 is resolved as well, although only 1:4 was chosen.
    let plan = plan_of(&index, &["1:4"], SinkDeadLetters::AsIs);
    assert_eq!(writes(&plan), [("1:4".to_owned(), vec!["0:3".to_owned(), "1:4".to_owned()])]);
}

#[test]
fn other_dead_letters_of_a_replayed_record_are_resolved_without_a_write() {
    let (mut replayed, mut discarded) = (of("0:1", 7, 70), of("0:2", 8, 80));
    resolve(&mut replayed, ResolutionKind::Replayed);
    resolve(&mut discarded, ResolutionKind::Discarded);
    let index = index([replayed, discarded, of("0:3", 7, 70), of("0:4", 8, 80)]);
    let plan = plan_of(&index, &["0:1", "0:3", "0:4"], SinkDeadLetters::AsIs);
    assert_eq!(positions(&plan.resolve_only), ["0:3"]);
    assert_eq!(
        writes(&plan),
        [("0:4".to_owned(), vec!["0:4".to_owned()])],
        "the record of the discarded dead letter was not written before"
    );
    assert_eq!(plan.resolved_before, 1);
}

#[test]
fn remapping_two_typed_records_of_one_raw_record_writes_the_raw_record_once() {
    let index = index([of("0:3", 7, 70), of("0:4", 8, 70)]);
    let plan = plan_of(&index, &["0:3", "0:4"], SinkDeadLetters::Remap);
    assert_eq!(writes(&plan), [("0:3".to_owned(), vec!["0:3".to_owned(), "0:4".to_owned()])]);
    assert_eq!(plan_of(&index, &["0:3", "0:4"], SinkDeadLetters::AsIs).writes.len(), 2);
}

#[test]
fn records_that_another_operator_has_replayed_are_not_written_again() {
    let shared = RefCell::new(index([of("0:3", 7, 70), of("0:4", 7, 70), of("0:9", 8, 80)]));
    let plan = || Ok::<_, KafkaFailure>(plan_of(&shared.borrow(), &["0:4", "0:9"], SinkDeadLetters::AsIs));
    let before = plan().unwrap();
    assert_eq!(before.writes.len(), 2);
    // The other operator writes record 7 from 0:3 and record 8 from 0:9, and is stopped before it resolves 0:4.
    let take = || {
        for position in ["0:3", "0:9"] {
            resolve(shared.borrow_mut().get_mut(&position.parse().unwrap()).unwrap(), ResolutionKind::Replayed);
        }
        Ok(())
    };
    let ((), plan) = ReplayPlan::with_right(take, plan).unwrap();
    assert_eq!(writes(&plan), []);
    assert_eq!(positions(&plan.resolve_only), ["0:4"]);
    assert_eq!(plan.resolved_before, 1);
}

#[derive(Debug)]
struct KafkaFailure;

#[test]
fn every_dead_letter_gets_a_target_or_a_refusal_with_a_reason() {
    let topics = topics();
    let plan = |dead_letter: &IndexedDeadLetter, how| target(dead_letter, how, &context(&topics));
    let says = |found: Result<Target, Refusal>, words: &str| match found {
        Err(Refusal::Never(reason)) => assert!(reason.contains(words), "{reason}"),
        other => panic!("{other:?}"),
    };
    let transformer = indexed("0:3", Stage::Transformer, "bad_data");
    assert_eq!(plan(&transformer, SinkDeadLetters::Unspecified), Ok(Target::ToRaw { partition: Partition(0) }));
    says(plan(&indexed("7:3", Stage::Transformer, "bad_data"), SinkDeadLetters::Unspecified), "no partition 7");
    let sink = indexed("0:3", Stage::Sink, "refused");
    assert_eq!(plan(&sink, SinkDeadLetters::Unspecified), Err(Refusal::Unspecified));
    assert_eq!(plan(&sink, SinkDeadLetters::AsIs), Ok(Target::ToTyped { partition: Partition(0) }));
    assert_eq!(plan(&sink, SinkDeadLetters::Remap), Ok(Target::Remap { raw: Position::new(0, 7) }));
    says(plan(&indexed("1:3", Stage::Sink, "refused"), SinkDeadLetters::Remap), "1:7 has expired");
    says(plan(&indexed("2:3", Stage::Sink, "refused"), SinkDeadLetters::AsIs), "no partition 2");
    says(plan(&indexed("0:3", Stage::Gateway, "body_too_large"), SinkDeadLetters::AsIs), "64 KiB");
    let mut moved = transformer;
    if let Some(origin) = &mut moved.dead_letter.origin {
        origin.topic = "other".to_owned();
    }
    says(plan(&moved, SinkDeadLetters::Unspecified), "RAW_TOPIC");
    let mut unknown = sink;
    unknown.raw_offset = None;
    says(plan(&unknown, SinkDeadLetters::Remap), "does not name");
}

#[test]
fn a_replay_refuses_a_truncated_dead_letter_with_its_size_and_the_setting_to_raise() {
    let topics = topics();
    let cut = |stage, code| {
        let mut dead_letter = indexed("0:3", stage, code);
        dead_letter.dead_letter.cut = Some(Cut { size: 9_437_184, sha256: "ab".repeat(32) });
        dead_letter
    };
    let reason = |dead_letter: &IndexedDeadLetter, how| match target(dead_letter, how, &context(&topics)) {
        Err(Refusal::Never(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let transformer = cut(Stage::Transformer, "not_json");
    let found = reason(&transformer, SinkDeadLetters::Unspecified);
    for words in
        ["9437184 bytes", &"ab".repeat(32), "max.message.bytes of `dead` to at least 9568256", "discard", "Customer.io"]
    {
        assert!(found.contains(words), "{words}: {found}");
    }
    let sink = cut(Stage::Sink, "refused");
    assert!(reason(&sink, SinkDeadLetters::AsIs).contains("--remap"));
    assert_eq!(
        target(&sink, SinkDeadLetters::Remap, &context(&topics)),
        Ok(Target::Remap { raw: Position::new(0, 7) })
    );
    let found = reason(&cut(Stage::Gateway, "body_too_large"), SinkDeadLetters::Unspecified);
    for words in ["9437184 bytes", "GATEWAY_MAX_BODY", "max.message.bytes of `raw`", "9502720", "discard"] {
        assert!(found.contains(words), "{words}: {found}");
    }
}

#[test]
fn a_truncated_dead_letter_is_resolved_when_a_complete_one_of_its_record_is_replayed() {
    let mut cut = of("0:3", 7, 70);
    cut.dead_letter.cut = Some(Cut { size: 9_437_184, sha256: "ab".repeat(32) });
    let index = index([cut, of("0:4", 7, 70)]);
    let plan = plan_of(&index, &["0:3", "0:4"], SinkDeadLetters::AsIs);
    assert_eq!(writes(&plan), [("0:4".to_owned(), vec!["0:3".to_owned(), "0:4".to_owned()])]);
    assert_eq!(plan.refused, []);
}
