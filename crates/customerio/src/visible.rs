//! Removes invisible characters from ids and names. Text that is copied from a web page or a spreadsheet can contain
//! such characters. If they were kept, two ids that look the same would identify two people.

use std::borrow::Cow;

/// Removes white space, control characters and invisible characters from both ends of a text. Inside the text, removes
/// the characters that have no meaning in an id: zero-width spaces, direction marks, word joiners, soft hyphens and
/// byte order marks. The result is empty if no character is visible.
///
/// Joiners (U+200C, U+200D) and variation selectors inside the text are kept, because some scripts and emoji need them.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text.trim_matches(|c: char| c == ' ' || c.is_ascii_control()));
    }
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c.is_control() || is_ignorable(c));
    if trimmed.contains(is_artefact) {
        Cow::Owned(trimmed.chars().filter(|c| !is_artefact(*c)).collect())
    } else {
        Cow::Borrowed(trimmed)
    }
}

/// Whether a character is invisible and has no meaning between other characters.
fn is_artefact(c: char) -> bool {
    matches!(
        c,
        '\u{AD}' // soft hyphen
        | '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' // direction
        | '\u{180E}' | '\u{200B}' | '\u{2060}'..='\u{2065}' // separators without width, word joiner, invisible operators
        | '\u{206A}'..='\u{206F}' // deprecated format characters
        | '\u{FEFF}' // byte order mark
        | '\u{FFF9}'..='\u{FFFB}' // annotations
    )
}

/// Whether a character is invisible when it is alone: Unicode's `Default_Ignorable_Code_Point`, and the Braille blank.
fn is_ignorable(c: char) -> bool {
    is_artefact(c)
        || matches!(
            c,
            '\u{34F}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}' | '\u{180B}'..='\u{180F}'
            | '\u{200C}' | '\u{200D}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFF8}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn invisible_characters_are_removed_except_joiners_inside_a_text() {
        let cases = [
            ("u1", "u1"),
            (" u1\t\n", "u1"),
            ("\u{200B}jo@example.com", "jo@example.com"),
            ("jo@example.com\u{FEFF}", "jo@example.com"),
            ("jo\u{200B}@exam\u{AD}ple.com", "jo@example.com"),
            ("\u{202A}+14155550134\u{202C}", "+14155550134"),
            ("\u{2066}u\u{200E}1\u{200F}\u{2069}", "u1"),
            ("\u{0}u1\u{7F}", "u1"),
            ("u\u{0}1", "u\u{0}1"),
            ("a\u{A0}b\u{A0}", "a\u{A0}b"),
            // A joiner between letters or emoji changes how they are displayed.
            ("👩\u{200D}👩\u{200D}👧", "👩\u{200D}👩\u{200D}👧"),
            ("می\u{200C}خواهم\u{200C}", "می\u{200C}خواهم"),
        ];
        for (text, expected) in cases {
            assert_eq!(visible(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_text_without_visible_characters_becomes_empty() {
        for blank in [
            "",
            " ",
            "\u{200B}",
            "\u{FEFF}\u{200F}",
            "\u{2060} \u{AD}",
            "\u{3164}",
            "\u{2800}",
            "\u{200D}\u{FE0F}",
            "\0",
        ] {
            assert_eq!(visible(blank), "", "{blank:?}");
        }
    }

    proptest! {
        #[test]
        fn visible_is_idempotent_and_keeps_printable_ascii_text(text in any::<String>(), plain in "[!-~]([ -~]*[!-~])?") {
            let once = visible(&text).into_owned();
            prop_assert_eq!(visible(&once), once.as_str());
            prop_assert_eq!(visible(&plain), plain.as_str());
        }
    }
}
