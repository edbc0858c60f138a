//! Discards dead letters: marks them as resolved without writing their records again.

use std::collections::BTreeMap;

use contract::dead_letter::ResolutionKind;

use super::filter::Filter;
use super::index::{self, IndexedDeadLetter};
use super::resolver::{Pace, Resolve, Resolver, Resolving};
use super::selection::{Bounds, Selected, select};
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
    // Another operator may have resolved some dead letters before this call got the exclusive right to resolve them.
    let current: BTreeMap<_, _> = index::read(pipeline)?;
    let (chosen, resolved_before) = filter.choose(&current)?;
    let resolves: Vec<Resolve> = chosen.iter().map(|dead_letter| Resolve::of(dead_letter)).collect();
    let (discarded, _) = write(pipeline, &resolver, &resolves, Pace::new(resolving.rate))?;
    let chosen = chosen.into_iter().cloned().collect();
    Ok(Discarded { chosen, resolved_before, discarded })
}

/// The dead letters to discard, and the person who discards them.
#[derive(Debug, Clone, Default)]
pub struct DiscardRequest {
    /// Filter for the dead letters; only the unresolved ones are discarded.
    pub filter: Filter,
    /// Limits for the number of dead letters that are discarded.
    pub bounds: Bounds,
    /// The person who discards the dead letters; `None` for a dry run.
    pub resolving: Option<Resolving>,
}

/// The plan of a discard, and the part that was carried out.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DiscardSummary {
    /// Number of unresolved dead letters to discard.
    pub chosen: usize,
    /// Number of included dead letters that were already resolved.
    pub resolved_before: u64,
    /// Number of unresolved dead letters that the filter includes and that are over the limit.
    pub left: u64,
    /// Number of dead letters that this call discarded.
    pub discarded: u64,
    /// Whether the observer stopped the operation. The remaining dead letters stay unresolved.
    pub is_stopped: bool,
}

/// Like [`discard`], but in bounded memory: it returns only the number of chosen dead letters. The call blocks.
///
/// # Errors
/// [`OperatorError::NoDeadLetter`], [`OperatorError::MoreThanConfirmed`], [`OperatorError::Kafka`].
pub fn discard_within(pipeline: Pipeline<'_>, request: &DiscardRequest) -> Result<DiscardSummary, OperatorError> {
    let DiscardRequest { filter, bounds, resolving } = request;
    let limit = bounds.limit.unwrap_or(usize::MAX);
    let Some(resolving) = resolving else {
        let selected = select(pipeline, filter, limit)?;
        return Ok(DiscardSummary::of(&selected));
    };
    let resolver = Resolver::open(pipeline, ResolutionKind::Discarded, resolving)?;
    let selected = select(pipeline, filter, limit)?;
    let resolves: Vec<Resolve> = selected.chosen().into_iter().map(Resolve::of).collect();
    bounds.check(resolves.len())?;
    let (discarded, is_stopped) = write(pipeline, &resolver, &resolves, Pace::new(resolving.rate))?;
    Ok(DiscardSummary { discarded, is_stopped, ..DiscardSummary::of(&selected) })
}

impl DiscardSummary {
    fn of(selected: &Selected) -> Self {
        let Selected { resolved_before, left, .. } = *selected;
        Self { chosen: selected.chosen().len(), resolved_before, left, ..Self::default() }
    }
}

/// Writes the resolutions. Returns the number written, and whether the observer stopped the operation before its end.
fn write(
    pipeline: Pipeline<'_>,
    resolver: &Resolver<'_>,
    resolves: &[Resolve],
    mut pace: Pace,
) -> Result<(u64, bool), OperatorError> {
    let mut discarded = 0;
    for chunk in resolves.chunks(pace.chunk()) {
        resolver.writer.write(chunk.iter().map(|resolve| resolver.record(resolve)))?;
        discarded += chunk.len() as u64;
        pipeline.report(Progress::Resolved { dead_letters: discarded, of: resolves.len() as u64 });
        pace.wait(chunk.len());
        if !pipeline.goes_on_after(chunk.len()) {
            return Ok((discarded, discarded < resolves.len() as u64));
        }
    }
    Ok((discarded, false))
}
