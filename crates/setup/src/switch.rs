//! Disables and enables the webhook of one source: pause and resume.

use std::collections::BTreeMap;

use customerio_api::{AppApiClient, Webhook, WebhookUpdate};
use jiff::Timestamp;
use sources::SourceName;

use crate::clients::{Clients, Progress, Report};
use crate::desired::{Desired, Permit, WebhookWish};
use crate::enable::{Enabling, Waiting};
use crate::error::SetupError;
use crate::journal::Journal;
use crate::key::Key;
use crate::look::workspace;
use crate::observed::Observed;
use crate::pending::enabled;
use crate::plan::{Change, plan};

/// The webhook of one source.
#[derive(Debug, Clone, Copy)]
pub struct Switch<'s> {
    /// The desired state, with this source.
    pub desired: &'s Desired,
    /// The clients, with one for this source.
    pub clients: &'s Clients,
    /// The source.
    pub source: &'s SourceName,
}

/// The result of [`Switch::pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// It is disabled now.
    Now,
    /// It was disabled before.
    Already,
}

/// The result of [`Switch::resume`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// It is enabled now.
    Now,
    /// It was enabled before.
    Already,
    /// It stays disabled until this condition is met.
    Waits(Waiting),
}

impl Switch<'_> {
    /// Disables the webhook. Events that are made while it is disabled are probably never sent.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn pause(&self, journal: &mut Journal, report: Report<'_>) -> Result<Paused, SetupError> {
        let (_, webhook) = self.webhook(journal).await?;
        if !webhook.is_enabled() {
            return Ok(Paused::Already);
        }
        self.update(&WebhookUpdate::of(&webhook).disable(), report).await?;
        Ok(Paused::Now)
    }

    /// Enables the webhook after a signed round trip through its URL.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn resume(
        &self,
        journal: &Journal,
        enabling: &Enabling,
        report: Report<'_>,
    ) -> Result<Resumed, SetupError> {
        let (wish, webhook) = self.webhook(journal).await?;
        if webhook.is_enabled() {
            return Ok(Resumed::Already);
        }
        let Some(key) = enabling.keys.get(self.source) else {
            return Ok(Resumed::Waits(Waiting::SigningKey(self.source.clone())));
        };
        if let Err(problem) = enabling.round_trips.check(&wish.endpoint, key).await {
            let (source, url) = (self.source.clone(), wish.endpoint.to_string());
            return Ok(Resumed::Waits(Waiting::Gateway { source, url, problem }));
        }
        if let Some(until) = enabling.not_before.filter(|until| *until > Timestamp::now()) {
            return Ok(Resumed::Waits(Waiting::Time { until }));
        }
        self.update(&enabled(&webhook), report).await?;
        Ok(Resumed::Now)
    }

    /// The wish for the source, and the webhook of ours.
    async fn webhook(&self, journal: &Journal) -> Result<(&WebhookWish, Webhook), SetupError> {
        let key = Key::Webhook(self.source.clone());
        let wish = self.desired.webhooks.iter().find(|wish| wish.source == *self.source);
        let wish = wish.ok_or_else(|| SetupError::NoClient(key.clone()))?;
        let within = self.clients.webhook_appears_within;
        let found = workspace(self.client()?, self.source, journal, within).await?;
        let only = Desired {
            stage: self.desired.stage.clone(),
            topics: None,
            subject: None,
            platform: None,
            webhooks: vec![wish.clone()],
        };
        let customerio = BTreeMap::from([(self.source.clone(), found)]);
        let observed = Observed { customerio, ..Observed::default() };
        let plan = plan(&only, &observed, &Permit::default());
        let webhooks = observed.customerio.values().flat_map(|workspace| &workspace.webhooks.webhooks);
        let id = plan.object(&key).and_then(|object| object.id.as_deref());
        let ours = webhooks.into_iter().find(|webhook| id == Some(webhook.id().to_string().as_str()));
        Ok((wish, ours.cloned().ok_or(SetupError::NoClient(key))?))
    }

    fn client(&self) -> Result<&AppApiClient, SetupError> {
        let client = self.clients.customerio.get(self.source);
        client.ok_or_else(|| SetupError::NoClient(Key::Webhook(self.source.clone())))
    }

    async fn update(&self, update: &WebhookUpdate, report: Report<'_>) -> Result<(), SetupError> {
        let (key, change) = (Key::Webhook(self.source.clone()), Change::Update);
        report(Progress::Begins { key: key.clone(), change });
        let webhook = self.client()?.update_webhook(update).await?;
        report(Progress::Done { key, change, id: webhook.id().to_string() });
        Ok(())
    }
}
