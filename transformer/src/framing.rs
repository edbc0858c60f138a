//! The prefix of each Avro record: the schema's fingerprint, or its id in a Schema Registry.
//!
//! The id is requested once, at the start; afterwards the registry is not needed.

use std::time::Duration;

use kafka::TopicName;
use schema_registry::{Ensured, RegistrySettings, SchemaRegistry};
use service::{Backoff, Context, Ready, Reason, TaskError, Trouble, Waiting};
use xdm::avro::Framing;
use xdm::schema::{SCHEMA_JSON, SCHEMA_VERSION};

const CHECK_REGISTRY: &str = "check that SCHEMA_REGISTRY_URL can be reached from here; webhooks wait on the raw topic";

/// Returns the framing for this run; `None` if the service is stopped before the registry responds.
///
/// # Errors
/// Fails if the registry refuses the schema; a retry would not help.
pub(crate) async fn framing(
    registry: Option<&RegistrySettings>,
    topic: &TopicName,
    waiting: &Waiting,
    context: &Context,
) -> Result<Option<Framing>, TaskError> {
    let Some(settings) = registry else { return Ok(Some(Framing::SingleObject)) };
    let registry = SchemaRegistry::new(settings)?;
    // The subject follows Confluent's TopicNameStrategy, which Confluent's tools expect.
    let subject = format!("{topic}-value");
    let asking = waiting.activity("registering the schema at the Schema Registry", Ready::Stays, CHECK_REGISTRY);
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    loop {
        let error = match registry.ensure(&subject, SCHEMA_JSON).await {
            Ok((schema_id, ensured)) => {
                tracing::info!(schema_id, version = SCHEMA_VERSION, subject, ?ensured, "the registry knows the schema");
                if ensured == Ensured::NewSubject {
                    require_compatibility(&registry, &subject).await;
                }
                asking.succeeded();
                return Ok(Some(Framing::Confluent { schema_id }));
            }
            Err(error) if error.may_pass() => error,
            Err(error) => return Err(error.into()),
        };
        asking.failed(Trouble { reason: Reason::Unavailable, cause: error.to_string(), remedy: CHECK_REGISTRY });
        let wait = backoff.next_wait(fastrand::f64());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = context.stop.cancelled() => return Ok(None),
        }
    }
}

/// Sets the compatibility level of a subject that was just created, because the readers of the typed topic rely on it.
/// An existing subject keeps the level that its owner chose.
async fn require_compatibility(registry: &SchemaRegistry, subject: &str) {
    if let Err(error) = registry.require_full_compatibility(subject).await {
        tracing::warn!(%error, subject, "cannot set the subject's compatibility; set it to FULL_TRANSITIVE yourself");
    }
}
