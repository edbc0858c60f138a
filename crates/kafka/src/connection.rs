//! The connection to the brokers: flags, checks, and the librdkafka configuration built from them.

mod options;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use secrecy::{ExposeSecret, SecretString};
use settings::{Problems, SecretSource, read_bytes, secret_source};

pub use options::KafkaOptions;

/// Flags that say how to reach Kafka; they are the same for every service.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// Addresses of one or more brokers, `host:port` separated by commas
    #[arg(
        long = "kafka-bootstrap-servers",
        env = "KAFKA_BOOTSTRAP_SERVERS",
        required = true,
        value_name = "HOST:PORT,..."
    )]
    pub bootstrap_servers: Option<String>,

    /// Transport security
    #[arg(
        long = "kafka-security-protocol",
        env = "KAFKA_SECURITY_PROTOCOL",
        value_enum,
        default_value_t = SecurityProtocol::Plaintext,
        ignore_case = true,
        value_name = "PROTOCOL"
    )]
    pub security_protocol: SecurityProtocol,

    /// SASL mechanism: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    #[arg(
        long = "kafka-sasl-mechanism",
        env = "KAFKA_SASL_MECHANISM",
        value_enum,
        ignore_case = true,
        value_name = "MECHANISM"
    )]
    pub sasl_mechanism: Option<SaslMechanism>,

    /// SASL user name
    #[arg(long = "kafka-sasl-username", env = "KAFKA_SASL_USERNAME", value_name = "NAME")]
    pub sasl_username: Option<String>,

    /// SASL password
    #[arg(long = "kafka-sasl-password", env = "KAFKA_SASL_PASSWORD", hide_env_values = true, value_name = "SECRET")]
    pub sasl_password: Option<SecretString>,

    /// File that holds the SASL password
    #[arg(long = "kafka-sasl-password-file", env = "KAFKA_SASL_PASSWORD_FILE", value_name = "PATH")]
    pub sasl_password_file: Option<PathBuf>,

    /// PEM file with the certificate authorities that signed the brokers' certificates
    #[arg(long = "kafka-ssl-ca", env = "KAFKA_SSL_CA", value_name = "PATH")]
    pub ssl_ca: Option<PathBuf>,

    /// PEM file with the client's certificate
    #[arg(long = "kafka-ssl-cert", env = "KAFKA_SSL_CERT", value_name = "PATH")]
    pub ssl_cert: Option<PathBuf>,

    /// PEM file with the client's private key
    #[arg(long = "kafka-ssl-key", env = "KAFKA_SSL_KEY", value_name = "PATH")]
    pub ssl_key: Option<PathBuf>,

    /// Additional librdkafka properties, `key=value` separated by commas
    #[arg(
        long = "kafka-options",
        env = "KAFKA_OPTIONS",
        default_value = "",
        hide_env_values = true,
        value_name = "KEY=VALUE,..."
    )]
    pub options: KafkaOptions,

    /// Name of this client in the brokers' logs and quotas [default: the service's name]
    #[arg(long = "kafka-client-id", env = "KAFKA_CLIENT_ID", value_name = "NAME")]
    pub client_id: Option<String>,
}

/// Values of `KAFKA_SECURITY_PROTOCOL`, as librdkafka names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SecurityProtocol {
    /// No encryption, no authentication
    Plaintext,
    /// TLS
    Ssl,
    /// SASL without encryption
    SaslPlaintext,
    /// SASL over TLS
    SaslSsl,
}

/// Values of `KAFKA_SASL_MECHANISM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SaslMechanism {
    /// User name and password in clear text; use it over TLS only
    Plain,
    /// Salted challenge-response with SHA-256
    #[value(name = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted challenge-response with SHA-512
    #[value(name = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SecurityProtocol {
    fn librdkafka(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    fn uses_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl SaslMechanism {
    fn librdkafka(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl KafkaArgs {
    /// Checks the flags and returns the connection. `service` is the default client id.
    ///
    /// # Errors
    /// All problems found.
    pub fn connection(&self, service: &str) -> Result<Connection, Problems> {
        let mut problems = Problems::default();
        let servers = problems.required("KAFKA_BOOTSTRAP_SERVERS", &self.bootstrap_servers);
        if servers.is_some_and(|servers| servers.split(',').any(|server| !is_host_and_port(server.trim()))) {
            problems.add("KAFKA_BOOTSTRAP_SERVERS is not a list of host:port separated by commas");
        }
        for (name, path) in
            [("KAFKA_SSL_CA", &self.ssl_ca), ("KAFKA_SSL_CERT", &self.ssl_cert), ("KAFKA_SSL_KEY", &self.ssl_key)]
        {
            if let Some(path) = path
                && let Err(problem) = readable_pem(path)
            {
                problems.add(format!("{name}: {problem}"));
            }
        }
        if self.ssl_cert.is_some() != self.ssl_key.is_some() {
            problems.add("KAFKA_SSL_CERT and KAFKA_SSL_KEY go together; set both or neither");
        }
        let password = problems
            .check(secret_source(
                "KAFKA_SASL_PASSWORD",
                self.sasl_password.as_ref(),
                self.sasl_password_file.as_deref(),
            ))
            .flatten();
        if self.security_protocol.uses_sasl()
            && (self.sasl_mechanism.is_none() || self.sasl_username.is_none() || password.is_none())
        {
            problems.add(
                "KAFKA_SECURITY_PROTOCOL asks for SASL: set KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",
            );
        }
        if !self.security_protocol.uses_sasl() && (self.sasl_mechanism.is_some() || self.sasl_username.is_some()) {
            problems.add("KAFKA_SASL_* is set but KAFKA_SECURITY_PROTOCOL is not sasl_plaintext or sasl_ssl");
        }
        let servers = match servers {
            Some(servers) if problems.is_empty() => servers,
            _ => return Err(problems),
        };
        let connection = self.build(servers, service, password.as_ref());
        if let Some(connection) = problems.check(connection) { Ok(connection) } else { Err(problems) }
    }

    fn build(&self, servers: &str, service: &str, password: Option<&SecretSource>) -> Result<Connection, String> {
        let mut config = ClientConfig::new();
        let mut set = |key: &str, value: &str| {
            config.set(key, value);
        };
        set("bootstrap.servers", servers);
        set("client.id", self.client_id.as_deref().unwrap_or(service));
        set("security.protocol", self.security_protocol.librdkafka());
        if let Some(mechanism) = self.sasl_mechanism {
            set("sasl.mechanisms", mechanism.librdkafka());
        }
        if let Some(username) = &self.sasl_username {
            set("sasl.username", username);
        }
        if let Some(password) = password {
            set("sasl.password", password.read().map_err(|error| error.to_string())?.expose_secret());
        }
        let paths = [
            ("ssl.ca.location", &self.ssl_ca),
            ("ssl.certificate.location", &self.ssl_cert),
            ("ssl.key.location", &self.ssl_key),
        ];
        for (key, path) in paths {
            if let Some(path) = path {
                set(key, &path.to_string_lossy());
            }
        }
        self.options.add_to(&mut config);
        let connection = Connection::from_config(servers.to_owned(), config);
        // Sets all values now, so that an invalid one is reported before the first connection. librdkafka's own message
        // is dropped, because it contains the value.
        connection.config().create_native_config().map_err(|_| {
            "librdkafka refuses a value of the KAFKA_* variables; check them for control characters".to_owned()
        })?;
        Ok(connection)
    }
}

/// Whether the text is a host name or address and a port, with an optional protocol. Any other text is refused, because
/// it could contain a password.
fn is_host_and_port(server: &str) -> bool {
    let is_protocol = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let server = match server.split_once("://") {
        Some((protocol, rest)) if is_protocol(protocol) => rest,
        _ => server,
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']' | '%');
    server
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && host.chars().all(legal) && port.parse::<u16>().is_ok())
}

/// Checks that a PEM file can be read and has no byte order mark. OpenSSL treats such a mark as part of the first line.
fn readable_pem(path: &Path) -> Result<(), String> {
    let text = read_bytes(path).map_err(|error| error.to_string())?;
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > text.len() as u64 {
        return Err(format!("{} starts with a byte order mark; save it without one", path.display()));
    }
    Ok(())
}

/// The checked configuration for reaching Kafka, from which clients are created. Its `Debug` form shows only the
/// servers.
#[derive(Clone)]
pub struct Connection {
    bootstrap: String,
    config: ClientConfig,
    keeps_transactional_offsets: bool,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

impl Connection {
    /// Creates an unencrypted connection, for tests and the embedded broker.
    #[must_use]
    pub fn plaintext(bootstrap: &str, client_id: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("client.id", client_id);
        Self::from_config(bootstrap.to_owned(), config)
    }

    fn from_config(bootstrap: String, mut config: ClientConfig) -> Self {
        config.set_log_level(RDKafkaLogLevel::Info);
        Self { bootstrap, config, keeps_transactional_offsets: true }
    }

    /// Creates an unencrypted connection to the embedded broker, which does not keep the offsets that are sent with a
    /// transaction.
    pub(crate) fn embedded(bootstrap: &str, client_id: &str) -> Self {
        Self { keeps_transactional_offsets: false, ..Self::plaintext(bootstrap, client_id) }
    }

    /// Whether the brokers add the offsets of committed transactions to a group's committed offsets.
    pub(crate) fn keeps_transactional_offsets(&self) -> bool {
        self.keeps_transactional_offsets
    }

    /// The `client.id` of this connection's clients.
    pub(crate) fn client_id(&self) -> &str {
        self.config.get("client.id").unwrap_or_default()
    }

    /// The bootstrap servers as configured.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The base configuration for librdkafka, to which each client adds its own properties.
    pub(crate) fn config(&self) -> ClientConfig {
        self.config.clone()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        kafka: KafkaArgs,
    }

    fn parse(arguments: &[&str]) -> Result<KafkaArgs, clap::Error> {
        let base = ["test", "--kafka-bootstrap-servers", "127.0.0.1:9092"];
        Cli::try_parse_from(base.iter().chain(arguments)).map(|cli| cli.kafka)
    }

    #[test]
    fn kafka_options_reach_librdkafka_unless_a_guarantee_depends_on_them() {
        let connection =
            parse(&["--kafka-options", "linger.ms=7, socket.keepalive.enable=true"]).unwrap().connection("t").unwrap();
        assert_eq!(connection.config().get("linger.ms"), Some("7"));
        let error = parse(&["--kafka-options", "acks=1"]).unwrap_err().to_string();
        assert!(error.contains("guarantee"), "{error}");
    }

    #[test]
    fn a_pem_file_with_a_byte_order_mark_is_refused() {
        let path = std::env::temp_dir().join(format!("kafka-pem-{}", std::process::id()));
        std::fs::write(&path, b"\xef\xbb\xbf-----BEGIN CERTIFICATE-----\n").unwrap();
        let args = parse(&["--kafka-ssl-ca", path.to_str().unwrap()]).unwrap();
        let problems = args.connection("t").unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(problems.contains("KAFKA_SSL_CA") && problems.contains("byte order mark"), "{problems}");
    }

    #[test]
    fn all_problems_of_the_kafka_flags_are_reported_at_once() {
        let args = parse(&["--kafka-security-protocol", "sasl_ssl", "--kafka-ssl-ca", "/nowhere/ca.pem"]).unwrap();
        let problems = args.connection("t").unwrap_err().to_string();
        assert!(problems.contains("KAFKA_SSL_CA: cannot read"), "{problems}");
        assert!(problems.contains("KAFKA_SASL_MECHANISM"), "{problems}");
    }

    #[test]
    fn secrets_never_show_in_debug_output() {
        let args = parse(&["--kafka-sasl-password", "hunter2", "--kafka-options", "ssl.key.password=hunter2"]).unwrap();
        assert!(!format!("{args:?}").contains("hunter2"));
    }

    #[test]
    fn a_server_that_is_not_host_and_port_is_refused() {
        assert!(is_host_and_port("[::1]:9092") && is_host_and_port("SSL://kafka:9093"));
        for wrong in ["kafka", ":9092", "", "me:topsecret@kafka:9092", "://kafka:9092", "kafka:topsecret"] {
            assert!(!is_host_and_port(wrong), "{wrong}");
        }
    }
}
