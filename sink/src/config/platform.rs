//! The options for the destination in Platform and for access tokens.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args};
use platform::{ClientSettings, EnvelopeSettings, ImsUrl, InletUrl, TokenSettings, is_unencrypted};
use secrecy::SecretString;
use settings::{ImsCredentialArgs, Problems, TimeArg};
use xdm::TenantId;

/// Time limit of a request to Platform.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The options for the events' destination in Platform.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Experience Platform")]
pub(super) struct PlatformArgs {
    /// Tenant id of the organisation, with or without its leading underscore
    #[arg(long, env = "PLATFORM_TENANT", required = true, value_name = "ID")]
    platform_tenant: Option<TenantId>,

    /// Address of the inlet, as the HTTP API source shows it: https://…/collection/{inletId}
    #[arg(long, env = "PLATFORM_INLET_URL", required = true, value_name = "URL")]
    platform_inlet_url: Option<InletUrl>,

    /// The organisation, …@AdobeOrg
    #[arg(long, env = "PLATFORM_IMS_ORG", required = true, value_name = "ID")]
    platform_ims_org: Option<String>,

    /// `$id` of the XDM schema
    #[arg(long, env = "PLATFORM_SCHEMA_ID", required = true, value_name = "URI")]
    platform_schema_id: Option<String>,

    /// The dataset
    #[arg(long, env = "PLATFORM_DATASET_ID", required = true, value_name = "ID")]
    platform_dataset_id: Option<String>,

    /// The dataflow, if one account serves several
    #[arg(long, env = "PLATFORM_FLOW_ID", value_name = "ID")]
    platform_flow_id: Option<String>,

    /// The sandbox
    #[arg(long, env = "PLATFORM_SANDBOX", value_name = "NAME")]
    platform_sandbox: Option<String>,

    /// Do not send before this time, such as 2026-11-24T09:30:00Z: Platform loses what it accepts within five minutes after
    /// a flow, or fifteen after a schema, was created or changed. `setup apply` sets it
    #[arg(long, env = "PLATFORM_NOT_BEFORE", value_name = "TIME")]
    pub(super) platform_not_before: Option<TimeArg>,

    /// Allow http to an inlet or to IMS on another machine: tokens and events then cross the network unencrypted; warns
    /// at every start
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
    pub(super) platform_allow_http: bool,

    /// PEM file with an additional certificate authority for Platform and IMS
    #[arg(long, env = "PLATFORM_CA_FILE", value_name = "PATH")]
    platform_ca_file: Option<PathBuf>,

    /// Proxy for https
    #[arg(long, env = "HTTPS_PROXY", hide_env_values = true, value_name = "URL")]
    https_proxy: Option<SecretString>,

    /// Hosts to reach without the proxy, separated by commas
    #[arg(long, env = "NO_PROXY", value_name = "HOST,...")]
    no_proxy: Option<String>,
}

/// How to get access tokens. Without `IMS_CLIENT_ID` the inlet must be one without authentication.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "IMS (access tokens)")]
pub(super) struct ImsArgs {
    /// Base address of IMS, for example https://ims-na1.adobelogin.com
    #[arg(long, env = "IMS_URL", value_name = "URL")]
    ims_url: Option<ImsUrl>,

    #[command(flatten)]
    credential: ImsCredentialArgs,
}

/// The settings that depend on required options.
pub(super) struct Required {
    pub(super) tenant: TenantId,
    pub(super) envelope: EnvelopeSettings,
    pub(super) client: ClientSettings,
}

impl PlatformArgs {
    pub(super) fn required(&self) -> Result<Required, Problems> {
        let mut problems = Problems::default();
        let tenant = problems.required("PLATFORM_TENANT", &self.platform_tenant);
        let inlet = problems.required("PLATFORM_INLET_URL", &self.platform_inlet_url);
        let ims_org = problems.required("PLATFORM_IMS_ORG", &self.platform_ims_org);
        let schema_id = problems.required("PLATFORM_SCHEMA_ID", &self.platform_schema_id);
        let dataset_id = problems.required("PLATFORM_DATASET_ID", &self.platform_dataset_id);
        let (Some(tenant), Some(inlet), Some(ims_org), Some(schema_id), Some(dataset_id)) =
            (tenant, inlet, ims_org, schema_id, dataset_id)
        else {
            return Err(problems);
        };
        let envelope = EnvelopeSettings {
            schema_id: schema_id.clone(),
            dataset_id: dataset_id.clone(),
            ims_org: ims_org.clone(),
            flow_id: self.platform_flow_id.clone(),
        };
        let client = ClientSettings {
            inlet: inlet.clone(),
            ims_org: ims_org.clone(),
            sandbox: self.platform_sandbox.clone(),
            flow_id: self.platform_flow_id.clone(),
            timeout: REQUEST_TIMEOUT,
            ca_file: self.platform_ca_file.clone(),
            https_proxy: self.https_proxy.clone(),
            no_proxy: self.no_proxy.clone(),
        };
        Ok(Required { tenant: tenant.clone(), envelope, client })
    }

    /// Checks that events and tokens are sent to Adobe and encrypted, unless the operator allows otherwise.
    pub(super) fn check_addresses(&self, ims: &ImsArgs, trial: bool, problems: &mut Problems) {
        let inlet = self.platform_inlet_url.as_ref();
        if inlet.is_some_and(InletUrl::is_simulated) && !trial {
            problems.add(
                "PLATFORM_INLET_URL is an inlet of the simulator, which throws events away; set the inlet's address that Platform shows, or TRIAL=true for a trial",
            );
        }
        let ims = ims.ims_url.as_ref();
        for (variable, url) in
            [("PLATFORM_INLET_URL", inlet.map(InletUrl::batch_url)), ("IMS_URL", ims.map(ImsUrl::url))]
        {
            if url.is_some_and(is_unencrypted) && !self.platform_allow_http {
                problems.add(format!(
                    "{variable} begins with http:// and names another machine, so that tokens and events would cross the network unencrypted; write https://, or set PLATFORM_ALLOW_HTTP=true for a trial"
                ));
            }
        }
    }
}

impl ImsArgs {
    pub(super) fn tokens(&self) -> Result<Option<TokenSettings>, String> {
        let secret = self.credential.secret()?;
        match (&self.ims_url, &self.credential.ims_client_id, secret) {
            (None, None, None) => Ok(None),
            (Some(ims_url), Some(client_id), Some(secret)) => Ok(Some(TokenSettings {
                ims_url: ims_url.url().clone(),
                client_id: client_id.clone(),
                client_secret: Arc::new(move || secret.read().map_err(|error| error.to_string())),
                scopes: self.credential.ims_scopes.clone(),
                names: platform::CredentialNames::default(),
            })),
            _ => Err("IMS_URL, IMS_CLIENT_ID and IMS_CLIENT_SECRET go together; set all three, or none for an inlet without authentication".to_owned()),
        }
    }
}
