//! Reads the objects in a sandbox that may be ours: those with our mark or the wanted name, and the one whose id is in
//! the state file.
//!
//! A person may rename an object, and the state file may be lost. Therefore the lists are read without a filter by
//! name, and the mark decides. The lists of Platform's Schema Registry contain no descriptions and so no marks; the
//! module `resources` finds our field group and schema there.
//!
//! A list can miss an object that was created shortly before. If the state file has an intent, the list is read again
//! until the object appears or `Visibility::within` has passed. If the state file has an id, the object is requested by
//! this id.

mod resources;

use platform::control::{
    Call, ControlClient, ControlError, ErrorKind, Namespace, Page, base_connection, base_connections, dataset,
    datasets, flow, flows, namespaces, source_connection, source_connections, target_connection, target_connections,
};
use tokio::time::Instant;

use crate::desired::PlatformWish;
use crate::journal::Journal;
use crate::key::Key;
use crate::observed::PlatformObjects;
use crate::plan::{Candidate, Wanted};
use crate::stage::Stage;
use crate::xdm_files::EVENTS;

/// Reads all namespaces, and the objects in the stage's sandbox that may be ours.
pub(crate) async fn all_objects(
    client: &ControlClient,
    stage: &Stage,
    wish: &PlatformWish,
    journal: &Journal,
) -> Result<PlatformObjects, ControlError> {
    let mut objects = PlatformObjects::default();
    // `resources` finds the schema through the dataset, and the field group through the schema, so the referring object
    // is read first.
    let keys = [
        Key::Dataset,
        Key::Schema,
        Key::FieldGroup,
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

/// Reads the object of a key, and replaces it in `objects`.
pub(crate) async fn look_again(
    key: &Key,
    client: &ControlClient,
    stage: &Stage,
    wish: &PlatformWish,
    journal: &Journal,
    objects: &mut PlatformObjects,
) -> Result<(), ControlError> {
    let (mark, name, source_id) = (stage.shared_mark(), stage.name(EVENTS), stage.source_id());
    let wanted = Wanted { mark: &mark, name: &name, source_id: &source_id };
    let search = Search { client, journal, key, wanted };
    match key {
        Key::Namespace(_) => objects.namespaces = all_namespaces(client, wish, journal).await?,
        Key::FieldGroup | Key::Schema => resources::look_again(&search, stage, objects).await?,
        Key::Dataset => {
            let listed = search.found(&datasets(), dataset).await?;
            // A list does not contain a dataset's version, which is needed for a change.
            let mut whole = Vec::new();
            for listed in listed {
                whole.extend(present(client.send(&dataset(&listed.id)).await)?);
            }
            objects.datasets = whole;
        }
        Key::BaseConnection => objects.bases = search.found(&base_connections(None), base_connection).await?,
        Key::SourceConnection => objects.sources = search.found(&source_connections(None), source_connection).await?,
        Key::TargetConnection => objects.targets = search.found(&target_connections(None), target_connection).await?,
        Key::Flow => objects.flows = search.found(&flows(None), flow).await?,
        Key::Topic(_) | Key::Subject(_) | Key::Webhook(_) => {}
    }
    Ok(())
}

/// Turns "not found" into `None`.
fn present<T>(result: Result<T, ControlError>) -> Result<Option<T>, ControlError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(*error.kind, ErrorKind::NotFound(_) | ErrorKind::NotVisible { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The search for one of our objects.
struct Search<'s> {
    client: &'s ControlClient,
    journal: &'s Journal,
    key: &'s Key,
    wanted: Wanted<'s>,
}

impl Search<'_> {
    /// Reads the objects of a list that may be ours, and the object whose id is in the state file.
    async fn found<T: Candidate>(
        &self,
        list: &Call<Page<T>>,
        one: fn(&str) -> Call<T>,
    ) -> Result<Vec<T>, ControlError> {
        let mut found = self.listed(list, |wanted, object| wanted.may_be(object)).await?;
        if let Some((id, created_at)) = self.missing_id(|id| found.iter().any(|object| object.id() == id)) {
            found.extend(present(self.client.send_when_visible(&one(&id), created_at).await)?);
        }
        Ok(found)
    }

    /// Reads the matching entries of a list. If there is none and the state file has an intent, reads the list again
    /// until a created object must be visible.
    async fn listed<T>(
        &self,
        list: &Call<Page<T>>,
        is_wanted: fn(&Wanted<'_>, &T) -> bool,
    ) -> Result<Vec<T>, ControlError> {
        let first = self.matching(list, is_wanted).await?;
        let is_open = first.is_empty() && self.journal.id(self.key).is_none();
        let Some(created_at) = self.journal.created_at(self.key).filter(|_| is_open) else { return Ok(first) };
        let is_wanted_here = |entry: &T| is_wanted(&self.wanted, entry);
        match self.client.find_when_visible(list, is_wanted_here, created_at).await? {
            Some(_) => self.matching(list, is_wanted).await,
            None => Ok(Vec::new()),
        }
    }

    async fn matching<T>(
        &self,
        list: &Call<Page<T>>,
        is_wanted: fn(&Wanted<'_>, &T) -> bool,
    ) -> Result<Vec<T>, ControlError> {
        let mut all = self.client.list(list).await?;
        all.retain(|entry| is_wanted(&self.wanted, entry));
        Ok(all)
    }

    /// The id in the state file and the time of the create; `None` if an object with this id was already found.
    fn missing_id(&self, is_found: impl Fn(&str) -> bool) -> Option<(String, Instant)> {
        let id = self.journal.id(self.key).filter(|id| !is_found(id))?;
        Some((id.to_owned(), self.journal.created_at(self.key).unwrap_or_else(Instant::now)))
    }
}

/// Reads all namespaces. Reads them again while a wanted one is missing whose entry in the state file is so new that
/// the namespace may not be visible yet.
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
