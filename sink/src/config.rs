//! The options of the sink and their validation.

mod control;
mod platform;

use std::time::Duration;

use ::platform::{BatchBody, ClientSettings, Envelope, EnvelopeSettings, REQUEST_LIMIT, TokenSettings};
use clap::Parser;
use contract::defaults;
use kafka::{Connection, KafkaArgs, TopicName};
use schema_registry::{RegistryArgs, RegistrySettings};
use service::{DeadLetterLimit, ServiceArgs, ServiceConfig};
use settings::{ByteCount, DeadLetterTopic, DurationArg, Problems, ReceiptsTopic, TimeArg, TrialArgs, TypedTopic};
use xdm::TenantId;

use self::control::{Control, ControlArgs};
use self::platform::{ImsArgs, PlatformArgs, Required};
use crate::dispatch::Limits;

/// Maximum time from now until `PLATFORM_NOT_BEFORE`. A later time is a mistake.
const LATEST_BEGINNING: Duration = Duration::from_secs(24 * 60 * 60);

/// The default of `SINK_DEAD_LETTER_AFTER`.
const DEAD_LETTER_AFTER: Duration = Duration::from_secs(300);

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
        default_value = defaults::SINK_GROUP,
        value_name = "NAME",
        help_heading = "Kafka"
    )]
    group: String,

    #[command(flatten)]
    typed_topic: TypedTopic,

    #[command(flatten)]
    dead_letter_topic: DeadLetterTopic,

    #[command(flatten)]
    receipts_topic: ReceiptsTopic,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    platform: PlatformArgs,

    #[command(flatten)]
    ims: ImsArgs,

    #[command(flatten)]
    control: ControlArgs,

    /// Maximum records per batch
    #[arg(
        long = "batch-max-records",
        env = "SINK_BATCH_MAX_RECORDS",
        default_value_t = 200,
        value_name = "COUNT",
        help_heading = "Sink"
    )]
    batch_max_records: usize,

    /// Maximum bytes of a request body; Platform's limit is 1,000,000
    #[arg(
        long = "batch-max-bytes",
        env = "SINK_BATCH_MAX_BYTES",
        default_value = "900KiB",
        value_name = "SIZE",
        help_heading = "Sink"
    )]
    batch_max_bytes: ByteCount,

    /// Maximum time for which a record waits for others to fill its batch
    #[arg(
        long = "batch-linger",
        env = "SINK_BATCH_LINGER",
        default_value = "250ms",
        value_name = "DURATION",
        help_heading = "Sink"
    )]
    batch_linger: DurationArg,

    /// Maximum requests in flight; the actual number follows Platform's responses
    #[arg(
        long = "max-in-flight",
        env = "SINK_MAX_IN_FLIGHT",
        default_value_t = 64,
        value_name = "COUNT",
        help_heading = "Sink"
    )]
    max_in_flight: usize,

    /// Requests per second for the whole consumer group, divided by partitions; 0 for no limit
    #[arg(
        long = "max-requests-per-second",
        env = "SINK_MAX_REQUESTS_PER_SECOND",
        default_value_t = 1000,
        value_name = "COUNT",
        help_heading = "Sink"
    )]
    max_requests_per_second: u32,

    /// Records per second for the whole consumer group, divided by partitions; 0 for no limit
    #[arg(
        long = "max-records-per-second",
        env = "SINK_MAX_RECORDS_PER_SECOND",
        default_value_t = 10_000,
        value_name = "COUNT",
        help_heading = "Sink"
    )]
    max_records_per_second: u32,

    /// Time after which a record becomes a dead letter if Platform responds 500 whenever it is sent alone and accepts
    /// others [default: 5m]
    #[arg(long = "dead-letter-after", env = "SINK_DEAD_LETTER_AFTER", value_name = "DURATION", help_heading = "Sink")]
    dead_letter_after: Option<DurationArg>,

    /// The old name of `dead_letter_after`, accepted for one release
    #[arg(long = "condemn-after", env = "SINK_CONDEMN_AFTER", hide = true, value_name = "DURATION")]
    sink_condemn_after: Option<DurationArg>,

    /// Maximum share of a source's last 1,000 records that may become dead letters with the same code; the limit
    /// applies from the 200th such dead letter on. Records over it wait, and everything else is delivered; `off` for no
    /// limit
    #[arg(
        long,
        env = "DEAD_LETTER_LIMIT",
        default_value_t = DeadLetterLimit::HALF,
        value_name = "PERCENT",
        help_heading = "Sink"
    )]
    dead_letter_limit: DeadLetterLimit,

    /// Interval between attempts while nothing can be delivered (wrong credential, wrong address)
    #[arg(
        long = "hold-probe",
        env = "SINK_HOLD_PROBE",
        default_value = "30s",
        value_name = "DURATION",
        help_heading = "Sink"
    )]
    hold_probe: DurationArg,

    /// Maximum bytes of records read and without a durable outcome; JSON takes at most a quarter as much, or four batches
    #[arg(
        long = "buffer-bytes",
        env = "SINK_BUFFER_BYTES",
        default_value = "48MiB",
        value_name = "SIZE",
        help_heading = "Sink"
    )]
    buffer_bytes: ByteCount,

    /// Read a partition without a committed offset from its beginning although receipts exist: accepts repeats
    #[arg(long, help_heading = "Sink")]
    from_beginning: bool,

    #[command(flatten)]
    trial: TrialArgs,

    #[command(flatten)]
    service: ServiceArgs,
}

impl Config {
    /// Returns the limits of the group's requests and records per second; 0 means no limit.
    #[must_use]
    pub fn max_rates(&self) -> (u32, u32) {
        (self.max_requests_per_second, self.max_records_per_second)
    }

    /// Checks the values of single options and their combinations.
    fn check_values(&self, platform: Option<&Required>, problems: &mut Problems) {
        if self.batch_max_records == 0 {
            problems.add("SINK_BATCH_MAX_RECORDS must be at least 1");
        }
        let empty = platform.map_or(0, |platform| BatchBody::new(&Envelope::new(&platform.envelope), 0).finish().len());
        if !(empty + 16 * 1024..=REQUEST_LIMIT).contains(&self.batch_max_bytes.0) {
            problems.add(format!(
                "SINK_BATCH_MAX_BYTES ({}) must be between 17KiB and Platform's limit of {REQUEST_LIMIT} bytes",
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
        if self.dead_letter_after.is_some() && self.sink_condemn_after.is_some() {
            problems.add(
                "SINK_DEAD_LETTER_AFTER and SINK_CONDEMN_AFTER are both set, and the second is the old name of the first; remove SINK_CONDEMN_AFTER",
            );
        }
        if self.platform.platform_not_before.is_some_and(|time| time.from_now() > LATEST_BEGINNING) {
            problems.add(
                "PLATFORM_NOT_BEFORE is more than a day ahead, and the sink would send nothing until then; Platform needs 15 minutes after a change of the schema",
            );
        }
        if self.hold_probe.0.is_zero() {
            problems.add("SINK_HOLD_PROBE must be more than 0s");
        }
        if self.typed_topic.name == self.dead_letter_topic.name
            || Some(&self.typed_topic.name) == self.receipts_topic.name.0.as_ref()
        {
            problems.add("TYPED_TOPIC must differ from DEAD_LETTER_TOPIC and RECEIPTS_TOPIC");
        }
    }

    fn limits(&self) -> Limits {
        let dead_letter_after = self.dead_letter_after.or(self.sink_condemn_after);
        Limits {
            in_flight: self.max_in_flight,
            requests_per_second: self.max_requests_per_second,
            records_per_second: self.max_records_per_second,
            dead_letter_after: dead_letter_after.map_or(DEAD_LETTER_AFTER, |after| after.0),
            hold_probe: self.hold_probe.0,
            dead_letters: self.dead_letter_limit,
        }
    }
}

/// The validated configuration.
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
    /// Settings for queries to Platform's control plane; `None` if the sink sends none.
    pub(crate) control: Option<Control>,
    pub(crate) batch_max_records: usize,
    pub(crate) batch_max_bytes: usize,
    pub(crate) batch_linger: Duration,
    pub(crate) limits: Limits,
    /// Nothing is sent before this time.
    pub(crate) not_before: Option<TimeArg>,
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
        let renamed = self.sink_condemn_after.is_some().then_some(
            "SINK_CONDEMN_AFTER is the old name of SINK_DEAD_LETTER_AFTER, and the next release ignores it; rename the variable (flag: --dead-letter-after)",
        );
        trial.into_iter().chain(http).chain(renamed).collect()
    }

    fn validate(&self) -> Result<Settings, Problems> {
        let mut problems = Problems::default();
        let connection = self.kafka.connection(Self::SERVICE).map_err(|found| problems.extend(found)).ok();
        let platform = self.platform.required().map_err(|found| problems.extend(found)).ok();
        self.check_values(platform.as_ref(), &mut problems);
        self.platform.check_addresses(&self.ims, self.trial.trial, &mut problems);
        let registry = self.registry.settings().map_err(|found| problems.extend(found)).ok().flatten();
        let tokens = problems.check(self.ims.tokens()).flatten();
        let client = platform.as_ref().map(|platform| &platform.client);
        let allow_http = self.platform.platform_allow_http;
        let control = self.control.control(client, tokens.as_ref(), allow_http, &mut problems);
        match (connection, platform) {
            (Some(connection), Some(platform)) if problems.is_empty() => Ok(Settings {
                connection,
                group: self.group.clone(),
                input: self.typed_topic.name.clone(),
                dead_letters: self.dead_letter_topic.name.clone(),
                receipts: self.receipts_topic.name.0.clone(),
                registry,
                tenant: platform.tenant,
                envelope: platform.envelope,
                client: platform.client,
                tokens,
                control,
                batch_max_records: self.batch_max_records,
                batch_max_bytes: self.batch_max_bytes.0,
                batch_linger: self.batch_linger.0,
                limits: self.limits(),
                not_before: self.platform.platform_not_before,
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
    fn the_default_options_are_valid_without_ims_credentials() {
        let settings = parse(&[]).validate().unwrap();
        assert_eq!((settings.batch_max_records, settings.batch_max_bytes), (200, 900 * 1024));
        assert!(settings.tokens.is_none());
        assert_eq!(settings.receipts.unwrap().as_str(), "customerio.receipts");
    }

    #[test]
    fn http_to_another_machine_is_refused_without_platform_allow_http() {
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
    fn a_not_before_time_more_than_a_day_ahead_is_refused() {
        let parsed = |time: &str| parse(&[&format!("--platform-not-before={time}")]);
        let problems = parsed("2999-01-01T00:00:00Z").validate().unwrap_err().to_string();
        assert!(problems.contains("PLATFORM_NOT_BEFORE is more than a day ahead"), "{problems}");
        assert!(parsed("2026-01-01T00:00:00Z").validate().unwrap().not_before.is_some());
        assert!(parse(&[]).validate().unwrap().not_before.is_none());
    }

    #[test]
    fn an_inlet_of_the_simulator_is_refused_without_trial_true() {
        let id = platform_sim::SimSettings::default().inlet_id;
        let inlet = format!("--platform-inlet-url=http://127.0.0.1:8090/collection/{id}");
        let problems = parse(&[&inlet]).validate().unwrap_err().to_string();
        assert!(problems.contains("an inlet of the simulator") && problems.contains("TRIAL=true"), "{problems}");
        let trial = parse(&[&inlet, "--trial"]);
        assert!(trial.validate().is_ok() && trial.warnings().iter().any(|warning| warning.contains("TRIAL=true")));
        assert!(parse(&["--trial=false"]).warnings().is_empty());
    }

    /// The variable and the flag of an option, with a value.
    type Setting = ((&'static str, &'static str), &'static str);

    #[test]
    fn the_old_name_of_dead_letter_after_warns_and_conflicts_with_the_new_name() {
        let (new, old) = (("SINK_DEAD_LETTER_AFTER", "--dead-letter-after"), ("SINK_CONDEMN_AFTER", "--condemn-after"));
        let by_flags = |set: &[Setting]| {
            let flags: Vec<String> = set.iter().map(|((_, flag), value)| format!("{flag}={value}")).collect();
            parse(&flags.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let by_file = |set: &[Setting]| {
            let text: String = set.iter().map(|((variable, _), value)| format!("{variable}={value}\n")).collect();
            Config::parse_with(&Variables::with_text(&text).unwrap(), BASE).unwrap()
        };
        for parsed in [&by_flags as &dyn Fn(&[Setting]) -> Config, &by_file] {
            let seconds = |config: &Config| config.validate().unwrap().limits.dead_letter_after.as_secs();
            for (set, expected, warns) in
                [(&[][..], 300, false), (&[(new, "7m")], 420, false), (&[(old, "7m")], 420, true)]
            {
                let config = parsed(set);
                assert_eq!(seconds(&config), expected, "{set:?}");
                let warnings = config.warnings();
                let renamed = warnings.iter().any(|text| text.contains(old.0) && text.contains(new.0));
                assert_eq!((renamed, warnings.len()), (warns, usize::from(warns)), "{set:?}: {warnings:?}");
            }
            // Setting both names is an error even if one of the values equals the default.
            for value in ["5m", "7m"] {
                let problems = parsed(&[(new, value), (old, value)]).validate().unwrap_err().to_string();
                assert!(problems.contains(new.0) && problems.contains(old.0), "{problems}");
            }
        }
        let help = Config::definition().render_long_help().to_string();
        assert!(help.contains(new.1) && help.contains("[default: 5m]") && !help.contains(old.1), "{help}");
    }

    #[test]
    fn an_empty_receipts_topic_turns_receipts_off() {
        assert!(parse(&["--receipts-topic="]).validate().unwrap().receipts.is_none());
    }

    #[test]
    fn all_problems_of_the_configuration_are_reported_at_once_without_secrets() {
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
    fn missing_options_are_reported_with_their_variables() {
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
        // Values that cannot be parsed are reported together with missing ones.
        let error = Config::parse_with(&none, ["sink", "--batch-max-bytes=many"]).unwrap_err().to_string();
        for name in ["SINK_BATCH_MAX_BYTES", "PLATFORM_TENANT", "KAFKA_BOOTSTRAP_SERVERS"] {
            assert!(error.contains(name), "{name} in {error}");
        }
    }
}
