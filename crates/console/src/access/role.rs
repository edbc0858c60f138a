//! The roles, and what a handler requires of its caller.

use std::fmt;
use std::str::FromStr;

/// What a user may do. Each role may do what the roles before it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees everything, with the values of events masked.
    Viewer,
    /// May also reveal the values of one event, which is logged.
    Investigator,
    /// May also replay and discard dead letters, send test events, and change the set-up.
    Operator,
}

impl Role {
    /// All roles, from the one that may do least.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Investigator, Self::Operator];

    /// The name in files, options and pages.
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

/// A role as a type, so that the signature of a handler names the role that it requires.
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
    fn each_role_may_do_what_the_roles_before_it_may_do() {
        assert!(Role::Viewer < Role::Investigator && Role::Investigator < Role::Operator);
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!("admin".parse::<Role>().is_err());
    }
}
