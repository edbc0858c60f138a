//! Tests of the client against the simulator: every call, every error, and the repetition of requests.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod errors;
mod repeats;
mod secrets;
mod webhooks;

use std::time::Duration;

use customerio_api::{
    ApiAddress, ApiError, ApiSettings, AppApiClient, AppApiKey, CreateError, Deletion, EventName, EventSelection,
    Looked, MessageContent, NewWebhook, Region, Remedy, Resolution, RetryPolicy, ServiceAccountClient,
    ServiceAccountToken, SigningKeyError, SigningKeySource, SubscribableEvent, UnencryptedHttp, WebhookId, WebhookKind,
    WebhookUpdate, WorkspaceId,
};
use platform_sim::{SimSettings, Simulator};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

const KEY: &str = "sim-app-key";

struct Setup {
    simulator: Simulator,
    settings: ApiSettings,
    http: reqwest::Client,
}

impl Setup {
    async fn start() -> Self {
        let simulator = Simulator::start("127.0.0.1:0".parse().unwrap(), SimSettings::default()).await.unwrap();
        let settings = settings(&simulator.customerio_url());
        Self { simulator, settings, http: reqwest::Client::builder().no_proxy().build().unwrap() }
    }

    fn client(&self, key: &str) -> AppApiClient {
        AppApiClient::new(&self.settings, AppApiKey::new(&key.into()).unwrap()).unwrap()
    }

    fn service_account(&self, token: &str) -> ServiceAccountClient {
        ServiceAccountClient::new(&self.settings, ServiceAccountToken::new(&token.into()).unwrap()).unwrap()
    }

    fn admin(&self, path: &str) -> String {
        format!("http://{}/admin/customerio{path}", self.simulator.address())
    }

    async fn fault(&self, fault: Value) {
        let answer = self.http.post(self.admin("/faults")).json(&fault).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    async fn change(&self, id: WebhookId, change: Value) {
        let path = self.admin(&format!("/webhooks/{id}"));
        self.http.patch(path).json(&change).send().await.unwrap().error_for_status().unwrap();
    }

    async fn stored(&self) -> Vec<Value> {
        let everything: Value = self.http.get(self.admin("")).send().await.unwrap().json().await.unwrap();
        everything["webhooks"].as_array().unwrap().iter().map(|stored| stored["webhook"].clone()).collect()
    }

    /// Method and status of each request that the simulator received, such as `POST 200`.
    async fn seen(&self) -> Vec<String> {
        let seen: Vec<Value> = self.http.get(self.admin("/requests")).send().await.unwrap().json().await.unwrap();
        seen.iter().map(|seen| format!("{} {}", seen["method"].as_str().unwrap(), seen["status"])).collect()
    }
}

/// Settings with few attempts and short waits, so that the tests are fast.
fn settings(url: &str) -> ApiSettings {
    let address = ApiAddress::replaced(Region::Us, url, UnencryptedHttp::LoopbackOnly).unwrap();
    let wait = Duration::from_millis(10);
    ApiSettings {
        retry: RetryPolicy { attempts: 3, first_wait: wait, longest_wait: wait },
        ..ApiSettings::new(address)
    }
}

fn new_webhook() -> NewWebhook {
    let events = ["email_sent", "email_opened"].map(|name| name.parse::<SubscribableEvent>().unwrap());
    NewWebhook {
        name: "customerio-aep/ours".to_owned(),
        endpoint: "https://events.example.com/webhooks/customerio".parse().unwrap(),
        events: EventSelection::new(events).unwrap(),
        resolution: Resolution::Every,
        content: MessageContent::Omitted,
    }
}
