//! User names and their allowed characters.

use super::role::Role;

/// An authenticated user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// Maximum length of a user name, in characters.
const LONGEST_NAME: usize = 100;

impl User {
    /// Returns whether a text is a valid user name. Names are shown on pages and written to log lines and the users
    /// file.
    pub(crate) fn is_name(text: &str) -> bool {
        let is_good = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
        !text.is_empty() && text.chars().count() <= LONGEST_NAME && text.chars().all(is_good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_outside_the_allowed_characters_or_length_is_refused() {
        for name in ["jo", "jo.smith@example.com", "Zoë", "a-b_c+d"] {
            assert!(User::is_name(name), "{name}");
        }
        for name in ["", "a b", "a:b", "a\nb", "\u{202e}oj", "<b>", &"a".repeat(101)] {
            assert!(!User::is_name(name), "{name:?}");
        }
    }
}
