//! A running simulator, and the desired state of one stage in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use customerio_api::{
    ApiAddress, ApiSettings, AppApiClient, AppApiKey, EventSelection, MessageContent, Region, Resolution, RetryPolicy,
    UnencryptedHttp,
};
use platform::control::{ControlClient, ControlSettings, Retries, Visibility};
use platform::{HttpSettings, TokenProvider, TokenSettings};
use platform_sim::{ControlOptions, SimSettings, Simulator};
use serde_json::{Value, json};
use setup::apply::{Applied, apply};
use setup::clients::{Clients, Progress};
use setup::desired::{Desired, Permit, PlatformWish, WebhookWish};
use setup::error::SetupError;
use setup::journal::Journal;
use setup::look;
use setup::observed::Observed;
use setup::plan::{Plan, plan};
use setup::stage::Stage;
use sources::SourceName;

/// Time for which the client accepts that a new object is invisible.
const WITHIN: Duration = Duration::from_secs(1);

/// Number of worlds that a test uses concurrently. Most of the time, each world waits for the request limit of
/// Customer.io's API.
pub(crate) const AT_ONCE: usize = 8;

pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) http: reqwest::Client,
    folder: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        self.simulator.stop();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Options for an empty sandbox whose lists have pages of two entries.
pub(crate) fn fresh() -> ControlOptions {
    ControlOptions { fresh: true, page_size: 2, settle_scale: 0.0, ..ControlOptions::default() }
}

impl World {
    pub(crate) async fn start(control: ControlOptions) -> Self {
        let settings = SimSettings { control, ..SimSettings::default() };
        let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), settings).await.unwrap();
        let folder = std::env::temp_dir().join(format!("setup-{}-{}", std::process::id(), simulator.address().port()));
        Self { simulator, http: reqwest::Client::builder().no_proxy().build().unwrap(), folder }
    }

    /// The state file of a stage.
    pub(crate) fn state_file(&self, stage: &Stage) -> PathBuf {
        self.folder.join(format!("{}.{}.json", stage.deployment, stage.sandbox))
    }

    pub(crate) fn clients(&self, stage: &Stage) -> Clients {
        self.clients_with(stage, "sim-secret", "sim-app-key")
    }

    pub(crate) fn clients_with(&self, stage: &Stage, secret: &'static str, app_key: &str) -> Clients {
        let customerio = BTreeMap::from([(SourceName::default(), self.app_api(app_key))]);
        Clients {
            platform: Some(self.control(stage, secret, |_| {})),
            customerio,
            webhook_appears_within: Duration::from_millis(200),
            ..Clients::default()
        }
    }

    pub(crate) fn control(
        &self,
        stage: &Stage,
        secret: &'static str,
        change: impl FnOnce(&mut ControlSettings),
    ) -> ControlClient {
        let http = HttpSettings { timeout: Duration::from_secs(5), ca_file: None, https_proxy: None, no_proxy: None };
        let http = http.client().unwrap();
        let tokens = TokenSettings {
            ims_url: self.simulator.ims_url().parse().unwrap(),
            client_id: "sim-client".into(),
            client_secret: Arc::new(move || Ok(secret.into())),
            scopes: "openid,AdobeID".into(),
            names: platform::CredentialNames::default(),
        };
        let tokens = TokenProvider::new(tokens, http.clone(), Box::new(|_| {})).unwrap();
        let mut settings = ControlSettings {
            api: self.simulator.ims_url().parse().unwrap(),
            ims_org: stage.organisation.to_string(),
            sandbox: stage.sandbox.to_string(),
            client_id: "sim-client".to_owned(),
            timeout: Duration::from_secs(5),
            retries: Retries { first_wait: Duration::from_millis(10), ..Retries::default() },
            visibility: Visibility { within: WITHIN, interval: Duration::from_millis(50) },
        };
        change(&mut settings);
        ControlClient::new(settings, http, tokens).unwrap()
    }

    pub(crate) fn app_api(&self, key: &str) -> AppApiClient {
        let address =
            ApiAddress::replaced(Region::Us, &self.simulator.customerio_url(), UnencryptedHttp::LoopbackOnly).unwrap();
        let wait = Duration::from_millis(10);
        let settings = ApiSettings {
            retry: RetryPolicy { attempts: 3, first_wait: wait, longest_wait: wait },
            ..ApiSettings::new(address)
        };
        AppApiClient::new(&settings, AppApiKey::new(&key.into()).unwrap()).unwrap()
    }

    /// Reads the state and computes the plan.
    pub(crate) async fn plan(&self, desired: &Desired, clients: &Clients, permit: &Permit) -> Result<Plan, SetupError> {
        let stage = desired.stage.as_ref().unwrap();
        let journal = Journal::read(&self.state_file(stage), Some(stage)).unwrap();
        let observed = look(desired, clients, &journal, &mut |_| {}).await?;
        Ok(plan(desired, &observed, permit))
    }

    /// Reads the state and applies the plan, like the command.
    pub(crate) async fn apply(
        &self,
        desired: &Desired,
        clients: &Clients,
        permit: &Permit,
    ) -> Result<Applied, SetupError> {
        let stage = desired.stage.as_ref().unwrap();
        let mut journal = Journal::open(&self.state_file(stage), Some(stage))?;
        let mut report = |_: Progress| {};
        let observed: Observed = look(desired, clients, &journal, &mut report).await?;
        apply(desired, permit, clients, &mut journal, observed, &mut report).await
    }

    fn admin(&self, path: &str) -> String {
        format!("http://{}/admin/customerio{path}", self.simulator.address())
    }

    pub(crate) async fn api_fault(&self, fault: Value) {
        let answer = self.http.post(self.admin("/faults")).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    pub(crate) async fn clear_api_faults(&self) {
        self.http.delete(self.admin("/faults")).send().await.unwrap().error_for_status().unwrap();
    }

    /// The webhooks of a workspace, as the simulator stores them.
    pub(crate) async fn webhooks(&self, workspace: u64) -> Vec<Value> {
        let everything: Value = self.http.get(self.admin("")).send().await.unwrap().json().await.unwrap();
        let stored = everything["webhooks"].as_array().unwrap().iter();
        stored.filter(|stored| stored["workspace"] == workspace).map(|stored| stored["webhook"].clone()).collect()
    }

    /// Changes a webhook as a person would on Customer.io's page.
    pub(crate) async fn change_webhook(&self, id: &Value, change: Value) {
        let path = self.admin(&format!("/webhooks/{id}"));
        self.http.patch(path).json(&change).send().await.unwrap().error_for_status().unwrap();
    }

    /// Creates a webhook as a person would.
    pub(crate) async fn create_webhook(&self, name: &str, endpoint: &str, enabled: bool) -> Value {
        let body = json!({"name": name, "endpoint": endpoint, "disabled": !enabled, "events": ["email_sent"]});
        let url = format!("{}/v1/reporting_webhooks", self.simulator.customerio_url());
        let end = tokio::time::Instant::now() + Duration::from_secs(10);
        loop {
            let answer = self.http.post(&url).bearer_auth("sim-app-key").json(&body).send().await.unwrap();
            // The simulator has Customer.io's request limit, and earlier requests may have reached it.
            if answer.status() != 429 || tokio::time::Instant::now() > end {
                return answer.error_for_status().unwrap().json().await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Number of create requests that the control plane received for this path.
    pub(crate) fn creates(&self, path: &str) -> usize {
        let requests = self.simulator.control_requests();
        requests.iter().filter(|request| request.method == "POST" && request.path.ends_with(path)).count()
    }
}

pub(crate) fn stage(sandbox: &str) -> Stage {
    Stage {
        deployment: "customerio-aep".parse().unwrap(),
        organisation: "ACME@AdobeOrg".parse().unwrap(),
        sandbox: sandbox.parse().unwrap(),
    }
}

/// The desired state of Platform and one webhook, with a value for every setting that has no default.
pub(crate) fn desired(stage: &Stage) -> Desired {
    Desired {
        stage: Some(stage.clone()),
        topics: None,
        subject: None,
        platform: Some(PlatformWish {
            tenant: None,
            namespaces: vec!["CustomerioID".to_owned(), "CustomerioCioID".to_owned()],
            profile: false,
        }),
        webhooks: vec![WebhookWish {
            source: SourceName::default(),
            endpoint: "https://events.example.com/webhooks/customerio".parse().unwrap(),
            events: Some(EventSelection::all()),
            resolution: Some(Resolution::FirstOnly),
            content: Some(MessageContent::Omitted),
            workspace: Some("Acme".to_owned()),
        }],
    }
}

/// The number of objects for each sign of a plan, such as `+10`.
pub(crate) fn signs(plan: &Plan) -> String {
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    for object in &plan.objects {
        *counts.entry(object.change.sign()).or_default() += 1;
    }
    counts.iter().map(|(sign, count)| format!("{sign}{count}")).collect::<Vec<_>>().join(" ")
}

/// The codes of the refusals that ended a run.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, SetupError>) -> Vec<&'static str> {
    match result.unwrap_err() {
        SetupError::Refused(refusals) => refusals.iter().map(setup::refusal::Refusal::code).collect(),
        other => panic!("not a refusal: {other}"),
    }
}
