//! Plans which records a replay writes. The plan is a function of the index of dead letters.

use std::collections::{BTreeMap, BTreeSet};

use contract::dead_letter::{DeadLetter, Origin, ResolutionKind, Stage};
use contract::{Offset, Partition, Position, Topic};
use kafka::TopicName;
use kafka::topic_settings::RECORD_OVERHEAD;

use super::index::IndexedDeadLetter;
use super::resolver::Resolve;

/// Topic to which a replay writes a record, and the record that it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Writes the value of the dead letter, a raw record, to the raw topic.
    ToRaw { partition: Partition },
    /// Writes the value of the dead letter, a typed record, to the typed topic.
    ToTyped { partition: Partition },
    /// Writes the raw record at this position again, so that the transformer maps it again.
    Remap { raw: Position },
}

/// A record that a replay writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) target: Target,
    /// All unresolved dead letters of the record, including the one from which the replay writes the record. The
    /// transaction that writes the record also resolves them.
    pub(super) resolves: Vec<Resolve>,
}

/// The writes and resolutions of a replay.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReplayPlan {
    /// Records to write. The key is the position of the dead letter from which the record is written.
    pub(super) writes: BTreeMap<Position, Write>,
    /// Dead letters whose record was already replayed from another dead letter: they are only resolved.
    pub(super) resolve_only: Vec<Resolve>,
    /// Dead letters that cannot be replayed, with the reason.
    pub(super) refused: Vec<(Position, String)>,
    /// Number of chosen dead letters that were already resolved.
    pub(super) resolved_before: u64,
    /// Number of unresolved dead letters that the filter includes and that are over the limit.
    pub(super) left: u64,
}

/// What a replay does with the dead letters of the sink and of Platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SinkDeadLetters {
    /// Write the typed record again.
    AsIs,
    /// Map the raw record again.
    Remap,
    /// Not specified: a replay that includes such a dead letter fails.
    #[default]
    Unspecified,
}

/// Facts about the topics that a plan needs.
pub(super) struct ReplayContext<'t> {
    pub(super) raw: &'t TopicName,
    pub(super) typed: &'t TopicName,
    pub(super) dead_letters: &'t TopicName,
    /// First retained raw offset, by partition.
    pub(super) raw_starts: BTreeMap<Partition, Offset>,
    pub(super) typed_partitions: usize,
}

/// Reason why a dead letter cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Refusal {
    /// The operator must choose between the typed and the raw record.
    Unspecified,
    Never(String),
}

/// Error: the operator must choose between the typed and the raw record. The value is the number of chosen dead letters
/// that need this choice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unspecified(pub(super) u64);

impl ReplayPlan {
    /// Plans the replay of the chosen dead letters. `index` contains all dead letters of the topic, because a record
    /// may have several.
    pub(super) fn new(
        index: &BTreeMap<Position, IndexedDeadLetter>,
        (chosen, resolved_before): (&[&IndexedDeadLetter], u64),
        sink_dead_letters: SinkDeadLetters,
        context: &ReplayContext<'_>,
    ) -> Result<Self, Unspecified> {
        let (mut written, mut unresolved) = (BTreeSet::new(), BTreeMap::<&Origin, Vec<&IndexedDeadLetter>>::new());
        for dead_letter in index.values() {
            let Some(origin) = &dead_letter.dead_letter.origin else { continue };
            match &dead_letter.resolution {
                None => unresolved.entry(origin).or_default().push(dead_letter),
                Some(resolution) if resolution.kind == ResolutionKind::Replayed => drop(written.insert(origin)),
                Some(_) => {}
            }
        }
        let (mut plan, mut unspecified) = (Self { resolved_before, ..Self::default() }, 0);
        let mut resolving: BTreeSet<Position> = BTreeSet::new();
        // For each record: the dead letter from which it is written.
        let mut writers: BTreeMap<(&TopicName, Position), Position> = BTreeMap::new();
        for dead_letter in chosen {
            let origin = dead_letter.dead_letter.origin.as_ref();
            if resolving.contains(&dead_letter.position) {
                continue;
            }
            if origin.is_some_and(|origin| written.contains(origin)) {
                resolving.insert(dead_letter.position);
                plan.resolve_only.push(Resolve::of(dead_letter));
                continue;
            }
            let target = match target(dead_letter, sink_dead_letters, context) {
                Ok(target) => target,
                Err(Refusal::Unspecified) => {
                    unspecified += 1;
                    continue;
                }
                Err(Refusal::Never(reason)) => {
                    plan.refused.push((dead_letter.position, reason));
                    continue;
                }
            };
            let siblings = origin.and_then(|origin| unresolved.get(origin)).map_or(&[][..], Vec::as_slice);
            resolving.extend(siblings.iter().map(|sibling| sibling.position));
            let of_origin = |partition| Position::of(partition, origin.map_or(Offset(-1), |of| of.position.offset));
            let record = match target {
                Target::Remap { raw } => (context.raw, raw),
                Target::ToRaw { partition } => (context.raw, of_origin(partition)),
                Target::ToTyped { partition } => (context.typed, of_origin(partition)),
            };
            let writer = *writers.entry(record).or_insert(dead_letter.position);
            let write = plan.writes.entry(writer).or_insert(Write { target, resolves: Vec::new() });
            write.resolves.extend(siblings.iter().map(|sibling| Resolve::of(sibling)));
        }
        plan.refused.retain(|(position, _)| !resolving.contains(position));
        if unspecified > 0 { Err(Unspecified(unspecified)) } else { Ok(plan) }
    }

    /// Number of dead letters that the plan resolves.
    pub(super) fn resolves(&self) -> usize {
        self.resolve_only.len() + self.writes.values().map(|write| write.resolves.len()).sum::<usize>()
    }

    /// Number of records whose target is `wanted`.
    pub(super) fn count(&self, wanted: fn(&Target) -> bool) -> usize {
        self.writes.values().filter(|write| wanted(&write.target)).count()
    }

    /// Takes the exclusive right to resolve dead letters, and only then makes the plan. The plan therefore includes
    /// what earlier holders of the right wrote. A plan made before this holder took the right would write those records
    /// again.
    pub(super) fn with_right<R, E>(
        take: impl FnOnce() -> Result<R, E>,
        plan: impl FnOnce() -> Result<Self, E>,
    ) -> Result<(R, Self), E> {
        let right = take()?;
        Ok((right, plan()?))
    }
}

fn target(
    indexed: &IndexedDeadLetter,
    sink_dead_letters: SinkDeadLetters,
    context: &ReplayContext<'_>,
) -> Result<Target, Refusal> {
    let dead_letter = &indexed.dead_letter;
    let never = |reason: String| Err(Refusal::Never(reason));
    let Some(origin) = &dead_letter.origin else {
        return never(match dead_letter.stage {
            Stage::Gateway => gateway_cut(dead_letter, context),
            Stage::Transformer | Stage::Sink => "it does not name its original record".to_owned(),
            Stage::Platform => "its typed record has expired, and it holds only the row of Platform's failed batch: ask Customer.io to send the webhook again, or discard it with a note".to_owned(),
        });
    };
    let partition = origin.position.partition;
    let wrong_topic = |wanted: Topic, topic: &TopicName| {
        never(format!("its original record is in `{}`, not of {} (`{topic}`)", origin.topic, wanted.variable()))
    };
    match dead_letter.stage {
        Stage::Gateway | Stage::Transformer if origin.topic != context.raw.as_str() => {
            wrong_topic(Topic::Raw, context.raw)
        }
        Stage::Gateway | Stage::Transformer if !context.raw_starts.contains_key(&partition) => {
            never(format!("`{}` has no partition {partition}", context.raw))
        }
        Stage::Gateway | Stage::Transformer => whole(dead_letter, context, "").map(|()| Target::ToRaw { partition }),
        Stage::Sink | Stage::Platform if origin.topic != context.typed.as_str() => {
            wrong_topic(Topic::Typed, context.typed)
        }
        Stage::Sink | Stage::Platform => match sink_dead_letters {
            SinkDeadLetters::Unspecified => Err(Refusal::Unspecified),
            SinkDeadLetters::AsIs
                if usize::try_from(partition.0).is_ok_and(|number| number < context.typed_partitions) =>
            {
                let remap = "; --remap maps its raw record again while that is retained";
                whole(dead_letter, context, remap).map(|()| Target::ToTyped { partition })
            }
            SinkDeadLetters::AsIs => never(format!("`{}` has no partition {partition}", context.typed)),
            SinkDeadLetters::Remap => match (indexed.raw_offset, context.raw_starts.get(&partition)) {
                (None, _) => never("its typed record does not name the raw record it was mapped from".to_owned()),
                (Some(raw_offset), Some(&start)) if raw_offset >= start => {
                    Ok(Target::Remap { raw: Position::of(partition, raw_offset) })
                }
                (Some(raw_offset), _) => never(format!(
                    "the raw record {partition}:{raw_offset} has expired; --as-is still sends the event as it was mapped then"
                )),
            },
        },
    }
}

/// Refuses a dead letter that contains only the beginning of its record's value.
fn whole(dead_letter: &DeadLetter, context: &ReplayContext<'_>, otherwise: &str) -> Result<(), Refusal> {
    let Some(cut) = &dead_letter.cut else { return Ok(()) };
    Err(Refusal::Never(format!(
        "only the beginning of its {} bytes is kept (SHA-256 {}), because `{topic}` refused the whole: raise max.message.bytes of `{topic}` to at least {} for the next one, ask Customer.io to send this one again, and discard this one with a note{otherwise}",
        cut.size,
        cut.sha256,
        cut.size.saturating_add(2 * RECORD_OVERHEAD as u64),
        topic = context.dead_letters,
    )))
}

/// Explains why the body of a gateway's dead letter cannot be written to the raw topic.
fn gateway_cut(dead_letter: &DeadLetter, context: &ReplayContext<'_>) -> String {
    let (kept, limits) = match &dead_letter.cut {
        Some(cut) => (
            format!("of its {} bytes (SHA-256 {})", cut.size, cut.sha256),
            format!("to at least {}", cut.size.saturating_add(RECORD_OVERHEAD as u64)),
        ),
        None => ("of this body".to_owned(), "accordingly".to_owned()),
    };
    format!(
        "the gateway kept only the first 64 KiB {kept}: raise GATEWAY_MAX_BODY and max.message.bytes of `{}` ({limits}, and 64 KiB more for `{}`), then ask Customer.io to send it again; or discard it with a note",
        context.raw, context.dead_letters
    )
}

#[cfg(test)]
mod tests;
