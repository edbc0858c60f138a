//! Builds the desired state and the clients from the options.

pub(crate) mod access;
mod customerio;
mod platform;
mod source_problems;

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
use settings::{Problem, Problems, SecretSource};
use setup::clients::Clients;
use setup::desired::{Desired, WebhookWish};
use setup::error::SetupError;
use setup::journal::Journal;
use setup::key::Target;
use setup::plan::Plan;
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
    /// The configured file with the signing keys of each source. It may not exist yet.
    pub(crate) key_files: BTreeMap<SourceName, PathBuf>,
    /// Clients that can fetch signing keys, by source.
    pub(crate) service_accounts: BTreeMap<SourceName, ServiceAccountClient>,
    pub(crate) settling: Settling,
    /// The hosts that this machine and the services must reach.
    pub(crate) hosts: Vec<String>,
    /// Path of the state file; `None` without a stage. Kafka and the Schema Registry need neither.
    state: Option<PathBuf>,
    /// The sink's client id and the source of its client secret, if both are configured.
    pub(crate) sink_credential: Option<(String, SecretSource)>,
    /// True if the sources come from a file. The file then also contains their signing keys.
    pub(crate) has_sources_file: bool,
    /// Settings for requesting access tokens, used by `check`.
    pub(crate) token_settings: Option<TokenSettings>,
    /// The parts of the set-up that `--only` selects, or the default parts.
    pub(crate) parts: BTreeSet<Target>,
    /// The identity settings of each source.
    pub(crate) sources: BTreeMap<SourceName, Identities>,
    /// The problems of single sources in the sources file. The other sources are not affected.
    pub(crate) source_problems: BTreeMap<SourceName, Vec<Problem>>,
}

/// The settings of a source for the identities of its persons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identities {
    /// `ON_MISSING_IDENTITY` of this source, if the source overrides the general value.
    pub(crate) on_missing: Option<String>,
    /// Namespace of `identifiers.id`, the id that the customer gives to a person.
    pub(crate) namespace_id: String,
    /// Namespace of `identifiers.cio_id`, the id that Customer.io gives to a person.
    pub(crate) namespace_cio_id: String,
}

/// The time limit and the number of attempts of a request to Platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// A failed request is repeated, so that a set-up is completed in spite of a bad network.
    Setup,
    /// Each request is sent once, with the time limit of a check.
    Check,
}

/// The parts of a [`Connect`] that are built separately for each source.
#[derive(Default)]
struct SourceParts {
    webhooks: Vec<WebhookWish>,
    service_accounts: BTreeMap<SourceName, ServiceAccountClient>,
    key_texts: BTreeMap<SourceName, SecretString>,
    source_problems: BTreeMap<SourceName, Vec<Problem>>,
}

/// A source with its entry in the sources file.
struct NamedEntry {
    name: SourceName,
    entry: SourceEntry,
}

impl Connect {
    /// Builds the connection from the options. The error contains all problems, including those of single sources.
    pub(crate) fn of(args: &ConnectArgs) -> Result<Self, UsageError> {
        let (connect, mut problems) = Self::build(args, Patience::Setup);
        connect.each_source_problem().for_each(|(_, text)| problems.add(text));
        match problems.is_empty() {
            true => Ok(connect),
            false => Err(problems.into()),
        }
    }

    /// Like [`Connect::of`], but leaves out each source that has a problem, so that the other sources are set up.
    /// [`Connect::add_source_problems`] reports the sources that are left out.
    pub(crate) fn of_valid_sources(args: &ConnectArgs) -> Result<Self, UsageError> {
        let (mut connect, problems) = Self::build(args, Patience::Setup);
        if !problems.is_empty() {
            return Err(problems.into());
        }
        let is_valid = |source: &SourceName| !connect.source_problems.contains_key(source);
        connect.desired.webhooks.retain(|wish| is_valid(&wish.source));
        connect.clients.customerio.retain(|source, _| is_valid(source));
        connect.service_accounts.retain(|source, _| is_valid(source));
        Ok(connect)
    }

    /// Builds as much as possible, because `check` checks as much as possible. Returns the problems that do not belong
    /// to a single source of the sources file. Each request to Platform is sent once, with the time limit of a check.
    pub(crate) fn for_check(args: &ConnectArgs) -> (Self, Problems) {
        Self::build(args, Patience::Check)
    }

    fn build(args: &ConnectArgs, patience: Patience) -> (Self, Problems) {
        let mut problems = Problems::default();
        let connect = Builder { args, patience, problems: &mut problems, token_settings: None }.build();
        (connect, problems)
    }

    /// The problems of single sources, each with a text that begins with the source.
    pub(crate) fn each_source_problem(&self) -> impl Iterator<Item = (&Problem, String)> {
        let each = self.source_problems.iter();
        each.flat_map(|(source, problems)| {
            problems.iter().map(move |problem| (problem, source_problems::text(source, problem)))
        })
    }

    /// The sources whose file with the signing keys exists but cannot be used.
    pub(crate) fn unreadable_keys(&self) -> BTreeSet<SourceName> {
        let without_key = |(source, file): &(&SourceName, &PathBuf)| file.exists() && !self.keys.contains_key(*source);
        self.key_files.iter().filter(without_key).map(|(source, _)| source.clone()).collect()
    }

    /// Adds the problems of single sources to a plan that does not contain these sources.
    pub(crate) fn add_source_problems(&self, plan: &mut Plan) {
        for (_, text) in self.each_source_problem() {
            let text = format!("{text}; nothing of this source was read or changed, and the other sources continue");
            if !plan.problems.contains(&text) {
                plan.problems.push(text);
            }
        }
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
    patience: Patience,
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
        let asks_customerio = targets.contains(&Target::CustomerIo);
        let SourceParts { webhooks, service_accounts, key_texts, source_problems } =
            self.source_parts(&sources, asks_customerio, &mut clients, &mut hosts);
        if !is_wanted && asks_customerio {
            clients.platform = sandbox_client(self.args, stage.as_ref());
        }
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
            source_problems,
        }
    }

    /// Builds the parts of each source. With a sources file, [`source_problems::separate`] decides which problems
    /// belong to single sources. Without such a file, every problem concerns the whole set-up.
    fn source_parts(
        &mut self,
        sources: &[NamedEntry],
        asks_customerio: bool,
        clients: &mut Clients,
        hosts: &mut Vec<String>,
    ) -> SourceParts {
        let budget = RequestBudget::default();
        let (mut parts, mut found) = (SourceParts::default(), Vec::new());
        for source in sources {
            let mut own = Problems::default();
            let mut builder =
                Builder { args: self.args, patience: self.patience, problems: &mut own, token_settings: None };
            if asks_customerio {
                let wish = builder.webhook(source, &budget, clients, &mut parts.service_accounts, hosts);
                parts.webhooks.extend(wish);
            }
            if let Some(text) = builder.signing_keys(source) {
                parts.key_texts.insert(source.name.clone(), text);
            }
            found.push((source.name.clone(), own));
        }
        if self.args.customerio.sources_file.is_some() {
            let separated = source_problems::separate(&found);
            self.problems.extend(separated.of_all);
            parts.source_problems = separated.of_single;
        } else {
            found.into_iter().for_each(|(_, own)| self.problems.extend(own));
        }
        parts
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

    /// The sources in the sources file; without such a file, the single source `default`.
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

/// The client that finds out whether the stage's sandbox is a production sandbox. It is for a set-up without the
/// objects in Platform, which does not require the options for this client; `None` if they are not set.
fn sandbox_client(args: &ConnectArgs, stage: Option<&Stage>) -> Option<ControlClient> {
    let mut problems = Problems::default();
    Builder { args, patience: Patience::Setup, problems: &mut problems, token_settings: None }.control_client(stage)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        connect: ConnectArgs,
    }

    #[test]
    fn a_broken_source_is_reported_and_the_other_sources_are_set_up_and_checked() {
        let folder = std::env::temp_dir().join(format!("connect-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("key"), "sim-app-key").unwrap();
        let (unreadable, file) = (folder.display().to_string(), folder.join("sources.toml"));
        let good = "app_api_key_file = \"key\"";
        for (broken, words) in [
            (format!("app_api_key_file = \"{unreadable}\""), format!("app_api_key_file: cannot read {unreadable}")),
            (
                format!("{good}\nsigning_keys_file = \"{unreadable}\""),
                format!("signing_keys_file: cannot read {unreadable}"),
            ),
            (format!("{good}\nregion = \"mars\""), "region: this is not a region of Customer.io".to_owned()),
        ] {
            let text = format!("[sources.a]\n{good}\n[sources.b]\n{broken}\n[sources.c]\n{good}\n");
            std::fs::write(&file, text).unwrap();
            let arguments = [
                "setup",
                "--only=customerio",
                "--platform-ims-org=A@AdobeOrg",
                "--platform-sandbox=dev",
                "--customerio-public-url=https://events.example.com",
                &format!("--sources-file={}", file.display()),
            ];
            let matches = Command::command().get_matches_from(arguments);
            let args = Command::from_arg_matches(&matches).unwrap().connect;
            let words = format!("source `b`: {words}");

            let connect = Connect::of_valid_sources(&args).unwrap();
            let sources: Vec<&str> = connect.desired.webhooks.iter().map(|wish| wish.source.as_str()).collect();
            assert_eq!(sources, ["a", "c"], "{words}");
            assert!(!connect.clients.customerio.contains_key(&"b".parse::<SourceName>().unwrap()));
            let mut plan = Plan::default();
            connect.add_source_problems(&mut plan);
            connect.add_source_problems(&mut plan);
            assert!(plan.problems.len() == 1 && plan.problems[0].starts_with(&words), "{:?}", plan.problems);

            let (connect, problems) = Connect::for_check(&args);
            let texts: Vec<String> = connect.each_source_problem().map(|(_, text)| text).collect();
            assert!(problems.is_empty() && texts.len() == 1 && texts[0].starts_with(&words), "{problems} {texts:?}");
            let unreadable = connect.unreadable_keys().into_iter().map(|source| source.to_string()).collect::<Vec<_>>();
            assert_eq!(unreadable == ["b"], words.contains("signing_keys_file"), "{unreadable:?}");

            // Commands such as `setup destroy` use `Connect::of`, which requires that all sources are valid.
            assert!(Connect::of(&args).err().unwrap().to_string().contains(&words));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn without_a_sources_file_an_unreadable_key_is_reported_once_as_a_problem_of_the_options() {
        let arguments = ["setup", "--only=customerio", "--app-api-key-file=/nowhere/key"];
        let matches = Command::command().get_matches_from(arguments);
        let (connect, problems) = Connect::for_check(&Command::from_arg_matches(&matches).unwrap().connect);
        assert!(connect.source_problems.is_empty());
        let about_the_key: Vec<String> =
            problems.to_vec().into_iter().filter(|text| text.contains("CUSTOMERIO_APP_API_KEY")).collect();
        assert_eq!(about_the_key.len(), 1, "{about_the_key:?}");
    }
}
