//! Applies a plan one step at a time. After each step, the plan is computed again from the new state, so all decisions
//! are made in [`crate::plan`].
//!
//! A run can be killed after any request. Therefore it writes an intent to the state file ([`crate::journal`]) before
//! it sends a create, and searches for an object that may exist before it creates the object again.

mod steps;

use std::collections::{BTreeMap, BTreeSet};

use crate::clients::{Clients, Progress, Report};
use crate::desired::{Desired, Permit};
use crate::error::SetupError;
use crate::journal::Journal;
use crate::key::{Key, Target};
use crate::observed::Observed;
use crate::plan::{Change, Plan, plan};
use crate::refusal::Refusal;
use crate::step::Phase;

/// The maximum number of attempts for the steps of one object. If a network loses a third of all requests, the
/// probability that it loses the same request twenty times in a row is below one in a billion.
const ATTEMPTS: u32 = 20;

/// The result of a run.
#[derive(Debug)]
pub struct Applied {
    /// The objects that the run created or changed.
    pub changed: BTreeMap<Key, Change>,
    /// The state after the run.
    pub observed: Observed,
    /// The plan after the run. It contains only steps that wait for something.
    pub plan: Plan,
    /// The failures of single objects, mostly of webhooks. The run continued with the other objects.
    pub failures: Vec<(Key, SetupError)>,
    /// The error because of which the run skipped all steps in Platform, usually a missing permission.
    pub forbidden: Option<SetupError>,
}

/// Reasons why the plan must not be applied with this permit.
#[must_use]
pub fn refusals(plan: &Plan, permit: &Permit) -> Vec<Refusal> {
    let mut refusals = plan.refusals.clone();
    if let Some(name) = &plan.production_sandbox
        && plan.changes(Target::Platform)
        && permit.confirmed_sandbox.as_ref() != Some(name)
    {
        refusals.push(Refusal::ProductionNotConfirmed { name: name.clone() });
    }
    if plan.changes_live_flow && !permit.sinks_stopped {
        refusals.push(Refusal::LiveFlow);
    }
    refusals
}

/// Applies the plan for the observed state. Webhooks are created disabled; [`crate::enable`] enables them afterwards.
///
/// # Errors
/// [`SetupError`]. Completed steps are kept, and another run continues from there.
pub async fn apply(
    desired: &Desired,
    permit: &Permit,
    clients: &Clients,
    journal: &mut Journal,
    observed: Observed,
    report: Report<'_>,
) -> Result<Applied, SetupError> {
    let mut run = Run {
        desired,
        clients,
        journal,
        observed,
        attempts: BTreeMap::new(),
        last_error: BTreeMap::new(),
        failures: Vec::new(),
        failed: BTreeSet::new(),
        forbidden: None,
        conflicts: BTreeMap::new(),
        looked: BTreeSet::new(),
        last_create: None,
    };
    let mut changed = BTreeMap::new();
    let mut is_first = true;
    loop {
        let plan = plan(desired, &run.observed, permit);
        let refusals = refusals(&plan, permit);
        // If there are several sources, a problem of one source does not stop the others.
        let has_others = desired.webhooks.len() > 1;
        let (own, general): (Vec<_>, Vec<_>) =
            refusals.into_iter().partition(|refusal| has_others && refusal.source().is_some());
        if !general.is_empty() {
            return Err(SetupError::Refused(general));
        }
        if is_first {
            run.note(own, report);
            run.skip_what_is_forbidden(&plan);
            is_first = false;
        }
        let is_next = |object: &&crate::plan::Planned| {
            object.next(Phase::Objects).is_some() && !run.failed.contains(&object.key) && !run.is_blocked(&object.key)
        };
        let Some(object) = plan.objects.iter().find(is_next) else {
            let (observed, failures, forbidden) = (run.observed, run.failures, run.forbidden);
            return Ok(Applied { changed, observed, plan, failures, forbidden });
        };
        if run.advance(object, report).await? {
            changed.entry(object.key.clone()).or_insert(object.change);
        }
    }
}

struct Run<'r> {
    desired: &'r Desired,
    clients: &'r Clients,
    journal: &'r mut Journal,
    observed: Observed,
    attempts: BTreeMap<Key, u32>,
    last_error: BTreeMap<Key, String>,
    failures: Vec<(Key, SetupError)>,
    failed: BTreeSet<Key>,
    forbidden: Option<SetupError>,
    /// Time at which Platform first refused to create an object because a conflicting one exists.
    conflicts: BTreeMap<Key, tokio::time::Instant>,
    /// The objects that the run has read again immediately before their creation.
    looked: BTreeSet<Key>,
    /// Time at which the run last created an object in Platform. A later request that refers to this object can fail
    /// until the object is visible.
    last_create: Option<tokio::time::Instant>,
}

impl Run<'_> {
    /// Blocks all steps in Platform if the credential lacks a permission that the plan needs, or if the objects in
    /// Platform could not be read.
    fn skip_what_is_forbidden(&mut self, plan: &Plan) {
        let missing: Vec<String> = plan.missing_permissions().map(|permission| permission.title.to_owned()).collect();
        let failure = self.observed.platform.as_ref().and_then(|platform| platform.failure.clone());
        self.forbidden = match failure {
            _ if !missing.is_empty() && (plan.changes(Target::Platform) || plan.unread.is_some()) => {
                Some(SetupError::MissingPermissions(missing))
            }
            failure => failure.map(SetupError::Platform),
        };
    }

    fn is_blocked(&self, key: &Key) -> bool {
        key.target() == Target::Platform && self.forbidden.is_some()
    }

    /// Records each refusal that concerns one source as a failure of that source's webhook.
    fn note(&mut self, refusals: Vec<Refusal>, report: Report<'_>) {
        for refusal in refusals {
            let Some(source) = refusal.source() else { continue };
            self.fail(Key::Webhook(source.clone()), SetupError::Refused(vec![refusal]), report);
        }
    }

    fn fail(&mut self, key: Key, error: SetupError, report: Report<'_>) {
        report(Progress::Failed { key: key.clone(), reason: error.to_string() });
        self.failed.insert(key.clone());
        self.failures.push((key, error));
    }
}
