//! The options of the transformer and their validation.

use std::time::Duration;

use clap::Parser;
use contract::defaults;
use kafka::{Connection, KafkaArgs, TopicName};
use mapping_options::MappingArgs;
use schema_registry::{RegistryArgs, RegistrySettings};
use service::{DeadLetterLimit, ServiceArgs, ServiceConfig};
use settings::{ByteCount, DeadLetterTopic, DurationArg, Problems, RawTopic, TypedTopic};

use crate::dedup::WindowLimits;

/// Turns raw Customer.io webhooks into Avro XDM ExperienceEvents, exactly once (one Kafka transaction contains the
/// typed records, the dead letters and the consumed offsets).
#[derive(Debug, Parser)]
#[command(name = "transformer")]
pub struct Config {
    #[command(flatten)]
    kafka: KafkaArgs,

    /// Consumer group
    #[arg(
        long = "kafka-group-id",
        env = "KAFKA_GROUP_ID",
        default_value = defaults::TRANSFORMER_GROUP,
        value_name = "NAME",
        help_heading = "Kafka"
    )]
    group: String,

    #[command(flatten)]
    raw_topic: RawTopic,

    #[command(flatten)]
    typed_topic: TypedTopic,

    #[command(flatten)]
    dead_letter_topic: DeadLetterTopic,

    /// Worker threads, each with its own consumer and producer [default: the number of cores]
    #[arg(long = "workers", env = "TRANSFORMER_WORKERS", value_name = "COUNT", help_heading = "Transformer")]
    workers: Option<usize>,

    /// Commit a transaction at least this often; readers see records with this delay
    #[arg(
        long = "commit-interval",
        env = "TRANSFORMER_COMMIT_INTERVAL",
        default_value = "100ms",
        value_name = "DURATION",
        help_heading = "Transformer"
    )]
    commit_interval: DurationArg,

    /// The brokers abort a transaction whose owner died after this time
    #[arg(
        long = "transaction-timeout",
        env = "TRANSFORMER_TRANSACTION_TIMEOUT",
        default_value = "20s",
        value_name = "DURATION",
        help_heading = "Transformer"
    )]
    transaction_timeout: DurationArg,

    /// Name of this instance, unique in the group and stable across restarts, so that a restarted process immediately
    /// ends the transaction of a killed one. `@hostname` uses the host name
    #[arg(long = "instance", env = "TRANSFORMER_INSTANCE", value_name = "NAME", help_heading = "Transformer")]
    instance: Option<String>,

    /// A webhook received again within this time becomes no second record
    #[arg(
        long = "dedup-window",
        env = "TRANSFORMER_DEDUP_WINDOW",
        default_value = defaults::DEDUP_WINDOW,
        value_name = "DURATION",
        help_heading = "Transformer"
    )]
    dedup_window: DurationArg,

    /// Maximum ids in the window per partition (27 bytes each). If they do not cover the window,
    /// customerio_transformer_dedup_window_seconds shows how far back they reach
    #[arg(
        long = "dedup-max-ids",
        env = "TRANSFORMER_DEDUP_MAX_IDS",
        default_value_t = defaults::DEDUP_MAX_IDS as usize,
        value_name = "COUNT",
        help_heading = "Transformer"
    )]
    dedup_max_ids: usize,

    /// Maximum share of a source's last 1,000 records of a worker that may become dead letters with the same code; the
    /// limit applies from the 200th such dead letter on. Records over it stay on the raw topic until a restart, and
    /// everything else continues; `off` for no limit
    #[arg(
        long,
        env = "DEAD_LETTER_LIMIT",
        default_value_t = DeadLetterLimit::HALF,
        value_name = "PERCENT",
        help_heading = "Transformer"
    )]
    dead_letter_limit: DeadLetterLimit,

    /// Maximum size of a body after decompression; the same as the gateway's
    #[arg(
        long = "max-body",
        env = "GATEWAY_MAX_BODY",
        default_value = defaults::MAX_BODY,
        value_name = "SIZE",
        help_heading = "Transformer"
    )]
    max_body: ByteCount,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    mapping: MappingArgs,

    /// Read a partition without a committed offset from the beginning although output exists; accepts repeats
    #[arg(long, help_heading = "Transformer")]
    from_beginning: bool,

    #[command(flatten)]
    service: ServiceArgs,
}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) connection: Connection,
    pub(crate) group: String,
    pub(crate) input: TopicName,
    pub(crate) typed: TopicName,
    pub(crate) dead_letters: TopicName,
    pub(crate) workers: usize,
    pub(crate) commit_interval: Duration,
    pub(crate) transaction_timeout: Duration,
    pub(crate) instance: Option<String>,
    pub(crate) from_beginning: bool,
    pub(crate) fetch_bytes: usize,
    pub(crate) dedup: WindowLimits,
    pub(crate) dead_letter_limit: DeadLetterLimit,
    /// Maximum size of a body after decompression, in bytes.
    pub(crate) max_body: usize,
    /// The Schema Registry that assigns the schema's id; `None` if records contain the schema's fingerprint instead.
    pub(crate) registry: Option<RegistrySettings>,
    /// The mapping options of all sources. `validate` has checked that they can be loaded.
    pub(crate) mapping: MappingArgs,
}

/// Maximum number of ids in one partition's window. It must be below 2^32, because entries have 32-bit numbers.
const LARGEST_WINDOW: usize = 100_000_000;

/// Maximum number of bytes that the consumers of all workers together fetch ahead.
const FETCH_BYTES: usize = 4 * 1024 * 1024;

impl ServiceConfig for Config {
    const SERVICE: &'static str = "transformer";
    const ADMIN_LISTEN: &'static str = "0.0.0.0:9465";
    const RELOADS: bool = true;
    type Settings = Settings;

    fn service(&self) -> &ServiceArgs {
        &self.service
    }

    fn validate(&self) -> Result<Settings, Problems> {
        let mut problems = Problems::default();
        let connection = self.kafka.connection(Self::SERVICE).map_err(|found| problems.extend(found)).ok();
        let workers = self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
        if workers == 0 {
            problems.add("TRANSFORMER_WORKERS must be at least 1");
        }
        if self.commit_interval.0 >= self.transaction_timeout.0 {
            problems.add(format!(
                "TRANSFORMER_COMMIT_INTERVAL ({}) must be shorter than TRANSFORMER_TRANSACTION_TIMEOUT ({})",
                self.commit_interval, self.transaction_timeout
            ));
        }
        if self.transaction_timeout.0 < Duration::from_secs(1) {
            problems.add("TRANSFORMER_TRANSACTION_TIMEOUT must be at least 1s: a commit needs time");
        }
        if self.dedup_window.0 < Duration::from_secs(1) {
            problems.add("TRANSFORMER_DEDUP_WINDOW must be at least 1s");
        }
        if !(1..=LARGEST_WINDOW).contains(&self.dedup_max_ids) {
            problems.add(format!(
                "TRANSFORMER_DEDUP_MAX_IDS ({}) must be between 1 and {LARGEST_WINDOW}",
                self.dedup_max_ids
            ));
        }
        let topics = [&self.raw_topic.name, &self.typed_topic.name, &self.dead_letter_topic.name];
        if topics[0] == topics[1] || topics[0] == topics[2] || topics[1] == topics[2] {
            problems.add("RAW_TOPIC, TYPED_TOPIC and DEAD_LETTER_TOPIC must be three different topics");
        }
        if let Err(found) = self.mapping.sources() {
            problems.extend(found);
        }
        let registry = self.registry.settings().map_err(|found| problems.extend(found)).ok().flatten();
        let instance = problems.check(self.instance_name()).flatten();
        match connection {
            Some(connection) if problems.is_empty() => Ok(Settings {
                connection,
                group: self.group.clone(),
                input: self.raw_topic.name.clone(),
                typed: self.typed_topic.name.clone(),
                dead_letters: self.dead_letter_topic.name.clone(),
                workers,
                commit_interval: self.commit_interval.0,
                transaction_timeout: self.transaction_timeout.0,
                instance,
                from_beginning: self.from_beginning,
                fetch_bytes: FETCH_BYTES / workers,
                dedup: WindowLimits::new(self.dedup_window.0, self.dedup_max_ids),
                dead_letter_limit: self.dead_letter_limit,
                max_body: self.max_body.0,
                registry,
                mapping: self.mapping.clone(),
            }),
            _ => Err(problems),
        }
    }
}

impl Config {
    fn instance_name(&self) -> Result<Option<String>, String> {
        let Some(instance) = self.instance.as_deref().filter(|instance| !instance.is_empty()) else { return Ok(None) };
        if instance == "@hostname" {
            let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
                .map_err(|error| format!("TRANSFORMER_INSTANCE: cannot read the host name: {error}"))?;
            return Ok(Some(name.trim().to_owned()));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if instance.len() > 100 || !instance.chars().all(legal) {
            return Err(
                "TRANSFORMER_INSTANCE is not a name of at most 100 letters, digits, `.`, `_` and `-`".to_owned()
            );
        }
        Ok(Some(instance.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use settings::Variables;

    use super::*;

    fn parse(arguments: &[&str]) -> Config {
        let base = ["transformer", "--kafka-bootstrap-servers", "127.0.0.1:9092"];
        Config::parse_with(&Variables::none(), base.iter().chain(arguments)).unwrap()
    }

    #[test]
    fn the_default_options_are_valid() {
        let settings = parse(&[]).validate().unwrap();
        assert_eq!(settings.commit_interval, Duration::from_millis(100));
        assert_eq!(settings.input.as_str(), "customerio.webhooks");
        assert_eq!(settings.instance, None);
    }

    #[test]
    fn all_problems_of_the_configuration_are_reported_at_once() {
        let config = parse(&[
            "--workers=0",
            "--commit-interval=30s",
            "--typed-topic=customerio.webhooks",
            "--instance=two words",
            "--dedup-window=0s",
            "--dedup-max-ids=0",
        ]);
        let problems = config.validate().unwrap_err().to_string();
        for part in [
            "TRANSFORMER_WORKERS",
            "TRANSFORMER_COMMIT_INTERVAL",
            "TYPED_TOPIC",
            "TRANSFORMER_INSTANCE",
            "TRANSFORMER_DEDUP_WINDOW",
            "TRANSFORMER_DEDUP_MAX_IDS",
        ] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
    }

    #[test]
    fn the_instance_option_with_at_hostname_uses_the_host_name() {
        let settings = parse(&["--instance=@hostname"]).validate().unwrap();
        assert!(settings.instance.is_some_and(|instance| !instance.is_empty() && instance != "@hostname"));
    }
}
