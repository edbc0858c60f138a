//! Checks of Kafka and the Schema Registry.

use kafka::KafkaError;
use kafka::transaction::TransactionalWriter;

use super::{Checks, Line, TIMEOUT, in_time, objects};
use crate::desired::{Desired, Permit};
use crate::key::Target;
use crate::look::look_at_topics;
use crate::observed::{Observed, ObservedKafka};
use crate::plan::{Change, plan};
use crate::who::Who;

pub(super) async fn check(checks: &Checks<'_>) -> Vec<Line> {
    let mut lines = topics(checks).await;
    lines.extend(registry(checks).await);
    lines
}

async fn topics(checks: &Checks<'_>) -> Vec<Line> {
    let Some(wish) = &checks.desired.topics else { return Vec::new() };
    let asked = "the Kafka brokers";
    let Some(topics) = &checks.clients.kafka else {
        return vec![Line::skipped(
            "kafka",
            asked,
            "not asked: there is no usable connection (KAFKA_BOOTSTRAP_SERVERS)",
        )];
    };
    let brokers = match tokio::task::block_in_place(|| topics.brokers(TIMEOUT)) {
        Ok(brokers) => brokers,
        Err(error) => return vec![failed("kafka", asked, &error)],
    };
    let mut lines = vec![match brokers {
        0..3 => Line::note(
            "kafka",
            asked,
            format!(
                "{brokers} respond; exactly-once needs partitions with a second in-sync replica, so use three brokers in production"
            ),
        ),
        _ => Line::good("kafka", asked, format!("{brokers} respond")),
    }];
    let mut found = ObservedKafka { brokers, ..ObservedKafka::default() };
    for (name, topic) in look_at_topics(wish, topics).await {
        match topic {
            Ok(Some(topic)) => {
                found.topics.insert(name.to_string(), topic);
            }
            Ok(None) => {}
            Err(error) => lines.push(failed("topic", &format!("the topic {name}"), &error)),
        }
    }
    let desired =
        Desired { stage: None, platform: None, subject: None, webhooks: Vec::new(), ..checks.desired.clone() };
    let observed = Observed { kafka: Some(found), ..Observed::default() };
    let planned = plan(&desired, &observed, &Permit::default());
    lines.extend(objects::lines(&planned, Target::Kafka, "topic"));
    for problem in &planned.problems {
        lines.push(Line::bad(
            "topic_settings",
            "the settings of the topics",
            problem.clone(),
            Who::You,
            "as the text says",
        ));
    }
    let exist = planned.objects.iter().all(|object| object.change == Change::Keep);
    if let Some(connection) = checks.kafka.as_ref().filter(|_| exist) {
        lines.push(transaction(connection, wish.topics.typed.as_str()));
    }
    lines
}

/// Runs a real transaction without records, with a transactional id that no transformer uses.
fn transaction(connection: &kafka::Connection, topic: &str) -> Line {
    let asked = "a transaction";
    let id = format!("customerio-transformer-check-{}", std::process::id());
    let probe = || TransactionalWriter::open(connection, &id, TIMEOUT)?.write(std::iter::empty());
    match tokio::task::block_in_place(probe) {
        Ok(()) => Line::good("transaction", asked, format!("begun and ended as {id}; nothing was written to {topic}")),
        Err(error) => failed("transaction", asked, &error),
    }
}

fn failed(id: &'static str, asked: &str, error: &KafkaError) -> Line {
    let text = error.to_string();
    let is_denied = text.contains("uthorization") || text.contains("not authorized");
    if is_denied {
        let step = "give this user the ACL; docs/operate.md lists what each service needs";
        Line::bad(id, asked, text, Who::You, step)
    } else {
        Line::unanswered(id, asked, text, "check KAFKA_BOOTSTRAP_SERVERS, the KAFKA_S* variables and the network")
    }
}

async fn registry(checks: &Checks<'_>) -> Vec<Line> {
    let (Some(subject), Some(registry)) = (&checks.desired.subject, &checks.clients.registry) else {
        return Vec::new();
    };
    let asked = format!("the Schema Registry, subject {subject}");
    let step = "check SCHEMA_REGISTRY_URL, the credential and the registry";
    match in_time(crate::look::subject_of(subject, registry)).await {
        None => vec![Line::unanswered("registry", asked, "no answer within 5 s", step)],
        Some(Err(error)) => vec![Line::unanswered("registry", asked, error.to_string(), step)],
        Some(Ok(found)) => {
            let desired =
                Desired { stage: None, platform: None, topics: None, webhooks: Vec::new(), ..checks.desired.clone() };
            let observed = Observed { registry: Some(found), ..Observed::default() };
            objects::lines(&plan(&desired, &observed, &Permit::default()), Target::Registry, "registry")
        }
    }
}
