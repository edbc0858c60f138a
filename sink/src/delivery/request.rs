//! Sends one batch to Platform and classifies the response.

use bytes::Bytes;
use platform::{Answer, PlatformClient, Verdict, classify};

use crate::dispatch::Sending;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::work::Item;

/// A batch that was sent, with the verdict on it.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) sending: Sending<Item>,
    pub(super) verdict: Verdict,
    /// HTTP status of the response; 0 without a response.
    pub(super) status: u16,
    /// Time at which the request was sent, in milliseconds since 1970.
    pub(super) sent_at: i64,
}

/// Sends requests to Platform.
pub(super) struct Sender {
    pub(super) client: PlatformClient,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
}

impl Sender {
    pub(super) async fn send(&self, sending: Sending<Item>, body: Bytes) -> Answered {
        let (records, bytes) = (sending.items().len(), body.len());
        let (sent_at, started) = (service::unix_millis(), tokio::time::Instant::now());
        let answer = self.answer(body).await;
        self.metrics.requested(&answer, started.elapsed().as_secs_f64(), records, bytes);
        let verdict = classify(&answer, records);
        self.health.answered(&answer, &verdict);
        if verdict.refuses_the_token() {
            self.client.forget_token(started).await;
        }
        let status = match answer {
            Answer::Response(response) => response.status,
            Answer::Failed(_) | Answer::NoToken(_) => 0,
        };
        Answered { sending, verdict, status, sent_at }
    }

    async fn answer(&self, body: Bytes) -> Answer {
        let unanswered = self.health.token_request();
        let token = self.client.token().await;
        drop(unanswered);
        match token {
            Err(error) => Answer::NoToken(error),
            Ok(token) => {
                self.health.token_received();
                let _unanswered = self.health.request();
                self.client.send_batch_with(body, token.as_ref()).await
            }
        }
    }
}
