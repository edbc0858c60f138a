//! The types of a plan.

use super::needs::Permission;
use crate::key::{Key, Target};
use crate::refusal::Refusal;
use crate::step::{Phase, PlannedRequest, Step};

/// The kind of change of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The object is created.
    Create,
    /// The object is changed.
    Update,
    /// The object stays as it is.
    Keep,
    /// The object is removed.
    Remove,
}

impl Change {
    /// The character that shows the change in a plan.
    #[must_use]
    pub fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Update => '~',
            Self::Keep => '=',
            Self::Remove => '-',
        }
    }

    /// The change's name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Keep => "keep",
            Self::Remove => "remove",
        }
    }
}

/// A property that differs from the desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Name of the property.
    pub field: String,
    /// The observed value.
    pub current: String,
    /// The wanted value.
    pub wanted: String,
}

impl Difference {
    pub(crate) fn new(field: impl Into<String>, current: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { field: field.into(), current: current.into(), wanted: wanted.into() }
    }
}

/// One object of a plan, with its steps.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Key of the object.
    pub key: Key,
    /// The kind of change.
    pub change: Change,
    /// The object's name in its service.
    pub name: String,
    /// The object's id; `None` if it does not exist yet.
    pub id: Option<String>,
    /// The properties that differ from the desired state.
    pub differences: Vec<Difference>,
    /// The steps, in order. Empty if the object stays as it is.
    pub steps: Vec<Step>,
}

impl Planned {
    pub(crate) fn create(key: Key, name: impl Into<String>, step: impl Into<Step>) -> Self {
        let (name, steps) = (name.into(), vec![step.into()]);
        Self { key, change: Change::Create, name, id: None, differences: Vec::new(), steps }
    }

    pub(crate) fn keep(key: Key, name: impl Into<String>, id: impl Into<String>) -> Self {
        let (name, id) = (name.into(), Some(id.into()));
        Self { key, change: Change::Keep, name, id, differences: Vec::new(), steps: Vec::new() }
    }

    /// An existing object: [`Change::Keep`] without steps, else [`Change::Update`].
    pub(crate) fn existing(
        key: Key,
        name: impl Into<String>,
        id: impl Into<String>,
        differences: Vec<Difference>,
        steps: Vec<Step>,
    ) -> Self {
        let change = if steps.is_empty() { Change::Keep } else { Change::Update };
        Self { change, differences, steps, ..Self::keep(key, name, id) }
    }

    /// The object's id, or the placeholder for it.
    #[must_use]
    pub fn id_or_placeholder(&self) -> String {
        self.id.clone().unwrap_or_else(|| self.key.placeholder())
    }

    /// The requests of the object's steps.
    pub fn requests(&self) -> impl Iterator<Item = PlannedRequest> {
        self.steps.iter().map(Step::request)
    }

    /// The first step of a phase.
    #[must_use]
    pub fn next(&self, phase: Phase) -> Option<&Step> {
        self.steps.iter().find(|step| step.phase() == phase)
    }
}

/// An object that can never be removed once it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permanent {
    /// Key of the object.
    pub key: Key,
    /// The reason why the object can never be removed.
    pub reason: &'static str,
}

/// The steps from the observed to the desired state, and all facts that a person should know before the steps are
/// executed.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The objects, in the order of creation.
    pub objects: Vec<Planned>,
    /// The reasons why the plan cannot be applied.
    pub refusals: Vec<Refusal>,
    /// Changes that a person must make, because `apply` does not.
    pub problems: Vec<String>,
    /// Information for a person.
    pub notes: Vec<String>,
    /// The objects of the plan that can never be removed once they exist.
    pub permanent: Vec<Permanent>,
    /// The permissions that the credential needs in Platform.
    pub permissions: Vec<Permission>,
    /// Name of the sandbox if it is a production sandbox.
    pub production_sandbox: Option<String>,
    /// Number of brokers, and number of replicas of new topics; `None` if the topics are not part of the plan.
    pub brokers: Option<(usize, i32)>,
    /// The error that prevented reading the objects in Platform. The plan then does not contain these objects.
    pub unread: Option<String>,
    /// True if the plan changes a schema or flow that receives events now. Platform loses events that are sent shortly
    /// after such a change.
    pub changes_live_flow: bool,
}

impl Plan {
    /// Returns true if at least one step is planned.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        self.objects.iter().any(|object| !object.steps.is_empty())
    }

    /// Returns true if a step in this service is planned.
    #[must_use]
    pub fn changes(&self, target: Target) -> bool {
        self.objects.iter().any(|object| object.key.target() == target && !object.steps.is_empty())
    }

    /// The planned object with this key.
    #[must_use]
    pub fn object(&self, key: &Key) -> Option<&Planned> {
        self.objects.iter().find(|object| object.key == *key)
    }

    /// The permissions that the credential certainly lacks.
    pub fn missing_permissions(&self) -> impl Iterator<Item = &Permission> {
        self.permissions.iter().filter(|permission| permission.granted == Some(false))
    }

    /// The refusals that are not limited to one source.
    pub fn general_refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.refusals.iter().filter(|refusal| refusal.source().is_none())
    }
}
