//! Checks the signing key and the public URL of each source with signed requests to the public URL.

use futures_util::future::join_all;
use sources::SourceName;

use super::{Checks, Line};
use crate::round_trip::{PUBLIC_ROOTS, RoundTripError};
use crate::who::Who;

/// The part of the finding that says what a round trip from this machine does not prove.
const LIMITS: &str = "from this machine; it does not prove that Customer.io's addresses pass the firewall, nor, from the same network, that the name resolves alike outside";

pub(super) async fn check(checks: &Checks<'_>) -> Vec<Line> {
    // The sources are checked concurrently, so a gateway that does not respond does not delay the other sources.
    join_all(checks.sources.iter().map(|source| of_source(checks, source))).await.concat()
}

async fn of_source(checks: &Checks<'_>, source: &SourceName) -> Vec<Line> {
    let mut lines = Vec::new();
    let asked = format!("the signing key of source {source}");
    let not_called = |why: &str| Line::skipped("public_url", format!("the public URL of source {source}"), why);
    let Some(key) = checks.keys.get(source) else {
        if checks.unreadable_keys.contains(source) {
            lines.push(Line::skipped("signing_key", asked, "not checked: its file cannot be used, as reported above"));
            lines.push(not_called("not called: the file with the signing key cannot be used"));
            return lines;
        }
        let step = "Please send the signing key of the page Reporting Webhooks (Data & Integrations > Integrations) over a secure channel; it goes into CUSTOMERIO_SIGNING_KEYS_FILE";
        lines.push(Line::bad("signing_key", asked, "it is not known here", Who::CustomerIoAdministrator, step));
        lines.push(not_called("not called: there is no signing key"));
        return lines;
    };
    let Some(wish) = checks.wish(source) else {
        lines.push(Line::good("signing_key", asked, "it is given"));
        lines.push(not_called("not called: it is not known (CUSTOMERIO_PUBLIC_URL)"));
        return lines;
    };
    lines.push(Line::good("signing_key", asked, "it is given; the round trip proves that the gateway has it"));
    if wish.endpoint.scheme() == "http" && !wish.endpoint.host_str().is_some_and(settings::is_loopback_host) {
        let asked = format!("the address of source {source}");
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
            let certificate = match wish.endpoint.scheme() {
                "https" => format!("the certificate leads to {PUBLIC_ROOTS}; "),
                _ => String::new(),
            };
            let millis = accepted.millis;
            let found = format!(
                "{certificate}401 for a wrong signature, 202 for a right one after {millis} ms, {LIMITS}"
            );
            Line::good("public_url", asked, found)
        }
        Err(error @ (RoundTripError::NoAnswer | RoundTripError::NoConnection(_))) => {
            let step = "start the gateway, or run this check from outside the network; where none of your machines can call the URL, `customerio-aep setup webhook canary` proves it";
            Line::unanswered("public_url", asked, error.to_string(), step)
        }
        Err(error) => Line::bad("public_url", asked, error.to_string(), Who::You, "as the text says"),
    });
    lines
}
