//! Checks the inlet of the sink.

use platform::InletUrl;

use super::{Checks, Line, TIMEOUT, in_time};
use crate::stage::Stage;
use crate::who::Who;

/// Checks that the inlet refuses requests without a token. The request contains no messages, so it writes nothing.
pub(super) async fn check(checks: &Checks<'_>, is_production: Option<bool>) -> Option<Line> {
    let (url, http) = (checks.configured.inlet_url.as_ref()?, checks.http.as_ref()?);
    let asked = "whether the inlet refuses a sender without a token";
    let Ok(inlet) = url.parse::<InletUrl>() else {
        return Some(Line::bad(
            "inlet",
            asked,
            "PLATFORM_INLET_URL is not an inlet's address",
            Who::You,
            "run `customerio-aep setup apply --write-env FILE`",
        ));
    };
    let request =
        http.post(inlet.batch_url().clone()).header("content-type", "application/json").body("{\"messages\":[]}");
    let Some(Ok(answer)) = in_time(request.timeout(TIMEOUT).send()).await else {
        let step = "check that this machine, and the sink's, reach the inlet (firewall, HTTPS_PROXY)";
        return Some(Line::unanswered("inlet", asked, "no answer within 5 s", step));
    };
    Some(match answer.status().as_u16() {
        401 | 403 => Line::good("inlet", asked, refuses(checks.desired.stage.as_ref(), is_production)),
        404 => Line::bad(
            "inlet",
            asked,
            "the inlet does not exist (HTTP 404)",
            Who::You,
            "run `customerio-aep setup apply --write-env FILE`, and restart the sink",
        ),
        500..=599 => Line::unanswered(
            "inlet",
            asked,
            format!("HTTP {}", answer.status().as_u16()),
            "see status.adobe.com, and try again",
        ),
        status => {
            let found = format!(
                "it takes messages without a token (HTTP {status}): anyone who knows its address can write into the dataset"
            );
            Line::bad(
                "inlet",
                asked,
                found,
                Who::You,
                "set up a connection with authentication: `customerio-aep setup destroy --only platform` and `setup apply`",
            )
        }
    })
}

/// Text about an inlet that refuses requests without a token. It proposes the command that sends a marked test event
/// without an identity. For a production sandbox, this command needs the sandbox's name.
fn refuses(stage: Option<&Stage>, is_production: Option<bool>) -> String {
    let command = "customerio-aep check --end-to-end";
    let name = stage.map_or("NAME", |stage| stage.sandbox.as_str());
    let command = match is_production {
        Some(false) => format!("`{command}`"),
        Some(true) => format!("`{command} --confirm-sandbox {name}`"),
        None => format!("`{command}`; for a production sandbox, add --confirm-sandbox {name}"),
    };
    format!("the inlet refuses requests without a token; only an event proves that it accepts events ({command})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proposed_command_sends_a_marked_test_event_and_names_a_production_sandbox() {
        let stage = Stage {
            deployment: crate::stage::Deployment::default(),
            organisation: "ACME@AdobeOrg".parse().unwrap(),
            sandbox: "prod".parse().unwrap(),
        };
        let text = |is_production| refuses(Some(&stage), is_production);
        assert!(text(Some(true)).ends_with("(`customerio-aep check --end-to-end --confirm-sandbox prod`)"));
        assert!(text(Some(false)).ends_with("(`customerio-aep check --end-to-end`)"));
        assert!(text(None).contains("add --confirm-sandbox prod"));
        assert!(!refuses(None, None).contains("send"), "events of `send` look like those of real persons");
    }
}
