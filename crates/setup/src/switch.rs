//! Enables and disables the webhook of one source: pause, resume, and the canary.
//!
//! A run can be killed after any request, and another run can continue. The note in the webhook's name shows how far
//! the killed run came, because one request changes the state, the events and the note together.

use std::collections::BTreeMap;
use std::time::Duration;

use customerio_api::{AppApiClient, EventSelection, Webhook, WebhookUpdate};
use jiff::Timestamp;
use sources::SourceName;
use tokio::time::Instant;

use crate::canary::{Decision, GatewayCounts, decide};
use crate::clients::{Clients, Progress, Report};
use crate::desired::{Desired, Permit, WebhookWish};
use crate::enable::{Enabling, Waiting};
use crate::error::SetupError;
use crate::journal::Journal;
use crate::key::Key;
use crate::look::workspace;
use crate::observed::Observed;
use crate::pending::{canary, enabled, is_canary, pending, without_note};
use crate::plan::{Change, plan};
use crate::refusal::Refusal;

/// Operations on the webhook of one source.
#[derive(Debug, Clone, Copy)]
pub struct Switch<'s> {
    /// The desired state, which contains this source.
    pub desired: &'s Desired,
    /// The clients, with one for this source.
    pub clients: &'s Clients,
    /// Name of the source.
    pub source: &'s SourceName,
}

/// The result of [`Switch::pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// The webhook was disabled by this call.
    Now,
    /// The webhook was already disabled.
    Already,
}

/// The result of [`Switch::resume`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resumed {
    /// The webhook was enabled by this call.
    Now,
    /// The webhook was already enabled.
    Already,
    /// The webhook stays disabled until this condition is met.
    Waits(Waiting),
}

/// The result of [`Switch::canary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanaryEnd {
    /// The webhook was already enabled for all its events.
    Already,
    /// The webhook stays disabled until this condition is met.
    Waits(Waiting),
    /// A gateway has stored an authentic webhook, and all events are enabled.
    Widened {
        /// Admin address of the gateway.
        gateway: String,
        /// Number of events that the webhook is subscribed to.
        events: usize,
    },
    /// A gateway has refused a signature, and the webhook is disabled.
    Refused {
        /// Admin address of the gateway.
        gateway: String,
    },
    /// No gateway answered 202 or 401 in time, so it is unknown whether the signing key is correct. The webhook is
    /// disabled again.
    NothingArrived {
        /// Number of responses other than 202 and 401.
        other: u64,
    },
}

/// The gateways' counters at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looked {
    /// The counters of the gateways that know the source.
    pub counts: GatewayCounts,
    /// The admin addresses that did not respond, each with the reason.
    pub unanswered: Vec<String>,
}

/// Access to the gateways' counters.
pub trait Gateways {
    /// Reads the counters of a source from all gateways.
    fn look(&self, source: &SourceName) -> impl Future<Output = Looked> + Send;
}

/// Parameters of a canary.
#[derive(Debug)]
pub struct Canary<G> {
    /// The events that are enabled first.
    pub family: EventSelection,
    /// Access to the gateways' counters.
    pub gateways: G,
    /// Maximum wait for the first response of 202 or 401.
    pub within: Duration,
    /// Time between two reads of the counters.
    pub interval: Duration,
    /// The time before which no event may be sent, if there is one.
    pub not_before: Option<Timestamp>,
}

impl Switch<'_> {
    /// Disables the webhook. Customer.io probably never sends the events that occur while it is disabled.
    ///
    /// # Errors
    /// [`SetupError`].
    pub async fn pause(&self, journal: &mut Journal, report: Report<'_>) -> Result<Paused, SetupError> {
        let (_, webhook) = self.webhook(journal).await?;
        let result = if webhook.is_enabled() {
            let update = match without_note(webhook.name()) {
                // A webhook with a note has never been enabled for all its events. It keeps a note, so that a later
                // `apply` may enable it.
                Some(name) => WebhookUpdate::of(&webhook).disable().name(&pending(name)),
                None => WebhookUpdate::of(&webhook).disable(),
            };
            self.update(&update, report).await?;
            Paused::Now
        } else {
            Paused::Already
        };
        journal.end_canary(self.source)?;
        Ok(result)
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
        if is_canary(&webhook) {
            let (source_name, id) = (self.source.clone(), webhook.id().to_string());
            return Err(refused(Refusal::CanaryRuns { source_name, id }));
        }
        if webhook.is_enabled() {
            return Ok(Resumed::Already);
        }
        self.refuse_other_endpoint(wish, &webhook)?;
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

    /// Enables the events of `given.family`, and waits until the gateways' counters show the response to the first
    /// event. Then enables all wanted events, or disables the webhook. If a run is killed, another run continues.
    ///
    /// # Errors
    /// [`SetupError`]. If the last request failed, the canary may still be enabled; another run continues with it.
    pub async fn canary<G: Gateways + Sync>(
        &self,
        journal: &mut Journal,
        given: &Canary<G>,
        report: Report<'_>,
    ) -> Result<CanaryEnd, SetupError> {
        let (wish, webhook) = self.webhook(journal).await?;
        let events = self.wanted(wish, &given.family)?;
        if is_canary(&webhook) {
            if journal.canary(self.source).is_none() {
                // The state file with the counters at the start of the canary is lost.
                let start = self.all_gateways(given).await?;
                journal.begin_canary(self.source, &start)?;
            }
        } else if webhook.is_enabled() {
            journal.end_canary(self.source)?;
            return Ok(CanaryEnd::Already);
        } else {
            self.refuse_other_endpoint(wish, &webhook)?;
            if let Some(until) = given.not_before.filter(|until| *until > Timestamp::now()) {
                return Ok(CanaryEnd::Waits(Waiting::Time { until }));
            }
            let start = self.all_gateways(given).await?;
            journal.begin_canary(self.source, &start)?;
            self.update(&begin(wish, &webhook, &given.family), report).await?;
        }
        let start = journal.canary(self.source).cloned().unwrap_or_default();
        let decision = self.watch(&start, given, report).await;
        let (_, webhook) = self.webhook(journal).await?;
        // A webhook that a person enabled or disabled during the canary stays as that person left it.
        if !is_canary(&webhook) {
            return Err(SetupError::Moved(vec![format!("the webhook {} is no longer a canary", webhook.id())]));
        }
        let end = match decision {
            Decision::Widen { gateway } => {
                let webhook = self.update(&ended(&webhook, events), report).await?;
                CanaryEnd::Widened { gateway, events: webhook.events().len() }
            }
            Decision::Disable { gateway } => {
                self.update(&given_up(&webhook, events), report).await?;
                CanaryEnd::Refused { gateway }
            }
            Decision::Wait { other } => {
                self.update(&given_up(&webhook, events), report).await?;
                CanaryEnd::NothingArrived { other }
            }
        };
        journal.end_canary(self.source)?;
        Ok(end)
    }

    /// Polls the counters until they allow a decision, or until `given.within` has passed.
    async fn watch<G: Gateways + Sync>(
        &self,
        start: &GatewayCounts,
        given: &Canary<G>,
        report: Report<'_>,
    ) -> Decision {
        let key = Key::Webhook(self.source.clone());
        let end = Instant::now() + given.within;
        let mut last = "";
        loop {
            let looked = given.gateways.look(self.source).await;
            let decision = decide(start, &looked.counts);
            let Decision::Wait { other } = decision else { return decision };
            if Instant::now() + given.interval > end {
                return decision;
            }
            let reason = match (looked.counts.is_empty(), other) {
                (true, _) => "no gateway responds at its admin address; waiting",
                (false, 0) => "enabled for the canary's events; waiting for the first one",
                (false, _) => "the gateway answers with another status than 202 and 401; see its log",
            };
            if reason != last {
                report(Progress::Waits { key: key.clone(), reason });
                last = reason;
            }
            tokio::time::sleep(given.interval).await;
        }
    }

    /// Reads the counters of all gateways. Each gateway must respond, because a silent one could refuse webhooks
    /// unnoticed.
    async fn all_gateways<G: Gateways + Sync>(&self, given: &Canary<G>) -> Result<GatewayCounts, SetupError> {
        let looked = given.gateways.look(self.source).await;
        let problem = match looked.unanswered.first() {
            Some(unanswered) => unanswered.clone(),
            None if looked.counts.is_empty() => "no gateway with this source is among the services".to_owned(),
            None => return Ok(looked.counts),
        };
        Err(refused(Refusal::NoGateway { source_name: self.source.clone(), problem }))
    }

    /// The wanted events. It is an error if they do not contain all events of the family.
    fn wanted<'w>(&self, wish: &'w WebhookWish, family: &EventSelection) -> Result<&'w EventSelection, SetupError> {
        let source_name = self.source.clone();
        let Some(events) = &wish.events else {
            let consequence = "the events that the canary widens to; `all`, channels such as `email,push`, or events";
            return Err(refused(Refusal::ChoiceMissing { source_name, variable: "CUSTOMERIO_EVENTS", consequence }));
        };
        match family.iter().find(|event| !events.contains(*event)) {
            Some(event) => Err(refused(Refusal::CanaryOutside { source_name, event: event.to_string() })),
            None => Ok(events),
        }
    }

    fn refuse_other_endpoint(&self, wish: &WebhookWish, webhook: &Webhook) -> Result<(), SetupError> {
        if webhook.endpoint().parse().is_ok_and(|url: reqwest::Url| url == wish.endpoint) {
            return Ok(());
        }
        let (source_name, id) = (self.source.clone(), webhook.id().to_string());
        Err(refused(Refusal::WebhookDiffers { source_name, id, fields: "endpoint".to_owned() }))
    }

    /// Reads the webhook of the source, and selects it by the rules of the plan.
    async fn webhook(&self, journal: &Journal) -> Result<(&WebhookWish, Webhook), SetupError> {
        let wish = self.desired.webhooks.iter().find(|wish| wish.source == *self.source);
        let wish = wish.ok_or_else(|| SetupError::NoClient(self.key()))?;
        let found = workspace(self.client()?, self.source, journal, self.clients.webhook_appears_within).await?;
        let desired = Desired {
            stage: self.desired.stage.clone(),
            topics: None,
            subject: None,
            platform: None,
            webhooks: vec![wish.clone()],
        };
        let customerio = BTreeMap::from([(self.source.clone(), found)]);
        let observed = Observed { customerio, ..Observed::default() };
        let planned = plan(&desired, &observed, &Permit::default());
        let id = planned.object(&self.key()).and_then(|object| object.id.clone());
        let is_missing = |refusal: &Refusal| {
            matches!(
                refusal,
                Refusal::ChoiceMissing { .. } | Refusal::WorkspaceNotNamed { .. } | Refusal::WrongWorkspace { .. }
            )
        };
        // `is_missing` matches the refusals that concern only the creation or change of a webhook. A webhook with our
        // mark can be enabled and disabled in spite of them.
        let refusals: Vec<Refusal> = planned.refusals.into_iter().filter(|refusal| !is_missing(refusal)).collect();
        if !refusals.is_empty() {
            return Err(SetupError::Refused(refusals));
        }
        let webhooks = observed.customerio.into_values().flat_map(|workspace| workspace.webhooks.webhooks);
        let webhook = webhooks.into_iter().find(|webhook| id.as_deref() == Some(webhook.id().to_string().as_str()));
        let source_name = self.source.clone();
        webhook.map(|webhook| (wish, webhook)).ok_or_else(|| refused(Refusal::NoWebhook { source_name }))
    }

    fn key(&self) -> Key {
        Key::Webhook(self.source.clone())
    }

    fn client(&self) -> Result<&AppApiClient, SetupError> {
        self.clients.customerio.get(self.source).ok_or_else(|| SetupError::NoClient(self.key()))
    }

    async fn update(&self, update: &WebhookUpdate, report: Report<'_>) -> Result<Webhook, SetupError> {
        let key = self.key();
        report(Progress::Begins { key: key.clone(), change: Change::Update });
        let webhook = self.client()?.update_webhook(update).await?;
        report(Progress::Done { key, change: Change::Update, id: webhook.id().to_string() });
        Ok(webhook)
    }
}

fn refused(refusal: Refusal) -> SetupError {
    SetupError::Refused(vec![refusal])
}

/// The update that enables a webhook for the events of the family only.
fn begin(wish: &WebhookWish, webhook: &Webhook, family: &EventSelection) -> WebhookUpdate {
    let base = without_note(webhook.name()).unwrap_or(webhook.name());
    let mut update = WebhookUpdate::of(webhook).events(family).enable().name(&canary(base));
    if let Some(resolution) = wish.resolution {
        update = update.resolution(resolution);
    }
    if let Some(content) = wish.content {
        update = update.content(content);
    }
    update
}

/// The update that enables all wanted events after a canary.
fn ended(webhook: &Webhook, events: &EventSelection) -> WebhookUpdate {
    WebhookUpdate::of(webhook).events(events).name(without_note(webhook.name()).unwrap_or(webhook.name()))
}

/// The update that disables a canary. A later run can start it again.
fn given_up(webhook: &Webhook, events: &EventSelection) -> WebhookUpdate {
    let base = without_note(webhook.name()).unwrap_or(webhook.name());
    WebhookUpdate::of(webhook).events(events).name(&pending(base)).disable()
}
