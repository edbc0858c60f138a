//! Checks of Kafka and the Schema Registry.

mod replication;
mod writes;

use futures_util::future::join_all;
use kafka::cluster::{Cluster, Obstacle, ObstacleKind, Replication, cluster};
use kafka::topic::Topics;
use kafka::{Connection, TopicName};

use super::{Checks, Line, TIMEOUT, in_time, objects};
use crate::desired::{Desired, Permit};
use crate::key::Target;
use crate::observed::{Observed, ObservedKafka, ObservedTopic};
use crate::plan::{Change, plan};
use crate::topics::TopicWish;
use crate::who::Who;

/// Beginning of the transactional id of the check. No transformer uses an id with this beginning. The transformers' ids
/// begin with their group's name, by default `customerio-transformer`, so a prefixed ACL for them also permits this id.
const TRANSACTIONAL_ID: &str = "customerio-transformer-check-";

pub(super) async fn check(checks: &Checks<'_>) -> Vec<Line> {
    let (mut lines, registry) = tokio::join!(brokers(checks), registry(checks));
    lines.extend(registry);
    lines
}

async fn brokers(checks: &Checks<'_>) -> Vec<Line> {
    let Some(wish) = &checks.desired.topics else { return Vec::new() };
    let asked = "the Kafka brokers";
    let (Some(connection), Some(topics)) = (&checks.kafka, &checks.clients.kafka) else {
        return vec![Line::skipped(
            "kafka",
            asked,
            "not asked: there is no usable connection (KAFKA_BOOTSTRAP_SERVERS)",
        )];
    };
    let cluster = match look(connection, wish).await {
        Ok(cluster) => cluster,
        Err(obstacle) => return vec![failed("kafka", asked, &obstacle)],
    };
    let mut lines = vec![number_of_brokers(asked, cluster.brokers)];
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for (name, place) in &cluster.topics {
        match place {
            Ok(Some(place)) => known.push((name, *place)),
            Ok(None) => {}
            Err(obstacle) => {
                lines.push(not_described(name, obstacle));
                unknown.push(name);
            }
        }
    }
    let settings = settings(topics, &known).await;
    let topics = settings.into_iter().map(|(name, topic)| (name.to_string(), topic)).collect();
    let found = ObservedKafka { brokers: cluster.brokers, topics };
    let (compared, has_all) = compared(checks, &found, &unknown);
    lines.extend(compared);
    lines.extend(replication::lines(wish, &found, &known));
    if has_all {
        lines.extend(writes::lines(connection, wish, &known, cluster.is_embedded, &transactional_id()).await);
    }
    lines
}

/// The transactional id of this process.
fn transactional_id() -> String {
    format!("{TRANSACTIONAL_ID}{}", std::process::id())
}

/// Reads the brokers and topics on another thread, because librdkafka's calls block.
async fn look(connection: &Connection, wish: &TopicWish) -> Result<Cluster, Obstacle> {
    let (connection, names): (_, Vec<TopicName>) = (connection.clone(), wish.names().cloned().collect());
    let asked = tokio::task::spawn_blocking(move || cluster(&connection, &names, TIMEOUT));
    asked.await.unwrap_or_else(|_| Err(Obstacle::no_answer(TIMEOUT)))
}

fn number_of_brokers(asked: &str, brokers: usize) -> Line {
    match brokers {
        0..3 => Line::note(
            "kafka",
            asked,
            format!(
                "{brokers} respond; exactly-once needs partitions with a second in-sync replica, so use three brokers in production"
            ),
        ),
        _ => Line::good("kafka", asked, format!("{brokers} respond")),
    }
}

/// Reads the settings of these topics concurrently, so that brokers that do not answer cost one time-out in total.
async fn settings<'n>(topics: &Topics, known: &[(&'n TopicName, Replication)]) -> Vec<(&'n TopicName, ObservedTopic)> {
    join_all(known.iter().map(|(name, place)| settings_of(topics, name, place.partitions))).await
}

async fn settings_of<'n>(topics: &Topics, name: &'n TopicName, partitions: usize) -> (&'n TopicName, ObservedTopic) {
    let settings = match in_time(topics.settings(name)).await {
        None => Err("no answer within 5 s".to_owned()),
        Some(answer) => answer.map_err(|error| error.to_string()),
    };
    (name, ObservedTopic { partitions, settings })
}

/// The lines about the topics and their settings, and whether all topics exist. `unknown` contains the topics that the
/// brokers did not describe.
fn compared(checks: &Checks<'_>, found: &ObservedKafka, unknown: &[&TopicName]) -> (Vec<Line>, bool) {
    let desired =
        Desired { stage: None, platform: None, subject: None, webhooks: Vec::new(), ..checks.desired.clone() };
    let observed = Observed { kafka: Some(found.clone()), ..Observed::default() };
    let mut planned = plan(&desired, &observed, &Permit::default());
    planned.objects.retain(|object| unknown.iter().all(|name| name.as_str() != object.name));
    let mut lines = objects::lines(&planned, Target::Kafka, "topic");
    // The plan takes an unknown topic for one to create. Its problems can compare the wrong numbers of partitions then.
    for problem in planned.problems.iter().filter(|_| unknown.is_empty()) {
        lines.push(Line::bad(
            "topic_settings",
            "the settings of the topics",
            problem.clone(),
            Who::You,
            "as the text says",
        ));
    }
    for (name, topic) in &found.topics {
        if let Err(reason) = &topic.settings {
            let found = format!("not compared ({reason}); the ACL DescribeConfigs on the topic permits it");
            lines.push(Line::note("topic_settings", format!("the settings of {name}"), found));
        }
    }
    let has_all = unknown.is_empty() && planned.objects.iter().all(|object| object.change == Change::Keep);
    (lines, has_all)
}

fn not_described(name: &TopicName, obstacle: &Obstacle) -> Line {
    let asked = format!("the topic {name}");
    match obstacle.kind {
        ObstacleKind::Denied => {
            let step = format!("give this user the ACL Describe on the topic {name}; docs/operate.md lists all");
            Line::bad("topic", asked, obstacle.to_string(), Who::You, step)
        }
        _ => failed("topic", &asked, obstacle),
    }
}

fn failed(id: &'static str, asked: &str, obstacle: &Obstacle) -> Line {
    let text = obstacle.to_string();
    match obstacle.kind {
        ObstacleKind::Denied | ObstacleKind::NoAccess => Line::bad(id, asked, text, Who::You, obstacle.remedy),
        ObstacleKind::Unanswered => {
            Line::unanswered(id, asked, text, "check KAFKA_BOOTSTRAP_SERVERS, the KAFKA_S* variables and the network")
        }
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
