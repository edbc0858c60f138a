//! Paths to pages for links between screens. No path contains personal data.

use contract::Position;

use crate::mask::is_code;

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Returns the path of the page of an event.
pub(crate) fn event(event_id: &str) -> String {
    format!("/events/event?{}", query(&[("id", event_id)]))
}

/// Returns the path of the page of an event that was received at this time or later: milliseconds since 1970. The
/// search then skips older records.
pub(crate) fn event_since(event_id: &str, since: i64) -> String {
    format!("/events/event?{}", query(&[("id", event_id), ("since", &since.to_string())]))
}

/// Returns whether an event id can be part of a path. An id that does not have the form of a code may be personal data.
pub(crate) fn may_be_in_address(event_id: &str) -> bool {
    !event_id.is_empty() && is_code(event_id)
}

/// Returns the path of the page of a record, whose event id may not be known. `topic` is `raw` or `typed`.
pub(crate) fn record(topic: &str, position: Position) -> String {
    format!("/events/record?{}", query(&[("topic", topic), ("position", &position.to_string())]))
}

/// Returns the path of the list of dead letters with this stage and code.
pub(crate) fn dead_letters(stage: &str, code: &str) -> String {
    format!("/dead-letters?{}", query(&[("stage", stage), ("code", code)]))
}

/// Returns the path of the page of a dead letter.
pub(crate) fn dead_letter(position: Position) -> String {
    format!("/dead-letters/one?{}", query(&[("position", &position.to_string())]))
}

/// Returns `next` if it is a path of this console, and otherwise `/`, so that a redirect never leads to another site.
pub(crate) fn path(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t']);
    if is_path { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_an_address_are_percent_encoded() {
        assert_eq!(event("a&b=\"<"), "/events/event?id=a%26b%3D%22%3C");
        assert_eq!(event_since("01X", 5), "/events/event?id=01X&since=5");
        assert!(may_be_in_address("01X-a") && !may_be_in_address("jo@example.com") && !may_be_in_address(""));
        assert_eq!(record("raw", Position::new(3, 12)), "/events/record?topic=raw&position=3%3A12");
        assert_eq!(dead_letter(Position::new(3, 12)), "/dead-letters/one?position=3%3A12");
        assert_eq!(dead_letters("sink", "too_large"), "/dead-letters?stage=sink&code=too_large");
    }

    #[test]
    fn a_redirect_target_outside_the_console_becomes_the_start_page() {
        assert_eq!(path("/dead-letters?code=a"), "/dead-letters?code=a");
        for elsewhere in ["", "https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "x"] {
            assert_eq!(path(elsewhere), "/", "{elsewhere:?}");
        }
    }
}
