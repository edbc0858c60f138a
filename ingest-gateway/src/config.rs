//! The options of the gateway and their validation.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use contract::defaults;
use contract::limits::LARGEST_BODY;
use kafka::{Connection, KafkaArgs, TopicName};
use secrecy::SecretString;
use service::{ServiceArgs, ServiceConfig};
use settings::{ByteCount, DeadLetterTopic, DurationArg, Problems, RawTopic, SecretSource, TrialArgs, secret_source};

use crate::source::{Keys, KeysFrom, SourcesOrigin};
use crate::tls::TlsFiles;
use settings::watched::Origin;

/// Receives Customer.io's reporting webhooks: verifies the signature, writes the body bytes unchanged to Kafka,
/// responds with 202 once all in-sync replicas have them.
#[derive(Debug, Parser)]
#[command(name = "ingest-gateway")]
pub struct Config {
    #[command(flatten)]
    kafka: KafkaArgs,

    #[command(flatten)]
    raw_topic: RawTopic,

    #[command(flatten)]
    dead_letter_topic: DeadLetterTopic,

    /// Address for the webhooks
    #[arg(
        long = "listen",
        env = "GATEWAY_LISTEN",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS",
        help_heading = "Gateway"
    )]
    listen: SocketAddr,

    /// Certificate with its intermediates, PEM; the gateway then serves TLS. Read again when it changes
    #[arg(long = "tls-cert", env = "GATEWAY_TLS_CERT", value_name = "PATH", help_heading = "Gateway")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM without a passphrase
    #[arg(long = "tls-key", env = "GATEWAY_TLS_KEY", value_name = "PATH", help_heading = "Gateway")]
    tls_key: Option<PathBuf>,

    /// Maximum size of a body that is stored whole; a larger authentic one, up to 64 MiB, becomes a dead letter with
    /// its hash
    #[arg(
        long = "max-body",
        env = "GATEWAY_MAX_BODY",
        default_value = defaults::MAX_BODY,
        value_name = "SIZE",
        help_heading = "Gateway"
    )]
    max_body: ByteCount,

    /// Latest time for the response after the request headers; Customer.io gives up after 4 s
    #[arg(
        long = "ack-deadline",
        env = "GATEWAY_ACK_DEADLINE",
        default_value = "3500ms",
        value_name = "DURATION",
        help_heading = "Gateway"
    )]
    ack_deadline: DurationArg,

    /// Maximum difference between X-CIO-Timestamp and the current time [default: any; repeats are deduplicated later,
    /// and Customer.io does not document whether it signs a retry again]
    #[arg(
        long = "timestamp-tolerance",
        env = "GATEWAY_TIMESTAMP_TOLERANCE",
        value_name = "DURATION",
        help_heading = "Gateway"
    )]
    timestamp_tolerance: Option<DurationArg>,

    /// Time for which requests are still served after SIGTERM, so that load balancers notice
    #[arg(
        long = "drain-delay",
        env = "GATEWAY_DRAIN_DELAY",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = "Gateway"
    )]
    drain_delay: DurationArg,

    /// Timeout for the request headers, and for the next bytes of a body, before a 408; the body must also be complete
    /// within GATEWAY_ACK_DEADLINE
    #[arg(
        long = "read-timeout",
        env = "GATEWAY_READ_TIMEOUT",
        default_value = "10s",
        value_name = "DURATION",
        help_heading = "Gateway"
    )]
    read_timeout: DurationArg,

    /// Maximum bytes of bodies received and not yet acknowledged by Kafka
    #[arg(
        long = "in-flight-bytes",
        env = "GATEWAY_IN_FLIGHT_BYTES",
        default_value = "256MiB",
        value_name = "SIZE",
        help_heading = "Gateway"
    )]
    in_flight_bytes: ByteCount,

    /// Maximum connections (limited by open files); at the limit, those that waited longest for their client are closed
    #[arg(
        long = "max-connections",
        env = "GATEWAY_MAX_CONNECTIONS",
        default_value_t = 10_000,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u32).range(10..=1_000_000),
        help_heading = "Gateway"
    )]
    max_connections: u32,

    /// Signing keys of the webhook, as Customer.io shows them, one per line; all are live
    #[arg(
        long = "signing-keys",
        env = "CUSTOMERIO_SIGNING_KEYS",
        hide_env_values = true,
        value_name = "SECRET",
        help_heading = "Customer.io"
    )]
    signing_keys: Option<SecretString>,

    /// File that holds the signing keys; read again on change and SIGHUP
    #[arg(
        long = "signing-keys-file",
        env = "CUSTOMERIO_SIGNING_KEYS_FILE",
        value_name = "PATH",
        help_heading = "Customer.io"
    )]
    signing_keys_file: Option<PathBuf>,

    /// TOML file that names several sources, each with its signing keys (docs/sources.md); replaces the keys here; read
    /// again on change and SIGHUP
    #[arg(long = "sources-file", env = "SOURCES_FILE", value_name = "PATH", help_heading = "Customer.io")]
    sources_file: Option<PathBuf>,

    #[command(flatten)]
    trial: TrialArgs,

    #[command(flatten)]
    service: ServiceArgs,
}

/// The validated configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) connection: Connection,
    pub(crate) raw_topic: TopicName,
    pub(crate) dead_letter_topic: TopicName,
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) max_body: usize,
    pub(crate) ack_deadline: Duration,
    pub(crate) timestamp_tolerance: Option<Duration>,
    pub(crate) drain_delay: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) in_flight_bytes: usize,
    pub(crate) max_connections: usize,
    pub(crate) sources: SourcesOrigin,
}

/// Customer.io gives up after this time (reporting-webhooks specification).
const SENDER_TIMEOUT: Duration = Duration::from_secs(4);

impl ServiceConfig for Config {
    const SERVICE: &'static str = "ingest-gateway";
    const ADMIN_LISTEN: &'static str = "0.0.0.0:9464";
    const RELOADS: bool = true;
    type Settings = Settings;

    fn service(&self) -> &ServiceArgs {
        &self.service
    }

    fn warnings(&self) -> Vec<&'static str> {
        self.trial.trial.then_some(TrialArgs::WARNING).into_iter().collect()
    }

    fn validate(&self) -> Result<Settings, Problems> {
        let mut problems = Problems::default();
        let connection = self.kafka.connection(Self::SERVICE).map_err(|found| problems.extend(found)).ok();
        if self.ack_deadline.0 >= SENDER_TIMEOUT {
            problems.add(format!(
                "GATEWAY_ACK_DEADLINE ({}) must be shorter than the 4 s after which Customer.io gives up",
                self.ack_deadline
            ));
        }
        if self.ack_deadline.0 < Duration::from_millis(100) {
            problems.add(format!("GATEWAY_ACK_DEADLINE ({}) must be at least 100ms", self.ack_deadline));
        }
        if !(1024..=LARGEST_BODY).contains(&self.max_body.0) {
            problems.add(format!("GATEWAY_MAX_BODY ({}) must be between 1KiB and 64MiB", self.max_body));
        }
        if self.in_flight_bytes.0 < self.max_body.0.saturating_mul(2) {
            problems.add(format!(
                "GATEWAY_IN_FLIGHT_BYTES ({}) must be at least twice GATEWAY_MAX_BODY ({}), or large bodies could never be accepted",
                self.in_flight_bytes, self.max_body
            ));
        }
        if self.read_timeout.0.is_zero() {
            problems.add("GATEWAY_READ_TIMEOUT must be more than 0s");
        }
        if self.drain_delay.0 >= self.service.shutdown_timeout.0 {
            problems.add(format!(
                "GATEWAY_DRAIN_DELAY ({}) must be shorter than SHUTDOWN_TIMEOUT ({})",
                self.drain_delay, self.service.shutdown_timeout
            ));
        }
        if self.raw_topic.name == self.dead_letter_topic.name {
            problems.add("RAW_TOPIC and DEAD_LETTER_TOPIC must be two topics");
        }
        let tls = self.tls().map_err(|found| problems.extend(found)).ok();
        let sources = self.sources().map_err(|found| problems.extend(found)).ok();
        match (connection, sources, tls) {
            (Some(connection), Some(sources), Some(tls)) if problems.is_empty() => Ok(Settings {
                connection,
                raw_topic: self.raw_topic.name.clone(),
                dead_letter_topic: self.dead_letter_topic.name.clone(),
                listen: self.listen,
                tls,
                max_body: self.max_body.0,
                ack_deadline: self.ack_deadline.0,
                timestamp_tolerance: self.timestamp_tolerance.map(|tolerance| tolerance.0),
                drain_delay: self.drain_delay.0,
                read_timeout: self.read_timeout.0,
                in_flight_bytes: self.in_flight_bytes.0,
                max_connections: usize::try_from(self.max_connections).unwrap_or(usize::MAX),
                sources,
            }),
            _ => Err(problems),
        }
    }
}

impl Config {
    /// Returns the origin of the sources and keys, after loading it once to check it.
    fn sources(&self) -> Result<SourcesOrigin, Problems> {
        let name = "CUSTOMERIO_SIGNING_KEYS";
        let from = match &self.sources_file {
            Some(_) if self.signing_keys.is_some() || self.signing_keys_file.is_some() => {
                return Err(format!("{name} and SOURCES_FILE are both set; keep one of them").into());
            }
            Some(path) => KeysFrom::SourcesFile(path.clone()),
            None => match secret_source(name, self.signing_keys.as_ref(), self.signing_keys_file.as_deref())? {
                Some(SecretSource::Value(keys)) => KeysFrom::Value(keys),
                Some(SecretSource::File(path)) => KeysFrom::KeysFile(path),
                None => {
                    let hint = "copy the signing key from the Reporting Webhooks page of Customer.io";
                    return Err(format!("{name} is not set; {hint}").into());
                }
            },
        };
        let any = self.trial.trial || self.listen.ip().to_canonical().is_loopback();
        let origin = SourcesOrigin { from, keys: if any { Keys::Any } else { Keys::Secret } };
        origin.load()?;
        Ok(origin)
    }

    /// Returns the paths of certificate and key, if the gateway serves TLS, after checking that both files can be used.
    fn tls(&self) -> Result<Option<TlsFiles>, Problems> {
        let files = match (&self.tls_cert, &self.tls_key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => TlsFiles { certificate: certificate.clone(), key: key.clone() },
            _ => return Err("GATEWAY_TLS_CERT and GATEWAY_TLS_KEY go together; set both or none".to_owned().into()),
        };
        files.load()?;
        Ok(Some(files))
    }
}

#[cfg(test)]
mod tests {
    use settings::Variables;

    use super::*;

    fn parse(arguments: &[&str]) -> Config {
        let base = ["ingest-gateway", "--kafka-bootstrap-servers", "127.0.0.1:9092"];
        Config::parse_with(&Variables::none(), base.iter().chain(arguments)).unwrap()
    }

    #[test]
    fn a_signing_key_and_bootstrap_servers_are_the_only_required_options() {
        let settings = parse(&["--signing-keys", "0123456789abcdef"]).validate().unwrap();
        assert_eq!((settings.max_body, settings.ack_deadline), (10 << 20, Duration::from_millis(3500)));
    }

    #[test]
    fn a_published_or_short_signing_key_needs_trial_true_unless_the_gateway_listens_on_loopback() {
        let published = "--signing-keys=trial-key-for-the-simulator-only";
        for listen in ["--listen=0.0.0.0:8080", "--listen=10.0.0.1:8080", "--listen=[::]:8080"] {
            for key in [published, "--signing-keys=0123456789abcde"] {
                let problems = parse(&[key, listen]).validate().unwrap_err().to_string();
                assert!(problems.contains("TRIAL=true") && !problems.contains("0123456789"), "{problems}");
                let trial = parse(&[key, listen, "--trial"]);
                assert!(trial.validate().is_ok());
                assert_eq!(trial.warnings(), [TrialArgs::WARNING]);
            }
        }
        for listen in ["--listen=127.0.0.1:8080", "--listen=[::1]:8080", "--listen=[::ffff:127.0.0.1]:8080"] {
            assert!(parse(&[published, listen]).validate().is_ok(), "{listen}");
        }
    }

    #[test]
    fn all_problems_of_the_configuration_are_reported_at_once_without_secrets() {
        let config = parse(&[
            "--ack-deadline=4s",
            "--max-body=1",
            "--drain-delay=1m",
            "--kafka-ssl-key=/nowhere",
            "--tls-cert=/nowhere",
        ]);
        let problems = config.validate().unwrap_err().to_string();
        for part in [
            "GATEWAY_ACK_DEADLINE",
            "GATEWAY_MAX_BODY",
            "GATEWAY_DRAIN_DELAY",
            "KAFKA_SSL_KEY",
            "CUSTOMERIO_SIGNING_KEYS",
            "GATEWAY_TLS_KEY",
        ] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        let config = parse(&["--signing-keys", "topsecret", "--signing-keys-file", "/nowhere"]);
        assert!(!config.validate().unwrap_err().to_string().contains("topsecret"));
        assert!(!format!("{config:?}").contains("topsecret"));
    }
}
