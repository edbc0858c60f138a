//! `dead-letters replay`: the record goes back where it came from, and the letter is closed, in one transaction.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use kafka::dead_letter::{LetterOrigin, Resolution, Stage, original_headers};
use kafka::offsets::Offsets;
use kafka::producer::NewRecord;
use kafka::reader::{Stretch, read_stretches};
use kafka::record::{OwnedRecord, header};
use kafka::{Connection, KafkaError, TopicName};
use serde_json::json;

use super::closing::{Closing, ClosingArgs, Pace, by_partition};
use super::register::{self, FilterArgs, Registered};
use crate::topics::{PATIENCE, PlaceArg, TopicArgs, settled};
use crate::{CommandError, Verdict, WrongUse, output};

/// Send dead letters through the pipeline again, after what was wrong has been mended
///
/// Letters of the transformer go back to the raw topic with the original key, bytes and headers, and are mapped as the
/// transformer maps now. For letters of the sink say --as-is or --remap. Each record is written in one transaction with
/// the resolution that closes its letter, so a replay that was interrupted, or is run twice, writes nothing twice.
/// Without --yes it only says what would be done.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The letters, as `list` shows their places; all open ones that the filters take if left out
    #[arg(value_name = "PARTITION:OFFSET")]
    letters: Vec<PlaceArg>,

    /// Send the sink's letters to Platform as they are: after Platform's side has been mended
    #[arg(long, conflicts_with = "remap")]
    as_is: bool,

    /// Map the webhooks of the sink's letters anew: after the mapping has been mended. Needs the raw records, which are kept
    /// for 7 days
    #[arg(long)]
    remap: bool,

    /// Why, for whoever looks later
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    closing: ClosingArgs,

    #[command(flatten)]
    topics: TopicArgs,
}

/// What a replay of a letter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// The letter's value is a raw record.
    ToRaw { partition: i32 },
    /// The letter's value is a typed record.
    ToTyped { partition: i32 },
    /// The raw record that the letter's typed record was made of.
    Remap { partition: i32, raw_offset: i64 },
    /// Nothing: another letter stands for the same record, and by that it is written, or has been. The sink writes a second
    /// one when it was killed behind the first.
    Close { with: PlaceArg },
}

/// The letters by which records are written again, or have been.
#[derive(Debug, Default)]
struct Written(BTreeMap<(Stage, LetterOrigin), PlaceArg>);

impl Written {
    /// What was replayed before.
    fn before(letters: &BTreeMap<PlaceArg, Registered>) -> Self {
        let mut written = Self::default();
        let replayed = |letter: &&Registered| {
            letter.closed.as_ref().is_some_and(|closed| closed.resolution == Resolution::Replayed)
        };
        for letter in letters.values().filter(replayed) {
            written.add(letter);
        }
        written
    }

    /// Adds a letter; the one that stands for the same record already, if there is one.
    fn add(&mut self, letter: &Registered) -> Option<PlaceArg> {
        let of = (letter.letter.stage, letter.letter.origin.clone()?);
        match self.0.entry(of) {
            Entry::Occupied(found) => Some(*found.get()),
            Entry::Vacant(free) => {
                free.insert(letter.place);
                None
            }
        }
    }
}

/// How the sink's letters are to be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SinkLetters {
    AsIs,
    Remap,
    Unsaid,
}

/// What a replay has to know of the topics.
struct Ground<'t> {
    raw: &'t TopicName,
    typed: &'t TopicName,
    /// Oldest raw offset retained, by partition.
    raw_starts: BTreeMap<i32, i64>,
    typed_partitions: usize,
}

/// Why a letter cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// It has to be said how.
    Unsaid,
    Never(String),
}

fn plan(letter: &Registered, sink_letters: SinkLetters, ground: &Ground<'_>) -> Result<Plan, Refusal> {
    let never = |reason: String| Err(Refusal::Never(reason));
    let Some(origin) = &letter.letter.origin else {
        return never(match letter.letter.stage {
            Stage::Gateway => "the gateway kept only the first 64 KiB of this body; ask Customer.io to send it again, or discard the letter".to_owned(),
            Stage::Transformer | Stage::Sink | Stage::Platform => "it does not say which record it was made of".to_owned(),
        });
    };
    let partition = origin.partition;
    let wrong_topic = |variable: &str, topic: &TopicName| {
        Err(Refusal::Never(format!("it was made of a record of `{}`, not of {variable} (`{topic}`)", origin.topic)))
    };
    match letter.letter.stage {
        Stage::Gateway | Stage::Transformer if origin.topic != ground.raw.as_str() => {
            wrong_topic("RAW_TOPIC", ground.raw)
        }
        Stage::Gateway | Stage::Transformer if !ground.raw_starts.contains_key(&partition) => {
            never(format!("`{}` has no partition {partition}", ground.raw))
        }
        Stage::Gateway | Stage::Transformer => Ok(Plan::ToRaw { partition }),
        Stage::Sink | Stage::Platform if origin.topic != ground.typed.as_str() => {
            wrong_topic("TYPED_TOPIC", ground.typed)
        }
        Stage::Sink | Stage::Platform => match sink_letters {
            SinkLetters::Unsaid => Err(Refusal::Unsaid),
            SinkLetters::AsIs if usize::try_from(partition).is_ok_and(|number| number < ground.typed_partitions) => {
                Ok(Plan::ToTyped { partition })
            }
            SinkLetters::AsIs => never(format!("`{}` has no partition {partition}", ground.typed)),
            SinkLetters::Remap => match (letter.raw_offset, ground.raw_starts.get(&partition)) {
                (None, _) => never("its typed record does not say which raw record it was made of".to_owned()),
                (Some(raw_offset), Some(&start)) if raw_offset >= start => Ok(Plan::Remap { partition, raw_offset }),
                (Some(raw_offset), _) => never(format!(
                    "the raw record {partition}:{raw_offset} has expired; --as-is still sends the event as it was mapped then"
                )),
            },
        },
    }
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    replayed: u64,
    closed_before: u64,
    /// Letters that cannot be replayed, with the reason.
    refused: Vec<(PlaceArg, String)>,
}

pub(super) fn run(args: &ReplayArgs, json: bool) -> Result<Verdict, CommandError> {
    let connection = args.topics.connection()?;
    let ground = ground(args, &connection)?;
    let letters = register::read(&connection, &args.topics.dead_letter_topic)?;
    let mut written = Written::before(&letters);
    let (chosen, closed_before) = register::choose(letters, &args.letters, &args.filter)?;
    let sink_letters = match (args.as_is, args.remap) {
        (true, _) => SinkLetters::AsIs,
        (false, true) => SinkLetters::Remap,
        (false, false) => SinkLetters::Unsaid,
    };
    let (mut planned, mut plans, mut unsaid) = (Vec::new(), BTreeMap::new(), 0_u64);
    let mut outcome = Outcome { closed_before, ..Outcome::default() };
    for letter in chosen {
        match plan(&letter, sink_letters, &ground) {
            Ok(plan) => {
                plans.insert(letter.place, written.add(&letter).map_or(plan, |with| Plan::Close { with }));
                planned.push(letter);
            }
            Err(Refusal::Unsaid) => unsaid += 1,
            Err(Refusal::Never(reason)) => outcome.refused.push((letter.place, reason)),
        }
    }
    if unsaid > 0 {
        return Err(WrongUse(format!(
            "{unsaid} of the chosen dead letters are the sink's: say --as-is to send them to Platform as they are, or --remap to map their webhooks anew (or choose others, for example with --stage transformer)"
        ))
        .into());
    }
    if args.closing.yes {
        let replay = Replay { args, connection: &connection, plans: &plans };
        replay.run(planned, &mut outcome)?;
        output::progress_done();
    }
    tell(args, json, &plans, &outcome);
    Ok(if outcome.refused.is_empty() { Verdict::Good } else { Verdict::Problem })
}

fn ground<'a>(args: &'a ReplayArgs, connection: &Connection) -> Result<Ground<'a>, KafkaError> {
    let offsets = Offsets::new(connection)?;
    let raw = offsets.extents(&args.topics.raw_topic)?;
    Ok(Ground {
        raw: &args.topics.raw_topic,
        typed: &args.topics.typed_topic,
        raw_starts: raw.into_iter().map(|(partition, extent)| (partition, extent.start)).collect(),
        typed_partitions: offsets.extents(&args.topics.typed_topic)?.len(),
    })
}

fn tell(args: &ReplayArgs, json: bool, plans: &BTreeMap<PlaceArg, Plan>, outcome: &Outcome) {
    let count = |wanted: fn(&Plan) -> bool| plans.values().filter(|plan| wanted(plan)).count();
    let to_raw = count(|plan| matches!(plan, Plan::ToRaw { .. }));
    let as_is = count(|plan| matches!(plan, Plan::ToTyped { .. }));
    let remap = count(|plan| matches!(plan, Plan::Remap { .. }));
    let only_closed = count(|plan| matches!(plan, Plan::Close { .. }));
    if json {
        let refused: Vec<_> = outcome
            .refused
            .iter()
            .map(|(place, reason)| json!({"partition": place.partition, "offset": place.offset, "reason": reason}))
            .collect();
        output::json(&json!({
            "dryRun": !args.closing.yes,
            "chosen": {"toRaw": to_raw, "asIs": as_is, "remap": remap, "onlyClosed": only_closed},
            "replayed": outcome.replayed,
            "closedBefore": outcome.closed_before,
            "cannotBeReplayed": refused,
        }));
        return;
    }
    if args.closing.yes {
        output::line(&format!(
            "{} dead letters replayed; {} of the chosen ones were closed before",
            outcome.replayed, outcome.closed_before
        ));
    } else {
        output::line(&format!(
            "{} dead letters would be replayed: {to_raw} to {}, {as_is} as they are to {}, {remap} mapped anew, {only_closed} only closed because another letter stands for the same record ({} of the chosen ones are closed); say --yes to do it",
            plans.len(),
            args.topics.raw_topic,
            args.topics.typed_topic,
            outcome.closed_before
        ));
    }
    for (place, reason) in &outcome.refused {
        output::problem(&format!("{place} cannot be replayed: {reason}"));
    }
}

struct Replay<'r> {
    args: &'r ReplayArgs,
    connection: &'r Connection,
    plans: &'r BTreeMap<PlaceArg, Plan>,
}

impl Replay<'_> {
    fn run(&self, letters: Vec<Registered>, outcome: &mut Outcome) -> Result<(), CommandError> {
        let mut pace = Pace::new(self.args.closing.rate);
        for letters in by_partition(letters).values() {
            self.partition(letters, &mut pace, outcome)?;
        }
        Ok(())
    }

    fn partition(&self, letters: &[Registered], pace: &mut Pace, outcome: &mut Outcome) -> Result<(), CommandError> {
        let (Some(first), Some(last)) = (letters.first(), letters.last()) else { return Ok(()) };
        let topic = &self.args.topics.dead_letter_topic;
        let (by, note) = (&self.args.closing.by, self.args.note.as_deref());
        let closing = Closing::open(self.connection, topic, first.place, Resolution::Replayed, by, note)?;
        let mut wanted: BTreeSet<i64> = letters.iter().map(|letter| letter.place.offset).collect();
        wanted.retain(|&offset| !closing.is_closed(PlaceArg { offset, ..first.place }));
        outcome.closed_before += (letters.len() - wanted.len()) as u64;
        let stretch =
            Stretch { partition: first.place.partition, start: first.place.offset, end: last.place.offset + 1 };
        let mut chunk: Vec<OwnedRecord> = Vec::new();
        let mut bytes = 0;
        read_stretches(self.connection, topic, &[stretch], PATIENCE, |record| -> Result<(), CommandError> {
            if wanted.contains(&record.offset()) {
                chunk.push(OwnedRecord::from(record));
                bytes += record.value().len();
            }
            if chunk.len() >= pace.chunk() || bytes >= CHUNK_BYTES {
                bytes = 0;
                self.write(&closing, &std::mem::take(&mut chunk), pace, outcome)?;
            }
            Ok(())
        })?;
        self.write(&closing, &chunk, pace, outcome)
    }

    /// One transaction: the records of these letters, and what closes the letters.
    fn write(
        &self,
        closing: &Closing<'_>,
        letters: &[OwnedRecord],
        pace: &mut Pace,
        outcome: &mut Outcome,
    ) -> Result<(), CommandError> {
        let originals = self.originals(letters)?;
        let (mut records, mut done) = (Vec::with_capacity(letters.len() * 2), 0);
        for letter in letters {
            let place = PlaceArg { partition: letter.partition, offset: letter.offset };
            let Some(plan) = self.plans.get(&place) else { continue };
            if let Plan::Close { with } = plan {
                // What could not be written stays open in all its letters.
                if !outcome.refused.iter().any(|(refused, _)| refused == with) {
                    records.push(closing.record(place, letter.key.as_deref()));
                    done += 1;
                }
                continue;
            }
            let Some(record) = self.record(place, letter, *plan, &originals) else {
                outcome.refused.push((place, "its raw record has expired meanwhile".to_owned()));
                continue;
            };
            records.push(record);
            records.push(closing.record(place, letter.key.as_deref()));
            done += 1;
        }
        if done > 0 {
            closing.writer.write(records)?;
            outcome.replayed += done as u64;
            output::progress(&format!("{} of {} dead letters replayed", outcome.replayed, self.plans.len()));
            pace.wait(done);
        }
        Ok(())
    }

    /// The raw records that are to be mapped anew.
    fn originals(&self, letters: &[OwnedRecord]) -> Result<BTreeMap<PlaceArg, OwnedRecord>, KafkaError> {
        let wanted: BTreeSet<PlaceArg> = letters
            .iter()
            .filter_map(|letter| {
                let place = PlaceArg { partition: letter.partition, offset: letter.offset };
                match self.plans.get(&place)? {
                    Plan::Remap { partition, raw_offset } => {
                        Some(PlaceArg { partition: *partition, offset: *raw_offset })
                    }
                    Plan::ToRaw { .. } | Plan::ToTyped { .. } | Plan::Close { .. } => None,
                }
            })
            .collect();
        let mut stretches: BTreeMap<i32, Stretch> = BTreeMap::new();
        for &PlaceArg { partition, offset } in &wanted {
            let stretch = stretches.entry(partition).or_insert(Stretch { partition, start: offset, end: offset + 1 });
            stretch.end = stretch.end.max(offset + 1);
        }
        let mut found = BTreeMap::new();
        if stretches.is_empty() {
            return Ok(found);
        }
        settled(&Offsets::new(self.connection)?, &self.args.topics.raw_topic)?;
        let stretches: Vec<Stretch> = stretches.into_values().collect();
        read_stretches(self.connection, &self.args.topics.raw_topic, &stretches, PATIENCE, |record| {
            let place = PlaceArg { partition: record.partition(), offset: record.offset() };
            if wanted.contains(&place) {
                found.insert(place, OwnedRecord::from(record));
            }
            Ok::<(), KafkaError>(())
        })?;
        Ok(found)
    }

    fn record<'a>(
        &'a self,
        place: PlaceArg,
        letter: &'a OwnedRecord,
        plan: Plan,
        originals: &'a BTreeMap<PlaceArg, OwnedRecord>,
    ) -> Option<NewRecord<'a>> {
        let topics = &self.args.topics;
        let replay_of = format!("{}/{}/{}", topics.dead_letter_topic, place.partition, place.offset);
        let (topic, partition, record) = match plan {
            Plan::ToRaw { partition } => (&topics.raw_topic, partition, letter),
            Plan::ToTyped { partition } => (&topics.typed_topic, partition, letter),
            Plan::Remap { partition, raw_offset } => {
                (&topics.raw_topic, partition, originals.get(&PlaceArg { partition, offset: raw_offset })?)
            }
            Plan::Close { .. } => return None,
        };
        let mut headers = original_headers(record.headers()).with(header::REPLAY_OF, replay_of.as_bytes());
        if matches!(plan, Plan::Remap { .. }) && record.header(header::REPROCESS).is_none() {
            // Its event was typed before: without this the transformer takes it for a duplicate.
            headers = headers.with(header::REPROCESS, b"1");
        }
        let (key, value) = (record.key.as_deref(), Some(record.value.as_slice()));
        Some(NewRecord { topic, partition: Some(partition), key, value, headers })
    }
}

/// The most bytes of letters in one transaction, but for a single one that is larger.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::super::register::tests::registered;
    use super::*;

    #[test]
    fn a_record_with_two_letters_is_written_by_one_of_them() {
        let of = |place: &str, offset: i64| {
            let mut letter = registered(place, Stage::Sink, "refused");
            letter.letter.origin = Some(LetterOrigin { topic: "typed".to_owned(), partition: 0, offset });
            letter
        };
        let mut done = of("0:1", 7);
        done.closed = Some(kafka::dead_letter::Closed {
            letter: 1,
            resolution: Resolution::Replayed,
            by: None,
            note: None,
            at: None,
        });
        let mut discarded = of("0:2", 8);
        discarded.closed = done
            .closed
            .clone()
            .map(|closed| kafka::dead_letter::Closed { resolution: Resolution::Discarded, ..closed });
        let letters = [done, discarded].map(|letter| (letter.place, letter));
        let mut written = Written::before(&BTreeMap::from(letters));
        assert_eq!(written.add(&of("0:3", 7)), Some("0:1".parse().unwrap()), "it was replayed by its first letter");
        assert_eq!(written.add(&of("0:4", 8)), None, "nobody has written it");
        assert_eq!(written.add(&of("0:5", 8)), Some("0:4".parse().unwrap()));
        assert_eq!(written.add(&registered("0:6", Stage::Gateway, "body_too_large")), None);
    }

    #[test]
    fn each_kind_of_letter_has_its_way_back_or_a_reason() {
        let (raw, typed) = ("raw".parse().unwrap(), "typed".parse().unwrap());
        let ground =
            Ground { raw: &raw, typed: &typed, raw_starts: BTreeMap::from([(0, 5), (1, 50)]), typed_partitions: 2 };
        let plan = |letter: &Registered, how| plan(letter, how, &ground);
        let says = |found: Result<Plan, Refusal>, words: &str| match found {
            Err(Refusal::Never(reason)) => assert!(reason.contains(words), "{reason}"),
            other => panic!("{other:?}"),
        };
        let transformer = registered("0:3", Stage::Transformer, "bad_data");
        assert_eq!(plan(&transformer, SinkLetters::Unsaid), Ok(Plan::ToRaw { partition: 0 }));
        says(plan(&registered("7:3", Stage::Transformer, "bad_data"), SinkLetters::Unsaid), "no partition 7");
        let sink = registered("0:3", Stage::Sink, "refused");
        assert_eq!(plan(&sink, SinkLetters::Unsaid), Err(Refusal::Unsaid));
        assert_eq!(plan(&sink, SinkLetters::AsIs), Ok(Plan::ToTyped { partition: 0 }));
        assert_eq!(plan(&sink, SinkLetters::Remap), Ok(Plan::Remap { partition: 0, raw_offset: 7 }));
        says(plan(&registered("1:3", Stage::Sink, "refused"), SinkLetters::Remap), "1:7 has expired");
        says(plan(&registered("2:3", Stage::Sink, "refused"), SinkLetters::AsIs), "no partition 2");
        says(plan(&registered("0:3", Stage::Gateway, "body_too_large"), SinkLetters::AsIs), "64 KiB");
        let mut moved = transformer;
        if let Some(origin) = &mut moved.letter.origin {
            origin.topic = "other".to_owned();
        }
        says(plan(&moved, SinkLetters::Unsaid), "RAW_TOPIC");
        let mut unknown = sink;
        unknown.raw_offset = None;
        says(plan(&unknown, SinkLetters::Remap), "does not say");
    }
}
