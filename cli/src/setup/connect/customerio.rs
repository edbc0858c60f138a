//! Builds the desired webhook, the clients and the signing keys of a source from the options.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use customerio_api::{
    ApiAddress, ApiSettings, AppApiClient, AppApiKey, MessageContent, Region, RequestBudget, Resolution,
    ServiceAccountClient, ServiceAccountToken, UnencryptedHttp,
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use settings::{SecretSource, secret_source};
use setup::clients::Clients;
use setup::desired::{WebhookWish, endpoint};
use sources::SourceName;

use super::{Builder, NamedEntry, host};
use crate::setup::options::{EventChoice, HttpUrl};

impl Builder<'_> {
    pub(super) fn webhook(
        &mut self,
        source: &NamedEntry,
        budget: &RequestBudget,
        clients: &mut Clients,
        service_accounts: &mut BTreeMap<SourceName, ServiceAccountClient>,
        hosts: &mut Vec<String>,
    ) -> Option<WebhookWish> {
        let (address, settings) = self.app_api(source, budget)?;
        if let Some(client) = self.app_client(source, &settings) {
            clients.customerio.insert(source.name.clone(), client);
        }
        let args = &self.args.customerio;
        let NamedEntry { name, entry } = source;
        let token = match entry.service_account_token_file.as_deref() {
            Some(file) => self.file_of_entry("service_account_token_file", file),
            None => {
                let file = args.service_account_token_file.as_deref();
                self.secret("CUSTOMERIO_SERVICE_ACCOUNT_TOKEN", args.service_account_token.as_ref(), file)
            }
        };
        let account = token.and_then(|token| {
            let token = self.problems.check(token.read())?;
            let token = self.problems.check(ServiceAccountToken::new(&token))?;
            self.problems.check(ServiceAccountClient::new(&settings, token))
        });
        if let Some(account) = account {
            service_accounts.insert(name.clone(), account);
        }
        hosts.push(match &args.customerio_api_url {
            Some(url) => format!("{} (CUSTOMERIO_API_URL)", host(&url.0)),
            None if address.region() == Region::Eu => "api-eu.customer.io:443".to_owned(),
            None => "api.customer.io:443".to_owned(),
        });
        let endpoint = self.endpoint(source)?;
        let events = match &entry.events {
            Some(text) => self.problems.check(text.parse::<EventChoice>()),
            None => args.customerio_events.clone(),
        };
        let resolution = entry.full_resolution.or(args.customerio_full_resolution);
        let content = entry.with_content.or(args.customerio_with_content);
        Some(WebhookWish {
            source: name.clone(),
            endpoint,
            events: events.map(|choice| choice.0),
            resolution: resolution.map(|every| if every { Resolution::Every } else { Resolution::FirstOnly }),
            content: content.map(|included| if included { MessageContent::Included } else { MessageContent::Omitted }),
            workspace: entry.workspace.clone().or_else(|| args.customerio_workspace.clone()),
        })
    }

    /// The address and settings of the App API for a source.
    fn app_api(&mut self, source: &NamedEntry, budget: &RequestBudget) -> Option<(ApiAddress, ApiSettings)> {
        let region = match &source.entry.region {
            Some(text) => self.problems.check(text.parse::<Region>().map_err(|error| format!("region: {error}"))),
            None => Some(self.args.customerio.customerio_region),
        };
        let address = self.problems.check(self.address(region?))?;
        let settings = ApiSettings { budget: budget.clone(), proxy: self.proxy(), ..ApiSettings::new(address.clone()) };
        Some((address, settings))
    }

    fn app_client(&mut self, source: &NamedEntry, settings: &ApiSettings) -> Option<AppApiClient> {
        let args = &self.args.customerio;
        let key = match source.entry.app_api_key_file.as_deref() {
            Some(file) => self.file_of_entry("app_api_key_file", file)?,
            None => {
                let (value, file) = (args.app_api_key.as_ref(), args.app_api_key_file.as_deref());
                // `Problems::check` adds the problem of an unreadable file. A key is missing only if it is not set.
                let Some(key) = self.problems.check(secret_source("CUSTOMERIO_APP_API_KEY", value, file))? else {
                    self.problems.add_missing("CUSTOMERIO_APP_API_KEY", self.place(source).as_deref());
                    return None;
                };
                key
            }
        };
        let key = self.problems.check(key.read())?;
        let key = self.problems.check(AppApiKey::new(&key))?;
        self.problems.check(AppApiClient::new(settings, key))
    }

    /// The secret in the file that this field of a sources file entry names; `None` if the file cannot be read.
    fn file_of_entry(&mut self, field: &str, file: &Path) -> Option<SecretSource> {
        let secret = SecretSource::File(file.to_owned());
        self.problems.check(secret.read().map_err(|error| format!("{field}: {error}")))?;
        Some(secret)
    }

    /// The URL to which Customer.io posts the events of a source.
    fn endpoint(&mut self, source: &NamedEntry) -> Option<Url> {
        let public = match &source.entry.public_url {
            Some(text) => self.problems.check(text.parse::<HttpUrl>())?,
            None => match &self.args.customerio.customerio_public_url {
                Some(public) => public.clone(),
                None => {
                    self.problems.add_missing("CUSTOMERIO_PUBLIC_URL", self.place(source).as_deref());
                    return None;
                }
            },
        };
        self.problems.check(endpoint(&public.0, &source.name))
    }

    /// The name of the source for messages; `None` without a sources file, because there is only one source then.
    fn place(&self, source: &NamedEntry) -> Option<String> {
        self.args.customerio.sources_file.as_ref().map(|_| format!("source `{}`", source.name))
    }

    /// A client that can read the webhook of a source, and the webhook's endpoint. Requires only the options for these.
    pub(super) fn webhook_access(
        &mut self,
        source: &NamedEntry,
        budget: &RequestBudget,
    ) -> Option<(AppApiClient, Url)> {
        let (_, settings) = self.app_api(source, budget)?;
        let (client, endpoint) = (self.app_client(source, &settings), self.endpoint(source));
        Some((client?, endpoint?))
    }

    fn address(&self, region: Region) -> Result<ApiAddress, customerio_api::AddressError> {
        let http = match self.args.platform.platform_allow_http {
            true => UnencryptedHttp::Allowed,
            false => UnencryptedHttp::LoopbackOnly,
        };
        match &self.args.customerio.customerio_api_url {
            Some(url) => ApiAddress::replaced(region, url.0.as_str(), http),
            None => Ok(ApiAddress::of(region)),
        }
    }

    fn proxy(&mut self) -> Option<reqwest::Proxy> {
        let args = &self.args.platform;
        let proxy = args.https_proxy.as_ref()?;
        let except = args.no_proxy.as_deref().and_then(reqwest::NoProxy::from_string);
        let proxy = reqwest::Proxy::https(proxy.expose_secret());
        let proxy = self.problems.check(proxy.map_err(|_| "HTTPS_PROXY: it is not the address of a proxy"))?;
        Some(proxy.no_proxy(except))
    }

    /// The signing keys of a source, one per line. A file that does not exist yet is not an error: `setup apply` can
    /// write this file.
    pub(super) fn signing_keys(&mut self, source: &NamedEntry) -> Option<SecretString> {
        let args = &self.args.customerio;
        let has_file = args.sources_file.is_some();
        let inline: Vec<&str> = source.entry.signing_keys.iter().map(ExposeSecret::expose_secret).collect();
        let inline = (!inline.is_empty()).then(|| SecretString::from(inline.join("\n")));
        let inline = inline.or_else(|| args.signing_keys.clone().filter(|_| !has_file));
        match (inline, self.key_file(source).filter(|file| file.exists())) {
            (Some(text), _) => Some(text),
            (None, Some(file)) if has_file => self.file_of_entry("signing_keys_file", &file)?.read().ok(),
            (None, Some(file)) => {
                let text = SecretSource::File(file).read();
                self.problems.check(text.map_err(|error| format!("CUSTOMERIO_SIGNING_KEYS_FILE: {error}")))
            }
            (None, None) => None,
        }
    }

    /// The configured file with the signing keys of a source.
    pub(super) fn key_file(&self, source: &NamedEntry) -> Option<PathBuf> {
        let args = &self.args.customerio;
        let general = args.signing_keys_file.clone().filter(|_| args.sources_file.is_none());
        source.entry.signing_keys_file.clone().or(general)
    }
}

/// The first signing key of a text with one key per line.
pub(super) fn first_key(text: &SecretString) -> Option<SecretString> {
    let is_no_part = |c: char| c.is_whitespace() || c == '\u{feff}';
    let mut keys = text.expose_secret().lines().map(|line| line.trim_matches(is_no_part));
    keys.find(|key| !key.is_empty()).map(SecretString::from)
}
