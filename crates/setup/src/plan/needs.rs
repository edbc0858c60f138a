//! The permissions that the credential of `setup` needs in Platform, by Adobe's names.

use std::collections::BTreeMap;

/// A permission, and what it is needed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The name in `…/access-control/acl/reference`.
    pub name: &'static str,
    /// The name on the screen *Permissions > Roles*.
    pub title: &'static str,
    /// Whether the credential has it; `None` if that could not be found out.
    pub granted: Option<bool>,
}

/// Names and titles. Every credential may ask which sandboxes it may use.
const NEEDED: [(&str, &str); 5] = [
    ("manage-identity-namespaces", "Identity Management > Manage Identity Namespaces"),
    ("manage-schemas", "Data Modeling > Manage Schemas"),
    ("manage-datasets", "Data Management > Manage Datasets"),
    ("view-sources", "Data Ingestion > View Sources"),
    ("manage-sources", "Data Ingestion > Manage Sources"),
];

impl Permission {
    /// The names of all that are needed.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NEEDED.into_iter().map(|(name, _)| name)
    }

    /// All needed permissions, with the result for each.
    pub(crate) fn all(found: &BTreeMap<String, Option<bool>>) -> Vec<Self> {
        let granted = |name: &str| found.get(name).copied().flatten();
        NEEDED.into_iter().map(|(name, title)| Self { name, title, granted: granted(name) }).collect()
    }
}
