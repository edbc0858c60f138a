//! Reads the objects in a sandbox that may be ours: those with the wanted name, and the one whose id is in the state
//! file.
//!
//! A list can miss an object that was created shortly before. If the state file has an intent, the list is read again
//! until the object appears or the time is over; if it has an id, the object is looked up by that id.

use platform::control::{
    BaseConnection, Call, ControlClient, ControlError, ErrorKind, Kind, Namespace, Page, Resource, ResourceSummary,
    base_connection, base_connections, dataset, datasets_named, flow, flows, namespaces, resource, resources,
    source_connection, source_connections, target_connection, target_connections,
};
use tokio::time::Instant;

use crate::desired::PlatformWish;
use crate::journal::Journal;
use crate::key::Key;
use crate::observed::PlatformObjects;
use crate::plan::Candidate;
use crate::stage::Stage;
use crate::xdm_files::{EVENTS, titles};

/// Reads all objects of Platform.
pub(crate) async fn all_objects(
    client: &ControlClient,
    stage: &Stage,
    wish: &PlatformWish,
    journal: &Journal,
) -> Result<PlatformObjects, ControlError> {
    let mut objects = PlatformObjects::default();
    let keys = [
        Key::FieldGroup,
        Key::Schema,
        Key::Dataset,
        Key::BaseConnection,
        Key::SourceConnection,
        Key::TargetConnection,
        Key::Flow,
    ];
    objects.namespaces = all_namespaces(client, wish, journal).await?;
    for key in &keys {
        look_again(key, client, stage, wish, journal, &mut objects).await?;
    }
    Ok(objects)
}

/// Reads the object of a key again.
pub(crate) async fn look_again(
    key: &Key,
    client: &ControlClient,
    stage: &Stage,
    wish: &PlatformWish,
    journal: &Journal,
    objects: &mut PlatformObjects,
) -> Result<(), ControlError> {
    let name = stage.name(EVENTS);
    let property = Some(("name", name.as_str()));
    let (group, schema) = titles(stage);
    match key {
        Key::Namespace(_) => objects.namespaces = all_namespaces(client, wish, journal).await?,
        Key::FieldGroup => objects.field_groups = registry(client, journal, key, Kind::FieldGroup, &group).await?,
        Key::Schema => objects.schemas = registry(client, journal, key, Kind::Schema, &schema).await?,
        Key::Dataset => {
            let listed = found(client, journal, key, &datasets_named(&name), dataset).await?;
            // A list does not contain a dataset's version, which is needed for a change.
            let mut whole = Vec::new();
            for listed in listed {
                whole.extend(present(client.send(&dataset(&listed.id)).await)?);
            }
            objects.datasets = whole;
        }
        Key::BaseConnection => {
            let named = base_connections(property);
            let mut bases = with_source_id(client, &stage.source_id()).await?;
            let others = match bases.is_empty() {
                true => found(client, journal, key, &named, base_connection).await?,
                // The `sourceId` is unique, so no other object can be the one that is still missing from the list.
                false => client.list(&named).await?,
            };
            let is_new = |other: &BaseConnection| bases.iter().all(|base| base.id != other.id);
            let new: Vec<_> = others.into_iter().filter(is_new).collect();
            bases.extend(new);
            objects.bases = bases;
        }
        Key::SourceConnection => {
            objects.sources = found(client, journal, key, &source_connections(property), source_connection).await?;
        }
        Key::TargetConnection => {
            objects.targets = found(client, journal, key, &target_connections(property), target_connection).await?;
        }
        Key::Flow => objects.flows = found(client, journal, key, &flows(property), flow).await?,
        Key::Topic(_) | Key::Subject(_) | Key::Webhook(_) => {}
    }
    Ok(())
}

/// Reads the base connections with a `sourceId`, whatever their name is. Adobe documents the filter by a name only, so
/// a refused filter finds nothing.
async fn with_source_id(client: &ControlClient, source_id: &str) -> Result<Vec<BaseConnection>, ControlError> {
    match client.list(&base_connections(Some(("auth.params.sourceId", source_id)))).await {
        Ok(mut bases) => {
            bases.retain(|base| base.params().and_then(|params| params.source_id.as_deref()) == Some(source_id));
            Ok(bases)
        }
        Err(error) if matches!(*error.kind, ErrorKind::Rejected { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Turns "not found" into `None`.
fn present<T>(result: Result<T, ControlError>) -> Result<Option<T>, ControlError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(*error.kind, ErrorKind::NotFound(_) | ErrorKind::NotVisible { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the objects of a list, and the object whose id is in the state file.
async fn found<T: Candidate>(
    client: &ControlClient,
    journal: &Journal,
    key: &Key,
    list: &Call<Page<T>>,
    one: fn(&str) -> Call<T>,
) -> Result<Vec<T>, ControlError> {
    let mut found = listed(client, list, journal, key).await?;
    if let Some((id, created_at)) = missing_id(journal, key, |id| found.iter().any(|object| object.id() == id)) {
        found.extend(present(client.send_when_visible(&one(&id), created_at).await)?);
    }
    Ok(found)
}

/// Reads a list, and reads it again while an object that was about to be created may not be visible yet.
async fn listed<T>(
    client: &ControlClient,
    list: &Call<Page<T>>,
    journal: &Journal,
    key: &Key,
) -> Result<Vec<T>, ControlError> {
    let first = client.list(list).await?;
    let is_open = first.is_empty() && journal.id(key).is_none();
    let Some(created_at) = journal.created_at(key).filter(|_| is_open) else { return Ok(first) };
    match client.find_when_visible(list, |_| true, created_at).await? {
        Some(_) => client.list(list).await,
        None => Ok(Vec::new()),
    }
}

/// The id in the state file with the time of the create, if no found object has this id.
fn missing_id(journal: &Journal, key: &Key, is_found: impl Fn(&str) -> bool) -> Option<(String, Instant)> {
    let id = journal.id(key).filter(|id| !is_found(id))?;
    Some((id.to_owned(), journal.created_at(key).unwrap_or_else(Instant::now)))
}

/// Reads field groups or schemas. A list contains only titles, so each one is requested by its id.
async fn registry(
    client: &ControlClient,
    journal: &Journal,
    key: &Key,
    kind: Kind,
    title: &str,
) -> Result<Vec<Resource>, ControlError> {
    let list: Call<Page<ResourceSummary>> = resources(kind, Some(title));
    let listed = listed(client, &list, journal, key).await?;
    let mut found = Vec::new();
    for summary in &listed {
        found.extend(present(client.send(&resource(kind, &summary.id, false)).await)?);
    }
    if let Some((id, created_at)) = missing_id(journal, key, |id| found.iter().any(|object| object.id == id)) {
        found.extend(present(client.send_when_visible(&resource(kind, &id, false), created_at).await)?);
    }
    Ok(found)
}

/// Reads all namespaces, and reads them again while one that was about to be created is missing.
async fn all_namespaces(
    client: &ControlClient,
    wish: &PlatformWish,
    journal: &Journal,
) -> Result<Vec<Namespace>, ControlError> {
    let visibility = client.settings().visibility;
    loop {
        let found = client.send(&namespaces()).await?;
        let is_missing = |code: &&String| found.iter().all(|namespace| !namespace.code.eq_ignore_ascii_case(code));
        let created = wish
            .namespaces
            .iter()
            .filter(is_missing)
            .filter_map(|code| journal.created_at(&Key::Namespace(code.clone())));
        if !created.into_iter().any(|created_at| created_at.elapsed() < visibility.within) {
            return Ok(found);
        }
        tokio::time::sleep(visibility.interval).await;
    }
}
