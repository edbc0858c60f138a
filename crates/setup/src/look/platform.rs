//! Reads the state of Experience Platform: first the sandbox, then the objects in it that may be ours.

use std::collections::BTreeMap;

use platform::control::{
    ControlClient, ControlError, SandboxState, effective_policies, permission_reference, stats, usable_sandboxes,
};

use super::objects::all_objects;
use crate::desired::PlatformWish;
use crate::journal::Journal;
use crate::observed::ObservedPlatform;
use crate::plan::Permission;
use crate::stage::Stage;

/// Reads the stage's sandbox. Its content is not read if the sandbox is missing or not active, or has another tenant.
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
    observed.tenant = client.send(&stats()).await?.tenant_id.trim_start_matches('_').to_owned();
    if wish.tenant.as_ref().is_some_and(|tenant| *tenant != observed.tenant) {
        return Ok(observed);
    }
    observed.objects = Some(all_objects(client, stage, wish, journal).await?);
    Ok(observed)
}

/// Reads which of the needed permissions the credential has. Without a response they count as unknown: a request that
/// lacks a permission reports it later.
async fn permissions(client: &ControlClient) -> BTreeMap<String, Option<bool>> {
    let unknown = || Permission::names().map(|name| (name.to_owned(), None)).collect();
    let Ok(reference) = client.send(&permission_reference()).await else { return unknown() };
    // Adobe's documents spell some names differently, so only names from the service's list are used in the request.
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
