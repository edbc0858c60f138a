//! Lists the dead letters that match a filter: their number, their groups, and one page of rows with the newest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use contract::Position;
use operator::dead_letters::{Group, Unresolved, UnresolvedDeadLetter, groups_of};

use super::selection::Selection;

/// Number of rows per page.
pub(super) const ROWS: usize = 50;
/// Maximum number of pages. To see older dead letters, a user needs a narrower filter.
pub(super) const MOST_PAGES: usize = 20;
/// Maximum number of groups, and of sources in the filter, that are shown.
const MOST_GROUPS: usize = 100;

/// A dead letter in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) position: Position,
    pub(super) time: i64,
    pub(super) stage: String,
    pub(super) code: String,
    pub(super) source: String,
    pub(super) message: Option<String>,
}

/// The dead letters that match a filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// Number of dead letters that match the filter.
    pub(super) matching: u64,
    /// Number of all unresolved dead letters that are kept in memory.
    pub(super) total: u64,
    /// Whether all unresolved dead letters of the topic are kept in memory.
    pub(super) is_complete: bool,
    pub(super) groups: Vec<Group>,
    pub(super) rows: Vec<Row>,
    pub(super) page: usize,
    pub(super) pages: usize,
    pub(super) sources: Vec<String>,
}

impl Listing {
    /// Finds the matching dead letters and returns their counts and one page of rows.
    pub(super) fn of(unresolved: &Unresolved, selection: &Selection, page: usize) -> Self {
        let matching = || unresolved.iter().filter(|dead_letter| selection.includes(dead_letter));
        let mut groups = groups_of(matching());
        let count: u64 = groups.iter().map(|group| group.unresolved).sum();
        groups.truncate(MOST_GROUPS);
        let pages = usize::try_from(count).unwrap_or(usize::MAX).div_ceil(ROWS).clamp(1, MOST_PAGES);
        let page = page.clamp(1, pages);
        let newest = newest(matching(), page * ROWS);
        let rows = newest.into_iter().skip((page - 1) * ROWS);
        let mut sources: Vec<String> = unresolved.sources().take(MOST_GROUPS).map(str::to_owned).collect();
        sources.sort();
        Self {
            matching: count,
            total: unresolved.count() as u64,
            is_complete: unresolved.is_complete(),
            groups,
            rows: rows.filter_map(|position| unresolved.get(position)).map(row).collect(),
            page,
            pages,
            sources,
        }
    }
}

fn row(dead_letter: UnresolvedDeadLetter<'_>) -> Row {
    Row {
        position: dead_letter.position,
        time: dead_letter.time,
        stage: dead_letter.stage.to_string(),
        code: dead_letter.code.to_owned(),
        source: dead_letter.source.to_owned(),
        message: dead_letter.message.map(str::to_owned),
    }
}

/// Returns the positions of the newest dead letters, at most `most`, with the newest first.
fn newest<'u>(dead_letters: impl Iterator<Item = UnresolvedDeadLetter<'u>>, most: usize) -> Vec<Position> {
    let mut heap = BinaryHeap::with_capacity(most + 1);
    for dead_letter in dead_letters {
        heap.push(Reverse((dead_letter.time, dead_letter.position)));
        if heap.len() > most {
            heap.pop();
        }
    }
    heap.into_sorted_vec().into_iter().map(|Reverse((_, position))| position).collect()
}

#[cfg(test)]
mod tests {
    use contract::dead_letter::{DeadLetter, Stage};

    use super::*;

    fn unresolved(count: i64) -> Unresolved {
        let mut unresolved = Unresolved::new(usize::MAX, |dead_letter| dead_letter.message.clone());
        for offset in 0..count {
            let code = if offset % 4 == 0 { "refused" } else { "server_error" };
            let dead_letter = DeadLetter::new(Stage::Sink, code, "why", offset);
            unresolved.add(Position::new((offset % 3) as i32, offset), &dead_letter, offset, "default");
        }
        unresolved
    }

    #[test]
    fn a_listing_counts_all_matches_and_returns_the_rows_of_one_page() {
        let selection = Selection { code: Some("refused".to_owned()), ..Selection::default() };
        let listing = Listing::of(&unresolved(1000), &selection, 2);
        assert_eq!((listing.matching, listing.total, listing.pages, listing.page), (250, 1000, 5, 2));
        assert_eq!((listing.rows.len(), listing.rows[0].time, listing.rows[49].time), (50, 796, 600));
        assert_eq!((listing.groups.len(), listing.groups[0].unresolved), (1, 250));
        assert_eq!(listing.sources, ["default"]);
        let last = Listing::of(&unresolved(1000), &selection, 99);
        assert_eq!((last.page, last.rows.last().map(|row| row.time)), (5, Some(0)));
        let nothing = Selection { source: Some("shop".to_owned()), ..Selection::default() };
        let listing = Listing::of(&unresolved(9), &nothing, 1);
        assert_eq!((listing.matching, listing.total, listing.pages, listing.rows.len()), (0, 9, 1, 0));
    }

    #[test]
    fn a_listing_of_100_000_dead_letters_returns_one_page_and_limits_the_number_of_pages() {
        let listing = Listing::of(&unresolved(100_000), &Selection::default(), 1);
        assert_eq!((listing.matching, listing.rows.len(), listing.pages), (100_000, ROWS, MOST_PAGES));
        assert_eq!(listing.rows[0].time, 99_999);
    }
}
