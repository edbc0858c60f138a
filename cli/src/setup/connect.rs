//! Builds the desired state and the clients from the options.

pub(crate) mod access;
mod customerio;
mod platform;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ::platform::TokenSettings;
use ::platform::control::ControlClient;
use customerio_api::{RequestBudget, ServiceAccountClient};
use kafka::topic::Topics;
use operator::PipelineTopics;
use reqwest::Url;
use schema_registry::SchemaRegistry;
use secrecy::SecretString;
use settings::{Problems, SecretSource};
use setup::clients::Clients;
use setup::desired::Desired;
use setup::error::SetupError;
use setup::journal::Journal;
use setup::key::Target;
use setup::settling::Settling;
use setup::stage::Stage;
use setup::topics::TopicWish;
use sources::{SourceEntry, SourceName};

use super::options::ConnectArgs;
use crate::UsageError;

/// The desired state, the clients and the settings of a command, built from its options.
pub(crate) struct Connect {
    pub(crate) desired: Desired,
    pub(crate) clients: Clients,
    /// The first signing key of each source that has one.
    pub(crate) keys: BTreeMap<SourceName, SecretString>,
    /// All signing keys by source, one key per line. A source without keys is absent.
    pub(crate) key_texts: BTreeMap<SourceName, SecretString>,
    /// The configured file with the signing keys of a source. It may not exist yet.
    pub(crate) key_files: BTreeMap<SourceName, PathBuf>,
    /// Clients that can fetch signing keys, by source.
    pub(crate) service_accounts: BTreeMap<SourceName, ServiceAccountClient>,
    pub(crate) settling: Settling,
    /// The hosts that this machine and the services must reach.
    pub(crate) hosts: Vec<String>,
    /// Path of the state file; `None` if only topics are set up, which also works if no file can be written.
    state: Option<PathBuf>,
    /// The sink's client id and the source of its client secret, if both are configured.
    pub(crate) sink_credential: Option<(String, SecretSource)>,
    /// True if the sources come from a file. The file then also contains their signing keys.
    pub(crate) has_sources_file: bool,
    /// Settings for requesting access tokens, used by `check`.
    pub(crate) token_settings: Option<TokenSettings>,
    /// The selected parts of the set-up.
    pub(crate) parts: BTreeSet<Target>,
    /// The identity settings of each source.
    pub(crate) sources: BTreeMap<SourceName, Identities>,
}

/// Settings with which the transformer identifies the persons of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identities {
    /// `ON_MISSING_IDENTITY` of this source, if the source overrides the general value.
    pub(crate) on_missing: Option<String>,
    /// Namespace of the person's own id.
    pub(crate) namespace_id: String,
    /// Namespace of Customer.io's id of the person.
    pub(crate) namespace_cio_id: String,
}

/// A source with its entry in the sources file.
struct NamedEntry {
    name: SourceName,
    entry: SourceEntry,
}

impl Connect {
    /// Builds the connection from the options. The error contains all problems.
    pub(crate) fn of(args: &ConnectArgs) -> Result<Self, UsageError> {
        let (connect, problems) = Self::as_far_as_possible(args);
        match problems.is_empty() {
            true => Ok(connect),
            false => Err(problems.into()),
        }
    }

    /// Builds as much as possible from these options, and returns their problems: `check` checks what it can.
    pub(crate) fn as_far_as_possible(args: &ConnectArgs) -> (Self, Problems) {
        let mut problems = Problems::default();
        let connect = Builder { args, problems: &mut problems, token_settings: None }.build();
        (connect, problems)
    }

    /// The journal for commands that change nothing.
    pub(crate) fn read_journal(&self) -> Result<Journal, SetupError> {
        match &self.state {
            Some(path) => Ok(Journal::read(path, self.desired.stage.as_ref())?),
            None => Ok(Journal::in_memory()),
        }
    }

    /// The journal, locked against other runs.
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

    fn build(&mut self) -> Connect {
        let targets = self.targets();
        let mut clients = Clients::default();
        let mut hosts = Vec::new();
        let topics = targets.contains(&Target::Kafka).then(|| self.kafka(&mut clients, &mut hosts));
        let subject = targets.contains(&Target::Registry).then(|| self.registry(&mut clients, &mut hosts)).flatten();
        let needs_stage = targets.contains(&Target::Platform) || targets.contains(&Target::CustomerIo);
        let stage = needs_stage.then(|| self.stage()).flatten();
        let sources = self.sources();
        let is_wanted = targets.contains(&Target::Platform);
        let platform = is_wanted.then(|| self.platform(stage.as_ref(), &sources, &mut clients, &mut hosts));
        let (mut webhooks, mut service_accounts) = (Vec::new(), BTreeMap::new());
        if targets.contains(&Target::CustomerIo) {
            let budget = RequestBudget::default();
            for source in &sources {
                webhooks.extend(self.webhook(source, &budget, &mut clients, &mut service_accounts, &mut hosts));
            }
        }
        if !is_wanted && targets.contains(&Target::CustomerIo) {
            clients.platform = sandbox_client(self.args, stage.as_ref());
        }
        let key_texts: BTreeMap<_, _> =
            sources.iter().filter_map(|source| Some((source.name.clone(), self.signing_keys(source)?))).collect();
        let keys =
            key_texts.iter().filter_map(|(name, text)| Some((name.clone(), customerio::first_key(text)?))).collect();
        let key_files =
            sources.iter().filter_map(|source| Some((source.name.clone(), self.key_file(source)?))).collect();
        let state = stage.as_ref().map(|stage| self.args.state.clone().unwrap_or_else(|| default_state(stage)));
        hosts.dedup();
        Connect {
            desired: Desired { stage, topics, subject, platform, webhooks },
            clients,
            keys,
            key_texts,
            key_files,
            service_accounts,
            settling: Settling::default().scaled(self.args.platform.settle_scale.0),
            hosts,
            state,
            sink_credential: self.sink_credential(),
            has_sources_file: self.args.customerio.sources_file.is_some(),
            token_settings: self.token_settings.take(),
            parts: targets,
            sources: sources.into_iter().map(|source| self.identities(source)).collect(),
        }
    }

    fn identities(&self, source: NamedEntry) -> (SourceName, Identities) {
        let (args, entry) = (&self.args.platform, source.entry);
        let identities = Identities {
            on_missing: entry.on_missing_identity,
            namespace_id: entry.identity_namespace_id.unwrap_or_else(|| args.identity_namespace_id.clone()),
            namespace_cio_id: entry.identity_namespace_cio_id.unwrap_or_else(|| args.identity_namespace_cio_id.clone()),
        };
        (source.name, identities)
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
            topics: PipelineTopics::from(&topics.names),
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
            self.problems.add_missing("SCHEMA_REGISTRY_URL", Some("--only registry"));
            return None;
        };
        hosts.push(format!("{} (Schema Registry)", settings.url));
        clients.registry = self.problems.check(SchemaRegistry::new(&settings));
        Some(format!("{}-value", self.args.topics.names.typed.name))
    }

    fn stage(&mut self) -> Option<Stage> {
        let platform = &self.args.platform;
        let organisation = self.problems.required("PLATFORM_IMS_ORG", &platform.platform_ims_org).cloned();
        let sandbox = self.problems.required("PLATFORM_SANDBOX", &platform.platform_sandbox).cloned();
        let deployment = platform.deployment.clone();
        Some(Stage { deployment, organisation: organisation?, sandbox: sandbox? })
    }

    /// The sources of the file, or the single source `default`.
    fn sources(&mut self) -> Vec<NamedEntry> {
        let Some(path) = &self.args.customerio.sources_file else {
            return vec![NamedEntry { name: SourceName::default(), entry: SourceEntry::default() }];
        };
        let entries = self.problems.check(sources::read(path)).unwrap_or_default();
        entries.into_iter().map(|(name, entry)| NamedEntry { name, entry }).collect()
    }
}

fn host(url: &Url) -> String {
    let port = url.port_or_known_default().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

fn default_state(stage: &Stage) -> PathBuf {
    Path::new(".customerio-aep").join(format!("{}.{}.json", stage.deployment, stage.sandbox))
}

/// A client that can tell whether the stage's sandbox is a production sandbox, if its options are set. The objects in
/// Platform are not part of the set-up, so the options are not required.
fn sandbox_client(args: &ConnectArgs, stage: Option<&Stage>) -> Option<ControlClient> {
    let mut problems = Problems::default();
    Builder { args, problems: &mut problems, token_settings: None }.control_client(stage)
}
