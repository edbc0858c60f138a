//! Builds the queries of a status from the options.

use kafka::Connection;
use operator::PipelineTopics;
use operator::status::{AdminAddresses, Asked, Inquiry, WebhookAccess, client};
use platform::control::ControlClient;
use settings::Problems;

use crate::CommandError;
use crate::setup::connect::Connect;
use crate::setup::options::ConnectArgs;

/// Access to the systems that a status queries in addition to the services.
pub(crate) struct Targets {
    pub(crate) kafka: Asked<(Connection, PipelineTopics)>,
    flow: Asked<(ControlClient, String)>,
    webhooks: Asked<Vec<WebhookAccess>>,
}

impl Targets {
    /// Builds the clients. `flow_id` is the id of the sink's flow. The error contains the problems of all options.
    pub(crate) fn of(connect: &ConnectArgs, flow_id: Option<&str>) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let kafka = problems.collect(kafka(connect));
        let flow = problems.collect(flow(connect, flow_id));
        let webhooks = problems.collect(webhooks(connect));
        match (kafka, flow, webhooks) {
            (Some(kafka), Some(flow), Some(webhooks)) => Ok(Self { kafka, flow, webhooks }),
            _ => Err(problems),
        }
    }

    /// The queries to these systems, and to the services.
    pub(crate) fn inquiry(self, services: AdminAddresses) -> Result<Inquiry, CommandError> {
        let Self { kafka, flow, webhooks } = self;
        Ok(Inquiry { services, http: client()?, kafka, flow, webhooks })
    }
}

fn not_set(variable: &str) -> String {
    format!("{variable} is not set")
}

fn kafka(args: &ConnectArgs) -> Result<Asked<(Connection, PipelineTopics)>, Problems> {
    if args.kafka.bootstrap_servers.is_none() {
        return Ok(Asked::NotConfigured(not_set("KAFKA_BOOTSTRAP_SERVERS")));
    }
    let connection = args.kafka.connection("customerio-aep")?;
    Ok(Asked::Answer((connection, PipelineTopics::from(&args.topics.names))))
}

fn flow(args: &ConnectArgs, id: Option<&str>) -> Result<Asked<(ControlClient, String)>, Problems> {
    let Some(id) = id else { return Ok(Asked::NotConfigured(not_set("PLATFORM_FLOW_ID"))) };
    Ok(match Connect::platform_access(args)? {
        Ok(client) => Asked::Answer((client, id.to_owned())),
        Err(missing) => Asked::NotConfigured(missing),
    })
}

fn webhooks(args: &ConnectArgs) -> Result<Asked<Vec<WebhookAccess>>, Problems> {
    let sources = Connect::webhook_access(args)?;
    // If the options are missing for all sources, the status contains one message instead of one per source.
    let missing = |source: &WebhookAccess| match &source.access {
        Asked::NotConfigured(missing) => Some(missing.clone()),
        Asked::Answer(_) | Asked::Failed(_) => None,
    };
    let of_all = sources.first().and_then(missing).filter(|_| sources.iter().all(|source| missing(source).is_some()));
    Ok(match of_all {
        Some(missing) => Asked::NotConfigured(missing),
        None => Asked::Answer(sources),
    })
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Parser};

    use super::*;
    use crate::UsageError;

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

    /// Each source, with a text about missing or invalid options if there are any.
    fn asked(given: &[&str]) -> Vec<(String, Option<String>)> {
        match webhooks(&connect(given)).unwrap() {
            Asked::Answer(questions) => {
                let text = |access| match access {
                    Asked::Answer(_) => None,
                    Asked::NotConfigured(text) | Asked::Failed(text) => Some(text),
                };
                questions.into_iter().map(|question| (question.source, text(question.access))).collect()
            }
            Asked::NotConfigured(what) => vec![(String::new(), Some(what))],
            Asked::Failed(error) => panic!("{error}"),
        }
    }

    const KEY: &str = "--app-api-key=sim-app-key";
    /// Options with which access tokens would cross the network unencrypted.
    const HTTP: [&str; 3] =
        ["--platform-ims-org=A@AdobeOrg", "--platform-sandbox=dev", "--platform-api-url=http://platform.example.com"];
    const URL: &str = "--customerio-public-url=https://events.example.com";

    #[test]
    fn a_webhook_is_queried_if_its_app_api_key_and_public_url_are_configured() {
        assert_eq!(
            asked(&[]),
            [(String::new(), Some("CUSTOMERIO_APP_API_KEY, CUSTOMERIO_PUBLIC_URL are not set".to_owned()))]
        );
        assert_eq!(asked(&[KEY]), [(String::new(), Some("CUSTOMERIO_PUBLIC_URL is not set".to_owned()))]);
        // Organisation, sandbox and readable signing keys are not necessary.
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
    fn an_unreadable_key_or_a_wrong_region_of_one_source_does_not_prevent_the_queries_of_the_others() {
        let key = file("good-key", "sim-app-key");
        let folder = std::env::temp_dir().display().to_string();
        let with = |broken: &str| {
            let entry = |name: &str, more: &str| format!("[sources.{name}]\n{more}\n");
            let good = format!("app_api_key_file = \"{key}\"");
            let text = [entry("a", &good), entry("b", broken), entry("c", &good)].concat();
            format!("--sources-file={}", file(&format!("sources-{}.toml", broken.len()), &text))
        };
        for (broken, words) in [
            (format!("app_api_key_file = \"{folder}\""), folder.as_str()),
            ("app_api_key_file = \"/nowhere/key\"".to_owned(), "app_api_key_file: cannot read"),
            (format!("app_api_key_file = \"{key}\"\nregion = \"mars\""), "not a region of Customer.io"),
        ] {
            let connect = connect(&[&with(&broken), URL]);
            let Asked::Answer(questions) = webhooks(&connect).unwrap() else { panic!("{broken}") };
            assert_eq!(questions.iter().map(|one| one.source.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
            assert!(matches!(questions[0].access, Asked::Answer(_)), "{broken}");
            assert!(matches!(questions[2].access, Asked::Answer(_)), "{broken}");
            let Asked::Failed(text) = &questions[1].access else { panic!("{broken}") };
            assert!(text.contains(words), "{broken}: {text}");
        }
    }

    #[test]
    fn an_option_that_is_set_but_invalid_is_a_problem() {
        let error = |given: &[&str]| webhooks(&connect(given)).err().unwrap().to_string();
        assert!(error(&["--sources-file=/nowhere/sources.toml"]).contains("SOURCES_FILE: cannot read"));
        assert!(error(&["--app-api-key-file=/nowhere/key", URL]).contains("CUSTOMERIO_APP_API_KEY_FILE"));
        let flow = flow(&connect(&HTTP), Some("f"));
        assert!(flow.err().unwrap().to_string().contains("PLATFORM_API_URL begins with http://"));
    }

    #[test]
    fn the_problems_of_kafka_platform_and_customerio_are_reported_together() {
        let wrong =
            ["--kafka-bootstrap-servers=a:1", "--kafka-ssl-key=/nowhere", "--app-api-key-file=/nowhere/key", URL];
        let problems = Targets::of(&connect(&[&wrong[..], &HTTP].concat()), Some("f")).err().unwrap();
        let text = UsageError::from(problems).to_string();
        for part in [
            "these options are invalid",
            "KAFKA_SSL_KEY",
            "PLATFORM_API_URL begins with",
            "CUSTOMERIO_APP_API_KEY_FILE",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(Targets::of(&connect(&[]), None).is_ok(), "an option that is not set is not a problem");
    }

    #[test]
    fn a_flow_is_queried_if_organisation_sandbox_and_credential_are_configured() {
        let missing = |given: &[&str], id: Option<&str>| match flow(&connect(given), id).unwrap() {
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
