//! State of each service, and the reasons for which it holds records or waits.

use super::look::{Answer, Look};

/// A service at one admin address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceState {
    /// Admin address of the service.
    pub address: String,
    /// Name of the service; `None` if the address did not respond.
    pub name: Option<String>,
    /// Version of the service; `None` if the address did not respond.
    pub version: Option<String>,
    /// Health of the service.
    pub health: Health,
}

/// Health of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// The service is ready.
    Ready,
    /// The service runs but is not ready, for this reason.
    NotReady(String),
    /// The address did not respond, or does not belong to one of the services.
    Unanswered(String),
}

/// A reason for which a service holds records, until a person changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Name of the service.
    pub service: String,
    /// Admin address of the service.
    pub address: String,
    /// Label `reason` of the metric `…_held`.
    pub reason: String,
    /// Start of the hold: milliseconds since 1970.
    pub since: Option<i64>,
}

/// An external dependency that a service waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Name of the service.
    pub service: String,
    /// Admin address of the service.
    pub address: String,
    /// Label `reason` of the metric `…_waiting`.
    pub reason: String,
}

impl Wait {
    /// Whether the configuration requests this wait, so that no one has to act.
    #[must_use]
    pub fn is_planned(&self) -> bool {
        self.reason == service::Reason::NotBefore.as_str()
    }
}

/// Returns the state of each address, in the order of the addresses.
pub(super) fn services(look: &Look) -> Vec<ServiceState> {
    let state = |answer: &Answer| ServiceState {
        address: answer.address.clone(),
        name: answer.service().map(str::to_owned),
        version: answer.version().map(str::to_owned),
        health: health(answer),
    };
    look.answers.iter().map(state).collect()
}

fn health(answer: &Answer) -> Health {
    match (&answer.ready, &answer.metrics) {
        (Err(error), _) | (Ok(_), Err(error)) => Health::Unanswered(error.clone()),
        (Ok(_), Ok(_)) if answer.service().is_none() => {
            Health::Unanswered("what answers here is not one of the services".to_owned())
        }
        (Ok(Some(reason)), Ok(_)) => Health::NotReady(reason.clone()),
        (Ok(None), Ok(_)) => Health::Ready,
    }
}

/// Returns the holds of all services.
pub(super) fn holds(look: &Look) -> Vec<Hold> {
    let mut holds = Vec::new();
    for (answer, service, reason) in flagged(look, "held") {
        let since = answer.metrics.as_ref().ok().and_then(|page| {
            let name = format!("customerio_{service}_held_since_timestamp_seconds");
            page.sum(&name, |sample| sample.label("reason") == reason).filter(|&since| since > 0.0)
        });
        holds.push(Hold {
            service: answer.service().unwrap_or_default().to_owned(),
            address: answer.address.clone(),
            reason,
            since: since
                .and_then(|seconds| format!("{seconds:.0}").parse::<i64>().ok())
                .map(|seconds| seconds.saturating_mul(1000)),
        });
    }
    holds
}

/// Returns the waits of all services.
pub(super) fn waits(look: &Look) -> Vec<Wait> {
    let wait = |(answer, _, reason): (&Answer, &str, String)| Wait {
        service: answer.service().unwrap_or_default().to_owned(),
        address: answer.address.clone(),
        reason,
    };
    flagged(look, "waiting").map(wait).collect()
}

/// Returns the label `reason` of each gauge above 0, with the response that contains it and the service's part of the
/// metric name.
fn flagged<'l>(look: &'l Look, gauge: &'static str) -> impl Iterator<Item = (&'l Answer, &'static str, String)> {
    look.answers.iter().flat_map(move |answer| {
        ["gateway", "transformer", "sink"].into_iter().flat_map(move |service| {
            let page = answer.metrics.as_ref().ok();
            let samples = page.map(|page| page.all(&format!("customerio_{service}_{gauge}"))).unwrap_or_default();
            let on = samples.iter().filter(|sample| sample.value > 0.0);
            on.map(move |sample| (answer, service, sample.label("reason").to_owned()))
        })
    })
}
