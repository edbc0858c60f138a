//! Clients for `status`, which queries only the services whose options are set.

use std::collections::BTreeMap;

use customerio_api::RequestBudget;
use operator::status::{Asked, WebhookAccess};
use platform::control::ControlClient;
use settings::{Problem, Problems};
use sources::SourceName;

use super::{Builder, Connect, Patience, source_problems};
use crate::setup::options::ConnectArgs;

/// A client, or a text with the names of the options that are not set.
pub(crate) type Access<T> = Result<T, String>;

impl Connect {
    /// A client for Platform's APIs.
    pub(crate) fn platform_access(args: &ConnectArgs) -> Result<Access<ControlClient>, Problems> {
        let mut problems = Problems::default();
        let mut builder = Builder { args, patience: Patience::Setup, problems: &mut problems, token_settings: None };
        let stage = builder.stage();
        let client = builder.control_client(stage.as_ref());
        access(client, &problems)
    }

    /// The client and the webhook's endpoint of each source, or the reason why they cannot be built. An invalid value
    /// in the sources file affects only its own source.
    ///
    /// # Errors
    /// The options that are invalid for all sources.
    pub(crate) fn webhook_access(args: &ConnectArgs) -> Result<Vec<WebhookAccess>, Problems> {
        let mut invalid = Problems::default();
        let mut all = Builder { args, patience: Patience::Setup, problems: &mut invalid, token_settings: None };
        let sources = all.sources();
        let budget = RequestBudget::default();
        let (mut clients, mut found) = (Vec::new(), Vec::new());
        for source in sources {
            let mut problems = Problems::default();
            let mut builder =
                Builder { args, patience: Patience::Setup, problems: &mut problems, token_settings: None };
            clients.push((source.name.clone(), builder.webhook_access(&source, &budget), missing_text(&problems)));
            found.push((source.name, only_invalid(&problems)));
        }
        let of_single = match args.customerio.sources_file {
            None => {
                found.into_iter().for_each(|(_, own)| invalid.extend(own));
                BTreeMap::new()
            }
            Some(_) => {
                let separated = source_problems::separate(&found);
                invalid.extend(separated.of_all);
                separated.of_single
            }
        };
        if !invalid.is_empty() {
            return Err(invalid);
        }
        let access = |(name, client, missing): (SourceName, Option<_>, String)| {
            let texts = |own: &Vec<Problem>| own.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let access = match (client, of_single.get(&name)) {
                (_, Some(own)) => Asked::Failed(texts(own)),
                (Some(client), None) => Asked::Answer(client),
                (None, None) => Asked::NotConfigured(missing),
            };
            WebhookAccess { source: name.to_string(), access, is_paused: setup::is_paused }
        };
        Ok(clients.into_iter().map(access).collect())
    }
}

/// The problems that are not missing options.
fn only_invalid(problems: &Problems) -> Problems {
    let mut invalid = Problems::default();
    problems.each().filter(|problem| problem.missing().is_none()).for_each(|problem| invalid.add(problem.to_string()));
    invalid
}

/// A text with the names of the options that are not set.
fn missing_text(problems: &Problems) -> String {
    let missing: Vec<&str> = problems.each().filter_map(Problem::missing).collect();
    format!("{} {} not set", missing.join(", "), if missing.len() == 1 { "is" } else { "are" })
}

/// The client, or a text with the names of the options that are not set.
///
/// # Errors
/// The options that are set but invalid.
fn access<T>(client: Option<T>, problems: &Problems) -> Result<Access<T>, Problems> {
    let invalid = only_invalid(problems);
    if !invalid.is_empty() {
        return Err(invalid);
    }
    Ok(client.ok_or_else(|| missing_text(problems)))
}
