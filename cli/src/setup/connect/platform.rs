//! Builds the client of Experience Platform and the credentials from the options.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use platform::control::{ControlClient, ControlSettings, Retries, Visibility};
use platform::{CredentialNames, HttpSettings, TokenProvider, TokenSettings, is_unencrypted};
use secrecy::SecretString;
use settings::{SecretSource, secret_source};
use setup::clients::Clients;
use setup::desired::PlatformWish;
use setup::stage::Stage;

use super::{Builder, NamedEntry, Patience, host};

impl Patience {
    /// Time-out of one request.
    fn timeout(self) -> Duration {
        match self {
            Self::Setup => Duration::from_secs(30),
            Self::Check => setup::check::TIMEOUT,
        }
    }

    fn retries(self) -> Retries {
        match self {
            Self::Setup => Retries::default(),
            Self::Check => Retries { attempts: 1, ..Retries::default() },
        }
    }
}

impl Builder<'_> {
    /// The desired objects in Platform. Also sets the client and the token settings. Without a stage, sets only the
    /// token settings.
    pub(super) fn platform(
        &mut self,
        stage: Option<&Stage>,
        sources: &[NamedEntry],
        clients: &mut Clients,
        hosts: &mut Vec<String>,
    ) -> PlatformWish {
        let args = &self.args.platform;
        let addresses = [("PLATFORM_API_URL", args.platform_api_url.url()), ("IMS_URL", args.ims_url.url())];
        hosts.extend(addresses.map(|(variable, url)| format!("{} ({variable})", host(url))));
        hosts.push("dcs.adobedc.net:443 (the inlet, for the sink)".to_owned());
        clients.platform = self.control_client(stage);
        let mut namespaces = Vec::new();
        for source in sources {
            let own = [
                source.entry.identity_namespace_id.as_ref().unwrap_or(&args.identity_namespace_id),
                source.entry.identity_namespace_cio_id.as_ref().unwrap_or(&args.identity_namespace_cio_id),
            ];
            for code in own {
                if code.is_empty() || !code.chars().all(|c| c.is_ascii_alphanumeric()) {
                    let name = &source.name;
                    self.problems.add(format!(
                        "source `{name}`: an identity namespace is not a code; it has letters and digits only (IDENTITY_NAMESPACE_ID, IDENTITY_NAMESPACE_CIO_ID)"
                    ));
                } else if !namespaces.contains(code) {
                    namespaces.push(code.clone());
                }
            }
        }
        let tenant = args.platform_tenant.as_ref().map(|tenant| tenant.to_string().trim_start_matches('_').to_owned());
        PlatformWish { tenant, namespaces, profile: false }
    }

    /// The client of Platform's APIs; `None` if one of its options is missing or invalid. Requires no option of a
    /// source.
    pub(super) fn control_client(&mut self, stage: Option<&Stage>) -> Option<ControlClient> {
        let args = &self.args.platform;
        for (variable, url) in [("PLATFORM_API_URL", args.platform_api_url.url()), ("IMS_URL", args.ims_url.url())] {
            if is_unencrypted(url) && !args.platform_allow_http {
                self.problems.add(format!(
                    "{variable} begins with http:// and names another machine, so that tokens would cross the network unencrypted; write https://, or set PLATFORM_ALLOW_HTTP=true for a trial"
                ));
            }
        }
        let tokens = self.tokens()?;
        let http = HttpSettings {
            timeout: self.patience.timeout(),
            ca_file: args.platform_ca_file.clone(),
            https_proxy: args.https_proxy.clone(),
            no_proxy: args.no_proxy.clone(),
        };
        let http = self.problems.check(http.client())?;
        let client_id = tokens.client_id.clone();
        self.token_settings = Some(tokens.clone());
        let tokens = self.problems.check(TokenProvider::new(tokens, http.clone(), Box::new(|_| {})))?;
        let stage = stage?;
        let settings = ControlSettings {
            api: args.platform_api_url.clone(),
            ims_org: stage.organisation.to_string(),
            sandbox: stage.sandbox.to_string(),
            client_id,
            timeout: self.patience.timeout(),
            retries: self.patience.retries(),
            visibility: Visibility::default(),
        };
        self.problems.check(ControlClient::new(settings, http, tokens))
    }

    /// The credential of the set-up if one of its options is set; otherwise, the credential of the sink.
    fn tokens(&mut self) -> Option<TokenSettings> {
        let args = &self.args.platform;
        let own = args.setup_ims_client_id.is_some()
            || args.setup_ims_client_secret.is_some()
            || args.setup_ims_client_secret_file.is_some();
        let (prefix, client_id, secret) = if own {
            let file = args.setup_ims_client_secret_file.as_deref();
            let secret = self.secret("SETUP_IMS_CLIENT_SECRET", args.setup_ims_client_secret.as_ref(), file);
            ("SETUP_IMS", &args.setup_ims_client_id, secret)
        } else {
            ("IMS", &args.ims.ims_client_id, self.problems.check(args.ims.secret()).flatten())
        };
        let client_id = self.problems.required(&format!("{prefix}_CLIENT_ID"), client_id).cloned();
        let secret = self.problems.required(&format!("{prefix}_CLIENT_SECRET"), &secret).cloned();
        let (client_id, secret) = (client_id?, secret?);
        Some(TokenSettings {
            ims_url: args.ims_url.url().clone(),
            client_id,
            client_secret: Arc::new(move || secret.read().map_err(|error| error.to_string())),
            scopes: args.setup_ims_scopes.as_ref().filter(|_| own).unwrap_or(&args.ims.ims_scopes).clone(),
            names: match own {
                true => CredentialNames::of_setup(args.setup_ims_scopes.is_some()),
                false => CredentialNames::SERVICES,
            },
        })
    }

    pub(super) fn secret(
        &mut self,
        name: &str,
        value: Option<&SecretString>,
        file: Option<&Path>,
    ) -> Option<SecretSource> {
        self.problems.check(secret_source(name, value, file)).flatten()
    }

    pub(super) fn sink_credential(&mut self) -> Option<(String, SecretSource)> {
        let args = &self.args.platform.ims;
        Some((args.ims_client_id.clone()?, args.secret().ok().flatten()?))
    }
}
