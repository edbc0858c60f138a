//! Executes one step: sends the request, handles the response or its absence, and reads the object afterwards.

use std::time::Duration;

use customerio_api::{AppApiClient, CreateError, WebhookUpdate};
use platform::control::{
    Call, ControlClient, ControlError, ErrorKind, FlowAction, create_base_connection, create_dataset,
    create_field_group, create_flow, create_namespace, create_schema, create_source_connection,
    create_target_connection, patch_resource, update_dataset, update_object,
};
use sources::SourceName;
use tokio::time::Instant;

use super::{ATTEMPTS, Run};
use crate::clients::{Progress, Report};
use crate::error::SetupError;
use crate::key::{Key, has_placeholder};
use crate::look::{look_again, look_at_topic, subject_of, workspace};
use crate::plan::Planned;
use crate::refusal::Refusal;
use crate::step::{Phase, PlatformStep, Step, WebhookStep};

/// The pause before a request that had no effect is sent again. A response can specify another pause.
const PAUSE: Duration = Duration::from_secs(1);

/// The consequence of a step's failure.
enum After {
    /// Read the object again, and continue from its current state. The text is the reason to report.
    LookAgain(&'static str),
    /// Pause, then continue with the next plan.
    Pause(Duration),
    /// The credential lacks a permission.
    Forbidden,
    /// End the run with the error.
    End,
}

impl Run<'_> {
    /// Executes the next step of an object and reads the object again. Returns true if the step succeeded.
    pub(super) async fn advance(&mut self, object: &Planned, report: Report<'_>) -> Result<bool, SetupError> {
        let key = &object.key;
        let Some(step) = object.next(Phase::Objects) else { return Ok(false) };
        if step.is_create() && self.looked.insert(key.clone()) {
            // The lock on the state file does not exclude runs on other machines. One of these may have created the
            // object since the state was read.
            return self.look_before_create(key, report).await.map(|()| false);
        }
        let attempts = self.attempts.entry(key.clone()).or_default();
        *attempts += 1;
        let request = step.request();
        let is_whole = !has_placeholder(&format!("{}{}", request.path, request.body.unwrap_or_default()));
        if *attempts > ATTEMPTS || !is_whole {
            let last = self.last_error.remove(key).unwrap_or_else(|| format!("{} {}", request.method, request.path));
            return Err(SetupError::NoProgress { key: key.clone(), attempts: *attempts - 1, last });
        }
        report(Progress::Begins { key: key.clone(), change: object.change });
        if let (Key::Webhook(source), Step::Webhook(step)) = (key, step) {
            return self.advance_webhook(object, source, step, report).await;
        }
        match self.perform(key, step).await {
            Ok(id) => {
                if step.is_create() {
                    self.last_create = Some(Instant::now());
                    self.journal.created(key, &id)?;
                }
                self.look_at_permitted(key, report).await?;
                report(Progress::Done { key: key.clone(), change: object.change, id });
                Ok(true)
            }
            Err(error) => self.recover(key, step, error, report).await.map(|()| false),
        }
    }

    /// Reads an object again immediately before its creation. The next plan is computed from the result.
    async fn look_before_create(&mut self, key: &Key, report: Report<'_>) -> Result<(), SetupError> {
        match key {
            Key::Webhook(_) => self.look_at_webhook(key, report).await,
            _ => self.look_at_permitted(key, report).await,
        }
    }

    async fn recover(
        &mut self,
        key: &Key,
        step: &Step,
        error: SetupError,
        report: Report<'_>,
    ) -> Result<(), SetupError> {
        let after = match &error {
            SetupError::Platform(error) => after_platform(error),
            _ => After::End,
        };
        if let Some(refusal) = self.exists_elsewhere(key, &error) {
            self.journal.forget(key)?;
            return Err(SetupError::Refused(vec![refusal]));
        }
        self.last_error.insert(key.clone(), error.to_string());
        match after {
            After::LookAgain(reason) => {
                report(Progress::Waits { key: key.clone(), reason });
                if step.is_create() {
                    // This run or another one may have just created the object. With a new intent, the next read
                    // waits until the object must be visible.
                    self.journal.intend(key)?;
                }
                self.look_at_permitted(key, report).await
            }
            After::Pause(wait) => {
                report(Progress::Waits { key: key.clone(), reason: "the service asks to wait" });
                self.journal.forget(key)?;
                tokio::time::sleep(wait).await;
                Ok(())
            }
            After::Forbidden => {
                self.journal.forget(key)?;
                report(Progress::Failed { key: key.clone(), reason: error.to_string() });
                self.forbidden = Some(error);
                Ok(())
            }
            After::End => {
                if step.is_create() {
                    self.journal.forget(key)?;
                }
                Err(error)
            }
        }
    }

    /// Returns a refusal if Platform has answered "already exists" for as long as a new object can be missing from
    /// lists. The conflicting object is then not a new one, and the lists of this sandbox do not contain it.
    fn exists_elsewhere(&mut self, key: &Key, error: &SetupError) -> Option<Refusal> {
        let SetupError::Platform(error) = error else { return None };
        let ErrorKind::AlreadyExists { existing, problem } = &*error.kind else { return None };
        let within = self.clients.platform.as_ref()?.settings().visibility.within;
        let first = *self.conflicts.entry(key.clone()).or_insert_with(Instant::now);
        (first.elapsed() >= within).then(|| Refusal::ExistsElsewhere {
            key: key.clone(),
            existing: existing.clone(),
            problem: problem.to_string().trim_end_matches('.').to_owned(),
        })
    }

    /// Reads an object again. If the credential lacks the permission to read it, the run skips all further steps in
    /// Platform.
    async fn look_at_permitted(&mut self, key: &Key, report: Report<'_>) -> Result<(), SetupError> {
        match self.look_at(key).await {
            Err(SetupError::Platform(error)) if matches!(*error.kind, ErrorKind::Forbidden(_)) => {
                report(Progress::Failed { key: key.clone(), reason: error.to_string() });
                self.forbidden = Some(SetupError::Platform(error));
                Ok(())
            }
            other => other,
        }
    }

    /// Sends the request of a step. Returns the object's id.
    async fn perform(&mut self, key: &Key, step: &Step) -> Result<String, SetupError> {
        let no_client = || SetupError::NoClient(key.clone());
        let clients = self.clients;
        match step {
            Step::Topic(spec) => {
                clients.kafka.as_ref().ok_or_else(no_client)?.ensure(spec).await?;
                Ok(spec.name.to_string())
            }
            Step::Compatibility { subject } => {
                clients.registry.as_ref().ok_or_else(no_client)?.require_full_compatibility(subject).await?;
                Ok(subject.clone())
            }
            Step::Platform(platform_step) => {
                let client = clients.platform.as_ref().ok_or_else(no_client)?;
                if step.is_create() {
                    // The intent is written before the request. After a kill, it tells the next run that the object may
                    // exist.
                    self.journal.intend(key)?;
                }
                Ok(send(client, platform_step, self.last_create).await?)
            }
            Step::Webhook(_) => Err(no_client()),
        }
    }

    async fn look_at(&mut self, key: &Key) -> Result<(), SetupError> {
        let no_client = || SetupError::NoClient(key.clone());
        let (desired, clients) = (self.desired, self.clients);
        match key {
            Key::Topic(name) => {
                let topics = clients.kafka.as_ref().ok_or_else(no_client)?;
                let wish = desired.topics.as_ref().ok_or_else(no_client)?;
                let Some(topic) = wish.names().find(|topic| topic.as_str() == name) else { return Ok(()) };
                let found = look_at_topic(topic, topics).await?;
                if let (Some(kafka), Some(found)) = (&mut self.observed.kafka, found) {
                    kafka.topics.insert(name.clone(), found);
                }
            }
            Key::Subject(subject) => {
                let registry = clients.registry.as_ref().ok_or_else(no_client)?;
                self.observed.registry = Some(subject_of(subject, registry).await?);
            }
            Key::Webhook(source) => {
                let client = clients.customerio.get(source).ok_or_else(no_client)?;
                let found = workspace(client, source, self.journal, clients.webhook_appears_within).await?;
                self.observed.customerio.insert(source.clone(), found);
            }
            _ => {
                let client = clients.platform.as_ref().ok_or_else(no_client)?;
                let (Some(stage), Some(wish)) = (&desired.stage, &desired.platform) else { return Err(no_client()) };
                let objects = self.observed.platform.as_mut().and_then(|platform| platform.objects.as_mut());
                let objects = objects.ok_or_else(no_client)?;
                look_again(key, client, stage, wish, self.journal, objects).await?;
            }
        }
        Ok(())
    }

    /// Executes a step of a source's webhook. A failure does not stop the other sources.
    async fn advance_webhook(
        &mut self,
        object: &Planned,
        source: &SourceName,
        step: &WebhookStep,
        report: Report<'_>,
    ) -> Result<bool, SetupError> {
        let key = &object.key;
        let Some(client) = self.clients.customerio.get(source) else { return Err(SetupError::NoClient(key.clone())) };
        let is_create = matches!(step, WebhookStep::Create(_));
        if is_create {
            self.journal.intend(key)?;
        }
        match send_to_customerio(client, step).await {
            Ok(id) => {
                if is_create {
                    self.journal.created(key, &id)?;
                }
                self.look_at_webhook(key, report).await?;
                report(Progress::Done { key: key.clone(), change: object.change, id });
                Ok(true)
            }
            Err(SetupError::CreateWebhook(CreateError::Unconfirmed(unconfirmed))) => {
                self.last_error.insert(key.clone(), unconfirmed.cause().to_string());
                // The next plan finds the webhook in the list by its mark, or creates it again.
                drop(unconfirmed);
                let reason = "it is unknown whether the webhook was created; looking for it";
                report(Progress::Waits { key: key.clone(), reason });
                self.look_at_webhook(key, report).await?;
                Ok(false)
            }
            Err(error) => {
                if is_create {
                    self.journal.forget(key)?;
                }
                self.fail(key.clone(), error, report);
                Ok(false)
            }
        }
    }

    async fn look_at_webhook(&mut self, key: &Key, report: Report<'_>) -> Result<(), SetupError> {
        match self.look_at(key).await {
            Err(error @ SetupError::CustomerIo(_)) => {
                self.fail(key.clone(), error, report);
                Ok(())
            }
            other => other,
        }
    }
}

/// The consequence of a failed request to Platform.
fn after_platform(error: &ControlError) -> After {
    match &*error.kind {
        ErrorKind::OutcomeUnknown(_) => After::LookAgain("there was no answer; looking for the object"),
        ErrorKind::AlreadyExists { .. } => After::LookAgain("it exists already; looking for it"),
        ErrorKind::ChangedMeanwhile(_) => After::LookAgain("it was changed meanwhile; reading the new version"),
        ErrorKind::RateLimited { retry_after, .. } => {
            After::Pause(retry_after.unwrap_or(PAUSE).min(Duration::from_secs(60)))
        }
        // No connection was established, so nothing was sent.
        ErrorKind::Unreachable(_) => After::Pause(PAUSE),
        ErrorKind::Forbidden(_) => After::Forbidden,
        _ => After::End,
    }
}

/// Sends a call that may refer to the object created at `last_create`, and repeats it until that object is visible.
async fn after_creates<T>(
    client: &ControlClient,
    call: &Call<T>,
    last_create: Option<Instant>,
) -> Result<T, ControlError> {
    match last_create {
        Some(created_at) => client.send_when_visible(call, created_at).await,
        None => client.send(call).await,
    }
}

/// Sends the request of a step in Platform. Returns the object's id.
async fn send(
    client: &ControlClient,
    step: &PlatformStep,
    last_create: Option<Instant>,
) -> Result<String, ControlError> {
    Ok(match step {
        PlatformStep::CreateNamespace(new) => {
            let namespace = client.send(&create_namespace(new)).await?;
            namespace.id.map_or(namespace.code, |id| id.to_string())
        }
        PlatformStep::CreateFieldGroup(body) => client.send(&create_field_group(body)).await?.id,
        PlatformStep::CreateSchema(body) => after_creates(client, &create_schema(body), last_create).await?.id,
        PlatformStep::PatchResource { kind, id, patches, etag } => {
            after_creates(client, &patch_resource(*kind, id, patches, etag.as_deref()), last_create).await?.id
        }
        PlatformStep::CreateDataset(new) => after_creates(client, &create_dataset(new), last_create).await?,
        PlatformStep::PatchDataset { id, patches, etag } => {
            client.send(&update_dataset(id, patches, etag.as_deref())).await?
        }
        PlatformStep::CreateBase(new) => client.send(&create_base_connection(new)).await?.id,
        PlatformStep::CreateSource(new) => after_creates(client, &create_source_connection(new), last_create).await?.id,
        PlatformStep::CreateTarget(new) => after_creates(client, &create_target_connection(new), last_create).await?.id,
        PlatformStep::CreateFlow(new) => after_creates(client, &create_flow(new), last_create).await?.id,
        PlatformStep::PatchObject { object, id, patches, etag } => {
            client.send(&update_object(*object, id, etag, patches)).await?.id
        }
        PlatformStep::EnableFlow { id } => client.set_flow_state(id, FlowAction::Enable).await?.id,
    })
}

async fn send_to_customerio(client: &AppApiClient, step: &WebhookStep) -> Result<String, SetupError> {
    let webhook = match step {
        WebhookStep::Create(draft) => {
            client.create_webhook(draft.new_webhook()).await.map_err(SetupError::CreateWebhook)?
        }
        WebhookStep::Update(update) => client.update_webhook(update).await?,
        WebhookStep::Enable(webhook) => client.update_webhook(&WebhookUpdate::of(webhook).enable()).await?,
    };
    Ok(webhook.id().to_string())
}
