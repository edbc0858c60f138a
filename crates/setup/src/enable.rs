//! The second phase of `apply`: enables each webhook after a signed round trip through its public URL.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use secrecy::SecretString;
use sources::SourceName;

use crate::apply::Applied;
use crate::clients::{Clients, Progress, Report};
use crate::desired::{Desired, Permit};
use crate::error::SetupError;
use crate::journal::Journal;
use crate::key::Key;
use crate::look::workspace;
use crate::pending::enabled;
use crate::plan::{Change, plan};
use crate::round_trip::{RoundTripError, RoundTrips};
use crate::step::{Phase, Step, WebhookStep};
use crate::who::Who;

/// An external condition that is not met yet, so `apply` cannot complete. Another run continues once it is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// The signing key of this source is missing.
    SigningKey(SourceName),
    /// The gateway does not accept webhooks at the URL that Customer.io calls.
    Gateway {
        /// The source whose gateway was called.
        source: SourceName,
        /// The URL that was called.
        url: String,
        /// The error of the round trip.
        problem: RoundTripError,
    },
    /// Platform would lose events that are sent now.
    Time {
        /// The end of the time in which Platform loses events.
        until: Timestamp,
    },
    /// The credential lacks a permission. The text describes it.
    Permission(String),
}

impl Waiting {
    /// An identifier for machine-readable output.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::SigningKey(_) => "signing_key",
            Self::Gateway { .. } => "gateway",
            Self::Time { .. } => "time",
            Self::Permission(_) => "permission",
        }
    }

    /// The person who can meet the condition.
    #[must_use]
    pub fn who(&self) -> Who {
        match self {
            Self::SigningKey(_) => Who::CustomerIoAdministrator,
            Self::Gateway { .. } | Self::Time { .. } => Who::You,
            Self::Permission(_) => Who::AdobeAdministrator,
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SigningKey(source) => write!(
                f,
                "the signing key of source `{source}`: copy it from Customer.io (Data & Integrations > Integrations > \
                 Reporting Webhooks), put it into a file, and name the file in CUSTOMERIO_SIGNING_KEYS_FILE (with several \
                 sources: signing_keys_file in SOURCES_FILE)"
            ),
            Self::Gateway { source, url, problem } => {
                write!(f, "the gateway of source `{source}` at {url}: {problem}")?;
                if matches!(problem, RoundTripError::NoAnswer | RoundTripError::NoConnection(_)) {
                    f.write_str(
                        "; if it cannot be called from this network, use `customerio-aep setup webhook canary`",
                    )?;
                }
                Ok(())
            }
            Self::Time { until } => write!(
                f,
                "the time until {until}: Platform loses events that are sent shortly after a flow or schema was created or changed"
            ),
            Self::Permission(text) => write!(f, "a permission: {text}"),
        }
    }
}

/// Input of [`enable`] in addition to the clients.
#[derive(Debug)]
pub struct Enabling {
    /// The signing key of each source that has one.
    pub keys: BTreeMap<SourceName, SecretString>,
    /// Sender of signed test requests to the public URLs.
    pub round_trips: RoundTrips,
    /// The time before which no event may be sent, if there is one.
    pub not_before: Option<Timestamp>,
}

/// Enables every webhook whose conditions are met. Returns the conditions that are not met.
///
/// # Errors
/// [`SetupError`]; problems of a single source are in [`Applied::failures`].
pub async fn enable(
    desired: &Desired,
    permit: &Permit,
    clients: &Clients,
    journal: &Journal,
    applied: &mut Applied,
    enabling: &Enabling,
    report: Report<'_>,
) -> Result<Vec<Waiting>, SetupError> {
    let mut waiting: Vec<Waiting> =
        applied.forbidden.iter().map(|error| Waiting::Permission(error.to_string())).collect();
    for wish in &desired.webhooks {
        let key = Key::Webhook(wish.source.clone());
        let step = applied.plan.object(&key).and_then(|object| object.next(Phase::Enabling));
        let Some(Step::Webhook(WebhookStep::Enable(webhook))) = step else { continue };
        let webhook = webhook.clone();
        let Some(client) = clients.customerio.get(&wish.source) else { return Err(SetupError::NoClient(key)) };
        let Some(signing_key) = enabling.keys.get(&wish.source) else {
            waiting.push(Waiting::SigningKey(wish.source.clone()));
            continue;
        };
        if let Err(problem) = enabling.round_trips.check(&wish.endpoint, signing_key).await {
            let url = wish.endpoint.to_string();
            waiting.push(Waiting::Gateway { source: wish.source.clone(), url, problem });
            continue;
        }
        if applied.forbidden.is_some() {
            continue;
        }
        // Events of an enabled webhook reach Platform within a second, and before `until`, Platform loses them.
        if let Some(until) = enabling.not_before.filter(|until| *until > Timestamp::now()) {
            let time = Waiting::Time { until };
            if !waiting.contains(&time) {
                waiting.push(time);
            }
            continue;
        }
        report(Progress::Begins { key: key.clone(), change: Change::Update });
        let updated = client.update_webhook(&enabled(&webhook)).await;
        match updated {
            Ok(webhook) => {
                let id = webhook.id().to_string();
                let found = workspace(client, &wish.source, journal, clients.webhook_appears_within).await?;
                applied.observed.customerio.insert(wish.source.clone(), found);
                applied.changed.insert(key.clone(), Change::Update);
                report(Progress::Done { key, change: Change::Update, id });
            }
            Err(error) => {
                report(Progress::Failed { key: key.clone(), reason: error.to_string() });
                applied.failures.push((key, error.into()));
            }
        }
    }
    applied.plan = plan(desired, &applied.observed, permit);
    Ok(waiting)
}
