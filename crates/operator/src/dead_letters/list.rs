//! Lists dead letters.

use super::filter::Filter;
use super::index::{self, IndexedDeadLetter};
use crate::error::OperatorError;
use crate::pipeline::Pipeline;

/// Lists the dead letters that the filter includes, resolved or not, and says how many the topic has. The call blocks.
///
/// # Errors
/// [`OperatorError::Kafka`].
pub fn list(pipeline: Pipeline<'_>, filter: &Filter) -> Result<(Vec<IndexedDeadLetter>, usize), OperatorError> {
    let index = index::read(pipeline)?;
    let total = index.len();
    Ok((index.into_values().filter(|dead_letter| filter.includes(dead_letter)).collect(), total))
}
