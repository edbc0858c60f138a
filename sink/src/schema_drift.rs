//! Compares Platform's schema with the fields that this version writes. Platform accepts an event with a field that the
//! schema lacks, and rejects the event later, so the sink holds while a field is missing.

use std::pin::pin;
use std::time::{Duration, Instant};

use platform::control::{ControlClient, ErrorKind, Kind, field_gaps, resource, tenant_definition};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use xdm::TenantId;

use crate::external_hold::ExternalHolds;

/// The field group of this version. It contains every field that the sink writes below the tenant's own name.
const FIELD_GROUP: &str = include_str!("../../schemas/xdm/field-group.json");

/// Interval between two comparisons of the schema.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// Interval between two comparisons while the sink holds.
const WHILE_HELD: Duration = Duration::from_secs(60);
/// Maximum time until Platform validates events by a changed schema.
const SETTLING: Duration = Duration::from_secs(15 * 60);
/// Maximum time by which the first comparison delays the first request. The comparison itself may take longer.
const FIRST: Duration = Duration::from_secs(1);

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    /// The schema has every field.
    Fits,
    /// The schema lacks these fields, or has them with another type.
    Lacks(Vec<String>),
    /// The schema cannot be read.
    Unknown,
}

/// The state that decides whether the sink holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// The schema is not known to lack a field.
    #[default]
    Fits,
    /// The schema lacks a field.
    Lacks,
    /// The schema has recently received its last missing field; until this time, Platform may still validate by the old
    /// schema.
    Settles(Instant),
}

impl State {
    /// Returns the state after a comparison.
    fn after(self, seen: &Seen, now: Instant) -> Self {
        match (self, seen) {
            (_, Seen::Lacks(_)) => Self::Lacks,
            (Self::Lacks, Seen::Fits) => Self::Settles(now + SETTLING),
            (Self::Settles(until), Seen::Fits | Seen::Unknown) if now >= until => Self::Fits,
            (state, Seen::Fits | Seen::Unknown) => state,
        }
    }

    fn is_held(self) -> bool {
        self != Self::Fits
    }

    /// Returns the time until the next comparison.
    fn next_look(self, now: Instant) -> Duration {
        match self {
            Self::Fits => EVERY,
            Self::Lacks => WHILE_HELD,
            Self::Settles(until) => WHILE_HELD.min(until.saturating_duration_since(now)),
        }
    }
}

/// Compares the schema at once and every 15 minutes, and holds the sink while a field is missing. The caller must have
/// called [`ExternalHolds::set_comparing`] with `true`.
pub(crate) async fn watch(
    client: ControlClient,
    schema_id: String,
    tenant: TenantId,
    holds: ExternalHolds,
    stop: CancellationToken,
) {
    let mut state = State::default();
    let mut was_unreadable = false;
    loop {
        let mut look = pin!(look(&client, &schema_id, &tenant, &mut was_unreadable));
        let seen = match tokio::time::timeout(FIRST, look.as_mut()).await {
            Ok(seen) => seen,
            Err(_) => {
                holds.set_comparing(false);
                look.await
            }
        };
        let now = Instant::now();
        let next = state.after(&seen, now);
        report(state, next, &seen);
        state = next;
        holds.set_schema(state.is_held());
        holds.set_comparing(false);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(state.next_look(now)) => {}
        }
    }
}

async fn look(client: &ControlClient, schema_id: &str, tenant: &TenantId, was_unreadable: &mut bool) -> Seen {
    match client.send(&resource(Kind::Schema, schema_id, true)).await {
        Ok(found) => {
            *was_unreadable = false;
            compare(&found.document, tenant)
        }
        Err(error) => {
            if !std::mem::replace(was_unreadable, true) {
                match &*error.kind {
                    // Everything else works without this permission, so its absence is not a warning.
                    kind @ (ErrorKind::Forbidden(_) | ErrorKind::Unauthorized(_)) => tracing::info!(
                        reason = %kind,
                        "the sink's credential may not read Platform's schema (permission View Schemas), so it is not compared with the fields that this version writes"
                    ),
                    kind => tracing::warn!(
                        reason = %kind,
                        "Platform's schema could not be compared with the fields that this version writes; delivering, and trying again later"
                    ),
                }
            }
            Seen::Unknown
        }
    }
}

/// Compares the whole schema, with all its field groups, with the fields of this version.
fn compare(schema: &Map<String, Value>, tenant: &TenantId) -> Seen {
    let id = tenant.to_string();
    let id = id.trim_start_matches('_');
    let group: Value = serde_json::from_str(&FIELD_GROUP.replace("{TENANT_ID}", id))
        .expect("the file is part of this build, and a test reads it");
    let empty = Map::new();
    let definitions = group.get("definitions").and_then(Value::as_object).unwrap_or(&empty);
    let (_, wanted) = tenant_definition(definitions, id);
    let found = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let gaps = field_gaps(wanted.unwrap_or(&empty), found);
    if gaps.is_empty() { Seen::Fits } else { Seen::Lacks(gaps.into_iter().map(|gap| gap.path).collect()) }
}

fn report(before: State, after: State, seen: &Seen) {
    match (before, after, seen) {
        (State::Fits | State::Settles(_), State::Lacks, Seen::Lacks(fields)) => {
            let names: Vec<&str> = fields.iter().take(5).map(String::as_str).collect();
            tracing::error!(
                reason = "schema", missing = fields.len(), fields = %names.join(", "),
                advice = "run `customerio-aep setup apply --sinks-held`, which adds the fields; the sink continues 15 minutes after they have appeared",
                "holding: Platform's schema lacks fields that this version writes, so nothing is delivered, no record is lost"
            );
        }
        (State::Lacks, State::Settles(_), _) => {
            tracing::info!(
                "Platform's schema has all fields now; delivering again in 15 minutes, when Platform validates by it"
            );
        }
        (State::Settles(_), State::Fits, _) => tracing::info!("delivering again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use platform::control::{ControlSettings, Retries, Visibility};
    use platform::{HttpSettings, TokenProvider, TokenSettings};

    use super::*;

    fn lacks() -> Seen {
        Seen::Lacks(vec!["_acme/customerio/metric".to_owned()])
    }

    /// The client's own timeout of 30 s is much longer than [`FIRST`].
    #[tokio::test(flavor = "multi_thread")]
    async fn the_sink_stops_waiting_for_the_first_comparison_if_platform_does_not_answer() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let timeout = Duration::from_secs(30);
        let http = HttpSettings { timeout, ca_file: None, https_proxy: None, no_proxy: None }.client().unwrap();
        let tokens = TokenSettings {
            ims_url: url.parse().unwrap(),
            client_id: "client".into(),
            client_secret: Arc::new(|| Ok("secret".to_owned().into())),
            scopes: "openid".into(),
            names: platform::CredentialNames::default(),
        };
        let settings = ControlSettings {
            api: url.parse().unwrap(),
            ims_org: "ABC@AdobeOrg".into(),
            sandbox: "prod".to_owned(),
            client_id: "client".to_owned(),
            timeout,
            retries: Retries { attempts: 1, ..Retries::default() },
            visibility: Visibility::default(),
        };
        let tokens = TokenProvider::new(tokens, http.clone(), Box::new(|_| {})).unwrap();
        let client = ControlClient::new(settings, http, tokens).unwrap();
        let (holds, begun) = (ExternalHolds::default(), Instant::now());
        holds.set_comparing(true);
        let stop = CancellationToken::new();
        let watch = tokio::spawn(watch(client, "schema".to_owned(), "acme".parse().unwrap(), holds.clone(), stop));
        while holds.is_held() {
            assert!(begun.elapsed() < timeout / 2, "nothing is delivered");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        watch.abort();
    }

    #[test]
    fn a_schema_hold_ends_fifteen_minutes_after_the_missing_field_appears() {
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let state = State::default();
        assert!(!state.is_held() && state.after(&Seen::Fits, at(0)) == State::Fits);
        let held = state.after(&lacks(), at(0));
        assert!(held.is_held() && held.after(&lacks(), at(5)) == State::Lacks);
        assert_eq!(held.next_look(at(0)), WHILE_HELD);
        let settles = held.after(&Seen::Fits, at(7));
        assert_eq!(settles, State::Settles(at(22)));
        assert!(settles.is_held() && settles.after(&Seen::Fits, at(21)) == settles);
        assert_eq!(settles.after(&Seen::Fits, at(22)), State::Fits);
        assert_eq!(settles.after(&lacks(), at(10)), State::Lacks, "the field disappeared again");
        let last = at(22) - Duration::from_secs(10);
        assert_eq!(settles.next_look(last), Duration::from_secs(10));
    }

    #[test]
    fn a_schema_that_cannot_be_read_neither_begins_nor_ends_a_hold() {
        let now = Instant::now();
        assert_eq!(State::Fits.after(&Seen::Unknown, now), State::Fits);
        assert_eq!(State::Lacks.after(&Seen::Unknown, now), State::Lacks);
        let settles = State::Settles(now + SETTLING);
        assert_eq!(settles.after(&Seen::Unknown, now), settles);
        assert_eq!(settles.after(&Seen::Unknown, now + SETTLING), State::Fits, "the field had appeared before");
    }

    #[test]
    fn a_field_that_platforms_schema_lacks_is_reported_and_additional_fields_are_ignored() {
        let tenant: TenantId = "acme".parse().unwrap();
        let text = FIELD_GROUP.replace("{TENANT_ID}", "acme");
        let group: Value = serde_json::from_str(&text).unwrap();
        let (_, fields) = tenant_definition(group["definitions"].as_object().unwrap(), "acme");
        let mut schema = Map::new();
        schema.insert("properties".to_owned(), Value::Object(fields.unwrap().clone()));
        schema["properties"]["more"] = serde_json::json!({"type": "string"});
        assert_eq!(compare(&schema, &tenant), Seen::Fits);
        let customerio = schema["properties"]["_acme"]["properties"]["customerio"]["properties"].as_object_mut();
        customerio.unwrap().remove("metric").unwrap();
        assert_eq!(compare(&schema, &tenant), lacks());
        assert_ne!(compare(&Map::new(), &tenant), Seen::Fits);
    }
}
