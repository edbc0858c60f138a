//! The mapping options of one source of webhooks.

use std::str::FromStr;

use contract::raw::DEFAULT_SOURCE;
use customerio::webhook::Data;

/// Handling of an event that identifies no person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissingIdentity {
    /// The event is sent. The data lake accepts it, Profile does not.
    #[default]
    Send,
    /// The event becomes a dead letter.
    DeadLetter,
}

/// A field of `data` that is treated as if Customer.io had not sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropField(&'static str);

impl DropField {
    /// Fields that identify the person. They cannot be dropped, because other options control them.
    const KEPT: &'static [&'static str] = &["identifiers", "customer_id", "email_address"];

    /// Returns the names of all fields that can be dropped.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Data::NAMES.iter().copied().filter(|name| !Self::KEPT.contains(name))
    }

    /// Returns the name of the field in `data`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl FromStr for DropField {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::names().find(|known| *known == name).map(Self).ok_or_else(|| {
            let names: Vec<_> = Self::names().collect();
            format!("this is not a field of `data` that can be dropped; these can: {}", names.join(", "))
        })
    }
}

/// A placeholder in place of a person's id, such as `undefined` or `[object Object]`. Letter case is ignored, and one
/// `*` matches any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedId {
    before: String,
    /// The text after the `*`, if there is one.
    after: Option<String>,
}

impl BlockedId {
    /// The default list: texts that programming languages, spreadsheets and templates write for a missing value.
    pub const DEFAULTS: &'static [&'static str] = &[
        "undefined",
        "none",
        "nil",
        "nan",
        "(null)",
        "<null>",
        "(none)",
        "n/a",
        "unknown",
        "true",
        "false",
        "[object *]",
        "{{*}}",
        "{%*%}",
        "${*}",
    ];

    /// Returns [`BlockedId::DEFAULTS`] as parsed values.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        Self::DEFAULTS.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Whether a value is this placeholder.
    pub(crate) fn matches(&self, value: &str) -> bool {
        let (value, before) = (value.as_bytes(), self.before.as_bytes());
        let Some(after) = self.after.as_deref().map(str::as_bytes) else { return value.eq_ignore_ascii_case(before) };
        let begins = value.get(..before.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(before));
        let end = value.len().checked_sub(after.len()).filter(|end| *end >= before.len());
        begins && end.and_then(|end| value.get(end..)).is_some_and(|end| end.eq_ignore_ascii_case(after))
    }
}

impl FromStr for BlockedId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (before, after) = text.split_once('*').map_or((text, None), |(before, after)| (before, Some(after)));
        if before.is_empty() && after.is_none_or(str::is_empty) {
            return Err(format!("`{text}` would block every id; name a placeholder such as undefined or {{{{*}}}}"));
        }
        if after.is_some_and(|after| after.contains('*')) {
            return Err(format!("`{text}` has more than one `*`; one is allowed"));
        }
        Ok(Self { before: before.to_owned(), after: after.map(str::to_owned) })
    }
}

/// Mapping options of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOptions {
    /// Name of the source, as the gateway writes it into each record.
    pub name: String,
    /// Id of the Customer.io workspace, if there are several: campaign and link ids are unique only within one
    /// workspace.
    pub workspace_id: Option<String>,
    /// Identity namespace of the person's id in the organisation's own systems (`id`).
    pub namespace_id: String,
    /// Identity namespace of Customer.io's id (`cio_id`).
    pub namespace_cio_id: String,
    /// Whether the phone number of an SMS or WhatsApp message is always added as an identity.
    pub include_phone: bool,
    /// Whether email addresses are written only as hashes.
    pub hash_email: bool,
    /// Fields of `data` that are treated as if Customer.io had not sent them.
    pub drop_fields: Vec<DropField>,
    /// Values that are never a person's id, in addition to those that Identity Service blocks.
    pub blocked_ids: Vec<BlockedId>,
    /// Handling of an event that identifies no person.
    pub on_missing_identity: OnMissingIdentity,
}

impl SourceOptions {
    pub(crate) fn drops(&self, name: &str) -> bool {
        self.drop_fields.iter().any(|field| field.as_str() == name)
    }
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self {
            name: DEFAULT_SOURCE.to_owned(),
            workspace_id: None,
            namespace_id: "CustomerioID".to_owned(),
            namespace_cio_id: "CustomerioCioID".to_owned(),
            include_phone: false,
            hash_email: false,
            drop_fields: Vec::new(),
            blocked_ids: BlockedId::defaults(),
            on_missing_identity: OnMissingIdentity::Send,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_placeholders_are_blocked_in_any_letter_case() {
        let defaults = BlockedId::defaults();
        assert_eq!(defaults.len(), BlockedId::DEFAULTS.len());
        let blocked = |value: &str| defaults.iter().any(|blocked| blocked.matches(value));
        for value in [
            "undefined",
            "Undefined",
            "NaN",
            "None",
            "[object Object]",
            "[object Undefined]",
            "{{ customer.id }}",
            "{{}}",
        ] {
            assert!(blocked(value), "{value}");
        }
        for value in ["", "u1", "undefined1", "nan0", "{{", "[object", "object]", "{}}", "0", "ü", "[objectü]"] {
            assert!(!blocked(value), "{value}");
        }
    }

    #[test]
    fn a_pattern_that_blocks_every_id_or_has_two_wildcards_is_refused() {
        for wrong in ["", " ", "*", "a*b*c"] {
            assert!(wrong.parse::<BlockedId>().is_err(), "{wrong}");
        }
        assert!("test-*".parse::<BlockedId>().unwrap().matches("Test-1"));
    }
}
