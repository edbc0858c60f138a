//! The signing key and the public URL, from outside in.

use super::{Checks, Line};
use crate::desired::WebhookWish;
use crate::round_trip::RoundTripError;
use crate::who::Who;

/// What a round trip from this machine does not prove.
const LIMITS: &str = "from this machine; it does not prove that Customer.io's addresses pass the firewall, nor, from the same network, that the name resolves alike outside";

pub(super) async fn check(checks: &Checks<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for wish in &checks.desired.webhooks {
        lines.extend(source(checks, wish).await);
    }
    lines
}

async fn source(checks: &Checks<'_>, wish: &WebhookWish) -> Vec<Line> {
    let mut lines = Vec::new();
    let asked = format!("the signing key of source {}", wish.source);
    let Some(key) = checks.keys.get(&wish.source) else {
        let step = "Please send the signing key of the page Reporting Webhooks (Data & Integrations > Integrations) over a secure channel; it goes into CUSTOMERIO_SIGNING_KEYS_FILE";
        lines.push(Line::bad("signing_key", asked, "it is not known here", Who::CustomerIoAdministrator, step));
        lines.push(Line::skipped(
            "public_url",
            format!("the public URL of source {}", wish.source),
            "not called: there is no signing key",
        ));
        return lines;
    };
    lines.push(Line::good("signing_key", asked, "it is given; the round trip proves that the gateway has it"));
    if wish.endpoint.scheme() == "http" && !wish.endpoint.host_str().is_some_and(settings::is_loopback_host) {
        let asked = format!("the address of source {}", wish.source);
        let found = "it begins with http://: personal data would cross the internet unencrypted";
        lines.push(Line::bad(
            "https",
            asked,
            found,
            Who::You,
            "serve the gateway over https, and set CUSTOMERIO_PUBLIC_URL",
        ));
    }
    let asked = format!("a signed round trip to {}", wish.endpoint);
    lines.push(match checks.round_trips.check(&wish.endpoint, key).await {
        Ok(accepted) => {
            let found =
                format!("401 for a wrong signature, 202 for a right one after {} ms, {LIMITS}", accepted.millis);
            Line::good("public_url", asked, found)
        }
        Err(error @ (RoundTripError::NoAnswer | RoundTripError::NoConnection(_))) => {
            let step = "start the gateway, or run this check from outside the network";
            Line::unanswered("public_url", asked, error.to_string(), step)
        }
        Err(error) => Line::bad("public_url", asked, error.to_string(), Who::You, "as the text says"),
    });
    lines
}
