//! Separates the problems of single sources from those that all sources have.

use std::collections::BTreeMap;

use settings::{Problem, Problems};
use sources::SourceName;

/// The problems of all sources of a sources file.
pub(super) struct Separated {
    /// The problems that every source has. Their cause is an option of the command and not an entry of the file.
    pub(super) of_all: Problems,
    /// The problems of single sources. A source without a problem is absent.
    pub(super) of_single: BTreeMap<SourceName, Vec<Problem>>,
}

/// Separates the problems in `found`, which contains the problems of each source. In a file with only one source, every
/// problem belongs to this source.
pub(super) fn separate(found: &[(SourceName, Problems)]) -> Separated {
    let mut separated = Separated { of_all: Problems::default(), of_single: BTreeMap::new() };
    for (source, problems) in found {
        for problem in problems.each() {
            let has_it = |(_, own): &(SourceName, Problems)| own.each().any(|other| same(problem, other));
            let is_of_all = found.len() > 1 && found.iter().all(has_it);
            match (is_of_all, problem.missing()) {
                (false, _) => separated.of_single.entry(source.clone()).or_default().push(problem.clone()),
                (true, Some(variable)) => separated.of_all.add_missing(variable, Some(&place(source))),
                // `Problems::extend` ignores a known problem, so the problem is reported once for all sources.
                (true, None) => separated.of_all.extend(Problems::from(problem.to_string())),
            }
        }
    }
    separated
}

/// Whether two sources have the same problem. Missing options are compared by their variable, because the texts about
/// them contain the source.
fn same(one: &Problem, other: &Problem) -> bool {
    match (one.missing(), other.missing()) {
        (Some(variable), Some(of_other)) => variable == of_other,
        _ => one == other,
    }
}

/// The text of a source's problem, which begins with the source.
pub(super) fn text(source: &SourceName, problem: &Problem) -> String {
    let text = problem.to_string();
    let place = place(source);
    if text.starts_with(&place) { text } else { format!("{place}: {text}") }
}

/// The name of a source in messages.
pub(super) fn place(source: &SourceName) -> String {
    format!("source `{source}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(texts: &[&str], missing: &[&str], source: &str) -> (SourceName, Problems) {
        let source: SourceName = source.parse().unwrap();
        let mut problems = Problems::default();
        texts.iter().for_each(|text| problems.add(*text));
        missing.iter().for_each(|variable| problems.add_missing(variable, Some(&place(&source))));
        (source, problems)
    }

    #[test]
    fn a_problem_that_every_source_has_is_separated_from_those_of_single_sources() {
        let found = [
            problems(&["HTTPS_PROXY: wrong", "cannot read /keys/a"], &["CUSTOMERIO_APP_API_KEY"], "a"),
            problems(&["HTTPS_PROXY: wrong"], &["CUSTOMERIO_APP_API_KEY", "CUSTOMERIO_PUBLIC_URL"], "b"),
        ];
        let Separated { of_all, of_single } = separate(&found);
        assert_eq!(
            of_all.to_vec(),
            [
                "HTTPS_PROXY: wrong",
                "source `a`: CUSTOMERIO_APP_API_KEY is not set",
                "source `b`: CUSTOMERIO_APP_API_KEY is not set",
            ]
        );
        let texts: Vec<String> =
            of_single.iter().flat_map(|(source, found)| found.iter().map(|problem| text(source, problem))).collect();
        assert_eq!(texts, ["source `a`: cannot read /keys/a", "source `b`: CUSTOMERIO_PUBLIC_URL is not set"]);
    }

    #[test]
    fn every_problem_of_the_only_source_in_a_file_belongs_to_this_source() {
        let Separated { of_all, of_single } = separate(&[problems(&["cannot read /keys/a"], &[], "a")]);
        assert!(of_all.is_empty() && of_single.len() == 1);
    }
}
