//! Lists and counts dead letters.

use kafka::KafkaError;

use super::filter::Filter;
use super::index::{self, IndexedDeadLetter};
use crate::error::OperatorError;
use crate::pipeline::Pipeline;

/// Returns the dead letters that the filter includes, resolved or not, and the number of all dead letters. The call
/// blocks.
///
/// # Errors
/// Returns [`OperatorError::Kafka`] if the topics cannot be read.
pub fn list(pipeline: Pipeline<'_>, filter: &Filter) -> Result<(Vec<IndexedDeadLetter>, usize), OperatorError> {
    let index = index::read(pipeline)?;
    let total = index.len();
    Ok((index.into_values().filter(|dead_letter| filter.includes(dead_letter)).collect(), total))
}

/// Counts the unresolved dead letters; returns 0 if the topic does not exist. The call blocks.
///
/// # Errors
/// Returns [`OperatorError::Kafka`] if the topics cannot be read.
pub fn count_unresolved(pipeline: Pipeline<'_>) -> Result<usize, OperatorError> {
    match index::read(pipeline) {
        Ok(index) => Ok(unresolved(index.values())),
        Err(KafkaError::NoTopic(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn unresolved<'i>(index: impl Iterator<Item = &'i IndexedDeadLetter>) -> usize {
    index.filter(|dead_letter| dead_letter.resolution.is_none()).count()
}

#[cfg(test)]
mod tests {
    use contract::Offset;
    use contract::dead_letter::{Resolution, ResolutionKind, Stage};

    use super::*;
    use crate::dead_letters::index::tests::indexed;

    #[test]
    fn the_count_of_unresolved_dead_letters_excludes_resolved_ones() {
        let mut discarded = indexed("0:6", Stage::Sink, "refused");
        discarded.resolution = Some(Resolution {
            dead_letter: Offset(6),
            kind: ResolutionKind::Discarded,
            by: None,
            note: None,
            at: None,
        });
        let dead_letters = [indexed("0:5", Stage::Sink, "refused"), discarded, indexed("1:5", Stage::Transformer, "x")];
        assert_eq!(unresolved(dead_letters.iter()), 2);
    }
}
