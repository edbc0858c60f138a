//! Data of the control plane: the organisation, and the content of each sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::control::failed_batch::{Counts, FailedBatch};
use crate::control::faults::Faults;
use crate::control::profile_event::ProfileEvent;
use crate::control::records::{ControlRequest, LostEvent};
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::store::Collection;
use crate::settings::{ControlOptions, SimSettings};

/// Maximum number of recorded requests, and of recorded lost events.
const KEPT: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct Space {
    pub(crate) title: String,
    pub(crate) kind: &'static str,
    pub(crate) namespaces: Collection,
    pub(crate) field_groups: Collection,
    pub(crate) schemas: Collection,
    pub(crate) descriptors: Collection,
    pub(crate) datasets: Collection,
    pub(crate) connections: Collection,
    pub(crate) sources: Collection,
    pub(crate) targets: Collection,
    pub(crate) flows: Collection,
    pub(crate) batches: Vec<FailedBatch>,
    /// Events of the profiles in the sandbox.
    pub(crate) profile_events: Vec<ProfileEvent>,
    /// Counts of each flow run. The key is the flow's id and the number of the time window.
    pub(crate) runs: BTreeMap<(String, i64), Counts>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: ControlOptions,
    pub(crate) ims_org: String,
    /// Id of the tenant, without a leading underscore.
    pub(crate) tenant: String,
    pub(crate) faults: Faults,
    pub(crate) log: Vec<ControlRequest>,
    pub(crate) lost: Vec<LostEvent>,
    pub(crate) lost_total: u64,
    pub(crate) spaces: BTreeMap<String, Space>,
}

impl World {
    pub(crate) fn new(settings: &SimSettings) -> Self {
        Self {
            options: settings.control.clone(),
            ims_org: settings.ims_org.clone(),
            tenant: settings.tenant.trim_start_matches('_').to_owned(),
            faults: Faults::default(),
            log: Vec::new(),
            lost: Vec::new(),
            lost_total: 0,
            spaces: BTreeMap::new(),
        }
    }

    /// Returns the time for which a new object is invisible.
    pub(crate) fn after(&self) -> Duration {
        self.options.visible_after
    }

    /// Returns the sandbox of a request. The checks in `gate` guarantee that it exists.
    pub(crate) fn space(&mut self, incoming: &Incoming) -> &mut Space {
        self.spaces.entry(incoming.sandbox().to_owned()).or_default()
    }

    pub(crate) fn note(&mut self, incoming: &Incoming, status: u16) {
        if self.log.len() < KEPT {
            self.log.push(ControlRequest {
                method: incoming.method.clone(),
                path: incoming.target.clone(),
                sandbox: incoming.header("x-sandbox-name").map(str::to_owned),
                headers: incoming.noted_headers(),
                body: incoming.json(),
                status,
            });
        }
    }

    pub(crate) fn lose(&mut self, event: LostEvent) {
        self.lost_total += 1;
        if self.lost.len() < KEPT {
            self.lost.push(event);
        }
    }

    /// Responds to a request that passed the checks in `gate`.
    pub(crate) fn respond(&mut self, incoming: &Incoming) -> Reply {
        let mut parts = incoming.parts();
        // A slash at the end of a path is ignored, because Adobe's specification and clients append it to some paths.
        // Only sandbox management has a path that requires the slash.
        if parts.last() == Some(&"") && parts.get(1) != Some(&"sandbox-management") {
            parts.pop();
        }
        let outcome: Outcome = match parts.as_slice() {
            ["foundation", "schemaregistry", "tenant", "descriptors", rest @ ..] => self.descriptors(incoming, rest),
            ["foundation", "schemaregistry", rest @ ..] => self.registry(incoming, rest),
            ["foundation", "catalog", "dataSets", rest @ ..] => self.datasets(incoming, rest),
            ["foundation", "catalog", "batches", rest @ ..] => self.batches(incoming, rest),
            ["foundation", "export", "batches", rest @ ..] => self.export(incoming, rest),
            ["foundation", "flowservice", "runs"] => self.runs(incoming),
            ["foundation", "flowservice", rest @ ..] => self.flow_service(incoming, rest),
            ["foundation", "sandbox-management", rest @ ..] => self.sandboxes(incoming, rest),
            ["foundation", "access-control", "acl", rest @ ..] => self.access(incoming, rest),
            ["core", "idnamespace", "identities", rest @ ..] => self.identities(incoming, rest),
            ["core", "ups", "access", "entities"] => self.profile_events(incoming),
            _ => Err(incoming.unknown(&[])),
        };
        outcome.unwrap_or_else(|refusal| refusal)
    }

    /// Returns a link to `path`, for example to the next page. With the fault `foreign_links`, the link leads to
    /// another server.
    pub(crate) fn link(&self, incoming: &Incoming, path: &str, is_absolute: bool) -> String {
        if self.faults.has_foreign_links() {
            return format!("https://elsewhere.example{path}");
        }
        match incoming.header("host").filter(|_| is_absolute) {
            Some(host) => format!("http://{host}{path}"),
            None => path.to_owned(),
        }
    }
}
