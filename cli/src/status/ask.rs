//! Builds the queries of a status from the options.

use kafka::Connection;
use operator::PipelineTopics;
use operator::status::{AdminAddresses, Asked, Inquiry, WebhookAccess, client};
use platform::control::ControlClient;

use crate::setup::connect::Connect;
use crate::setup::options::ConnectArgs;
use crate::{CommandError, UsageError};

/// The queries to all services. `flow_id` is the id of the sink's flow.
pub(crate) fn inquiry(
    services: AdminAddresses,
    flow_id: Option<String>,
    connect: &ConnectArgs,
) -> Result<Inquiry, CommandError> {
    Ok(Inquiry {
        services,
        http: client()?,
        kafka: kafka(connect)?,
        flow: flow(connect, flow_id)?,
        webhooks: webhooks(connect)?,
    })
}

fn not_set(variable: &str) -> String {
    format!("{variable} is not set")
}

fn kafka(args: &ConnectArgs) -> Result<Asked<(Connection, PipelineTopics)>, UsageError> {
    if args.kafka.bootstrap_servers.is_none() {
        return Ok(Asked::NotConfigured(not_set("KAFKA_BOOTSTRAP_SERVERS")));
    }
    let connection = args.kafka.connection("customerio-aep");
    let connection = connection.map_err(|problems| UsageError(format!("these options are invalid:\n{problems}")))?;
    let topics = PipelineTopics {
        raw: args.topics.raw_topic.clone(),
        typed: args.topics.typed_topic.clone(),
        dead_letters: args.topics.dead_letter_topic.clone(),
        receipts: args.topics.receipts_topic.0.clone(),
    };
    Ok(Asked::Answer((connection, topics)))
}

fn flow(args: &ConnectArgs, id: Option<String>) -> Result<Asked<(ControlClient, String)>, UsageError> {
    let Some(id) = id else { return Ok(Asked::NotConfigured(not_set("PLATFORM_FLOW_ID"))) };
    Ok(match Connect::platform_access(args)? {
        Ok(client) => Asked::Answer((client, id)),
        Err(missing) => Asked::NotConfigured(missing),
    })
}

fn webhooks(args: &ConnectArgs) -> Result<Asked<Vec<WebhookAccess>>, UsageError> {
    let sources = Connect::webhook_access(args)?;
    // If no source can be queried, the status contains one message instead of one per source.
    let is_any_known = sources.iter().any(|source| source.access.is_ok());
    let missing = sources.first().and_then(|source| source.access.as_ref().err()).filter(|_| !is_any_known);
    Ok(match missing {
        Some(missing) => Asked::NotConfigured(missing.clone()),
        None => Asked::Answer(sources),
    })
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        connect: ConnectArgs,
    }

    fn connect(given: &[&str]) -> ConnectArgs {
        let matches = <Command as clap::CommandFactory>::command().get_matches_from([&["status"], given].concat());
        Command::from_arg_matches(&matches).unwrap().connect
    }

    fn file(name: &str, text: &str) -> String {
        let path = std::env::temp_dir().join(format!("status-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Each source, with the options that are missing for it.
    fn asked(given: &[&str]) -> Vec<(String, Option<String>)> {
        match webhooks(&connect(given)).unwrap() {
            Asked::Answer(questions) => {
                questions.into_iter().map(|question| (question.source, question.access.err())).collect()
            }
            Asked::NotConfigured(what) => vec![(String::new(), Some(what))],
            Asked::Failed(error) => panic!("{error}"),
        }
    }

    const KEY: &str = "--app-api-key=sim-app-key";
    const URL: &str = "--customerio-public-url=https://events.example.com";

    #[test]
    fn a_webhook_is_queried_if_its_app_api_key_and_public_url_are_configured() {
        assert_eq!(
            asked(&[]),
            [(String::new(), Some("CUSTOMERIO_APP_API_KEY, CUSTOMERIO_PUBLIC_URL are not set".to_owned()))]
        );
        assert_eq!(asked(&[KEY]), [(String::new(), Some("CUSTOMERIO_PUBLIC_URL is not set".to_owned()))]);
        // The organisation, the sandbox and the signing keys are not necessary.
        let folder = format!("--signing-keys-file={}", std::env::temp_dir().display());
        assert_eq!(asked(&[KEY, URL, &folder]), [("default".to_owned(), None)]);

        let key = file("key", "sim-app-key");
        let text = format!(
            "[sources.a]\nsigning_keys = [\"0123456789abcdef\"]\n[sources.b]\nsigning_keys = [\"fedcba9876543210\"]\napp_api_key_file = \"{key}\"\n"
        );
        let sources = format!("--sources-file={}", file("sources.toml", &text));
        let missing = Some("CUSTOMERIO_APP_API_KEY is not set".to_owned());
        assert_eq!(asked(&[&sources, URL]), [("a".to_owned(), missing), ("b".to_owned(), None)]);
    }

    #[test]
    fn an_option_that_is_set_but_invalid_is_a_usage_error() {
        let error = |given: &[&str]| webhooks(&connect(given)).err().unwrap().to_string();
        assert!(error(&["--sources-file=/nowhere/sources.toml"]).contains("these options are invalid"));
        assert!(error(&["--app-api-key-file=/nowhere/key", URL]).contains("these options are invalid"));
        let http = [
            "--platform-ims-org=A@AdobeOrg",
            "--platform-sandbox=dev",
            "--platform-api-url=http://platform.example.com",
        ];
        let flow = flow(&connect(&http), Some("f".to_owned()));
        assert!(flow.err().unwrap().to_string().contains("PLATFORM_API_URL begins with http://"));
    }

    #[test]
    fn a_flow_is_queried_if_organisation_sandbox_and_credential_are_configured() {
        let missing = |given: &[&str], id: Option<&str>| match flow(&connect(given), id.map(str::to_owned)).unwrap() {
            Asked::NotConfigured(what) => Some(what),
            Asked::Answer(_) => None,
            Asked::Failed(error) => panic!("{error}"),
        };
        let all = [
            "--platform-ims-org=A@AdobeOrg",
            "--platform-sandbox=dev",
            "--ims-client-id=id",
            "--ims-client-secret=secret",
        ];
        assert_eq!(missing(&all, Some("f")), None);
        assert_eq!(missing(&all, None).as_deref(), Some("PLATFORM_FLOW_ID is not set"));
        assert_eq!(missing(&all[1..], Some("f")).as_deref(), Some("PLATFORM_IMS_ORG is not set"));
        assert_eq!(missing(&all[2..], Some("f")).as_deref(), Some("PLATFORM_IMS_ORG, PLATFORM_SANDBOX are not set"));
    }
}
