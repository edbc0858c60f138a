//! Replaces or escapes characters that control a terminal in texts from outside, such as ids and messages.

use std::borrow::Cow;

/// Returns the text as one line. A space replaces each character that controls a terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    replaced(text, is_hostile)
}

/// Like [`printable`], but keeps line breaks and tabs.
pub(crate) fn printable_lines(text: &str) -> Cow<'_, str> {
    replaced(text, |c| is_hostile(c) && !matches!(c, '\n' | '\t'))
}

/// Escapes the characters that control a terminal in JSON text. The JSON value does not change.
pub(crate) fn printable_json(text: &str) -> Cow<'_, str> {
    // Outside of strings, JSON contains no such characters except line breaks.
    let is_escaped = |c: char| is_hostile(c) && c != '\n';
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if is_escaped(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

fn replaced(text: &str, is_wrong: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_wrong) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_wrong(c) { ' ' } else { c }).collect())
}

/// Returns true for control characters, line separators, and characters that change the direction of text.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A text with all kinds of characters that must not reach a terminal.
    pub(crate) const HOSTILE: &str = "a\x1b[2J\u{9b}1m\r\n\t\x07\x7f\u{61c}\u{200e}\u{200f}\u{2028}\u{202e}\u{2066}z";

    /// Returns true if a line, apart from its colours, contains no character that controls a terminal.
    pub(crate) fn is_safe(line: &str) -> bool {
        !anstream::adapter::strip_str(line).to_string().contains(is_hostile) && !line.contains("\x1b[2J")
    }

    #[test]
    fn characters_that_control_a_terminal_are_replaced() {
        assert_eq!(printable(HOSTILE), "a [2J 1m           z");
        assert!(!is_safe(HOSTILE) && is_safe(&printable(HOSTILE)));
        assert_eq!(printable("é 日本 🎉 \u{200d}"), "é 日本 🎉 \u{200d}");
        assert_eq!(printable_lines("a\r\n\tb\x1b"), "a \n\tb ");
    }

    #[test]
    fn terminal_control_characters_are_escaped_without_changing_the_json_value() {
        let value = serde_json::json!({ HOSTILE: [HOSTILE, "é"] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = printable_json(&text);
        assert!(shown.lines().all(|line| !line.contains(is_hostile)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
