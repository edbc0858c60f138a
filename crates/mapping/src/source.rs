//! What the configuration says about one source of webhooks.

use std::str::FromStr;

use customerio::webhook::Data;

/// What becomes of an event that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissingIdentity {
    /// It is sent: the data lake takes it, Profile does not.
    #[default]
    Send,
    /// It becomes a dead letter.
    DeadLetter,
}

/// A field of `data` that is treated as if Customer.io had not sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropField(&'static str);

impl DropField {
    /// Fields that decide who an event is about have options of their own.
    const KEPT: &'static [&'static str] = &["identifiers", "customer_id", "email_address"];

    /// The names there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Data::NAMES.iter().copied().filter(|name| !Self::KEPT.contains(name))
    }

    /// Its name in `data`.
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

/// One source and how its events are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name, as the gateway writes it into each record.
    pub name: String,
    /// The Customer.io workspace, where there are several: campaign and link ids are unique only within one.
    pub workspace_id: Option<String>,
    /// Identity namespace of the person's own id.
    pub namespace_id: String,
    /// Identity namespace of Customer.io's id.
    pub namespace_cio_id: String,
    /// Add the phone number of an SMS or WhatsApp message as an identity.
    pub include_phone: bool,
    /// Write addresses as hashes only.
    pub hash_email: bool,
    /// Fields of `data` that leave no trace in the event.
    pub drop_fields: Vec<DropField>,
    /// What becomes of an event that names nobody.
    pub on_missing_identity: OnMissingIdentity,
}

impl Source {
    pub(crate) fn drops(&self, name: &str) -> bool {
        self.drop_fields.iter().any(|field| field.as_str() == name)
    }
}

impl Default for Source {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            workspace_id: None,
            namespace_id: "CustomerioID".to_owned(),
            namespace_cio_id: "CustomerioCioID".to_owned(),
            include_phone: false,
            hash_email: false,
            drop_fields: Vec::new(),
            on_missing_identity: OnMissingIdentity::Send,
        }
    }
}
