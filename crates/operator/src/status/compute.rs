//! Computes the status: a pure function of the collected responses.

use std::collections::BTreeMap;

use super::asked::Asked;
use super::exposition::Exposition;
use super::look::Look;
use super::topics::{LastWebhook, TopicState};
use super::value::{Answers, Status};
use super::{findings, services, traffic};

/// Computes the status from the collected responses.
#[must_use]
pub fn status(answers: Answers) -> Status {
    let Answers { now, before, a_while_before, topics, flow, webhooks } = answers;
    let (dead_letters, last_webhooks, missing_topics) = match topics {
        Asked::NotConfigured(what) => (Asked::NotConfigured(what.clone()), Asked::NotConfigured(what), Vec::new()),
        Asked::Failed(error) => (Asked::Failed(error.clone()), Asked::Failed(error), Vec::new()),
        Asked::Answer(TopicState { dead_letters, last_webhooks, missing }) => {
            (Asked::Answer(dead_letters), Asked::Answer(with_silent_sources(last_webhooks, &now)), missing)
        }
    };
    let mut status = Status {
        at: now.at,
        services: services::services(&now),
        rates: before.as_ref().map(|before| traffic::rates(&now, before)).unwrap_or_default(),
        raw: traffic::backlog(&now, traffic::TRANSFORMER),
        typed: traffic::backlog(&now, traffic::SINK),
        event_age: traffic::event_age(&now, a_while_before.as_ref()),
        holds: services::holds(&now),
        waits: services::waits(&now),
        reload_broken: reload_broken(&now),
        unread: unread(&now),
        expired: total(&now, "customerio_kafka_records_expired_total"),
        dead_letters,
        last_webhooks,
        missing_topics,
        flow,
        webhooks,
        findings: Vec::new(),
    };
    status.findings = findings::of(&status);
    status
}

/// Adds the sources for which a gateway has signing keys, but no webhook was found.
fn with_silent_sources(mut found: Vec<LastWebhook>, look: &Look) -> Vec<LastWebhook> {
    for page in pages(look) {
        for sample in page.all("customerio_gateway_signing_keys") {
            let source = sample.label("source");
            if !found.iter().any(|last| last.source == source) {
                found.push(LastWebhook { source: source.to_owned(), received_at: None });
            }
        }
    }
    found.sort_by(|a, b| a.source.cmp(&b.source));
    found
}

fn pages(look: &Look) -> impl Iterator<Item = &Exposition> {
    look.answers.iter().filter_map(|answer| answer.metrics.as_ref().ok())
}

fn total(look: &Look, name: &str) -> f64 {
    pages(look).filter_map(|page| page.sum(name, |_| true)).sum()
}

fn reload_broken(look: &Look) -> Vec<(String, String)> {
    let mut broken = Vec::new();
    for answer in &look.answers {
        let Ok(page) = &answer.metrics else { continue };
        for service in ["gateway", "transformer", "sink"] {
            let samples = page.all(&format!("customerio_{service}_reload_broken"));
            let files = samples.iter().filter(|sample| sample.value > 0.0).map(|sample| sample.label("files"));
            broken.extend(files.map(|files| (answer.address.clone(), files.to_owned())));
        }
    }
    broken
}

/// Returns topics with partitions that no service reads, with the number of these partitions. The list is empty if a
/// service did not respond, because that service may read them.
fn unread(look: &Look) -> Vec<(String, u64)> {
    if look.answers.iter().any(|answer| answer.metrics.is_err()) {
        return Vec::new();
    }
    let mut topics: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for page in pages(look) {
        for sample in page.all("customerio_kafka_partitions") {
            let (partitions, _) = topics.entry(sample.label("topic")).or_default();
            *partitions = partitions.max(sample.value);
        }
        for sample in page.all("customerio_kafka_assigned_partitions") {
            topics.entry(sample.label("topic")).or_default().1 += sample.value;
        }
    }
    let missing = |(topic, (partitions, assigned)): (&str, (f64, f64))| {
        let missing = format!("{:.0}", (partitions - assigned).max(0.0)).parse().unwrap_or(0);
        (topic.to_owned(), missing)
    };
    topics.into_iter().map(missing).filter(|(_, missing)| *missing > 0).collect()
}

#[cfg(test)]
mod tests;
