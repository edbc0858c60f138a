//! Compares the configuration with the documented limits of Platform and Customer.io.

use super::{Checks, Destination, Line};
use crate::profile::{DATASETS_PER_CLASS, EVENTS_PER_SECOND};
use crate::who::Who;

const ID: &str = "limits";

/// Requests per second that Platform's inlets accept. Adobe calls this limit a guidance, and answers 429 above it.
const REQUESTS_PER_SECOND: u32 = 1000;
/// Messages per second that Platform's inlets accept, also a guidance.
const MESSAGES_PER_SECOND: u32 = 10_000;

/// The rate limits in the sink's configuration; 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkRates {
    /// Value of `SINK_MAX_REQUESTS_PER_SECOND`.
    pub requests: u32,
    /// Value of `SINK_MAX_RECORDS_PER_SECOND`.
    pub records: u32,
}

pub(super) fn lines(checks: &Checks<'_>, destination: &Destination) -> Vec<Line> {
    let mut lines = Vec::new();
    if checks.platform_api.is_some() {
        lines.extend(checks.configured.rates.map(inlet));
        lines.extend(profile(checks.configured.rates, destination));
    }
    if !checks.sources.is_empty() {
        let found = "10 requests per second for the whole account; this tool stays below it, and other clients of the account share it";
        lines.push(Line::note(ID, "the limit of Customer.io's App API", found));
    }
    lines
}

fn inlet(rates: SinkRates) -> Line {
    let asked = "the sink's rates against the guidance for Platform's inlets";
    let shown = |rate: u32| if rate == 0 { "no limit".to_owned() } else { rate.to_string() };
    let found = format!(
        "SINK_MAX_REQUESTS_PER_SECOND {} of {REQUESTS_PER_SECOND}, SINK_MAX_RECORDS_PER_SECOND {} of {MESSAGES_PER_SECOND}",
        shown(rates.requests),
        shown(rates.records)
    );
    let is_over = |rate: u32, limit: u32| rate == 0 || rate > limit;
    if is_over(rates.requests, REQUESTS_PER_SECOND) || is_over(rates.records, MESSAGES_PER_SECOND) {
        let step = "lower them, unless Adobe has granted higher rates: Platform answers 429 above its limit";
        return Line::bad(ID, asked, found, Who::You, step);
    }
    Line::good(ID, asked, found)
}

/// The line about the limits of Profile; `None` if the dataset is not enabled for Profile. Above these limits, profiles
/// are late, but no event is lost.
fn profile(rates: Option<SinkRates>, destination: &Destination) -> Option<Line> {
    destination.has_profile.filter(|has_profile| *has_profile)?;
    let mut found = format!(
        "{EVENTS_PER_SECOND} events/s of all sandboxes of the organisation together, {DATASETS_PER_CLASS} datasets of a class"
    );
    if let Some(rates) = rates.filter(|rates| rates.records == 0 || rates.records > EVENTS_PER_SECOND) {
        let may = if rates.records == 0 { "without a limit".to_owned() } else { format!("up to {}", rates.records) };
        found.push_str(&format!(
            "; the sink may send {may} (SINK_MAX_RECORDS_PER_SECOND), so profiles are late after an outage or a campaign"
        ));
    }
    Some(Line::note(ID, "the limits of Profile", found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Level;

    #[test]
    fn sink_rates_above_adobes_guidance_or_without_a_limit_are_a_finding() {
        let level = |requests, records| inlet(SinkRates { requests, records }).level;
        assert_eq!(level(1000, 10_000), Level::Good);
        for (requests, records) in [(1001, 1), (1, 10_001), (0, 1), (1, 0)] {
            assert_eq!(level(requests, records), Level::Bad, "{requests} {records}");
        }
        let found = inlet(SinkRates { requests: 0, records: 500 }).found;
        assert!(found.contains("PER_SECOND no limit of 1000") && found.contains("500 of 10000"), "{found}");
    }

    #[test]
    fn the_limits_of_profile_are_noted_only_for_a_profile_enabled_dataset() {
        let line = |has_profile, records| {
            let destination = Destination { has_profile, ..Destination::default() };
            profile(Some(SinkRates { requests: 1, records }), &destination).map(|line| line.found)
        };
        assert_eq!((line(None, 1), line(Some(false), 1)), (None, None));
        assert!(line(Some(true), 10_000).unwrap().contains("up to 10000"));
        assert!(!line(Some(true), 1500).unwrap().contains("SINK_MAX"));
    }
}
