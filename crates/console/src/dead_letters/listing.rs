//! What a filter matches: the numbers, the groups, and one page of rows, the newest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use contract::Position;
use operator::dead_letters::{Group, Unresolved, UnresolvedDeadLetter, groups_of};

use super::selection::Selection;

/// Rows of one page.
pub(super) const ROWS: usize = 50;
/// How many pages there are at most. To find a dead letter that is on none of them, a person needs a narrower filter.
pub(super) const MOST_PAGES: usize = 20;
/// How many groups, and how many sources to choose from, are shown at most.
const MOST_GROUPS: usize = 100;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) position: Position,
    pub(super) time: i64,
    pub(super) stage: String,
    pub(super) code: String,
    pub(super) source: String,
    pub(super) message: Option<String>,
}

/// What a filter matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// How many the filter matches.
    pub(super) matching: u64,
    /// How many unresolved dead letters there are.
    pub(super) total: u64,
    /// Whether all are known.
    pub(super) is_complete: bool,
    pub(super) groups: Vec<Group>,
    pub(super) rows: Vec<Row>,
    pub(super) page: usize,
    pub(super) pages: usize,
    pub(super) sources: Vec<String>,
}

impl Listing {
    /// Goes through all dead letters, and keeps what one page shows.
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

/// The newest ones, the newest first.
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
    fn the_number_is_that_of_the_filter_and_the_rows_are_those_of_a_page() {
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
    fn a_filter_that_matches_a_hundred_thousand_has_one_page_of_rows() {
        let listing = Listing::of(&unresolved(100_000), &Selection::default(), 1);
        assert_eq!((listing.matching, listing.rows.len(), listing.pages), (100_000, ROWS, MOST_PAGES));
        assert_eq!(listing.rows[0].time, 99_999);
    }
}
