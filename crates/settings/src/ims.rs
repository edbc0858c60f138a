//! The options of the sink's credential for IMS, Adobe's identity service.

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;

use crate::secret::{SecretSource, secret_source};

/// The credential with which the sink gets access tokens. `setup` and `check` read it too.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "IMS (access tokens)")]
pub struct ImsCredentialArgs {
    /// Client id of the OAuth server-to-server credential; without it no tokens are sent
    #[arg(long, env = "IMS_CLIENT_ID", value_name = "ID")]
    pub ims_client_id: Option<String>,

    /// Client secret of the credential
    #[arg(long, env = "IMS_CLIENT_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub ims_client_secret: Option<SecretString>,

    /// File that holds the client secret; read again for each token
    #[arg(long, env = "IMS_CLIENT_SECRET_FILE", value_name = "PATH")]
    pub ims_client_secret_file: Option<PathBuf>,

    /// Scopes, separated by commas, as the Developer Console lists them
    #[arg(
        long,
        env = "IMS_SCOPES",
        default_value = "openid,AdobeID,read_organizations,additional_info.projectedProductContext,session",
        value_name = "SCOPE,..."
    )]
    pub ims_scopes: String,
}

impl ImsCredentialArgs {
    /// Returns the client secret if it is set.
    ///
    /// # Errors
    /// A message with the variable, if the value and the file are both set or the file cannot be read.
    pub fn secret(&self) -> Result<Option<SecretSource>, String> {
        secret_source("IMS_CLIENT_SECRET", self.ims_client_secret.as_ref(), self.ims_client_secret_file.as_deref())
    }
}
