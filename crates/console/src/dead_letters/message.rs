//! The message of a dead letter as everyone may read it.

use contract::dead_letter::{DeadLetter, Stage};

use crate::mask::{self, MASK};

/// The message without what may be a value. The transformer and the gateway name fields and never their values; Platform,
/// whose texts the sink keeps, quotes values.
pub(super) fn masked(dead_letter: &DeadLetter) -> String {
    match dead_letter.stage {
        Stage::Gateway | Stage::Transformer => mask::reason(&dead_letter.message),
        Stage::Sink | Stage::Platform => mask::reason(&without_quotations(&dead_letter.message)),
    }
}

/// The text with a mask in place of everything that is quoted, unless that is a path of a field.
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
        // An apostrophe within a word.
        if quote == '\'' && before.chars().next_back().is_some_and(char::is_alphanumeric) {
            left = after;
            continue;
        }
        // A quotation that the limit of the message has cut has no end.
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

/// Whether a text has the form of the path of a field: `/_acme/customerio/metric`, `#/timestamp`, `identityMap`.
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
    fn what_platform_quotes_is_masked_and_the_path_of_a_field_is_not() {
        let message =
            r##"DCVS-1104: '#/_acme/customerio/metric' isn't valid: "Ann Smith" of ann@example.com, +4915112345678"##;
        assert_eq!(
            shown(Stage::Sink, message),
            r##"DCVS-1104: '#/_acme/customerio/metric' isn't valid: "•••" of ••• •••"##
        );
        assert_eq!(shown(Stage::Platform, "found “Ann”, «Zoë"), "found “•••”, «•••");
    }

    #[test]
    fn the_names_of_fields_in_messages_of_the_transformer_are_readable() {
        let message = "`data.headers` is too large (10412 bytes)";
        assert_eq!(shown(Stage::Transformer, message), message);
        assert_eq!(shown(Stage::Transformer, "`ann@example.com` is not a field"), "••• is not a field");
    }
}
