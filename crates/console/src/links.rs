//! Paths to pages for links between screens. No path contains personal data.

use contract::Position;

use crate::mask::is_code;

fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// An event id that can be shown and be part of a path. An id that does not have the form of a code may be personal
/// data: some senders use an address as the id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicId(String);

impl PublicId {
    /// Returns `None` if the id may be personal data, or is empty.
    pub(crate) fn of(event_id: &str) -> Option<Self> {
        (!event_id.is_empty() && is_code(event_id)).then(|| Self(event_id.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns the path of the page of an event.
pub(crate) fn event(PublicId(id): &PublicId) -> String {
    format!("/events/event?{}", query(&[("id", id)]))
}

/// Returns the path of the page of an event that was received at `since` or later, so that its search skips older
/// records. `since` is in milliseconds since 1970.
pub(crate) fn event_since(PublicId(id): &PublicId, since: i64) -> String {
    format!("/events/event?{}", query(&[("id", id), ("since", &since.to_string())]))
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
    fn values_in_a_url_are_percent_encoded() {
        let id = |text| PublicId::of(text).unwrap();
        assert_eq!(event(&id("a/b=c:d")), "/events/event?id=a%2Fb%3Dc%3Ad");
        assert_eq!(event_since(&id("01X"), 5), "/events/event?id=01X&since=5");
        assert_eq!(record("raw", Position::new(3, 12)), "/events/record?topic=raw&position=3%3A12");
        assert_eq!(dead_letter(Position::new(3, 12)), "/dead-letters/one?position=3%3A12");
        assert_eq!(dead_letters("sink", "too_large"), "/dead-letters?stage=sink&code=too_large");
    }

    #[test]
    fn an_event_id_that_may_be_personal_data_gets_no_path() {
        assert!(PublicId::of("01X-a").is_some());
        for private in ["jo@example.com", "+4915112345678", "a b", "a&b=\"<", ""] {
            assert_eq!(PublicId::of(private), None, "{private:?}");
        }
    }

    #[test]
    fn a_redirect_target_outside_the_console_becomes_the_start_page() {
        assert_eq!(path("/dead-letters?code=a"), "/dead-letters?code=a");
        for elsewhere in ["", "https://evil.example", "//evil.example", "/\\evil.example", "/\t/evil.example", "x"] {
            assert_eq!(path(elsewhere), "/", "{elsewhere:?}");
        }
    }
}
