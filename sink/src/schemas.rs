//! Decodes each record with the schema that it was written with, and waits while that schema is unknown.
//!
//! A record whose schema is unknown never becomes a dead letter: this record and all records after it wait, and the log
//! says once what an operator must do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use schema_registry::{RegistryError, SchemaRegistry};
use service::{Activity, Backoff, Reason, TaskError, Trouble};
use xdm::ExperienceEvent;
use xdm::avro::{DecodeError, Decoder};
use xdm::schema::ForeignSchema;

use crate::config::Settings;
use crate::metrics::{Metrics, Unreadable};

/// The registry's response for a schema id.
pub(crate) struct Found {
    schema_id: u32,
    schema: Result<ForeignSchema, RegistryError>,
}

/// A request to the registry in progress.
pub(crate) type LookUp = BoxFuture<'static, Found>;

/// The reason why a record cannot be decoded, temporarily or permanently.
#[derive(Debug)]
pub(crate) enum NoEvent {
    /// The bytes do not match their schema.
    Broken(String),
    /// The schema is not known yet, so the record has to wait.
    NotYet,
}

/// The reason why no record is decoded now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// This build does not have the schema; only another build can decode the record.
    UnknownSchema,
    /// The registry must be queried for this id.
    Ask(u32),
    /// A query for this id is in progress.
    Asking(u32),
}

/// The decoder and the state of its schema look-ups.
pub(crate) struct Schemas {
    decoder: Decoder,
    registry: Option<Arc<SchemaRegistry>>,
    wait: Option<Wait>,
    held: Option<Unreadable>,
    backoff: Backoff,
    /// Wait before the next query.
    pause: Duration,
    metrics: Metrics,
    asking: Activity,
}

impl Schemas {
    pub(crate) fn new(settings: &Settings, metrics: Metrics, asking: Activity) -> Result<Self, TaskError> {
        let registry = settings.registry.as_ref().map(SchemaRegistry::new).transpose()?.map(Arc::new);
        let backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        Ok(Self {
            decoder: Decoder::new()?,
            registry,
            wait: None,
            held: None,
            backoff,
            pause: Duration::ZERO,
            metrics,
            asking,
        })
    }

    /// Whether records can be decoded now.
    pub(crate) fn may_decode(&self) -> bool {
        self.wait.is_none()
    }

    pub(crate) fn decode(&mut self, value: &[u8]) -> Result<ExperienceEvent<'static>, NoEvent> {
        let error = match self.decoder.decode(value) {
            Ok(event) => return Ok(event),
            Err(DecodeError::Undecodable(message)) => return Err(NoEvent::Broken(message)),
            Err(error) => error,
        };
        match (error, &self.registry) {
            (DecodeError::UnresolvedId { schema_id }, Some(_)) => self.wait = Some(Wait::Ask(schema_id)),
            (DecodeError::UnresolvedId { schema_id }, None) => self.give_up(&format!(
                "the record names schema id {schema_id} of a registry, but SCHEMA_REGISTRY_URL is not set; set it to the registry that the transformer uses"
            )),
            (error, _) => self.give_up(&error.to_string()),
        }
        Err(NoEvent::NotYet)
    }

    /// Returns the next query to the registry, if one is needed.
    pub(crate) fn look_up(&mut self) -> Option<LookUp> {
        let Some(Wait::Ask(schema_id)) = self.wait else { return None };
        let registry = Arc::clone(self.registry.as_ref()?);
        self.wait = Some(Wait::Asking(schema_id));
        let pause = std::mem::take(&mut self.pause);
        let ask = async move {
            tokio::time::sleep(pause).await;
            let schema = registry.schema(schema_id).await.map(|json| ForeignSchema::parse(&json));
            Found { schema_id, schema }
        };
        Some(ask.boxed())
    }

    /// Applies the registry's response.
    pub(crate) fn found(&mut self, found: Found) {
        let schema_id = found.schema_id;
        match found.schema {
            Ok(schema) => {
                self.backoff.reset();
                self.asking.succeeded();
                self.decoder.learn(schema_id, schema);
                tracing::info!(schema_id, version = schema.version, "the registry knows this schema id");
                self.try_again();
            }
            Err(error) => {
                self.asking.failed(registry_trouble(schema_id, &error));
                self.pause = self.backoff.next_wait(fastrand::f64());
                // The partition of the record may have been revoked meanwhile; then nothing waits for this id.
                if self.wait == Some(Wait::Asking(schema_id)) {
                    self.wait = Some(Wait::Ask(schema_id));
                    self.hold(Some(Unreadable::SchemaRegistry));
                }
            }
        }
    }

    /// Ends the wait, because the waiting records may be decodable now or may have been released.
    pub(crate) fn try_again(&mut self) {
        self.wait = None;
        self.hold(None);
    }

    fn give_up(&mut self, what: &str) {
        if self.held != Some(Unreadable::UnknownSchema) {
            tracing::error!(what, "holding: records with this schema wait, none is lost");
        }
        self.hold(Some(Unreadable::UnknownSchema));
        self.wait = Some(Wait::UnknownSchema);
    }

    fn hold(&mut self, held: Option<Unreadable>) {
        if self.held == held {
            return;
        }
        if let Some(before) = std::mem::replace(&mut self.held, held) {
            self.metrics.set_held(before.as_str(), false);
        }
        match held {
            Some(reason) => self.metrics.set_held(reason.as_str(), true),
            None => tracing::info!("records can be read again"),
        }
    }
}

fn registry_trouble(schema_id: u32, error: &RegistryError) -> Trouble {
    let (reason, remedy) = match error {
        RegistryError::NoSuchId { .. } => (
            Reason::Missing,
            "set SCHEMA_REGISTRY_URL to the registry that the transformer uses, or restore the registry; records with this schema wait",
        ),
        RegistryError::Unauthorized { .. } | RegistryError::Password(_) => (
            Reason::Unauthorized,
            "correct SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD_FILE, or the user's rights; records with this schema wait",
        ),
        RegistryError::Unreachable { .. } | RegistryError::Refused { .. } | RegistryError::Unexpected { .. } => (
            Reason::Unavailable,
            "check that SCHEMA_REGISTRY_URL can be reached from here; records with this schema wait",
        ),
    };
    Trouble { reason, cause: format!("schema id {schema_id}: {error}"), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_registry_error_is_reported_with_the_matching_reason() {
        let url = || "http://registry".to_owned();
        let reason = |error: &RegistryError| registry_trouble(7, error).reason;
        assert_eq!(reason(&RegistryError::NoSuchId { url: url(), schema_id: 7 }), Reason::Missing);
        assert_eq!(reason(&RegistryError::Unauthorized { status: 401 }), Reason::Unauthorized);
        let silent = RegistryError::Unreachable { url: url(), reason: "refused".to_owned() };
        assert_eq!(reason(&silent), Reason::Unavailable);
        let busy = RegistryError::Unexpected { status: 503, message: "busy".to_owned() };
        assert_eq!(reason(&busy), Reason::Unavailable);
    }
}
