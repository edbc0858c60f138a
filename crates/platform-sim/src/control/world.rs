//! The data of the control plane: the organisation, and the content of each sandbox.

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

/// The maximum number of requests and lost events that are kept.
const KEPT: usize = 100_000;

/// The content of one sandbox.
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
    /// The events that Profile has.
    pub(crate) profile_events: Vec<ProfileEvent>,
    /// By flow and the number of the window.
    pub(crate) runs: BTreeMap<(String, i64), Counts>,
}

/// The control plane.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) options: ControlOptions,
    pub(crate) ims_org: String,
    /// Without the leading underscore.
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

    /// How long a new object is invisible.
    pub(crate) fn after(&self) -> Duration {
        self.options.visible_after
    }

    /// The sandbox of a request; the gate has checked that it exists.
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

    /// Answers a request that passed the gate.
    pub(crate) fn respond(&mut self, incoming: &Incoming) -> Reply {
        let mut parts = incoming.parts();
        // Adobe's specification and clients end some paths with a slash. Only one path needs this.
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

    /// A link to a next page: to this server, unless a fault says otherwise.
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
