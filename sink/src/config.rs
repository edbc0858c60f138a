//! Flags and environment of the sink.

mod platform;

use std::time::Duration;

use ::platform::{BatchBody, ClientSettings, Envelope, EnvelopeSettings, REQUEST_LIMIT, TokenSettings};
use clap::Parser;
use kafka::{Connection, KafkaArgs, OptionalTopic, TopicName};
use schema_registry::{RegistryArgs, RegistrySettings};
use service::{DeadLetterLimit, ServiceArgs, ServiceConfig};
use settings::{ByteCount, DurationArg, Problems, TrialArgs};
use xdm::TenantId;

use self::platform::{ImsArgs, PlatformArgs};
use crate::dispatch::Limits;

/// Delivers typed records to Adobe Experience Platform's streaming ingestion, at least once and with a stable `_id`.
#[derive(Debug, Parser)]
#[command(name = "sink")]
pub struct Config {
    #[command(flatten)]
    kafka: KafkaArgs,

    /// Consumer group
    #[arg(
        long = "kafka-group-id",
        env = "KAFKA_GROUP_ID",
        default_value = "customerio-sink",
        value_name = "NAME",
        help_heading = "Kafka"
    )]
    group: String,

    /// Topic with the typed records
    #[arg(
        long,
        env = "TYPED_TOPIC",
        default_value = "customerio.experience-events",
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    typed_topic: TopicName,

    /// Topic for what Platform refuses; needs at least as many partitions as the typed topic
    #[arg(
        long,
        env = "DEAD_LETTER_TOPIC",
        default_value = "customerio.dead-letters",
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    dead_letter_topic: TopicName,

    /// Topic for receipts, the proof of what Platform accepted; empty for none
    #[arg(
        long,
        env = "RECEIPTS_TOPIC",
        default_value = "customerio.receipts",
        value_name = "TOPIC",
        help_heading = "Topics"
    )]
    receipts_topic: OptionalTopic,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    #[command(flatten)]
    ims: ImsArgs,

    /// The most records of a batch
    #[arg(
        long = "batch-max-records",
        env = "SINK_BATCH_MAX_RECORDS",
        default_value_t = 200,
        value_name = "COUNT",
        help_heading = "Sink"
    )]
    batch_max_records: usize,

    /// The most bytes of a request's body; Platform's limit is 1,000,000
    #[arg(
        long = "batch-max-bytes",
        env = "SINK_BATCH_MAX_BYTES",
        default_value = "900KiB",
        value_name = "SIZE",
        help_heading = "Sink"
    )]
    batch_max_bytes: ByteCount,

    /// How long a record waits for company in its batch
    #[arg(
        long = "batch-linger",
        env = "SINK_BATCH_LINGER",
        default_value = "250ms",
        value_name = "DURATION",
        help_heading = "Sink"
    )]
    batch_linger: DurationArg,

    /// The most requests in flight; how many there are follows what Platform answers
    #[arg(
        long = "max-in-flight",
        env = "SINK_MAX_IN_FLIGHT",
        default_value_t = 64,
        value_name = "COUNT",
        help_heading = "Sink"
    )]
    max_in_flight: usize,

    /// Requests a second of the whole consumer group, shared out by partitions; 0 for no limit
    #[arg(
        long = "max-requests-per-second",
        env = "SINK_MAX_REQUESTS_PER_SECOND",
        default_value_t = 1000,
        value_name = "COUNT",
        help_heading = "Sink"
    )]
    max_requests_per_second: u32,

    /// Records a second of the whole consumer group, shared out by partitions; 0 for no limit
    #[arg(
        long = "max-records-per-second",
        env = "SINK_MAX_RECORDS_PER_SECOND",
        default_value_t = 10_000,
        value_name = "COUNT",
        help_heading = "Sink"
    )]
    max_records_per_second: u32,

    /// A record that Platform answers with 500 whenever it is sent alone, while it takes others, becomes a dead letter
    /// after this time
    #[arg(
        long = "condemn-after",
        env = "SINK_CONDEMN_AFTER",
        default_value = "5m",
        value_name = "DURATION",
        help_heading = "Sink"
    )]
    condemn_after: DurationArg,

    /// The share of a source's last 1,000 records that may become dead letters with one code (if at least 200 do). What is above
    /// it waits, and everything else is delivered; `off` for no limit
    #[arg(
        long,
        env = "DEAD_LETTER_LIMIT",
        default_value_t = DeadLetterLimit::HALF,
        value_name = "PERCENT",
        help_heading = "Sink"
    )]
    dead_letter_limit: DeadLetterLimit,

    /// While nothing can be delivered (wrong credential, wrong address), how often it is tried
    #[arg(
        long = "hold-probe",
        env = "SINK_HOLD_PROBE",
        default_value = "30s",
        value_name = "DURATION",
        help_heading = "Sink"
    )]
    hold_probe: DurationArg,

    /// The most bytes of records read and not yet settled; at most a quarter as much JSON is made of them at a time
    #[arg(
        long = "buffer-bytes",
        env = "SINK_BUFFER_BYTES",
        default_value = "48MiB",
        value_name = "SIZE",
        help_heading = "Sink"
    )]
    buffer_bytes: ByteCount,

    /// Read a partition without committed offset from its beginning although there are receipts already: accepts repeats
    #[arg(long, help_heading = "Sink")]
    from_beginning: bool,

    #[command(flatten)]
    trial: TrialArgs,

    #[command(flatten)]
    service: ServiceArgs,
}

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) connection: Connection,
    pub(crate) group: String,
    pub(crate) input: TopicName,
    pub(crate) dead_letters: TopicName,
    pub(crate) receipts: Option<TopicName>,
    pub(crate) registry: Option<RegistrySettings>,
    pub(crate) tenant: TenantId,
    pub(crate) envelope: EnvelopeSettings,
    pub(crate) client: ClientSettings,
    pub(crate) tokens: Option<TokenSettings>,
    pub(crate) batch_max_records: usize,
    pub(crate) batch_max_bytes: usize,
    pub(crate) batch_linger: Duration,
    pub(crate) limits: Limits,
    pub(crate) buffer_bytes: usize,
    pub(crate) from_beginning: bool,
}

impl ServiceConfig for Config {
    const SERVICE: &'static str = "sink";
    const ADMIN_LISTEN: &'static str = "0.0.0.0:9466";
    type Settings = Settings;

    fn service(&self) -> &ServiceArgs {
        &self.service
    }

    fn warnings(&self) -> Vec<&'static str> {
        let trial = self.trial.trial.then_some(TrialArgs::WARNING);
        let http = self.platform.platform_allow_http.then_some(
            "PLATFORM_ALLOW_HTTP=true: access tokens and events may cross the network unencrypted; set PLATFORM_ALLOW_HTTP=false before real events are sent",
        );
        trial.into_iter().chain(http).collect()
    }

    fn validate(&self) -> Result<Settings, Problems> {
        let mut problems = Problems::default();
        let connection = self.kafka.connection(Self::SERVICE).map_err(|found| problems.extend(found)).ok();
        if self.batch_max_records == 0 {
            problems.add("SINK_BATCH_MAX_RECORDS must be at least 1");
        }
        let platform = self.platform.required().map_err(|found| problems.extend(found)).ok();
        let empty = platform
            .as_ref()
            .map_or(0, |platform| BatchBody::new(&Envelope::new(&platform.envelope), 0).finish().len());
        if !(empty + 16 * 1024..=REQUEST_LIMIT).contains(&self.batch_max_bytes.0) {
            problems.add(format!(
                "SINK_BATCH_MAX_BYTES ({}) must lie between 17KiB and Platform's limit of {REQUEST_LIMIT} bytes",
                self.batch_max_bytes
            ));
        }
        if self.buffer_bytes.0 < 4 * self.batch_max_bytes.0 {
            problems.add(format!(
                "SINK_BUFFER_BYTES ({}) must be at least four times SINK_BATCH_MAX_BYTES ({})",
                self.buffer_bytes, self.batch_max_bytes
            ));
        }
        if self.max_in_flight == 0 {
            problems.add("SINK_MAX_IN_FLIGHT must be at least 1");
        }
        if self.hold_probe.0.is_zero() {
            problems.add("SINK_HOLD_PROBE must be more than 0s");
        }
        if self.typed_topic == self.dead_letter_topic || Some(&self.typed_topic) == self.receipts_topic.0.as_ref() {
            problems.add("TYPED_TOPIC must differ from DEAD_LETTER_TOPIC and RECEIPTS_TOPIC");
        }
        self.platform.check_addresses(&self.ims, self.trial.trial, &mut problems);
        let registry = self.registry.settings().map_err(|found| problems.extend(found)).ok().flatten();
        let tokens = problems.check(self.ims.tokens()).flatten();
        match (connection, platform) {
            (Some(connection), Some(platform)) if problems.is_empty() => Ok(Settings {
                connection,
                group: self.group.clone(),
                input: self.typed_topic.clone(),
                dead_letters: self.dead_letter_topic.clone(),
                receipts: self.receipts_topic.0.clone(),
                registry,
                tenant: platform.tenant,
                envelope: platform.envelope,
                client: platform.client,
                tokens,
                batch_max_records: self.batch_max_records,
                batch_max_bytes: self.batch_max_bytes.0,
                batch_linger: self.batch_linger.0,
                limits: Limits {
                    in_flight: self.max_in_flight,
                    requests_per_second: self.max_requests_per_second,
                    records_per_second: self.max_records_per_second,
                    condemn_after: self.condemn_after.0,
                    hold_probe: self.hold_probe.0,
                    dead_letters: self.dead_letter_limit,
                },
                buffer_bytes: self.buffer_bytes.0,
                from_beginning: self.from_beginning,
            }),
            _ => Err(problems),
        }
    }
}

#[cfg(test)]
mod tests {
    use settings::Variables;

    use super::*;

    const BASE: &[&str] = &[
        "sink",
        "--kafka-bootstrap-servers=127.0.0.1:9092",
        "--platform-tenant=acme",
        "--platform-inlet-url=https://dcs.adobedc.net/collection/abc",
        "--platform-ims-org=A@AdobeOrg",
        "--platform-schema-id=https://ns.adobe.com/acme/schemas/1",
        "--platform-dataset-id=d",
    ];

    fn parse(arguments: &[&str]) -> Config {
        Config::parse_with(&Variables::none(), BASE.iter().chain(arguments)).unwrap()
    }

    #[test]
    fn the_defaults_are_good_and_need_no_token() {
        let settings = parse(&[]).validate().unwrap();
        assert_eq!((settings.batch_max_records, settings.batch_max_bytes), (200, 900 * 1024));
        assert!(settings.tokens.is_none());
        assert_eq!(settings.receipts.unwrap().as_str(), "customerio.receipts");
    }

    #[test]
    fn http_stays_on_this_machine_unless_it_is_allowed() {
        let http = ["--platform-inlet-url=http://platform:8090/collection/abc", "--ims-url=http://ims:8090"];
        let credential = ["--ims-client-id=id", "--ims-client-secret=topsecret"];
        let config = parse(&[&http[..], &credential].concat());
        let problems = config.validate().unwrap_err().to_string();
        for variable in ["PLATFORM_INLET_URL begins with http", "IMS_URL begins with http", "PLATFORM_ALLOW_HTTP"] {
            assert!(problems.contains(variable), "{variable} in {problems}");
        }
        assert!(config.warnings().is_empty());
        for allow in ["--platform-allow-http", "--platform-allow-http=true"] {
            let allowed = parse(&[&http[..], &credential, &[allow]].concat());
            assert!(allowed.validate().is_ok());
            assert!(allowed.warnings().iter().any(|warning| warning.contains("PLATFORM_ALLOW_HTTP")));
        }
        assert!(parse(&["--platform-inlet-url=http://127.0.0.1:8090/collection/abc"]).validate().is_ok());
        let error = Config::parse_with(&Variables::none(), BASE.iter().chain(&["--ims-url=ftp://ims"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("IMS_URL") && error.contains("https://"), "{error}");
    }

    #[test]
    fn the_inlet_of_the_simulator_is_for_a_trial() {
        let id = platform_sim::SimSettings::default().inlet_id;
        let inlet = format!("--platform-inlet-url=http://127.0.0.1:8090/collection/{id}");
        let problems = parse(&[&inlet]).validate().unwrap_err().to_string();
        assert!(problems.contains("an inlet of the simulator") && problems.contains("TRIAL=true"), "{problems}");
        let trial = parse(&[&inlet, "--trial"]);
        assert!(trial.validate().is_ok() && trial.warnings().iter().any(|warning| warning.contains("TRIAL=true")));
        assert!(parse(&["--trial=false"]).warnings().is_empty());
    }

    #[test]
    fn receipts_can_be_turned_off() {
        assert!(parse(&["--receipts-topic="]).validate().unwrap().receipts.is_none());
    }

    #[test]
    fn all_problems_are_reported_at_once_and_no_secret_with_them() {
        let config = parse(&[
            "--ims-client-secret=topsecret",
            "--batch-max-records=0",
            "--batch-max-bytes=1MiB",
            "--buffer-bytes=1KiB",
        ]);
        let problems = config.validate().unwrap_err().to_string();
        for part in ["IMS_CLIENT_ID", "SINK_BATCH_MAX_RECORDS", "SINK_BATCH_MAX_BYTES", "SINK_BUFFER_BYTES"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        assert!(!problems.contains("topsecret") && !format!("{config:?}").contains("topsecret"));
        let proxy = parse(&["--https-proxy=http://user:topsecret@proxy:3128"]);
        assert!(!format!("{proxy:?}{:?}", proxy.validate().unwrap()).contains("topsecret"));
    }

    #[test]
    fn what_is_required_is_named_with_its_variable() {
        let none = Variables::none();
        let arguments = ["sink", "--ims-url=https://ims-na1.adobelogin.com", "--batch-max-records=0"];
        let problems = Config::parse_with(&none, arguments).unwrap().validate().unwrap_err().to_string();
        for variable in [
            "KAFKA_BOOTSTRAP_SERVERS",
            "PLATFORM_TENANT",
            "PLATFORM_INLET_URL",
            "PLATFORM_IMS_ORG",
            "PLATFORM_SCHEMA_ID",
            "PLATFORM_DATASET_ID",
            "IMS_CLIENT_ID",
            "IMS_CLIENT_SECRET",
            "SINK_BATCH_MAX_RECORDS",
        ] {
            assert!(problems.contains(variable), "{variable} in {problems}");
        }
        // What cannot be read at all is reported together with what is missing, too.
        let error = Config::parse_with(&none, ["sink", "--batch-max-bytes=many"]).unwrap_err().to_string();
        for name in ["SINK_BATCH_MAX_BYTES", "PLATFORM_TENANT", "KAFKA_BOOTSTRAP_SERVERS"] {
            assert!(error.contains(name), "{name} in {error}");
        }
    }
}
