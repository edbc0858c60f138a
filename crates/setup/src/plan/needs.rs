//! The permissions in Platform that the credential of `setup` needs, with Adobe's names.

use std::collections::BTreeMap;

/// A permission that the credential needs, and whether the credential has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The name in `…/access-control/acl/reference`.
    pub name: &'static str,
    /// The name on the screen *Permissions > Roles*.
    pub title: &'static str,
    /// True if the credential has the permission; `None` if that is not known.
    pub granted: Option<bool>,
}

/// Names and titles of the needed permissions. Listing the usable sandboxes needs no permission.
const NEEDED: [(&str, &str); 5] = [
    ("manage-identity-namespaces", "Identity Management > Manage Identity Namespaces"),
    ("manage-schemas", "Data Modeling > Manage Schemas"),
    ("manage-datasets", "Data Management > Manage Datasets"),
    ("view-sources", "Data Ingestion > View Sources"),
    ("manage-sources", "Data Ingestion > Manage Sources"),
];

impl Permission {
    /// The names of all needed permissions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NEEDED.into_iter().map(|(name, _)| name)
    }

    /// All needed permissions, each with the value in `found`.
    pub(crate) fn all(found: &BTreeMap<String, Option<bool>>) -> Vec<Self> {
        let granted = |name: &str| found.get(name).copied().flatten();
        NEEDED.into_iter().map(|(name, title)| Self { name, title, granted: granted(name) }).collect()
    }
}
