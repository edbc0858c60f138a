//! Checks every request: credential, key, organisation, sandbox, permission and content type.

use crate::control::reply::Reply;
use crate::control::request::Incoming;
use crate::control::world::World;
use crate::settings::SimSettings;

pub(crate) fn check(
    world: &World,
    settings: &SimSettings,
    incoming: &Incoming,
    token_is_good: bool,
) -> Result<(), Reply> {
    identity(settings, incoming, token_is_good)?;
    sandbox(world, incoming)?;
    if let Some(permission) = missing_permission(world, incoming) {
        return Err(forbidden(incoming, &permission));
    }
    content_type(incoming)
}

fn identity(settings: &SimSettings, incoming: &Incoming, token_is_good: bool) -> Result<(), Reply> {
    let refuse = |status, code, message: &str| Err(Reply::gateway(status, code, message));
    if let Some((client_id, _)) = &settings.credential {
        if incoming.bearer().is_none() {
            return refuse(403, "403010", "Oauth token is missing");
        }
        if !token_is_good {
            return refuse(401, "401013", "Oauth token is not valid");
        }
        match incoming.header("x-api-key") {
            None => return refuse(403, "403000", "Api Key is required"),
            Some(key) if key != client_id => return refuse(403, "403003", "Api Key is invalid"),
            Some(_) => {}
        }
    }
    match incoming.header("x-gw-ims-org-id") {
        None => refuse(400, "400003", "x-gw-ims-org-id header is missing"),
        Some(org) if org != settings.ims_org => {
            refuse(403, "403025", "Profile is not valid for the organization in x-gw-ims-org-id")
        }
        Some(_) => Ok(()),
    }
}

/// Checks the sandbox. Adobe documents only the responses of Flow Service; those of the other services are assumed.
fn sandbox(world: &World, incoming: &Incoming) -> Result<(), Reply> {
    let service = incoming.segments.get(1).map(String::as_str);
    if service == Some("sandbox-management") {
        return Ok(());
    }
    let is_flow_service = service == Some("flowservice");
    let Some(name) = incoming.header("x-sandbox-name") else {
        return Err(if is_flow_service {
            Reply::flow("2105-400", "Invalid request", "The header x-sandbox-name is missing")
        } else {
            Reply::problem(400, "Bad Request", "the header x-sandbox-name is missing")
        });
    };
    let detail = format!("The sandbox {name} does not exist, or this credential has no access to it");
    match world.spaces.get(name) {
        None if is_flow_service => Err(Reply::flow("2100-404", "Resource not found", &detail)),
        None => Err(Reply::problem(403, "Forbidden", &detail)),
        Some(_) if world.faults.sandbox_state(name).is_some_and(|state| state != "active") => {
            Err(Reply::problem(403, "Forbidden", &format!("The sandbox {name} is not active")))
        }
        Some(_) => Ok(()),
    }
}

/// Returns the permissions that a service requires for reading and for changing.
pub(crate) fn permissions(service: &str) -> Option<(&'static str, &'static str)> {
    Some(match service {
        "schemaregistry" => ("view-schemas", "manage-schemas"),
        "catalog" | "export" => ("view-datasets", "manage-datasets"),
        "flowservice" => ("view-sources", "manage-sources"),
        "idnamespace" => ("view-identity-namespaces", "manage-identity-namespaces"),
        "sandbox-management" => ("view-sandboxes", "manage-sandboxes"),
        "ups" => ("view-profiles", "manage-profiles"),
        _ => return None,
    })
}

fn missing_permission(world: &World, incoming: &Incoming) -> Option<String> {
    // No permission is necessary to list the sandboxes that the credential can use.
    if incoming.parts().as_slice() == ["foundation", "sandbox-management", ""] {
        return None;
    }
    let (view, manage) = permissions(incoming.segments.get(1)?)?;
    let needed = if incoming.is_write() { manage } else { view };
    world.faults.missing_permissions().contains(needed).then(|| needed.to_owned())
}

fn forbidden(incoming: &Incoming, permission: &str) -> Reply {
    let detail = format!("The credential lacks the permission {permission} in this sandbox");
    match incoming.segments.get(1).map(String::as_str) {
        Some("flowservice") => Reply::flow("2120-403", "Forbidden", &detail),
        _ => Reply::problem(403, "Forbidden", &detail),
    }
}

fn content_type(incoming: &Incoming) -> Result<(), Reply> {
    if incoming.body.is_empty() {
        return Ok(());
    }
    let sent = incoming.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let is_patch_of_catalog =
        incoming.method == "PATCH" && incoming.segments.get(1).is_some_and(|name| name == "catalog");
    match sent {
        "application/json" => Ok(()),
        "application/json-patch+json" if is_patch_of_catalog => Ok(()),
        _ => Err(Reply::problem(415, "Unsupported Media Type", "the Content-Type must be application/json")),
    }
}
