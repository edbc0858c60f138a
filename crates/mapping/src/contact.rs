//! Extracts email addresses and phone numbers from texts that contain exactly one. A wrong identity is worse than no
//! identity: in the standard namespaces it merges the profiles of different people, which cannot be undone.

use email_address::{EmailAddress, Options};

/// Returns the email address in a text (RFC 5322, addr-spec) in lower case, for example `jo@example.com` for
/// `Jo Doe <jo@example.com>`. Returns `None` if the text contains several addresses, or no valid one.
pub(crate) fn email(text: &str) -> Option<String> {
    let address = if is_address(text) { text } else { bracketed(text).or_else(|| commented(text))? };
    let lower = address.to_lowercase();
    // Non-ASCII letters may be longer in lower case, so the lower-case address may exceed the maximum length.
    (address.is_ascii() || is_address(&lower)).then_some(lower)
}

fn is_address(text: &str) -> bool {
    let options = Options::default().without_display_text().without_domain_literal();
    // The crate `email_address` accepts every non-ASCII character, as RFC 6531 does, including white space.
    let spaced = text.chars().any(|c| !c.is_ascii() && (c.is_whitespace() || c.is_control()));
    !spaced && EmailAddress::parse_with_options(text, options).is_ok()
}

/// Returns the address in a text of the form `name <address>`. The name must not be a different address.
fn bracketed(text: &str) -> Option<&str> {
    let (name, address) = text.strip_suffix('>')?.rsplit_once('<')?;
    let (name, address) = (name.trim(), address.trim());
    let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    let is_name = match quoted {
        Some(quoted) => !quoted.replace("\\\"", "").contains('"'),
        None => !name.contains(['@', '<', '>', ':', ';', '"']) || name.trim_matches('\'').eq_ignore_ascii_case(address),
    };
    (is_name && is_address(address)).then_some(address)
}

/// Returns the address in a text of the form `address (name)`.
fn commented(text: &str) -> Option<&str> {
    let (address, comment) = text.strip_suffix(')')?.split_once('(')?;
    let address = address.trim();
    (!comment.contains(['@', '(', ')']) && is_address(address)).then_some(address)
}

/// Returns a phone number in E.164 form, from a text that begins with `+` and a country code and has 7 to 15 digits.
/// Without the `+`, the country is unknown: `(415) 555-0134` with a prepended `+` would be a Swiss number. A text with
/// `(0` is refused, because such a `0` is not dialled after a country code. A text with letters or other characters is
/// refused, because they mean an extension or a second number.
pub(crate) fn phone(text: &str) -> Option<String> {
    let rest = text.strip_prefix('+')?;
    if rest.contains("(0") {
        return None;
    }
    let mut number = String::from("+");
    for c in rest.chars() {
        match c {
            '0'..='9' => number.push(c),
            '-' | '.' | '(' | ')' | '\u{2010}'..='\u{2015}' | '\u{2212}' => {}
            space if space.is_whitespace() => {}
            _ => return None,
        }
    }
    let digits = number.len() - 1;
    ((7..=15).contains(&digits) && !number.starts_with("+0")).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_email_address_is_extracted_with_and_without_a_display_name() {
        let cases = [
            ("jo@example.com", "jo@example.com"),
            ("Jo.Doe+t1@Example.COM", "jo.doe+t1@example.com"),
            ("Jo Doe <jo+t1@example.com>", "jo+t1@example.com"),
            ("Jo Doe<jo@example.com>", "jo@example.com"),
            ("<jo@example.com>", "jo@example.com"),
            ("Jo Doe < jo@example.com >", "jo@example.com"),
            (r#""Doe, Jo" <jo@example.com>"#, "jo@example.com"),
            (r#""Jo \"JD\" Doe" <jo@example.com>"#, "jo@example.com"),
            (r#""jo@work.example" <jo@example.com>"#, "jo@example.com"),
            ("Doe, Jo <jo@example.com>", "jo@example.com"),
            ("jo@example.com <jo@example.com>", "jo@example.com"),
            ("'Jo@example.com' <jo@example.com>", "jo@example.com"),
            ("=?utf-8?q?J=C3=B6?= <jo@example.com>", "jo@example.com"),
            ("jo@example.com (Jo Doe)", "jo@example.com"),
            ("Zoë@Exämple.com", "zoë@exämple.com"),
            ("😀@example.com", "😀@example.com"),
            // A decomposed letter: the accent is a separate character.
            ("jose\u{301}@example.com", "jose\u{301}@example.com"),
            ("jo@localhost", "jo@localhost"),
        ];
        for (text, expected) in cases {
            assert_eq!(email(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_text_without_exactly_one_valid_email_address_gives_none() {
        let cases = [
            "",
            "jo",
            "jo@",
            "@example.com",
            "jo@@example.com",
            "jo@example.com, al@example.com",
            "jo@example.com; al@example.com",
            "jo@example.com al@example.com",
            "Jo <jo@example.com>, Al <al@example.com>",
            "jo@example.com, Al <al@example.com>",
            "jo@example.com <al@example.com>",
            "Team: jo@example.com, al@example.com;",
            "undisclosed-recipients:;",
            "mailto:jo@example.com",
            "Jo <jo@example.com",
            "Jo jo@example.com>",
            "Jo <jo@>",
            "Jo <>",
            r#""a" b" <jo@example.com>"#,
            "jo doe@example.com",
            "jo\u{A0}doe@example.com",
            "jo.@example.com",
            "jo@example..com",
            "jo@-example.com",
            "jo@[127.0.0.1]",
            "jo@example.com (al@example.com)",
            "https://example.com/@jo",
        ];
        for text in cases {
            assert_eq!(email(text), None, "{text}");
        }
        assert_eq!(email(&format!("{}@example.com", "x".repeat(65))), None, "a local part has 64 bytes at most");
    }

    #[test]
    fn only_phone_numbers_with_plus_and_country_code_are_accepted() {
        let cases = [
            ("+14155550134", "+14155550134"),
            ("+1 (415) 555-0134", "+14155550134"),
            ("+41 44 555 01 34", "+41445550134"),
            ("+49\u{A0}30\u{2011}1234567", "+49301234567"),
            ("+1.415.555.0134", "+14155550134"),
            ("+6831234", "+6831234"),
        ];
        for (text, expected) in cases {
            assert_eq!(phone(text).as_deref(), Some(expected), "{text}");
        }
        let others = [
            "",
            "+",
            "(415) 555-0134",
            "415-555-0134",
            "14155550134",
            "004155550134",
            "0041 44 555 01 34",
            "+0041445550134",
            "+0 415 555 0134",
            "+49 (0) 30 1234567",
            "+44(0)2079460958",
            "+123456",
            "+1234567890123456",
            "+1 415 555 0134 x12",
            "+1 415 555 0134 ext. 12",
            "+1 415 555 0134;ext=12",
            "+1-800-FLOWERS",
            "+14155550134, +14155550135",
            "+14155550134+14155550135",
            "+41 44 555 01 34/35",
            "++14155550134",
            "jo@example.com",
            "+1415555013４",
            "tel",
        ];
        for text in others {
            assert_eq!(phone(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn extracting_an_address_or_a_number_is_idempotent(text in any::<String>(), number in "\\+?[0-9 ()x.-]{0,24}") {
            for text in [&text, &number] {
                if let Some(address) = email(text) {
                    prop_assert_eq!(email(&address), Some(address.clone()));
                }
                if let Some(number) = phone(text) {
                    prop_assert!(text.starts_with('+'));
                    prop_assert_eq!(phone(&number), Some(number.clone()));
                }
            }
        }
    }
}
