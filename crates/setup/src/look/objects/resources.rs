//! Finds our field group and our schema in Platform's Schema Registry, also if a person has renamed them.
//!
//! The registry's lists contain titles and no descriptions, so the mark is visible only on a resource that is requested
//! by its id. The ids come from four places: the list with the wanted title, the state file, the object that refers to
//! the resource, and, if none of these leads to a resource with our mark, the list of all resources.

use futures_util::future::join_all;
use platform::control::{ControlError, ErrorKind, Kind, Resource, ResourceSummary, resource, resources};

use super::{Search, present};
use crate::key::Key;
use crate::observed::PlatformObjects;
use crate::plan::Candidate;
use crate::stage::Stage;
use crate::xdm_files::titles;

/// Maximum number of resources that are requested one by one if our resource must be searched for among all.
const MOST_READ: usize = 200;
/// Number of these requests that are sent at the same time.
const AT_ONCE: usize = 8;

/// Ids of Adobe's own classes and field groups begin with this text.
const ADOBE: &str = "https://ns.adobe.com/xdm/";

/// Reads the field groups or schemas that may be ours.
pub(super) async fn look_again(
    search: &Search<'_>,
    stage: &Stage,
    objects: &mut PlatformObjects,
) -> Result<(), ControlError> {
    let (group_title, schema_title) = titles(stage);
    let is_schema = matches!(search.key, Key::Schema);
    let (kind, title) = if is_schema { (Kind::Schema, schema_title) } else { (Kind::FieldGroup, group_title) };
    let referred = if is_schema { schemas_of_datasets(search, objects) } else { groups_of_schemas(search, objects) };
    let mut found = by_id(search, kind, &title, referred).await?;
    objects.unexamined.remove(search.key);
    if !found.iter().any(|resource| is_ours(search, resource)) {
        let unread = among_all(search, kind, &mut found).await?;
        if unread > 0 {
            objects.unexamined.insert(search.key.clone(), unread);
        }
    }
    if is_schema {
        objects.schemas = found;
    } else {
        objects.field_groups = found;
    }
    Ok(())
}

fn is_ours<C: Candidate>(search: &Search<'_>, candidate: &C) -> bool {
    candidate.mark().as_ref() == Some(search.wanted.mark)
}

/// The ids of the schemas of our datasets.
fn schemas_of_datasets(search: &Search<'_>, objects: &PlatformObjects) -> Vec<String> {
    let ours = objects.datasets.iter().filter(|dataset| is_ours(search, *dataset));
    ours.filter_map(|dataset| Some(dataset.schema.as_ref()?.id.clone())).collect()
}

/// The ids of the organisation's own field groups in our schemas.
fn groups_of_schemas(search: &Search<'_>, objects: &PlatformObjects) -> Vec<String> {
    let ours = objects.schemas.iter().filter(|schema| is_ours(search, *schema));
    let referred = ours.flat_map(Resource::references).filter(|id| !id.starts_with(ADOBE));
    referred.map(str::to_owned).collect()
}

/// Reads the resources with the wanted title, those to which an object refers, and the one in the state file.
async fn by_id(
    search: &Search<'_>,
    kind: Kind,
    title: &str,
    referred: Vec<String>,
) -> Result<Vec<Resource>, ControlError> {
    let titled = search.listed(&resources(kind, Some(title)), |_, _| true).await?;
    let ids = titled.into_iter().map(|summary: ResourceSummary| summary.id).chain(referred);
    let mut found: Vec<Resource> = Vec::new();
    for id in ids {
        if found.iter().all(|resource| resource.id != id) {
            found.extend(present(search.client.send(&resource(kind, &id, false)).await)?);
        }
    }
    if let Some((id, created_at)) = search.missing_id(|id| found.iter().any(|resource| resource.id == id)) {
        found.extend(present(search.client.send_when_visible(&resource(kind, &id, false), created_at).await)?);
    }
    // A schema may also contain other people's field groups. Ours has our mark, the wanted title or the id in the state
    // file.
    found.retain(|resource| resource.title == title || is_ours(search, resource) || is_noted(search, resource));
    Ok(found)
}

/// Returns true if the id of the resource is in the state file.
fn is_noted(search: &Search<'_>, resource: &Resource) -> bool {
    search.journal.id(search.key) == Some(resource.id.as_str())
}

/// Reads up to [`MOST_READ`] more resources of the sandbox, and adds those with our mark. Returns the number of
/// resources that were not read.
async fn among_all(search: &Search<'_>, kind: Kind, found: &mut Vec<Resource>) -> Result<usize, ControlError> {
    let all = search.client.list(&resources(kind, None)).await?;
    let others: Vec<String> =
        all.into_iter().map(|summary| summary.id).filter(|id| found.iter().all(|known| known.id != *id)).collect();
    let (read, _) = others.split_at(others.len().min(MOST_READ));
    for ids in read.chunks(AT_ONCE) {
        for answer in join_all(ids.iter().map(|id| one(search, kind, id))).await {
            match answer {
                Ok(resource) if is_ours(search, &resource) => found.push(resource),
                Ok(_) => {}
                Err(error) if concerns_one_resource(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(others.len().saturating_sub(MOST_READ))
}

async fn one(search: &Search<'_>, kind: Kind, id: &str) -> Result<Resource, ControlError> {
    search.client.send(&resource(kind, id, false)).await
}

/// Returns true if the error concerns this resource only: another one can still be read.
fn concerns_one_resource(error: &ControlError) -> bool {
    matches!(
        &*error.kind,
        ErrorKind::NotFound(_)
            | ErrorKind::NotAcceptable(_)
            | ErrorKind::NotVisible { .. }
            | ErrorKind::Rejected { .. }
            | ErrorKind::Unreadable(_)
    )
}
