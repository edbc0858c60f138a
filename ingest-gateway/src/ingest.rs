//! One request: route, method, size, signature, publish, answer, in this order.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, header};
use customerio::{person_key, verify};
use http_body_util::BodyExt;
use kafka::Headers;
use kafka::record::header as record_header;
use sources::SourceName;

use crate::answer::Answer;
use crate::budget::{InFlight, Share};
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::publish::{Publish, RawRecord};
use crate::source::{Source, Sources};

const ROUTE: &str = "/webhooks/customerio";
const TIMESTAMP: &str = "x-cio-timestamp";
const SIGNATURE: &str = "x-cio-signature";
const TRACEPARENT: &str = "traceparent";

/// The longest `X-CIO-Timestamp` that is looked at: 64-bit seconds.
const TIMESTAMP_LIMIT: usize = 20;

/// The longest of the other headers that are kept with the record.
const HEADER_LIMIT: usize = 256;

/// The gateway's state.
#[derive(Debug)]
pub(crate) struct Gateway<P> {
    sources: Sources,
    publisher: P,
    budget: InFlight,
    metrics: Metrics,
    max_body: usize,
    ack_deadline: Duration,
    read_timeout: Duration,
    timestamp_tolerance: Option<Duration>,
}

impl<P: Publish> Gateway<P> {
    pub(crate) fn new(settings: &Settings, publisher: P, budget: InFlight, metrics: Metrics) -> Self {
        Self {
            sources: settings.sources.clone(),
            publisher,
            budget,
            metrics,
            max_body: settings.max_body,
            ack_deadline: settings.ack_deadline,
            read_timeout: settings.read_timeout,
            timestamp_tolerance: settings.timestamp_tolerance,
        }
    }

    /// Answers a request whose head has just been received.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Answer {
        let head = Instant::now();
        let received_at = service::unix_millis();
        let (parts, body) = request.into_parts();
        let source = self.route(&parts);
        let answer = match self.ingest(source, &parts, body, head, received_at).await {
            Ok(()) => Answer::Stored,
            Err(answer) => answer,
        };
        self.metrics.answered(source.map(|_| self.source_name(&parts)), answer, head.elapsed());
        answer
    }

    fn source_name<'p>(&self, parts: &'p Parts) -> &'p str {
        parts.uri.path().strip_prefix(ROUTE).and_then(|rest| rest.strip_prefix('/')).unwrap_or(SourceName::DEFAULT)
    }

    fn route(&self, parts: &Parts) -> Option<&Source> {
        let rest = parts.uri.path().strip_prefix(ROUTE)?;
        if rest.is_empty() {
            return self.sources.get(SourceName::DEFAULT);
        }
        self.sources.get(rest.strip_prefix('/')?)
    }

    async fn ingest(
        &self,
        source: Option<&Source>,
        parts: &Parts,
        body: Body,
        head: Instant,
        received_at: i64,
    ) -> Result<(), Answer> {
        let source = source.ok_or(Answer::NotFound)?;
        if parts.method != Method::POST {
            return Err(Answer::MethodNotAllowed);
        }
        let (body, share) = self.read(&parts.headers, body).await?;
        self.authenticate(source, &parts.headers, &body, received_at)?;
        self.store(source, &parts.headers, &body, share, head, received_at).await
    }

    /// Reads the body within limit and budget.
    async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<(Bytes, Share), Answer> {
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|declared| declared > self.max_body) {
            return Err(Answer::TooLarge);
        }
        let mut reserved = declared.unwrap_or(0);
        let mut share = self.budget.take(reserved).map_err(|_| Answer::Overloaded)?;
        let mut first = Bytes::new();
        let mut rest: Vec<u8> = Vec::new();
        let mut length = 0;
        loop {
            let frame = match tokio::time::timeout(self.read_timeout, body.frame()).await {
                Err(_) => return Err(Answer::ReadTimeout),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Answer::Unreadable),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length > self.max_body {
                return Err(Answer::TooLarge);
            }
            if length > reserved {
                self.budget.grow(&mut share, length - reserved).map_err(|_| Answer::Overloaded)?;
                reserved = length;
            }
            // Most bodies arrive in one piece and are never copied.
            if first.is_empty() && rest.is_empty() {
                first = data;
            } else {
                if rest.is_empty() {
                    rest.reserve(reserved);
                    rest.extend_from_slice(&std::mem::take(&mut first));
                }
                rest.extend_from_slice(&data);
            }
        }
        Ok((if rest.is_empty() { first } else { rest.into() }, share))
    }

    fn authenticate(&self, source: &Source, headers: &HeaderMap, body: &[u8], received_at: i64) -> Result<(), Answer> {
        let text = |name| headers.get(name).map(|value| value.as_bytes());
        let timestamp = text(TIMESTAMP).filter(|text| text.len() <= TIMESTAMP_LIMIT).ok_or(Answer::Unauthenticated)?;
        let signature = text(SIGNATURE).ok_or(Answer::Unauthenticated)?;
        verify(&source.keys, timestamp, body, signature).map_err(|_| Answer::Unauthenticated)?;
        let Some(tolerance) = self.timestamp_tolerance else { return Ok(()) };
        let seconds = std::str::from_utf8(timestamp).ok().and_then(|text| text.parse::<i64>().ok());
        let age = seconds.map(|seconds| seconds.saturating_mul(1000).abs_diff(received_at));
        if age.is_some_and(|age| u128::from(age) <= tolerance.as_millis()) {
            Ok(())
        } else {
            Err(Answer::Unauthenticated)
        }
    }

    async fn store(
        &self,
        source: &Source,
        headers: &HeaderMap,
        body: &[u8],
        share: Share,
        head: Instant,
        received_at: i64,
    ) -> Result<(), Answer> {
        let left = self.ack_deadline.saturating_sub(head.elapsed());
        if left.is_zero() {
            return Err(Answer::Unavailable);
        }
        let key = person_key(body);
        let record = RawRecord {
            key: key.as_ref().map(customerio::PersonKey::as_bytes),
            body,
            headers: record_headers(source, headers, received_at),
        };
        let started = Instant::now();
        let stored = match self.publisher.publish(record, share) {
            Ok(delivery) => match tokio::time::timeout(left, delivery).await {
                Ok(stored) => stored,
                Err(_) => Err(kafka::producer::ProduceError::Unacknowledged),
            },
            Err(error) => Err(error),
        };
        match stored {
            Ok(()) => {
                self.metrics.published(started.elapsed());
                Ok(())
            }
            Err(error) => {
                self.metrics.publish_failed(&error);
                tracing::debug!(%error, "a webhook could not be stored");
                Err(Answer::Unavailable)
            }
        }
    }
}

/// What is written beside the body: only what was received, and when and for whom.
fn record_headers(source: &Source, headers: &HeaderMap, received_at: i64) -> Headers {
    let text = |name: &str| headers.get(name).map(|value| value.as_bytes()).filter(|value| value.len() <= HEADER_LIMIT);
    Headers::with_capacity(7)
        .with(record_header::RECEIVED_AT, received_at.to_string().as_bytes())
        .with(record_header::SOURCE, source.name.to_string().as_bytes())
        .with_some(record_header::CIO_TIMESTAMP, text(TIMESTAMP))
        .with_some(record_header::CIO_SIGNATURE, text(SIGNATURE))
        .with_some(record_header::CONTENT_TYPE, text(header::CONTENT_TYPE.as_str()))
        .with_some(record_header::CONTENT_ENCODING, text(header::CONTENT_ENCODING.as_str()))
        .with_some(record_header::TRACEPARENT, text(TRACEPARENT))
}

#[cfg(test)]
pub(crate) mod tests;
