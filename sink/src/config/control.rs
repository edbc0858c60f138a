//! The options for queries to Platform's control plane. They are optional.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use platform::control::{ApiUrl, ControlSettings, Retries, Visibility};
use platform::{ClientSettings, TokenSettings, is_unencrypted};
use settings::{DurationArg, Problems};

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The options.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Experience Platform")]
pub(super) struct ControlArgs {
    /// Address of Platform's APIs, such as https://platform.adobe.io: the sink then compares the schema with the fields that
    /// it writes, at the start and every 15 minutes, and holds while a field is missing. Its credential needs View Schemas.
    /// `setup apply` sets it; empty for no comparison
    #[arg(long, env = "PLATFORM_API_URL", value_name = "URL", default_value = "", hide_default_value = true)]
    platform_api_url: OptionalUrl,

    /// Interval between searches for events that Platform rejected after it had accepted them; each gets a dead letter
    /// `rejected_after_acceptance`. Needs PLATFORM_API_URL, and View Datasets for the credential; `off` for never
    #[arg(
        long = "failed-batches-every",
        env = "SINK_FAILED_BATCHES_EVERY",
        value_name = "DURATION",
        default_value = "off",
        help_heading = "Sink"
    )]
    failed_batches_every: Every,
}

/// An address; an empty text means none.
#[derive(Debug, Clone, Default)]
struct OptionalUrl(Option<ApiUrl>);

impl FromStr for OptionalUrl {
    type Err = <ApiUrl as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|url| Self(Some(url))) }
    }
}

/// An interval of at least a minute, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Every(Option<Duration>);

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        let time = text.parse::<DurationArg>()?.0;
        if time < Duration::from_secs(60) {
            return Err("Platform has new failed batches every few minutes: write at least 1m, or `off`".to_owned());
        }
        Ok(Self(Some(time)))
    }
}

/// Settings for the sink's queries to Platform's control plane.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    pub(crate) settings: ControlSettings,
    /// Interval of the search for failed batches; `None` for no search.
    pub(crate) failed_batches_every: Option<Duration>,
}

impl ControlArgs {
    /// Returns the settings, if the options for the control plane are complete.
    pub(super) fn control(
        &self,
        client: Option<&ClientSettings>,
        tokens: Option<&TokenSettings>,
        allow_http: bool,
        problems: &mut Problems,
    ) -> Option<Control> {
        let every = self.failed_batches_every.0;
        let api = self.platform_api_url.0.as_ref();
        if api.is_some_and(|api| is_unencrypted(api.url())) && !allow_http {
            problems.add(
                "PLATFORM_API_URL begins with http:// and names another machine, so that tokens would cross the network unencrypted; write https://, or set PLATFORM_ALLOW_HTTP=true for a trial",
            );
        }
        let sandbox = client.and_then(|client| client.sandbox.as_ref());
        if let (Some(_), Some(_)) = (every, client) {
            let needed = [
                ("PLATFORM_API_URL", api.is_some()),
                ("PLATFORM_SANDBOX", sandbox.is_some()),
                ("IMS_CLIENT_ID", tokens.is_some()),
            ];
            for (variable, _) in needed.iter().filter(|(_, is_set)| !is_set) {
                problems.add(format!("SINK_FAILED_BATCHES_EVERY is set and needs {variable}; set it, or set SINK_FAILED_BATCHES_EVERY=off"));
            }
        }
        let settings = ControlSettings {
            api: api?.clone(),
            ims_org: client?.ims_org.clone(),
            sandbox: sandbox?.clone(),
            client_id: tokens?.client_id.clone(),
            timeout: TIMEOUT,
            retries: Retries::default(),
            visibility: Visibility::default(),
        };
        Some(Control { settings, failed_batches_every: every })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_for_failed_batches_is_at_least_a_minute_or_off() {
        let every = |text: &str| text.parse::<Every>().map(|every| every.0);
        assert_eq!((every("off"), every("5m")), (Ok(None), Ok(Some(Duration::from_secs(300)))));
        assert!(every("10s").unwrap_err().contains("at least 1m") && every("often").is_err());
    }
}
