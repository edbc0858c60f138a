//! The decisions that a person makes before `setup apply` writes anything.

use customerio_api::{MessageContent, Resolution};
use setup::desired::Permit;
use setup::error::SetupError;
use setup::key::Target;
use setup::plan::Plan;
use setup::refusal::Refusal;

use super::args::ApplyArgs;
use crate::setup::connect::Connect;
use crate::setup::options::EventChoice;
use crate::setup::{ask, refusals};
use crate::{CommandError, UsageError};

/// Prompts for the settings that have no default. Returns true if one was entered.
pub(super) fn ask_choices(connect: &mut Connect, plan: &Plan) -> Result<bool, CommandError> {
    let mut is_changed = false;
    for refusal in &plan.refusals {
        let Some(wish) =
            refusal.source().and_then(|source| connect.desired.webhooks.iter_mut().find(|wish| wish.source == *source))
        else {
            continue;
        };
        match refusal {
            Refusal::ChoiceMissing { variable, consequence, .. } => {
                let answer = ask::line(&format!("{variable}: {consequence}\n{variable}?"))?;
                let truth =
                    || answer.parse::<bool>().map_err(|_| UsageError(format!("{variable}: write true or false")));
                match *variable {
                    "CUSTOMERIO_EVENTS" => {
                        let choice = answer.parse::<EventChoice>().map_err(UsageError)?;
                        wish.events = Some(choice.0);
                    }
                    "CUSTOMERIO_FULL_RESOLUTION" => {
                        wish.resolution = Some(if truth()? { Resolution::Every } else { Resolution::FirstOnly });
                    }
                    _ => wish.content = Some(if truth()? { MessageContent::Included } else { MessageContent::Omitted }),
                }
                is_changed = true;
            }
            Refusal::WorkspaceNotNamed { names, .. } => {
                let question = format!("Which workspace does the App API key belong to ({})?", names.join(", "));
                wish.workspace = Some(ask::line(&question)?);
                is_changed = true;
            }
            _ => {}
        }
    }
    Ok(is_changed)
}

/// Returns true if the plan may be applied: it has no steps or only creates topics, or a person has agreed to it.
pub(super) fn confirmed(
    args: &ApplyArgs,
    plan: &Plan,
    permit: &mut Permit,
    may_ask: bool,
) -> Result<bool, CommandError> {
    if !plan.has_changes() {
        return Ok(true);
    }
    if let Some(name) = plan.production_sandbox.as_ref().filter(|_| may_ask && plan.changes(Target::Platform))
        && permit.confirmed_sandbox.is_none()
    {
        permit.confirmed_sandbox =
            Some(ask::line(&format!("This is the PRODUCTION sandbox `{name}`. Type its name to continue:"))?);
    }
    let refusals = refusals(plan, permit);
    if !refusals.is_empty() && plan.general_refusals().next().is_some()
        || refusals.iter().any(|refusal| matches!(refusal, Refusal::ProductionNotConfirmed { .. } | Refusal::LiveFlow))
    {
        return Err(SetupError::Refused(refusals).into());
    }
    // Creating topics cannot lose data, so a plan with only topics does not need a confirmation.
    let only_topics = plan.objects.iter().all(|object| object.steps.is_empty() || object.key.target() == Target::Kafka);
    if args.yes || args.file.is_some() || only_topics {
        return Ok(true);
    }
    if may_ask {
        return Ok(ask::yes("Carry out this plan?")?);
    }
    Err(UsageError("there is no terminal to ask on; look at the plan above, and add --yes to carry it out".to_owned())
        .into())
}
