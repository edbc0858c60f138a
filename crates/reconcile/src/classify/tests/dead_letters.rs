//! Tests of the counts of dead letters, replays and resolutions.

use super::*;

#[test]
fn replays_and_repeats_are_counted_separately() {
    // Event 1 is mapped three times: the second time outside the dedup window, the third time with the header
    // `reprocess`. A replay wrote the typed record of event 2 again.
    let mut facts = three();
    for (offset, reprocess) in [(3, false), (4, true)] {
        facts.raw.push(RawRecord {
            position: position(0, offset),
            id: Some(id(1)),
            time: offset,
            reprocess,
            replay: reprocess,
            check: false,
        });
        let received = offset * 10_000;
        let typed = TypedRecord {
            position: position(0, offset),
            raw_offset: Some(offset),
            time: offset,
            received,
            ..facts.typed[0]
        };
        facts.typed.push(typed);
    }
    facts.typed.push(TypedRecord { position: position(0, 5), replay: true, time: 5, ..facts.typed[1] });
    for offset in 3..6 {
        let of = facts.typed[usize::try_from(offset).unwrap()];
        facts.receipts.push(Receipt { typed: of.position, id: of.id, verdict: ReceiptVerdict::Accepted });
    }
    facts.scopes.insert(0, scope(5, 6, 5, 6));
    let report = facts.classify();
    assert_sums(&report);
    assert!(report.balances(), "{report:?}");
    let expected =
        TypedColumns { records: 6, accepted: 6, replays: 1, repeats: 1, reprocessed: 1, ..TypedColumns::default() };
    assert_eq!(report.typed, expected);
    assert_eq!((report.raw.replays, report.raw.doubled), (1, 0));
}

#[test]
fn dead_letters_of_gateway_sink_and_platform_have_separate_counts() {
    let mut facts = play(&[vec![(1, Fate::Accepted, 0), (2, Fate::Refused, 0)]], 0);
    let sink_dead_letter = facts.dead_letters[0];
    let dead_letter =
        |offset, stage, origin| DeadLetter { position: position(0, offset), stage, origin, rejection: None };
    let row = |offset, rejection| DeadLetter {
        rejection: Some(id(rejection)),
        ..dead_letter(offset, Stage::Platform, DeadLetterOrigin::None)
    };
    facts.dead_letters.extend([
        DeadLetter { position: position(0, 1), ..sink_dead_letter },
        dead_letter(2, Stage::Platform, DeadLetterOrigin::Typed(position(0, 0))),
        dead_letter(3, Stage::Gateway, DeadLetterOrigin::None),
        dead_letter(4, Stage::Sink, DeadLetterOrigin::Elsewhere),
        dead_letter(5, Stage::Sink, DeadLetterOrigin::Typed(position(0, 0))),
        // A second dead letter for the rejection at offset 2, and dead letters with the rows of two expired records,
        // one of them twice.
        dead_letter(6, Stage::Platform, DeadLetterOrigin::Typed(position(0, 0))),
        row(7, 91),
        row(8, 91),
        row(9, 92),
    ]);
    let closed = |offset, kind| Resolution { dead_letter: position(0, offset), kind };
    facts.resolutions.extend([closed(0, ResolutionKind::Replayed), closed(3, ResolutionKind::Discarded)]);
    let report = facts.classify();
    assert!(report.balances());
    assert_sums(&report);
    assert_eq!((report.dead_letters.written_again, report.dead_letters.elsewhere), (3, 1));
    assert_eq!(report.dead_letters.rejected_rows, DeadLetterCounts { open: 2, ..DeadLetterCounts::default() });
    assert_eq!(report.dead_letters.gateway, DeadLetterCounts { discarded: 1, ..DeadLetterCounts::default() });
    let once = DeadLetterCounts { open: 1, ..DeadLetterCounts::default() };
    assert_eq!((report.typed.rejected_later, report.typed.accepted, report.typed.also_dead_lettered), (once, 0, 1));
    // One of the two dead letters of the refused record is unresolved.
    assert_eq!(report.typed.dead_lettered, DeadLetterCounts { open: 1, ..DeadLetterCounts::default() });
    facts.resolutions.push(closed(1, ResolutionKind::Discarded));
    assert_eq!(facts.classify().typed.dead_lettered, DeadLetterCounts { replayed: 1, ..DeadLetterCounts::default() });
}
