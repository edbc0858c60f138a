//! All codes that a dead letter can have.

use contract::dead_letter::{Stage, code};
use mapping::RejectionCode;

/// Returns every code with the stage that writes it, in the order of the pipeline.
pub fn codes() -> impl Iterator<Item = (Stage, &'static str)> {
    let of = |stage: Stage| {
        let codes: Vec<&'static str> = match stage {
            Stage::Gateway => code::GATEWAY.to_vec(),
            Stage::Transformer => RejectionCode::ALL.iter().map(|code| code.as_str()).collect(),
            Stage::Sink => code::SINK.to_vec(),
            Stage::Platform => code::PLATFORM.to_vec(),
        };
        codes.into_iter().map(move |code| (stage, code))
    };
    Stage::ALL.into_iter().flat_map(of)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn docs_dead_letters_md_lists_exactly_the_codes_of_each_stage() {
        let page = include_str!("../../../../docs/dead-letters.md");
        let mut section = None;
        let mut rows = BTreeSet::new();
        for line in page.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                section = title.strip_prefix("Written by the ").and_then(|stage| stage.split(' ').next());
            }
            let code = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |"));
            if let (Some(stage), Some((code, _))) = (section, code) {
                rows.insert((stage.to_owned(), code.to_owned()));
            }
        }
        let codes: BTreeSet<_> = codes().map(|(stage, code)| (stage.to_string(), code.to_owned())).collect();
        assert_eq!(codes, rows);
    }
}
