//! Everything the control plane knows: the organisation, and what is in each sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::control::faults::Faults;
use crate::control::reply::{Outcome, Reply};
use crate::control::request::Incoming;
use crate::control::results::{Counts, FailedBatch};
use crate::control::seed;
use crate::control::store::Collection;
use crate::control::{ControlOptions, ControlRequest, LostEvent};
use crate::state::SimSettings;

/// The most requests and lost events that are kept.
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
        let mut world = Self {
            options: settings.control.clone(),
            ims_org: settings.ims_org.clone(),
            tenant: settings.tenant.trim_start_matches('_').to_owned(),
            faults: Faults::default(),
            log: Vec::new(),
            lost: Vec::new(),
            lost_total: 0,
            spaces: BTreeMap::new(),
        };
        seed::plant(&mut world, settings);
        world
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
        // Adobe's specification and clients end some paths with a slash. Only one path is meant so.
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

/// Refuses members that are missing, and members that are not documented.
pub(crate) fn members(body: &Map<String, Value>, required: &[&str], optional: &[&str]) -> Result<(), String> {
    if let Some(name) = required.iter().find(|name| body.get(**name).is_none_or(Value::is_null)) {
        return Err(format!("`{name}` is missing"));
    }
    match body.keys().find(|name| !required.contains(&name.as_str()) && !optional.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(format!("unknown member `{name}`; allowed: {}", [required, optional].concat().join(", "))),
    }
}

/// A member that must be text and not empty.
pub(crate) fn text<'b>(body: &'b Map<String, Value>, name: &str) -> Result<&'b str, String> {
    let text = body.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    text.ok_or_else(|| format!("`{name}` must be text and not empty"))
}

/// A member that must be an object.
pub(crate) fn object<'b>(body: &'b Map<String, Value>, name: &str) -> Result<&'b Map<String, Value>, String> {
    body.get(name).and_then(Value::as_object).ok_or_else(|| format!("`{name}` must be an object"))
}

/// Hexadecimal digits.
pub(crate) fn hex(digits: usize) -> String {
    (0..digits).map(|_| char::from(b"0123456789abcdef"[fastrand::usize(..16)])).collect()
}

/// An id of Flow Service.
pub(crate) fn uuid() -> String {
    format!("{}-{}-4{}-a{}-{}", hex(8), hex(4), hex(3), hex(3), hex(12))
}
