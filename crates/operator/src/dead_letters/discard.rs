//! Discards dead letters: marks them as resolved without writing their records again.

use std::collections::BTreeMap;

use contract::dead_letter::ResolutionKind;

use super::filter::Filter;
use super::index::{self, IndexedDeadLetter};
use super::resolver::{Pace, Resolve, Resolver, Resolving};
use crate::error::OperatorError;
use crate::pipeline::Pipeline;
use crate::progress::Progress;

/// Result of discarding dead letters.
#[derive(Debug)]
pub struct Discarded {
    /// Unresolved dead letters that the filter includes.
    pub chosen: Vec<IndexedDeadLetter>,
    /// Number of included dead letters that were already resolved.
    pub resolved_before: u64,
    /// Number of dead letters that this call discarded.
    pub discarded: u64,
}

/// Discards the unresolved dead letters that the filter includes. Without `resolving`, only returns these dead letters.
/// The call blocks.
///
/// # Errors
/// Returns [`OperatorError::NoDeadLetter`] or [`OperatorError::Kafka`].
pub fn discard(
    pipeline: Pipeline<'_>,
    filter: &Filter,
    resolving: Option<&Resolving>,
) -> Result<Discarded, OperatorError> {
    let index = index::read(pipeline)?;
    let (chosen, resolved_before) = filter.choose(&index)?;
    let Some(resolving) = resolving.filter(|_| !chosen.is_empty()) else {
        let chosen = chosen.into_iter().cloned().collect();
        return Ok(Discarded { chosen, resolved_before, discarded: 0 });
    };
    let resolver = Resolver::open(pipeline, ResolutionKind::Discarded, resolving)?;
    // Another operator may have resolved some dead letters before this call got the exclusive right.
    let current: BTreeMap<_, _> = index::read(pipeline)?;
    let (chosen, resolved_before) = filter.choose(&current)?;
    let resolves: Vec<Resolve> = chosen.iter().map(|dead_letter| Resolve::of(dead_letter)).collect();
    let (mut pace, mut discarded) = (Pace::new(resolving.rate), 0);
    for chunk in resolves.chunks(pace.chunk()) {
        resolver.writer.write(chunk.iter().map(|resolve| resolver.record(resolve)))?;
        discarded += chunk.len() as u64;
        pipeline.report(Progress::Resolved { dead_letters: discarded, of: resolves.len() as u64 });
        pace.wait(chunk.len());
    }
    let chosen = chosen.into_iter().cloned().collect();
    Ok(Discarded { chosen, resolved_before, discarded })
}
