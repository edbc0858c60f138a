//! The plan: a pure function from the desired and the observed state to the steps that make them equal.

mod adoption;
mod needs;
mod planned;
mod platform;
mod registry;
mod topics;
mod webhooks;

use platform::platform_objects;
use registry::registry_subject;
use topics::topic_objects;
use webhooks::webhook_objects;

use ::platform::control::Sandbox;

use crate::desired::{Desired, Permit};
use crate::observed::Observed;
use crate::stage::Stage;

pub(crate) use adoption::{Candidate, Wanted};
pub use needs::Permission;
pub use planned::{Change, Difference, Permanent, Plan, Planned};

/// Computes the plan, without side effects and from the arguments alone.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, permit: &Permit) -> Plan {
    let mut plan = Plan::default();
    if let (Some(wish), Some(found)) = (&desired.topics, &observed.kafka) {
        topic_objects(wish, found, &mut plan);
    }
    if let (Some(subject), Some(found)) = (&desired.subject, &observed.registry) {
        registry_subject(subject, found, permit, &mut plan);
    }
    if let (Some(wish), Some(stage), Some(found)) = (&desired.platform, &desired.stage, &observed.platform) {
        platform_objects(wish, stage, found, permit, &mut plan);
    }
    plan.notes.extend(crate::profile::notes(desired, observed));
    if let (None, Some(stage), false) = (&desired.platform, &desired.stage, desired.webhooks.is_empty()) {
        name_production(stage, observed.sandbox.as_ref(), &mut plan);
    }
    if let Some(stage) = &desired.stage {
        webhook_objects(&desired.webhooks, stage, &observed.customerio, permit, &mut plan);
    }
    plan.notes.extend(observed.senders.iter().map(senders));
    plan.objects.sort_by(|a, b| a.key.cmp(&b.key));
    plan
}

/// Adds a note about a production sandbox to a plan that contains webhooks but no objects of the sandbox.
fn name_production(stage: &Stage, sandbox: Option<&Sandbox>, plan: &mut Plan) {
    let name = &stage.sandbox;
    match sandbox {
        Some(sandbox) if sandbox.is_production() => {
            plan.production_sandbox = Some(sandbox.name.clone());
            plan.notes.push(format!("the sandbox `{name}` of this stage is a PRODUCTION sandbox"));
        }
        Some(_) => {}
        None => plan.notes.push(format!(
            "it is not known whether the sandbox `{name}` of this stage is a PRODUCTION sandbox: Platform was not asked, or did not answer"
        )),
    }
}

/// The addresses that a firewall in front of the gateway must let through.
fn senders((region, addresses): (&String, &Vec<String>)) -> String {
    format!(
        "Customer.io (region {region}) sends webhooks from these addresses, which a firewall in front of the gateway must let through: {}",
        addresses.join(", ")
    )
}
