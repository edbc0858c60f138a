//! The options of `setup`, `check` and `status`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args, ValueEnum};
use contract::defaults;
use customerio_api::{EventSelection, Region, SubscribableEvent};
use kafka::KafkaArgs;
use platform::ImsUrl;
use platform::control::ApiUrl;
use reqwest::Url;
use schema_registry::RegistryArgs;
use secrecy::SecretString;
use settings::{ByteCount, ImsCredentialArgs, TopicOptions};
use setup::key::Target;
use setup::stage::{Deployment, Organisation, SandboxName};
use xdm::TenantId;

/// A part of the set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The topics
    Kafka,
    /// The compatibility rule of the typed topic's subject in the Schema Registry
    Registry,
    /// Namespaces, schema, dataset, connections and flow in Experience Platform
    Platform,
    /// The reporting webhook in Customer.io
    Customerio,
}

impl From<Part> for Target {
    fn from(part: Part) -> Self {
        match part {
            Part::Kafka => Self::Kafka,
            Part::Registry => Self::Registry,
            Part::Platform => Self::Platform,
            Part::Customerio => Self::CustomerIo,
        }
    }
}

/// The addresses of the services, and the desired settings.
#[derive(Debug, Clone, Args)]
#[command(mut_arg("bootstrap_servers", |arg| arg.required(false)))]
pub(crate) struct ConnectArgs {
    /// Only these parts [default: all; the registry if SCHEMA_REGISTRY_URL is set]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,...")]
    pub(crate) only: Vec<Part>,

    /// File with `NAME=value` entries for the set-up's credentials (SETUP_IMS_..., CUSTOMERIO_APP_API_KEY), which no
    /// service needs: keep it apart from the services' .env
    #[arg(long, value_name = "PATH")]
    pub(crate) credentials: Option<PathBuf>,

    /// State file; it holds no secret, and its lock keeps two runs on this machine apart
    /// [default: .customerio-aep/DEPLOYMENT.SANDBOX.json]
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,

    #[command(flatten)]
    pub(crate) topics: TopicSetupArgs,

    #[command(flatten)]
    pub(crate) registry: RegistryArgs,

    #[command(flatten)]
    pub(crate) platform: PlatformSetupArgs,

    #[command(flatten)]
    pub(crate) customerio: CustomerIoArgs,
}

/// The topics.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Topics")]
pub(crate) struct TopicSetupArgs {
    #[command(flatten)]
    pub(crate) names: TopicOptions,

    /// Partitions of each topic that is created
    #[arg(long, default_value_t = 12, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub(crate) partitions: i32,

    /// Replicas of each partition [default: 3 where there are three brokers, else 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..=100))]
    pub(crate) replication: Option<i32>,

    /// The gateway's largest body; decides how large a raw record may be
    #[arg(long = "max-body", env = "GATEWAY_MAX_BODY", default_value = defaults::MAX_BODY, value_name = "SIZE")]
    pub(crate) max_body: ByteCount,
}

/// Experience Platform.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Experience Platform")]
pub(crate) struct PlatformSetupArgs {
    /// The organisation, …@AdobeOrg
    #[arg(long, env = "PLATFORM_IMS_ORG", value_name = "ID")]
    pub(crate) platform_ims_org: Option<Organisation>,

    /// The sandbox; there is no default
    #[arg(long, env = "PLATFORM_SANDBOX", value_name = "NAME")]
    pub(crate) platform_sandbox: Option<SandboxName>,

    /// Name of this installation; part of the mark on everything that is created
    #[arg(long, env = "DEPLOYMENT", default_value = Deployment::DEFAULT, value_name = "NAME")]
    pub(crate) deployment: Deployment,

    /// Tenant id of the organisation; looked up, and compared if it is given
    #[arg(long, env = "PLATFORM_TENANT", value_name = "ID")]
    pub(crate) platform_tenant: Option<TenantId>,

    /// Address of Platform's APIs
    #[arg(long, env = "PLATFORM_API_URL", default_value = "https://platform.adobe.io", value_name = "URL")]
    pub(crate) platform_api_url: ApiUrl,

    /// Base address of IMS
    #[arg(long, env = "IMS_URL", default_value = "https://ims-na1.adobelogin.com", value_name = "URL")]
    pub(crate) ims_url: ImsUrl,

    /// Client id of the credential that sets everything up, if it is another one than the sink's
    #[arg(long, env = "SETUP_IMS_CLIENT_ID", value_name = "ID")]
    pub(crate) setup_ims_client_id: Option<String>,

    /// Client secret of the set-up credential
    #[arg(long, env = "SETUP_IMS_CLIENT_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub(crate) setup_ims_client_secret: Option<SecretString>,

    /// File that holds its client secret
    #[arg(long, env = "SETUP_IMS_CLIENT_SECRET_FILE", value_name = "PATH")]
    pub(crate) setup_ims_client_secret_file: Option<PathBuf>,

    /// Scopes of the set-up credential [default: those of IMS_SCOPES]
    #[arg(long, env = "SETUP_IMS_SCOPES", value_name = "SCOPE,...")]
    pub(crate) setup_ims_scopes: Option<String>,

    #[command(flatten)]
    pub(crate) ims: ImsCredentialArgs,

    /// Identity namespace of the person's own id
    #[arg(long, env = "IDENTITY_NAMESPACE_ID", default_value = "CustomerioID", value_name = "CODE")]
    pub(crate) identity_namespace_id: String,

    /// Identity namespace of Customer.io's id
    #[arg(long, env = "IDENTITY_NAMESPACE_CIO_ID", default_value = "CustomerioCioID", value_name = "CODE")]
    pub(crate) identity_namespace_cio_id: String,

    /// Allow http to Platform, IMS and Customer.io on another machine: for a trial
    #[arg(
        long,
        env = "PLATFORM_ALLOW_HTTP",
        action = ArgAction::Set,
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    pub(crate) platform_allow_http: bool,

    /// PEM file with an additional certificate authority for Platform and IMS
    #[arg(long, env = "PLATFORM_CA_FILE", value_name = "PATH")]
    pub(crate) platform_ca_file: Option<PathBuf>,

    /// Proxy for https
    #[arg(long, env = "HTTPS_PROXY", hide_env_values = true, value_name = "URL")]
    pub(crate) https_proxy: Option<SecretString>,

    /// Hosts to reach without the proxy, separated by commas
    #[arg(long, env = "NO_PROXY", value_name = "HOST,...")]
    pub(crate) no_proxy: Option<String>,

    /// Factor on the times in which Platform loses events, for a simulator with --settle-scale
    #[arg(long, env = "SETUP_SETTLE_SCALE", default_value = "1", hide = true, value_name = "FACTOR")]
    pub(crate) settle_scale: Factor,
}

/// Customer.io.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Customer.io")]
pub(crate) struct CustomerIoArgs {
    /// TOML file that names several sources, each with its workspace and keys (docs/sources.md)
    #[arg(long, env = "SOURCES_FILE", value_name = "PATH")]
    pub(crate) sources_file: Option<PathBuf>,

    /// App API key of the workspace
    #[arg(long, env = "CUSTOMERIO_APP_API_KEY", hide_env_values = true, value_name = "SECRET")]
    pub(crate) app_api_key: Option<SecretString>,

    /// File that holds the App API key
    #[arg(long, env = "CUSTOMERIO_APP_API_KEY_FILE", value_name = "PATH")]
    pub(crate) app_api_key_file: Option<PathBuf>,

    /// Service-account token, with which the signing key can be fetched
    #[arg(long, env = "CUSTOMERIO_SERVICE_ACCOUNT_TOKEN", hide_env_values = true, value_name = "SECRET")]
    pub(crate) service_account_token: Option<SecretString>,

    /// File that holds the service-account token
    #[arg(long, env = "CUSTOMERIO_SERVICE_ACCOUNT_TOKEN_FILE", value_name = "PATH")]
    pub(crate) service_account_token_file: Option<PathBuf>,

    /// Region of the account: us or eu
    #[arg(long, env = "CUSTOMERIO_REGION", default_value = "us", value_name = "REGION")]
    pub(crate) customerio_region: Region,

    /// Address in place of the region's, for the simulator
    #[arg(long, env = "CUSTOMERIO_API_URL", value_name = "URL")]
    pub(crate) customerio_api_url: Option<HttpUrl>,

    /// Address of the gateway as Customer.io reaches it, for example https://events.example.com
    #[arg(long, env = "CUSTOMERIO_PUBLIC_URL", value_name = "URL")]
    pub(crate) customerio_public_url: Option<HttpUrl>,

    /// Name of the workspace, if the account has several
    #[arg(long, env = "CUSTOMERIO_WORKSPACE", value_name = "NAME")]
    pub(crate) customerio_workspace: Option<String>,

    /// Events of the webhook: `all`, channels (email,push) or events (email_sent,email_opened)
    #[arg(long, env = "CUSTOMERIO_EVENTS", value_name = "EVENT,...")]
    pub(crate) customerio_events: Option<EventChoice>,

    /// Report every open and click of a message (true), or only the first (false)
    #[arg(long, env = "CUSTOMERIO_FULL_RESOLUTION", value_name = "BOOL")]
    pub(crate) customerio_full_resolution: Option<bool>,

    /// Report message bodies (true): they are then in Kafka for the raw topic's retention
    #[arg(long, env = "CUSTOMERIO_WITH_CONTENT", value_name = "BOOL")]
    pub(crate) customerio_with_content: Option<bool>,

    /// Signing keys of the webhook, one per line; the first is the one of Customer.io's page
    #[arg(long = "signing-keys", env = "CUSTOMERIO_SIGNING_KEYS", hide_env_values = true, value_name = "SECRET")]
    pub(crate) signing_keys: Option<SecretString>,

    /// File that holds the signing keys
    #[arg(long = "signing-keys-file", env = "CUSTOMERIO_SIGNING_KEYS_FILE", value_name = "PATH")]
    pub(crate) signing_keys_file: Option<PathBuf>,
}

/// An address that begins with http:// or https://. The error does not contain the given text, which may be a secret.
#[derive(Debug, Clone)]
pub(crate) struct HttpUrl(pub(crate) Url);

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url: Option<Url> = text.parse().ok();
        let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        let has_password = |url: &Url| !url.username().is_empty() || url.password().is_some();
        match url.filter(is_http) {
            Some(url) if has_password(&url) => Err("an address here has no user name and no password".to_owned()),
            Some(url) => Ok(Self(url)),
            None => Err("this is not an address; write it like https://events.example.com".to_owned()),
        }
    }
}

/// A set of events, given as `all`, or as names of events and channels.
#[derive(Debug, Clone)]
pub(crate) struct EventChoice(pub(crate) EventSelection);

impl FromStr for EventChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == "all" {
            return Ok(Self(EventSelection::all()));
        }
        let mut chosen = Vec::new();
        for (index, word) in text.split(',').map(str::trim).enumerate() {
            let named = |event: &SubscribableEvent| event.as_str() == word || event.channel().as_str() == word;
            let before = chosen.len();
            chosen.extend(SubscribableEvent::all().filter(named));
            if chosen.len() == before {
                return Err(format!(
                    "number {} is neither an event nor a channel; write `all`, channels such as email,push, or events such as email_sent,email_opened",
                    index + 1
                ));
            }
        }
        EventSelection::new(chosen).map(Self).map_err(|error| error.to_string())
    }
}

/// A number from 0 to 1000.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factor(pub(crate) f64);

impl FromStr for Factor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let factor = text.parse::<f64>().ok().filter(|factor| (0.0..=1000.0).contains(factor));
        factor.map(Self).ok_or_else(|| "this is not a factor; write a number from 0 to 1000".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_selected_by_name_by_channel_or_with_all() {
        let count = |text: &str| text.parse::<EventChoice>().map(|choice| choice.0.iter().count());
        assert_eq!(count("all"), Ok(72));
        assert_eq!(count("email_sent, email_opened"), Ok(2));
        let email = count("email").unwrap();
        assert!(email > 10 && count("email,sms_sent") == Ok(email + 1));
        let error = count("email,topsecret").unwrap_err();
        assert!(error.contains("number 2") && !error.contains("topsecret"), "{error}");
        assert!(count("").is_err());
    }

    #[test]
    fn the_error_for_an_invalid_address_does_not_repeat_the_address() {
        for text in ["topsecret", "ftp://topsecret", "https://me:topsecret@x.example", "data:topsecret"] {
            assert!(!text.parse::<HttpUrl>().unwrap_err().contains("topsecret"));
        }
        assert!("https://events.example.com/".parse::<HttpUrl>().is_ok());
    }
}
