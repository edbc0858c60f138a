//! What the configuration says about one source of webhooks.

/// What becomes of an event that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissingIdentity {
    /// It is sent: the data lake takes it, Profile does not.
    #[default]
    Send,
    /// It becomes a dead letter.
    DeadLetter,
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
    /// What becomes of an event that names nobody.
    pub on_missing_identity: OnMissingIdentity,
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
            on_missing_identity: OnMissingIdentity::Send,
        }
    }
}
