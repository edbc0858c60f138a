//! Clients for `status`, which queries only what is configured and does not require other options.

use customerio_api::RequestBudget;
use operator::status::WebhookAccess;
use platform::control::ControlClient;
use settings::{Problem, Problems};

use super::{Builder, Connect};
use crate::setup::options::ConnectArgs;

/// A client, or a text about the options that are not set.
pub(crate) type Access<T> = Result<T, String>;

impl Connect {
    /// A client for Platform's APIs.
    pub(crate) fn platform_access(args: &ConnectArgs) -> Result<Access<ControlClient>, Problems> {
        let mut problems = Problems::default();
        let mut builder = Builder { args, problems: &mut problems, token_settings: None };
        let stage = builder.stage();
        let client = builder.control_client(stage.as_ref());
        access(client, &problems)
    }

    /// A client and the webhook's endpoint for each source, or the options that are not set for it.
    pub(crate) fn webhook_access(args: &ConnectArgs) -> Result<Vec<WebhookAccess>, Problems> {
        let (mut invalid, mut found) = (Problems::default(), Vec::new());
        let sources = Builder { args, problems: &mut invalid, token_settings: None }.sources();
        let budget = RequestBudget::default();
        for source in sources {
            let mut problems = Problems::default();
            let mut builder = Builder { args, problems: &mut problems, token_settings: None };
            let client = builder.webhook_access(&source, &budget);
            match access(client, &problems) {
                Ok(access) => {
                    found.push(WebhookAccess { source: source.name.to_string(), access, is_paused: setup::is_paused })
                }
                Err(others) => invalid.extend(others),
            }
        }
        if invalid.is_empty() { Ok(found) } else { Err(invalid) }
    }
}

/// The client, or a text about the options that are not set.
///
/// # Errors
/// The options that are set but invalid.
fn access<T>(client: Option<T>, problems: &Problems) -> Result<Access<T>, Problems> {
    let mut invalid = Problems::default();
    problems.each().filter(|problem| problem.missing().is_none()).for_each(|problem| invalid.add(problem.to_string()));
    if !invalid.is_empty() {
        return Err(invalid);
    }
    let missing: Vec<&str> = problems.each().filter_map(Problem::missing).collect();
    match client {
        Some(client) => Ok(Ok(client)),
        None => Ok(Err(format!("{} {} not set", missing.join(", "), if missing.len() == 1 { "is" } else { "are" }))),
    }
}
