//! From the options to the desired state and the clients.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use customerio_api::{
    ApiAddress, ApiSettings, AppApiClient, AppApiKey, MessageContent, Region, RequestBudget, Resolution,
    ServiceAccountClient, ServiceAccountToken, UnencryptedHttp,
};
use kafka::topic::Topics;
use platform::control::{ControlClient, ControlSettings, Retries, Visibility};
use platform::{HttpSettings, TokenProvider, TokenSettings, is_unencrypted};
use reqwest::Url;
use schema_registry::SchemaRegistry;
use secrecy::{ExposeSecret, SecretString};
use settings::{Problems, SecretSource, secret_source};
use setup::clients::Clients;
use setup::desired::{Desired, PlatformWish, WebhookWish, endpoint};
use setup::error::SetupError;
use setup::journal::Journal;
use setup::key::Target;
use setup::settling::Settling;
use setup::stage::Stage;
use setup::topics::TopicWish;
use sources::{SourceEntry, SourceName};

use super::options::{ConnectArgs, EventChoice, HttpUrl};
use crate::UsageError;

/// Everything that the commands need.
pub(crate) struct Connect {
    pub(crate) desired: Desired,
    pub(crate) clients: Clients,
    /// The signing key of each source that has one: the first of several.
    pub(crate) keys: BTreeMap<SourceName, SecretString>,
    /// Clients that can fetch signing keys.
    pub(crate) service_accounts: BTreeMap<SourceName, ServiceAccountClient>,
    pub(crate) settling: Settling,
    /// The hosts that this machine, and the services, must reach.
    pub(crate) hosts: Vec<String>,
    /// The state file; topics alone have none, so that they can be set up where nothing can be written.
    state: Option<PathBuf>,
    /// The sink's credential, if it is known: its id, and the secret if it is not in a file already.
    pub(crate) sink_credential: Option<(String, SecretSource)>,
    /// Whether the sources come from a file, which has their signing keys.
    pub(crate) has_sources_file: bool,
    /// The way to access tokens, for `check`.
    pub(crate) token_settings: Option<TokenSettings>,
}

/// A source with the options of Customer.io that belong to it.
struct Source {
    name: SourceName,
    entry: SourceEntry,
}

impl Connect {
    /// Checks the options; reports all problems at once.
    pub(crate) fn of(args: &ConnectArgs) -> Result<Self, UsageError> {
        let mut problems = Problems::default();
        let connect = Builder { args, problems: &mut problems, token_settings: None }.build();
        match connect {
            Some(connect) if problems.is_empty() => Ok(connect),
            _ => Err(UsageError(format!("these options are invalid:\n{problems}"))),
        }
    }

    /// The state file, for commands that change nothing.
    pub(crate) fn read_journal(&self) -> Result<Journal, SetupError> {
        match &self.state {
            Some(path) => Ok(Journal::read(path, self.desired.stage.as_ref())?),
            None => Ok(Journal::in_memory()),
        }
    }

    /// The state file, locked against other runs.
    pub(crate) fn open_journal(&self) -> Result<Journal, SetupError> {
        match &self.state {
            Some(path) => Ok(Journal::open(path, self.desired.stage.as_ref())?),
            None => Ok(Journal::in_memory()),
        }
    }
}

struct Builder<'b> {
    args: &'b ConnectArgs,
    problems: &'b mut Problems,
    token_settings: Option<TokenSettings>,
}

impl Builder<'_> {
    fn targets(&self) -> BTreeSet<Target> {
        if !self.args.only.is_empty() {
            return self.args.only.iter().map(|part| Target::from(*part)).collect();
        }
        let has_registry = self.args.registry.settings().is_ok_and(|settings| settings.is_some());
        let is_wanted = |target: &&Target| **target != Target::Registry || has_registry;
        Target::ALL.iter().filter(is_wanted).copied().collect()
    }

    fn build(&mut self) -> Option<Connect> {
        let targets = self.targets();
        let mut clients = Clients::default();
        let mut hosts = Vec::new();
        let topics = targets.contains(&Target::Kafka).then(|| self.kafka(&mut clients, &mut hosts));
        let subject = targets.contains(&Target::Registry).then(|| self.registry(&mut clients, &mut hosts)).flatten();
        let needs_stage = targets.contains(&Target::Platform) || targets.contains(&Target::CustomerIo);
        let stage = needs_stage.then(|| self.stage()).flatten();
        let sources = self.sources();
        let platform = match (&stage, targets.contains(&Target::Platform)) {
            (Some(stage), true) => self.platform(stage, &sources, &mut clients, &mut hosts),
            _ => None,
        };
        let (mut webhooks, mut service_accounts) = (Vec::new(), BTreeMap::new());
        if targets.contains(&Target::CustomerIo) {
            let budget = RequestBudget::default();
            for source in &sources {
                webhooks.extend(self.webhook(source, &budget, &mut clients, &mut service_accounts, &mut hosts));
            }
        }
        let keys = sources.iter().filter_map(|source| Some((source.name.clone(), self.signing_key(source)?))).collect();
        let state = stage.as_ref().map(|stage| self.args.state.clone().unwrap_or_else(|| default_state(stage)));
        hosts.dedup();
        Some(Connect {
            desired: Desired { stage, topics, subject, platform, webhooks },
            clients,
            keys,
            service_accounts,
            settling: Settling::default().scaled(self.args.platform.settle_scale.0),
            hosts,
            state,
            sink_credential: self.sink_credential(),
            has_sources_file: self.args.customerio.sources_file.is_some(),
            token_settings: self.token_settings.take(),
        })
    }

    fn kafka(&mut self, clients: &mut Clients, hosts: &mut Vec<String>) -> TopicWish {
        match self.args.kafka.connection("customerio-aep") {
            Err(found) => self.problems.extend(found),
            Ok(connection) => {
                hosts.extend(connection.bootstrap().split(',').map(|server| format!("{} (Kafka)", server.trim())));
                clients.kafka = self.problems.check(Topics::new(&connection));
            }
        }
        let topics = &self.args.topics;
        TopicWish {
            raw: topics.raw_topic.clone(),
            typed: topics.typed_topic.clone(),
            dead_letters: topics.dead_letter_topic.clone(),
            receipts: topics.receipts_topic.0.clone(),
            partitions: topics.partitions,
            replication: topics.replication,
            max_body: topics.max_body.0,
        }
    }

    fn registry(&mut self, clients: &mut Clients, hosts: &mut Vec<String>) -> Option<String> {
        let settings = match self.args.registry.settings() {
            Ok(settings) => settings,
            Err(found) => {
                self.problems.extend(found);
                return None;
            }
        };
        let Some(settings) = settings else {
            self.problems.add("SCHEMA_REGISTRY_URL is not set, and --only names the registry");
            return None;
        };
        hosts.push(format!("{} (Schema Registry)", settings.url));
        clients.registry = self.problems.check(SchemaRegistry::new(&settings));
        Some(format!("{}-value", self.args.topics.typed_topic))
    }

    fn stage(&mut self) -> Option<Stage> {
        let platform = &self.args.platform;
        let organisation = self.problems.required("PLATFORM_IMS_ORG", &platform.platform_ims_org).cloned();
        let sandbox = self.problems.required("PLATFORM_SANDBOX", &platform.platform_sandbox).cloned();
        let deployment = platform.deployment.clone();
        Some(Stage { deployment, organisation: organisation?, sandbox: sandbox? })
    }

    /// The sources of the file, or the one source `default`.
    fn sources(&mut self) -> Vec<Source> {
        let Some(path) = &self.args.customerio.sources_file else {
            return vec![Source { name: SourceName::default(), entry: SourceEntry::default() }];
        };
        let entries = self.problems.check(sources::read(path)).unwrap_or_default();
        entries.into_iter().map(|(name, entry)| Source { name, entry }).collect()
    }

    fn platform(
        &mut self,
        stage: &Stage,
        sources: &[Source],
        clients: &mut Clients,
        hosts: &mut Vec<String>,
    ) -> Option<PlatformWish> {
        let args = &self.args.platform;
        for (variable, url) in [("PLATFORM_API_URL", args.platform_api_url.url()), ("IMS_URL", args.ims_url.url())] {
            hosts.push(format!("{} ({variable})", host(url)));
            if is_unencrypted(url) && !args.platform_allow_http {
                self.problems.add(format!(
                    "{variable} begins with http:// and names another machine, so that tokens would cross the network unencrypted; write https://, or set PLATFORM_ALLOW_HTTP=true for a trial"
                ));
            }
        }
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
        Some(PlatformWish { tenant, namespaces, profile: false })
    }

    fn control_client(&mut self, stage: &Stage) -> Option<ControlClient> {
        let args = &self.args.platform;
        let own = args.setup_ims_client_id.is_some()
            || args.setup_ims_client_secret.is_some()
            || args.setup_ims_client_secret_file.is_some();
        let (prefix, client_id, secret) = if own {
            let file = args.setup_ims_client_secret_file.as_deref();
            (
                "SETUP_IMS",
                &args.setup_ims_client_id,
                self.secret("SETUP_IMS_CLIENT_SECRET", args.setup_ims_client_secret.as_ref(), file),
            )
        } else {
            let file = args.ims_client_secret_file.as_deref();
            ("IMS", &args.ims_client_id, self.secret("IMS_CLIENT_SECRET", args.ims_client_secret.as_ref(), file))
        };
        let client_id = self.problems.required(&format!("{prefix}_CLIENT_ID"), client_id).cloned();
        let secret = self.problems.required(&format!("{prefix}_CLIENT_SECRET"), &secret).cloned();
        let (client_id, secret) = (client_id?, secret?);
        let http = HttpSettings {
            timeout: TIMEOUT,
            ca_file: args.platform_ca_file.clone(),
            https_proxy: args.https_proxy.clone(),
            no_proxy: args.no_proxy.clone(),
        };
        let http = self.problems.check(http.client())?;
        let scopes = args.setup_ims_scopes.as_ref().filter(|_| own).unwrap_or(&args.ims_scopes).clone();
        let tokens = TokenSettings {
            ims_url: args.ims_url.url().clone(),
            client_id: client_id.clone(),
            client_secret: Arc::new(move || secret.read().map_err(|error| error.to_string())),
            scopes,
        };
        self.token_settings = Some(tokens.clone());
        let tokens = self.problems.check(TokenProvider::new(tokens, http.clone(), Box::new(|_| {})))?;
        let settings = ControlSettings {
            api: args.platform_api_url.clone(),
            ims_org: stage.organisation.to_string(),
            sandbox: stage.sandbox.to_string(),
            client_id,
            timeout: TIMEOUT,
            retries: Retries::default(),
            visibility: Visibility::default(),
        };
        self.problems.check(ControlClient::new(settings, http, tokens))
    }

    fn secret(&mut self, name: &str, value: Option<&SecretString>, file: Option<&Path>) -> Option<SecretSource> {
        self.problems.check(secret_source(name, value, file)).flatten()
    }

    fn sink_credential(&mut self) -> Option<(String, SecretSource)> {
        let args = &self.args.platform;
        let file = args.ims_client_secret_file.as_deref();
        let secret = secret_source("IMS_CLIENT_SECRET", args.ims_client_secret.as_ref(), file).ok().flatten()?;
        Some((args.ims_client_id.clone()?, secret))
    }

    fn webhook(
        &mut self,
        source: &Source,
        budget: &RequestBudget,
        clients: &mut Clients,
        service_accounts: &mut BTreeMap<SourceName, ServiceAccountClient>,
        hosts: &mut Vec<String>,
    ) -> Option<WebhookWish> {
        let args = &self.args.customerio;
        let Source { name, entry } = source;
        let at = |variable: &str| match self.args.customerio.sources_file {
            Some(_) => format!("source `{name}`: {variable}"),
            None => variable.to_owned(),
        };
        let region = match &entry.region {
            Some(text) => self.problems.check(text.parse::<Region>()),
            None => Some(args.customerio_region),
        };
        let address = self.problems.check(self.address(region?))?;
        let settings = ApiSettings { budget: budget.clone(), proxy: self.proxy(), ..ApiSettings::new(address.clone()) };
        let own_key = entry.app_api_key_file.as_deref();
        let key = match own_key {
            Some(file) => self.secret("CUSTOMERIO_APP_API_KEY", None, Some(file)),
            None => self.secret("CUSTOMERIO_APP_API_KEY", args.app_api_key.as_ref(), args.app_api_key_file.as_deref()),
        };
        if key.is_none() {
            self.problems.add(format!("{} is not set", at("CUSTOMERIO_APP_API_KEY")));
        }
        let client = key.and_then(|key| {
            let key = self.problems.check(key.read())?;
            let key = self.problems.check(AppApiKey::new(&key))?;
            self.problems.check(AppApiClient::new(&settings, key))
        });
        if let Some(client) = client {
            clients.customerio.insert(name.clone(), client);
        }
        let token = match entry.service_account_token_file.as_deref() {
            Some(file) => self.secret("CUSTOMERIO_SERVICE_ACCOUNT_TOKEN", None, Some(file)),
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
        let public = match &entry.public_url {
            Some(text) => self.problems.check(text.parse::<HttpUrl>()),
            None => args.customerio_public_url.clone(),
        };
        let Some(public) = public else {
            self.problems.add(format!("{} is not set", at("CUSTOMERIO_PUBLIC_URL")));
            return None;
        };
        let events = match &entry.events {
            Some(text) => self.problems.check(text.parse::<EventChoice>()),
            None => args.customerio_events.clone(),
        };
        let resolution = entry.full_resolution.or(args.customerio_full_resolution);
        let content = entry.with_content.or(args.customerio_with_content);
        Some(WebhookWish {
            source: name.clone(),
            endpoint: self.problems.check(endpoint(&public.0, name))?,
            events: events.map(|choice| choice.0),
            resolution: resolution.map(|every| if every { Resolution::Every } else { Resolution::FirstOnly }),
            content: content.map(|included| if included { MessageContent::Included } else { MessageContent::Omitted }),
            workspace: entry.workspace.clone().or_else(|| args.customerio_workspace.clone()),
        })
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

    /// The first signing key of a source. A file that does not exist yet has none: `apply` may write it.
    fn signing_key(&mut self, source: &Source) -> Option<SecretString> {
        let args = &self.args.customerio;
        let has_file = args.sources_file.is_some();
        let inline = source.entry.signing_keys.first().cloned();
        let inline = inline.or_else(|| args.signing_keys.clone().filter(|_| !has_file));
        let file = source.entry.signing_keys_file.clone();
        let file = file.or_else(|| args.signing_keys_file.clone().filter(|_| !has_file)).filter(|file| file.exists());
        let text = match (inline, file) {
            (Some(text), _) => text,
            (None, Some(file)) => self.problems.check(SecretSource::File(file).read())?,
            (None, None) => return None,
        };
        let is_no_part = |c: char| c.is_whitespace() || c == '\u{feff}';
        let first =
            text.expose_secret().lines().map(|line| line.trim_matches(is_no_part)).find(|line| !line.is_empty());
        first.map(SecretString::from)
    }
}

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);

fn host(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

fn default_state(stage: &Stage) -> PathBuf {
    Path::new(".customerio-aep").join(format!("{}.{}.json", stage.deployment, stage.sandbox))
}
