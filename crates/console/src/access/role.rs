//! Roles of users, and the types with which handlers require them.

use std::fmt;
use std::str::FromStr;

/// Role of a user. Each role has all permissions of the roles before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// May see every screen, with the values of events masked.
    Viewer,
    /// May also reveal the values of an event or a dead letter, which is logged.
    Investigator,
    /// May also replay and discard dead letters, send test events, and change the set-up.
    Operator,
}

impl Role {
    /// All roles, the one with the fewest permissions first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Investigator, Self::Operator];

    /// Returns the name of the role in the users file, options and pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Investigator => "investigator",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|role| role.as_str() == text);
        named.ok_or_else(|| "this is not a role; write viewer, investigator or operator".to_owned())
    }
}

/// A role as a type, so that the signature of a handler contains the role that it requires.
pub(crate) trait RequiredRole: Send + Sync + 'static {
    const ROLE: Role;
}

/// Requires [`Role::Viewer`].
#[derive(Debug)]
pub(crate) enum Viewer {}

/// Requires [`Role::Investigator`].
#[derive(Debug)]
pub(crate) enum Investigator {}

/// Requires [`Role::Operator`].
#[derive(Debug)]
pub(crate) enum Operator {}

impl RequiredRole for Viewer {
    const ROLE: Role = Role::Viewer;
}

impl RequiredRole for Investigator {
    const ROLE: Role = Role::Investigator;
}

impl RequiredRole for Operator {
    const ROLE: Role = Role::Operator;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_by_permission_and_parse_from_their_names() {
        assert!(Role::Viewer < Role::Investigator && Role::Investigator < Role::Operator);
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("admin".parse::<Role>().is_err());
    }
}
