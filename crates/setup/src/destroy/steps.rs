//! Executes the removals one after the other, in two parts: before and after the pipeline is drained.

use customerio_api::{Deletion, WebhookUpdate};
use platform::control::{
    Call, ControlClient, ControlError, ErrorKind, Kind, Object, delete_dataset, delete_object, delete_resource,
};

use super::{DestroyPlan, Drained, Removal};
use crate::clients::{Clients, Progress, Report};
use crate::error::SetupError;
use crate::journal::Journal;
use crate::key::Key;
use crate::pending::{pending, without_note};
use crate::plan::Change;

/// Maximum number of attempts for a removal with an unknown outcome. If the first attempt removed the object, the
/// second one gets "not found".
const ATTEMPTS: u32 = 4;

/// Executes the first part of a plan that has no refusals: disables the webhooks, so that no more events arrive. The
/// services then deliver what is in Kafka.
///
/// # Errors
/// [`SetupError`]; the webhooks that are already disabled stay disabled.
pub async fn disable_webhooks(plan: &DestroyPlan, clients: &Clients, report: Report<'_>) -> Result<(), SetupError> {
    for removal in plan.removals.iter().filter(|removal| is_disable(removal)) {
        carry_out(removal, clients, report).await?;
    }
    Ok(())
}

/// Executes the second part of a plan that has no refusals: removes the objects. The removal of an object that no
/// longer exists succeeds. After a kill, another run with a new plan continues.
///
/// # Errors
/// [`SetupError`]; completed removals are kept.
pub async fn destroy(
    plan: &DestroyPlan,
    _drained: &Drained,
    clients: &Clients,
    journal: &mut Journal,
    report: Report<'_>,
) -> Result<(), SetupError> {
    for removal in plan.removals.iter().filter(|removal| !is_disable(removal)) {
        carry_out(removal, clients, report).await?;
        journal.forget(&removal.key())?;
    }
    Ok(())
}

fn is_disable(removal: &Removal) -> bool {
    matches!(removal, Removal::Disable { .. })
}

async fn carry_out(removal: &Removal, clients: &Clients, report: Report<'_>) -> Result<(), SetupError> {
    let key = removal.key();
    let change = if is_disable(removal) { Change::Update } else { Change::Remove };
    report(Progress::Begins { key: key.clone(), change });
    let id = remove(removal, &key, clients).await?;
    report(Progress::Done { key, change, id });
    Ok(())
}

async fn remove(removal: &Removal, key: &Key, clients: &Clients) -> Result<String, SetupError> {
    let no_client = || SetupError::NoClient(key.clone());
    match removal {
        Removal::Disable { source, webhook } => {
            let client = clients.customerio.get(source).ok_or_else(no_client)?;
            // If the run ends after this request, the note in the name tells the next `apply` that no person disabled
            // the webhook.
            let update = WebhookUpdate::of(webhook).disable();
            let update = match without_note(webhook.name()) {
                Some(_) => update,
                None => update.name(&pending(webhook.name())),
            };
            let webhook = client.update_webhook(&update).await?;
            Ok(webhook.id().to_string())
        }
        Removal::Webhook { source, id, .. } => {
            let client = clients.customerio.get(source).ok_or_else(no_client)?;
            let (Deletion::Deleted | Deletion::Absent) = client.delete_webhook(*id).await?;
            Ok(id.to_string())
        }
        Removal::Object { key, id, .. } => {
            let client = clients.platform.as_ref().ok_or_else(no_client)?;
            let call = match key {
                Key::Flow => delete_object(Object::Flow, id),
                Key::TargetConnection => delete_object(Object::TargetConnection, id),
                Key::SourceConnection => delete_object(Object::SourceConnection, id),
                Key::BaseConnection => delete_object(Object::BaseConnection, id),
                Key::Dataset => delete_dataset(id),
                Key::Schema => delete_resource(Kind::Schema, id),
                Key::FieldGroup => delete_resource(Kind::FieldGroup, id),
                Key::Topic(_) | Key::Subject(_) | Key::Namespace(_) | Key::Webhook(_) => return Err(no_client()),
            };
            until_gone(client, &call).await?;
            Ok(id.clone())
        }
    }
}

/// Deletes an object. A repeated delete has no further effect, so a removal without a response is repeated.
async fn until_gone(client: &ControlClient, call: &Call<()>) -> Result<(), ControlError> {
    let mut attempts = 1;
    loop {
        let error = match client.send(call).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match &*error.kind {
            ErrorKind::NotFound(_) => return Ok(()),
            ErrorKind::OutcomeUnknown(_) | ErrorKind::Unreachable(_) | ErrorKind::RateLimited { .. }
                if attempts < ATTEMPTS =>
            {
                attempts += 1;
                tokio::time::sleep(client.settings().retries.first_wait).await;
            }
            _ => return Err(error),
        }
    }
}
