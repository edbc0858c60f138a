//! Explanations of the dead-letter codes and their remedies. They come from `docs/dead-letters.md`, which is part of
//! the binary, so that the page and the document agree.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use askama::filters::HtmlSafe;
use contract::dead_letter::Stage;

const DOCUMENT: &str = include_str!("../../../../docs/dead-letters.md");

/// A part of a text with its markup.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Span {
    Text(String),
    Code(String),
    Emphasis(String),
}

/// A text of the document that renders as HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prose(Vec<Span>);

/// The implementation of `Display` escapes all text.
impl HtmlSafe for Prose {}

impl fmt::Display for Prose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for span in &self.0 {
            match span {
                Span::Text(text) => f.write_str(&escaped(text))?,
                Span::Code(text) => write!(f, "<code>{}</code>", escaped(text))?,
                Span::Emphasis(text) => write!(f, "<em>{}</em>", escaped(text))?,
            }
        }
        Ok(())
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Advice on replaying dead letters with a code: what to fix first, and the command to run then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) first: Prose,
    pub(super) then: Prose,
}

/// The explanation of a code, with the remedy and advice on replaying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Explanation {
    pub(super) meaning: Prose,
    pub(super) remedy: Prose,
    pub(super) advice: Vec<Advice>,
}

static EXPLANATIONS: LazyLock<BTreeMap<(Stage, String), Explanation>> = LazyLock::new(|| read(DOCUMENT));

/// Returns the explanation of a code of a stage; `None` if the document does not contain the code.
pub(super) fn explanation(stage: Stage, code: &str) -> Option<&'static Explanation> {
    EXPLANATIONS.get(&(stage, code.to_owned()))
}

/// Returns the codes in the document with their stages.
pub(super) fn codes() -> impl Iterator<Item = (Stage, &'static str)> {
    EXPLANATIONS.keys().map(|(stage, code)| (*stage, code.as_str()))
}

/// Reads the explanations from the tables of the document.
fn read(document: &str) -> BTreeMap<(Stage, String), Explanation> {
    let (mut found, mut title, mut advised) = (BTreeMap::new(), "", Vec::new());
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            title = heading;
        }
        let Some(cells) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else { continue };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        let [first, second, third] = cells[..] else { continue };
        let writer = title.strip_prefix("Written by the ").and_then(|writer| writer.split(' ').next());
        if let (Some(stage), [Span::Code(code)]) = (writer.and_then(Stage::from_name), &spans(first)[..]) {
            let explanation =
                Explanation { meaning: Prose(spans(second)), remedy: Prose(spans(third)), advice: Vec::new() };
            found.insert((stage, code.clone()), explanation);
        } else if title == "How to replay each code" {
            // A row without codes continues the row before it.
            if !first.is_empty() {
                advised = advised_codes(first);
            }
            for ((stage, code), explanation) in &mut found {
                if advised.iter().any(|advised: &Advised| advised.includes(*stage, code)) {
                    explanation.advice.push(Advice { first: Prose(spans(second)), then: Prose(spans(third)) });
                }
            }
        }
    }
    found
}

/// A code in the first cell of the table about replaying.
#[derive(Debug)]
struct Advised {
    /// Stage to which the row is limited; `None` includes every stage.
    stage: Option<Stage>,
    /// A code, or the prefix of several codes if `is_beginning` is true.
    code: String,
    is_beginning: bool,
}

impl Advised {
    fn includes(&self, stage: Stage, code: &str) -> bool {
        let is_equal = if self.is_beginning { code.starts_with(&self.code) } else { code == self.code };
        is_equal && self.stage.is_none_or(|only| only == stage)
    }
}

/// Returns the codes in a cell, for example `` the sink's `too_large` `` or `` `missing_…` ``.
fn advised_codes(cell: &str) -> Vec<Advised> {
    let (mut codes, mut before) = (Vec::new(), String::new());
    for span in spans(cell) {
        match span {
            Span::Code(code) => {
                let owner = before.trim_end().strip_suffix("'s").and_then(|text| text.split(' ').next_back());
                let stage = owner.and_then(Stage::from_name);
                let (code, is_beginning) = match code.strip_suffix('…') {
                    Some(beginning) => (beginning.to_owned(), true),
                    None => (code, false),
                };
                codes.push(Advised { stage, code, is_beginning });
                before = String::new();
            }
            Span::Text(text) | Span::Emphasis(text) => before = text,
        }
    }
    codes
}

/// Splits a Markdown text into parts. A link is replaced by its text; a link in parentheses to the document itself is
/// removed.
fn spans(text: &str) -> Vec<Span> {
    let text = without_links(text);
    let mut spans = Vec::new();
    for (index, part) in text.split('`').enumerate() {
        match (part.is_empty(), index % 2) {
            (true, _) => {}
            (false, 1) => spans.push(Span::Code(part.to_owned())),
            (false, _) => {
                let parts = part.split('*').enumerate().filter(|(_, part)| !part.is_empty());
                spans.extend(parts.map(|(index, part)| match index % 2 {
                    1 => Span::Emphasis(part.to_owned()),
                    _ => Span::Text(part.to_owned()),
                }));
            }
        }
    }
    spans
}

fn without_links(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut left = text;
    while let Some((before, after)) = left.split_once('[') {
        let link = after.split_once("](").and_then(|(name, after)| {
            let (address, after) = after.split_once(')')?;
            Some((name, address, after))
        });
        let Some((name, address, after)) = link else {
            result.push_str(before);
            result.push('[');
            left = after;
            continue;
        };
        match (before.strip_suffix(" ("), after.strip_prefix(')')) {
            (Some(before), Some(after)) if address.starts_with('#') => {
                result.push_str(before);
                left = after;
            }
            _ => {
                result.push_str(before);
                result.push_str(name);
                left = after;
            }
        }
    }
    result.push_str(left);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_every_stage_is_explained_and_has_advice() {
        for (stage, code) in operator::dead_letters::codes() {
            let explanation = explanation(stage, code).unwrap_or_else(|| panic!("{stage} {code}"));
            assert!(!explanation.meaning.0.is_empty() && !explanation.remedy.0.is_empty(), "{stage} {code}");
            assert!(!explanation.advice.is_empty(), "no row of the last table is about {stage} {code}");
        }
        assert_eq!(codes().count(), operator::dead_letters::codes().count());
    }

    #[test]
    fn a_code_of_two_stages_has_advice_for_each_stage() {
        let first = |stage| explanation(stage, "too_large").unwrap().advice[0].then.to_string();
        assert_eq!(first(Stage::Transformer), "<code>replay --code …</code>");
        assert_eq!(first(Stage::Sink), "<code>replay --stage sink --code too_large --remap</code>");
        assert_eq!(explanation(Stage::Sink, "refused").unwrap().advice.len(), 2);
        assert!(explanation(Stage::Gateway, "too_large").is_none());
    }

    #[test]
    fn markdown_becomes_text_code_and_emphasis_without_links() {
        assert_eq!(
            spans("Check `X` ([operate.md](operate.md#a)), *Body*, the rule ([below](#b)). a[0]"),
            [
                Span::Text("Check ".to_owned()),
                Span::Code("X".to_owned()),
                Span::Text(" (operate.md), ".to_owned()),
                Span::Emphasis("Body".to_owned()),
                Span::Text(", the rule. a[0]".to_owned()),
            ]
        );
        assert_eq!(Prose(spans("a < `b & c` *d*")).to_string(), "a &lt; <code>b &amp; c</code> <em>d</em>");
    }
}
