//! A user.

use super::role::Role;

/// A person who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// The longest name of a user, in characters.
const LONGEST_NAME: usize = 100;

impl User {
    /// Whether a text can be the name of a user: it is shown on pages, and is part of log lines and of the users file.
    pub(crate) fn is_name(text: &str) -> bool {
        let is_good = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
        !text.is_empty() && text.chars().count() <= LONGEST_NAME && text.chars().all(is_good)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_nothing_that_a_file_or_a_log_line_would_misread() {
        for name in ["jo", "jo.smith@example.com", "Zoë", "a-b_c+d"] {
            assert!(User::is_name(name), "{name}");
        }
        for name in ["", "a b", "a:b", "a\nb", "\u{202e}oj", "<b>", &"a".repeat(101)] {
            assert!(!User::is_name(name), "{name:?}");
        }
    }
}
