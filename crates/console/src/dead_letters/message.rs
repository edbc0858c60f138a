//! Masks the message of a dead letter so that every role may read it.

use contract::dead_letter::{DeadLetter, Stage};

use crate::mask::{self, MASK};

/// Returns the message and masks every part that may be a value of an event. Messages of the gateway and the
/// transformer contain names of fields but not their values. Messages of the sink and of Platform contain Platform's
/// text, which quotes values.
pub(super) fn masked(dead_letter: &DeadLetter) -> String {
    match dead_letter.stage {
        Stage::Gateway | Stage::Transformer => mask::reason(&dead_letter.message),
        Stage::Sink | Stage::Platform => mask::reason(&without_quotations(&dead_letter.message)),
    }
}

/// Replaces quoted text with the mask, unless it is the path of a field.
fn without_quotations(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut left = text;
    while let Some((at, quote)) = left.char_indices().find(|(_, c)| matches!(c, '"' | '\'' | '`' | '“' | '‘' | '«'))
    {
        let end = match quote {
            '“' => '”',
            '‘' => '’',
            '«' => '»',
            same => same,
        };
        let (before, after) = (&left[..at], &left[at + quote.len_utf8()..]);
        result.push_str(before);
        result.push(quote);
        // A quote after an alphanumeric character is an apostrophe within a word.
        if quote == '\'' && before.chars().next_back().is_some_and(char::is_alphanumeric) {
            left = after;
            continue;
        }
        // If the message was shortened within a quotation, the closing quote is missing.
        let (inside, rest) = after.split_once(end).unwrap_or((after, ""));
        result.push_str(if is_path(inside) { inside } else { MASK });
        if inside.len() < after.len() {
            result.push(end);
        }
        left = rest;
    }
    result.push_str(left);
    result
}

/// Returns whether a text has the form of a field path, for example `/_acme/customerio/metric`, `#/timestamp` or
/// `identityMap`.
fn is_path(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '#' | '[' | ']' | ':' | '-' | '.');
    let has_form = text.starts_with(['/', '#', '_']) || ["identityMap", "timestamp", "eventType"].contains(&text);
    has_form && text.chars().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stage: Stage, message: &str) -> String {
        masked(&DeadLetter::new(stage, "refused", message, 0))
    }

    #[test]
    fn values_that_platform_quotes_are_masked_but_field_paths_are_shown() {
        let message =
            r##"DCVS-1104: '#/_acme/customerio/metric' isn't valid: "Ann Smith" of ann@example.com, +4915112345678"##;
        assert_eq!(
            shown(Stage::Sink, message),
            r##"DCVS-1104: '#/_acme/customerio/metric' isn't valid: "•••" of ••• •••"##
        );
        assert_eq!(shown(Stage::Platform, "found “Ann”, «Zoë"), "found “•••”, «•••");
    }

    #[test]
    fn transformer_messages_show_field_names_but_not_email_addresses() {
        let message = "`data.headers` is too large (10412 bytes)";
        assert_eq!(shown(Stage::Transformer, message), message);
        assert_eq!(shown(Stage::Transformer, "`ann@example.com` is not a field"), "••• is not a field");
    }
}
