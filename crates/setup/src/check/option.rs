//! Lines about options that are missing or invalid, with the person who can provide each value.

use super::Line;
use crate::who::Who;

/// The identifier of all lines about options.
pub(super) const ID: &str = "option";

const CREDENTIAL: &str = "Please create an OAuth Server-to-Server credential with the API \"Experience Platform API\" in the Developer Console, and send me its client id, client secret and scopes over a secure channel";

/// Each variable with the person who can provide its value, and the next step. For another person than the user, the
/// step is a request to send to them.
const PROVIDERS: [(&str, Who, &str); 10] = [
    (
        "PLATFORM_IMS_ORG",
        Who::AdobeAdministrator,
        "Please send me the id of our organisation, which ends in @AdobeOrg (Developer Console > the project > the credential)",
    ),
    (
        "PLATFORM_SANDBOX",
        Who::AdobeAdministrator,
        "Please send me the name (not the title) of a development sandbox that our API credential may use (Sandboxes > Browse)",
    ),
    ("IMS_CLIENT_ID", Who::AdobeAdministrator, CREDENTIAL),
    ("IMS_CLIENT_SECRET", Who::AdobeAdministrator, CREDENTIAL),
    ("SETUP_IMS_CLIENT_ID", Who::AdobeAdministrator, CREDENTIAL),
    ("SETUP_IMS_CLIENT_SECRET", Who::AdobeAdministrator, CREDENTIAL),
    (
        "CUSTOMERIO_APP_API_KEY",
        Who::CustomerIoAdministrator,
        "Please create an App API key with the scope for reporting webhooks (Account settings > API credentials > App API keys), and send it to me over a secure channel",
    ),
    (
        "CUSTOMERIO_PUBLIC_URL",
        Who::You,
        "set it to the https address at which Customer.io reaches the gateway, for example https://events.example.com",
    ),
    ("KAFKA_BOOTSTRAP_SERVERS", Who::You, "set it to the brokers, as host:port,host:port"),
    ("SCHEMA_REGISTRY_URL", Who::You, "set it to the registry's address, or leave registry out of --only"),
];

/// The line about a required option that is not set. `text` contains the variable, and the source if there are several.
#[must_use]
pub fn missing_option(variable: &str, text: &str) -> Line {
    let provider = PROVIDERS.iter().find(|(name, _, _)| *name == variable);
    let (who, step) =
        provider.map_or((Who::You, "set it; docs/configuration.md explains each"), |(_, who, step)| (*who, *step));
    let step = match who {
        Who::You => step.to_owned(),
        _ => format!("{step}. It goes into {variable}"),
    };
    Line::bad(ID, format!("the option {variable}"), text, who, step)
}

/// The line about an option with an invalid value.
#[must_use]
pub fn invalid_option(text: &str) -> Line {
    Line::bad(ID, "the options", text, Who::You, "correct it; docs/configuration.md and docs/connect.md explain each")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_about_a_missing_option_contains_the_person_who_can_provide_it() {
        let line = missing_option("PLATFORM_SANDBOX", "PLATFORM_SANDBOX is not set");
        let next = line.next.clone().unwrap();
        assert_eq!((line.id, next.who), (ID, Who::AdobeAdministrator));
        assert!(next.step.contains("development sandbox") && next.step.ends_with("into PLATFORM_SANDBOX"), "{next:?}");
        assert!(!line.may_pass() && !invalid_option("x").may_pass());
        assert_eq!(missing_option("OTHER", "OTHER is not set").next.unwrap().who, Who::You);
    }

    #[test]
    fn every_step_for_another_person_is_phrased_as_a_request() {
        for (variable, who, step) in PROVIDERS {
            assert_eq!(step.starts_with("Please "), who != Who::You, "{variable}");
            assert!(!step.ends_with('.'), "{variable}");
        }
    }
}
