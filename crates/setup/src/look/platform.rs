//! Reads the state of Experience Platform: first the sandbox, then the objects in it that may be ours.

use std::collections::BTreeMap;
use std::time::Duration;

use platform::control::{
    ControlClient, ControlError, Sandbox, SandboxState, effective_policies, permission_reference, stats,
    usable_sandboxes,
};

use super::objects::all_objects;
use crate::desired::PlatformWish;
use crate::journal::Journal;
use crate::observed::ObservedPlatform;
use crate::plan::Permission;
use crate::stage::Stage;

/// Time limit for reading a sandbox without its objects.
const SANDBOX_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the stage's sandbox, and the objects in it if the sandbox is active and the tenant is the configured one. If
/// the objects cannot be read, the result contains the error and what was read before, such as the permissions.
pub(crate) async fn look_at_platform(
    client: &ControlClient,
    stage: &Stage,
    wish: &PlatformWish,
    journal: &Journal,
) -> Result<ObservedPlatform, ControlError> {
    let sandboxes = client.list(&usable_sandboxes()).await?;
    let mut observed = ObservedPlatform { sandboxes, ..ObservedPlatform::default() };
    let named = observed.sandboxes.iter().find(|sandbox| sandbox.name == stage.sandbox.as_str());
    if !named.is_some_and(|sandbox| matches!(sandbox.state, SandboxState::Active | SandboxState::Unknown)) {
        return Ok(observed);
    }
    observed.permissions = permissions(client).await;
    if let Err(error) = content(client, stage, wish, journal, &mut observed).await {
        observed.failure = Some(error);
    }
    Ok(observed)
}

async fn content(
    client: &ControlClient,
    stage: &Stage,
    wish: &PlatformWish,
    journal: &Journal,
    observed: &mut ObservedPlatform,
) -> Result<(), ControlError> {
    observed.tenant = client.send(&stats()).await?.tenant_id.trim_start_matches('_').to_owned();
    if wish.tenant.as_ref().is_none_or(|tenant| *tenant == observed.tenant) {
        observed.objects = Some(all_objects(client, stage, wish, journal).await?);
    }
    Ok(())
}

/// Reads the stage's sandbox without its objects. Returns `None` if the sandbox is missing, or if Platform does not
/// respond in time.
pub(crate) async fn sandbox_of(stage: &Stage, client: &ControlClient) -> Option<Sandbox> {
    let listed = tokio::time::timeout(SANDBOX_TIMEOUT, client.list(&usable_sandboxes())).await.ok()?.ok()?;
    listed.into_iter().find(|sandbox| sandbox.name == stage.sandbox.as_str())
}

/// Reads which of the needed permissions the credential has. Without a response, all of them count as unknown, and a
/// later request for which a permission is missing fails.
async fn permissions(client: &ControlClient) -> BTreeMap<String, Option<bool>> {
    let unknown = || Permission::names().map(|name| (name.to_owned(), None)).collect();
    let Ok(reference) = client.send(&permission_reference()).await else { return unknown() };
    // Adobe's documents and the service spell some names differently. The request contains only the service's names.
    let known: Vec<&str> = Permission::names().filter(|name| reference.permissions.contains(*name)).collect();
    let paths: Vec<String> = known.iter().map(|name| format!("/permissions/{name}")).collect();
    let asked: Vec<&str> = paths.iter().map(String::as_str).collect();
    let Ok(policies) = client.send(&effective_policies(&asked)).await else { return unknown() };
    let granted = |name: &str| {
        let action = if name.starts_with("view-") { "read" } else { "write" };
        known.contains(&name).then(|| policies.allows(&format!("/permissions/{name}"), action))
    };
    Permission::names().map(|name| (name.to_owned(), granted(name))).collect()
}
