//! The variables that a credential was read from, for messages.

/// Names of the variables of a credential. The set-up can have a credential of its own, so a message about a credential
/// contains the names of its variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialNames {
    /// Variable of the client id.
    pub client_id: &'static str,
    /// Variable of the client secret.
    pub client_secret: &'static str,
    /// Variable of the scopes.
    pub scopes: &'static str,
}

impl CredentialNames {
    /// The credential of the services.
    pub const SERVICES: Self =
        Self { client_id: "IMS_CLIENT_ID", client_secret: "IMS_CLIENT_SECRET", scopes: "IMS_SCOPES" };

    /// The credential of the set-up. `has_scopes` tells whether it has scopes of its own; without them, the scopes of
    /// the services are requested.
    #[must_use]
    pub fn of_setup(has_scopes: bool) -> Self {
        let scopes = if has_scopes { "SETUP_IMS_SCOPES" } else { Self::SERVICES.scopes };
        Self { client_id: "SETUP_IMS_CLIENT_ID", client_secret: "SETUP_IMS_CLIENT_SECRET", scopes }
    }
}

impl Default for CredentialNames {
    fn default() -> Self {
        Self::SERVICES
    }
}
