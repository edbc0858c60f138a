//! Handles one request in this order: route, method, signature headers, size, signature, publish, response.

use std::sync::Arc;
use std::time::Duration;

use contract::dead_letter::code::BODY_TOO_LARGE;
use contract::dead_letter::{Cut, CutValue, DeadLetter, Stage};
use customerio::{SignatureTimestamp, Verifier, person_key, verify};
use hyper::body::{Body, Bytes};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, header};
use kafka::record::header as record_header;
use kafka::{Headers, producer::ProduceError};
use sources::SourceName;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::budget::{InFlight, Share};
use crate::clock::SenderClock;
use crate::config::Settings;
use crate::http::body::{self, Limits, Oversized, Received};
use crate::metrics::Metrics;
use crate::publish::{Batch, Destination, Outgoing, Publish};
use crate::source::{KeysBySource, SourceKeys};
use settings::watched::Current;

const ROUTE: &str = "/webhooks/customerio";
const TIMESTAMP: &str = "x-cio-timestamp";
const SIGNATURE: &str = "x-cio-signature";
const TRACEPARENT: &str = "traceparent";

/// Maximum length of a request header that is copied to the record, in bytes.
const HEADER_LIMIT: usize = 256;

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Gateway<P> {
    sources: Arc<Current<KeysBySource>>,
    publisher: P,
    budget: InFlight,
    metrics: Arc<Metrics>,
    max_body: usize,
    ack_deadline: Duration,
    read_timeout: Duration,
    timestamp_tolerance: Option<Duration>,
    clock: SenderClock,
}

/// The headers with which a request claims to be authentic.
#[derive(Debug, Clone, Copy)]
struct Claim<'a> {
    timestamp: SignatureTimestamp<'a>,
    signature: &'a [u8],
}

/// The time at which the request headers were received, on the monotonic and on the wall clock.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    at: Instant,
    /// Milliseconds since 1970.
    unix_millis: i64,
}

impl<P: Publish> Gateway<P> {
    pub(crate) fn new(
        settings: &Settings,
        sources: Arc<Current<KeysBySource>>,
        publisher: P,
        budget: InFlight,
        metrics: Arc<Metrics>,
        clock: SenderClock,
    ) -> Self {
        Self {
            clock,
            sources,
            publisher,
            budget,
            metrics,
            max_body: settings.max_body,
            ack_deadline: settings.ack_deadline,
            read_timeout: settings.read_timeout,
            timestamp_tolerance: settings.timestamp_tolerance,
        }
    }

    /// Handles a request whose headers have just been received.
    pub(crate) async fn answer(&self, request: Request<impl Body<Data = Bytes> + Unpin>) -> Answer {
        let arrival = Arrival { at: Instant::now(), unix_millis: service::unix_millis() };
        // The keys that are current now are used for the whole request.
        let sources = self.sources.get();
        let (parts, body) = request.into_parts();
        let source = route(&sources, &parts);
        let answer = match self.ingest(source, &parts, body, arrival).await {
            Ok(()) => Answer::Stored,
            Err(answer) => answer,
        };
        self.metrics.answered(source, answer, arrival.at.elapsed());
        answer
    }

    async fn ingest(
        &self,
        source: Option<&SourceKeys>,
        parts: &Parts,
        body: impl Body<Data = Bytes> + Unpin,
        arrival: Arrival,
    ) -> Result<(), Answer> {
        let source = source.ok_or(Answer::NotFound)?;
        if parts.method != Method::POST {
            return Err(Answer::MethodNotAllowed);
        }
        let headers = &parts.headers;
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let limits = Limits { whole: self.max_body, idle: self.read_timeout, until: arrival.at + self.ack_deadline };
        // The body of a request that cannot be authentic is not received.
        let claim = self.claim(headers, arrival).ok_or(Answer::Unauthenticated)?;
        let verifier = || Verifier::new(&source.keys, claim.timestamp);
        match body::receive(body, declared, limits, &self.budget, verifier).await? {
            Received::Whole(body, share) => {
                verify(&source.keys, claim.timestamp, &body, claim.signature).map_err(|_| Answer::Unauthenticated)?;
                self.clock.signed(claim.timestamp, arrival.unix_millis);
                self.store_raw(source, headers, &body, share, arrival).await
            }
            Received::Oversized(oversized) => self.store_oversized(source, headers, claim, oversized, arrival).await,
        }
    }

    /// Returns the request's signature and timestamp, if they could be valid: both headers exist, and the timestamp is
    /// a number within the tolerance.
    fn claim<'h>(&self, headers: &'h HeaderMap, arrival: Arrival) -> Option<Claim<'h>> {
        let text = |name| headers.get(name).map(|value| value.as_bytes());
        let timestamp = SignatureTimestamp::parse(text(TIMESTAMP)?)?;
        let claim = Claim { timestamp, signature: text(SIGNATURE)? };
        let Some(tolerance) = self.timestamp_tolerance else { return Some(claim) };
        let age = timestamp.seconds()?.saturating_mul(1000).abs_diff(arrival.unix_millis);
        (u128::from(age) <= tolerance.as_millis()).then_some(claim)
    }

    /// Stores a body whole, or as a dead letter if the raw topic refuses it because of its size.
    async fn store_raw(
        &self,
        source: &SourceKeys,
        headers: &HeaderMap,
        body: &[u8],
        share: Share,
        arrival: Arrival,
    ) -> Result<(), Answer> {
        let key = person_key(body);
        let record = || Outgoing {
            to: Destination::Raw,
            key: Some(key.as_bytes()),
            body,
            headers: record_headers(source, headers, arrival),
        };
        let again = || self.budget.take(body.len()).map_err(|_| Answer::Overloaded);
        match self.publish(record(), Batch::Shared, share, arrival).await {
            Err(ProduceError::TooLarge) => {}
            stored => return self.answer_to(stored),
        }
        // The broker refuses a whole batch that is too large, so this body may still fit in a batch of its own.
        match self.publish(record(), Batch::Own, again()?, arrival).await {
            Err(ProduceError::TooLarge) => {}
            stored => return self.answer_to(stored),
        }
        let CutValue { kept, cut } = CutValue::of(body);
        let limit = "max.message.bytes of the raw topic";
        self.store_dead_letter(source, headers, kept, &cut, limit, again()?, arrival).await
    }

    /// Verifies a body over `GATEWAY_MAX_BODY`, of which only the beginning was kept, and stores it as a dead letter.
    async fn store_oversized(
        &self,
        source: &SourceKeys,
        headers: &HeaderMap,
        claim: Claim<'_>,
        oversized: Oversized,
        arrival: Arrival,
    ) -> Result<(), Answer> {
        let Oversized { first, length, sha256, verifier, share } = oversized;
        verifier.finish(claim.signature).map_err(|_| Answer::TooLarge)?;
        let cut = Cut { size: length, sha256 };
        self.store_dead_letter(source, headers, &first, &cut, "GATEWAY_MAX_BODY", share, arrival).await
    }

    /// Stores the beginning of an authentic body as a dead letter, with the size and hash of the whole body.
    #[expect(clippy::too_many_arguments, reason = "the parts of a dead letter")]
    async fn store_dead_letter(
        &self,
        source: &SourceKeys,
        headers: &HeaderMap,
        kept: &[u8],
        cut: &Cut,
        limit: &str,
        share: Share,
        arrival: Arrival,
    ) -> Result<(), Answer> {
        let message = format!(
            "the body has {} bytes, more than {limit} allows; its SHA-256 is {}; the first {} bytes are kept",
            cut.size,
            cut.sha256,
            kept.len()
        );
        let original = record_headers(source, headers, arrival);
        let dead_letter =
            DeadLetter::new(Stage::Gateway, BODY_TOO_LARGE, &message, service::unix_millis()).cut(cut.clone());
        let headers = original.with_all(dead_letter.headers());
        let record = Outgoing { to: Destination::DeadLetters, key: None, body: kept, headers };
        let stored = self.publish(record, Batch::Own, share, arrival).await;
        if stored == Err(ProduceError::TooLarge) {
            tracing::error!(
                bytes = kept.len(),
                "the dead-letter topic refuses the first 64 KiB of a body: raise its max.message.bytes; until then such webhooks get a 503"
            );
        }
        self.answer_to(stored)?;
        self.metrics.dead_letter();
        tracing::warn!(
            source = %source.name,
            bytes = cut.size,
            limit,
            code = BODY_TOO_LARGE,
            "an authentic webhook is too large and became a dead letter; raise the limit, and max.message.bytes of the topics"
        );
        Ok(())
    }

    /// Writes a record and waits until it is stored or has failed, or until the response is due.
    async fn publish(
        &self,
        record: Outgoing<'_>,
        batch: Batch,
        share: Share,
        arrival: Arrival,
    ) -> Result<(), ProduceError> {
        let to = record.to;
        let stored = self.write(record, batch, share, arrival).await;
        self.publisher.report(to, &stored);
        stored
    }

    async fn write(
        &self,
        record: Outgoing<'_>,
        batch: Batch,
        share: Share,
        arrival: Arrival,
    ) -> Result<(), ProduceError> {
        let left = self.ack_deadline.saturating_sub(arrival.at.elapsed());
        if left.is_zero() {
            return Err(ProduceError::Unacknowledged);
        }
        let started = Instant::now();
        let delivery = self.publisher.publish(record, batch, share)?;
        let stored = tokio::time::timeout(left, delivery).await.unwrap_or(Err(ProduceError::Unacknowledged));
        if stored.is_ok() {
            self.metrics.published(started.elapsed());
        }
        stored
    }

    fn answer_to(&self, stored: Result<(), ProduceError>) -> Result<(), Answer> {
        stored.map_err(|error| {
            self.metrics.publish_failed(&error);
            tracing::debug!(%error, "a webhook could not be stored");
            Answer::Unavailable
        })
    }
}

/// Returns the source that the path names. A single slash at the end is ignored: it is a common mistake in the URL that
/// is entered at Customer.io, and Customer.io would wait an hour after a 404.
fn route<'s>(sources: &'s KeysBySource, parts: &Parts) -> Option<&'s SourceKeys> {
    let rest = parts.uri.path().strip_prefix(ROUTE)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() {
        return sources.get(SourceName::DEFAULT);
    }
    sources.get(rest.strip_prefix('/')?)
}

/// Returns the headers of the record: the receive time, the source, and some of the request headers.
fn record_headers(source: &SourceKeys, headers: &HeaderMap, arrival: Arrival) -> Headers {
    let text = |name: &str| headers.get(name).map(|value| value.as_bytes()).filter(|value| value.len() <= HEADER_LIMIT);
    Headers::with_capacity(7)
        .with(record_header::RECEIVED_AT, arrival.unix_millis.to_string().as_bytes())
        .with(record_header::SOURCE, source.name.to_string().as_bytes())
        .with_some(record_header::CIO_TIMESTAMP, text(TIMESTAMP))
        .with_some(record_header::CIO_SIGNATURE, text(SIGNATURE))
        .with_some(record_header::CONTENT_TYPE, text(header::CONTENT_TYPE.as_str()))
        .with_some(record_header::CONTENT_ENCODING, text(header::CONTENT_ENCODING.as_str()))
        .with_some(record_header::TRACEPARENT, text(TRACEPARENT))
}

#[cfg(test)]
pub(crate) mod tests;
