//! Addresses of one screen that other screens link to. None holds personal data.

use contract::Position;

use crate::mask::is_code;

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// The page of an event.
pub(crate) fn event(event_id: &str) -> String {
    format!("/events/event?{}", query(&[("id", event_id)]))
}

/// The same, for an event that was received at this time or later: milliseconds since 1970. Less has to be read for it.
pub(crate) fn event_since(event_id: &str, since: i64) -> String {
    format!("/events/event?{}", query(&[("id", event_id), ("since", &since.to_string())]))
}

/// Whether an id can be part of an address: one of another form may be personal data.
pub(crate) fn may_be_in_address(event_id: &str) -> bool {
    !event_id.is_empty() && is_code(event_id)
}

/// The page of a record, whose event may not be known. `topic` is `raw` or `typed`.
pub(crate) fn record(topic: &str, position: Position) -> String {
    format!("/events/record?{}", query(&[("topic", topic), ("position", &position.to_string())]))
}

/// The dead letters of a stage with a code.
pub(crate) fn dead_letters(stage: &str, code: &str) -> String {
    format!("/dead-letters?{}", query(&[("stage", stage), ("code", code)]))
}

/// The page of a dead letter.
pub(crate) fn dead_letter(position: Position) -> String {
    format!("/dead-letters/one?{}", query(&[("position", &position.to_string())]))
}

/// A path of this console for what a request names as the next page, so that no link leads elsewhere.
pub(crate) fn path(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\r', '\n', '\t']);
    if is_path { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_part_of_an_address_is_encoded() {
        assert_eq!(event("a&b=\"<"), "/events/event?id=a%26b%3D%22%3C");
        assert_eq!(event_since("01X", 5), "/events/event?id=01X&since=5");
        assert!(may_be_in_address("01X-a") && !may_be_in_address("jo@example.com") && !may_be_in_address(""));
        assert_eq!(record("raw", Position::new(3, 12)), "/events/record?topic=raw&position=3%3A12");
        assert_eq!(dead_letter(Position::new(3, 12)), "/dead-letters/one?position=3%3A12");
        assert_eq!(dead_letters("sink", "too_large"), "/dead-letters?stage=sink&code=too_large");
    }

    #[test]
    fn only_a_page_of_the_console_comes_next() {
        assert_eq!(path("/dead-letters?code=a"), "/dead-letters?code=a");
        for elsewhere in ["", "https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "x"] {
            assert_eq!(path(elsewhere), "/", "{elsewhere:?}");
        }
    }
}
