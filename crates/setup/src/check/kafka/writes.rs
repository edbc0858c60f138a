//! Checks the permission to write: writes a record in a transaction, and aborts the transaction.
//!
//! The check writes only to the output topics of the transformer, the typed topic and the dead-letter topic. The
//! transformer writes to them in transactions, so their readers already skip aborted records. The gateway and the sink
//! write to the raw topic and the receipts topic without transactions. A reader of these topics with the isolation
//! level `read_uncommitted`, the default of Kafka's consumers, would take the record of the check for a webhook or a
//! receipt.
//!
//! An aborted record also moves the end offset of its partition. The transformer refuses to start in a partition that
//! has no committed offset if the end offset of its typed partition is above 0. Therefore, the check writes only to a
//! typed partition whose end offset is above 0 already, and skips the typed topic while it is empty. The sink looks for
//! earlier output in the receipts topic, to which the check does not write; without this topic, it looks for committed
//! records in the dead-letter topic.

use contract::Partition;
use kafka::cluster::{Obstacle, ObstacleKind, Replication};
use kafka::topic::Topics;
use kafka::write_probe::WriteProbe;
use kafka::{Connection, TopicName};

use crate::check::{Line, TIMEOUT};
use crate::topics::TopicWish;
use crate::who::Who;

const TRANSACTION: &str = "transaction";
const WRITE: &str = "write";
const ASKED: &str = "a transaction";

/// The next step if the brokers stop answering during the check.
const TRY_AGAIN: &str = "check the brokers and the network, and try again";

/// The answers of the brokers to a [`WriteProbe`].
struct Probed {
    /// The reason why the transactional id could not be registered; `None` if it was registered.
    refused: Option<Obstacle>,
    /// The outcome for each topic; `None` for a topic to which the check does not write while it is empty.
    topics: Vec<(TopicName, Option<Result<(), Obstacle>>)>,
}

/// A topic to which the check writes.
struct Tried {
    topic: TopicName,
    /// Number of partitions among which a partition with records must be found; `None` if partition 0 can be used.
    search: Option<usize>,
}

/// Registers the transactional id `id`, writes a record to each output topic of the transformer, and aborts each
/// transaction. `known` contains the existing topics.
pub(super) async fn lines(
    connection: &Connection,
    wish: &TopicWish,
    known: &[(&TopicName, Replication)],
    is_embedded: bool,
    id: &str,
) -> Vec<Line> {
    if is_embedded {
        let why = "not tried: the demo's embedded broker keeps the records of aborted transactions";
        return vec![Line::skipped(TRANSACTION, ASKED, why)];
    }
    let typed = known.iter().find(|(name, _)| **name == wish.topics.typed);
    let topics = tried(wish, typed.map_or(0, |(_, topic)| topic.partitions));
    let (connection, own_id) = (connection.clone(), id.to_owned());
    let probed = tokio::task::spawn_blocking(move || probe(&connection, &own_id, topics)).await;
    let probed = probed.unwrap_or_else(|_| Probed { refused: Some(Obstacle::no_answer(TIMEOUT)), topics: Vec::new() });
    shown(&probed, id, wish)
}

fn tried(wish: &TopicWish, typed_partitions: usize) -> [Tried; 2] {
    [
        Tried { topic: wish.topics.typed.clone(), search: Some(typed_partitions) },
        Tried { topic: wish.topics.dead_letters.clone(), search: None },
    ]
}

fn probe(connection: &Connection, id: &str, topics: [Tried; 2]) -> Probed {
    let probe = match WriteProbe::open(connection, id, TIMEOUT) {
        Ok(probe) => probe,
        Err(obstacle) => return Probed { refused: Some(obstacle), topics: Vec::new() },
    };
    let mut probed = Probed { refused: None, topics: Vec::new() };
    for Tried { topic, search } in topics {
        let partition = match search {
            Some(partitions) => with_records(connection, &topic, partitions),
            None => Ok(Some(Partition(0))),
        };
        let outcome = match partition {
            Ok(partition) => partition.map(|partition| probe.write_and_abort(&topic, partition, TIMEOUT)),
            Err(obstacle) => Some(Err(obstacle)),
        };
        let is_silent = matches!(&outcome, Some(Err(obstacle)) if obstacle.kind != ObstacleKind::Denied);
        probed.topics.push((topic, outcome));
        if is_silent {
            break;
        }
    }
    probed
}

/// The first partition of a topic with an end offset above 0, which has or had records; `None` if there is none.
fn with_records(connection: &Connection, topic: &TopicName, partitions: usize) -> Result<Option<Partition>, Obstacle> {
    let failed = |_| Obstacle::no_answer(TIMEOUT);
    let topics = Topics::new(connection).map_err(failed)?;
    for partition in Partition::all(partitions) {
        if topics.watermarks(topic, partition, TIMEOUT).map_err(failed)?.high.0 > 0 {
            return Ok(Some(partition));
        }
    }
    Ok(None)
}

fn shown(probed: &Probed, id: &str, wish: &TopicWish) -> Vec<Line> {
    if let Some(obstacle) = &probed.refused {
        return vec![transaction_refused(id, obstacle)];
    }
    let mut lines = vec![Line::good(TRANSACTION, ASKED, format!("the transactional id {id} was registered"))];
    lines.extend(probed.topics.iter().map(|(topic, outcome)| match outcome {
        Some(outcome) => written(topic, outcome),
        None => not_yet(topic),
    }));
    let not_tried: Vec<&str> =
        [Some(&wish.topics.raw), wish.topics.receipts.as_ref()].into_iter().flatten().map(TopicName::as_str).collect();
    let found = "not tried, because other readers of these topics could take a record of the check for a real one; the signed round trip shows that the gateway writes, and `check --end-to-end` that all services do";
    lines.push(Line::note(WRITE, format!("writing to {}", not_tried.join(" and ")), found));
    lines
}

fn transaction_refused(id: &str, obstacle: &Obstacle) -> Line {
    let text = obstacle.to_string();
    if obstacle.kind != ObstacleKind::Denied {
        return Line::unanswered(TRANSACTION, ASKED, text, TRY_AGAIN);
    }
    let prefix = id.trim_end_matches(|c: char| c.is_ascii_digit());
    let step = format!(
        "give this user the ACL Write on the transactional ids that begin with {prefix}: kafka-acls.sh --add --allow-principal User:NAME --operation Write --transactional-id {prefix} --resource-pattern-type prefixed. If each service has a user of its own, run `check --only kafka` with the transformer's"
    );
    Line::bad(TRANSACTION, ASKED, text, Who::You, step)
}

fn asked(topic: &TopicName) -> String {
    format!("whether this user may write to {topic}")
}

fn not_yet(topic: &TopicName) -> Line {
    let found = "not tried while the topic is empty, because the transformer could take the record of the check for output of its own; check again after the first event";
    Line::note(WRITE, asked(topic), found)
}

fn written(topic: &TopicName, outcome: &Result<(), Obstacle>) -> Line {
    let asked = asked(topic);
    match outcome {
        Ok(()) => Line::good(
            WRITE,
            asked,
            "it may: a record was written in a transaction, which was aborted, so that the services do not read it",
        ),
        Err(obstacle) if obstacle.kind == ObstacleKind::Denied => {
            let step = format!(
                "give this user the ACL Write on the topic: kafka-acls.sh --add --allow-principal User:NAME --operation Write --topic {topic}. If each service has a user of its own, run `check --only kafka` with the transformer's"
            );
            Line::bad(WRITE, asked, obstacle.to_string(), Who::You, step)
        }
        Err(obstacle) => Line::unanswered(WRITE, asked, obstacle.to_string(), TRY_AGAIN),
    }
}

#[cfg(test)]
mod tests {
    use contract::PipelineTopics;
    use kafka::embedded::EmbeddedBroker;

    use super::*;
    use crate::check::Level;

    const ID: &str = "customerio-transformer-check-4711";

    fn wish() -> TopicWish {
        let name = |name: &str| name.parse::<TopicName>().unwrap();
        let topics = PipelineTopics {
            raw: name("raw"),
            typed: name("typed"),
            dead_letters: name("dead"),
            receipts: Some(name("receipts")),
        };
        TopicWish { topics, partitions: 1, replication: None, max_body: 1 }
    }

    fn denied() -> Obstacle {
        Obstacle::denied("Broker: Topic authorization failed")
    }

    #[test]
    fn the_step_for_a_missing_acl_contains_the_operation_and_the_resource() {
        let id = transaction_refused(ID, &denied());
        let step = id.next.unwrap().step;
        assert!(step.contains("--transactional-id customerio-transformer-check- --resource-pattern-type prefixed"));
        let topic = wish().topics.typed;
        let line = written(&topic, &Err(denied()));
        assert_eq!((line.id, line.level), (WRITE, Level::Bad));
        let step = line.next.unwrap().step;
        assert!(step.contains("--operation Write --topic typed"), "{step}");
        assert_eq!(written(&topic, &Err(Obstacle::no_answer(TIMEOUT))).level, Level::Unanswered);
    }

    #[test]
    fn the_check_writes_neither_to_an_empty_typed_topic_nor_to_the_raw_and_receipts_topics() {
        let broker = EmbeddedBroker::start().unwrap();
        let (connection, wish) = (broker.connection("test"), wish());
        wish.topics.names().for_each(|topic| broker.create_topic(topic, 2).unwrap());
        let lines = || shown(&probe(&connection, ID, tried(&wish, 2)), ID, &wish);
        let levels = |lines: &[Line]| lines.iter().map(|line| (line.id, line.level)).collect::<Vec<_>>();
        let empty = lines();
        let (good, note) = ((WRITE, Level::Good), (WRITE, Level::Note));
        assert_eq!(levels(&empty), [(TRANSACTION, Level::Good), note, good, note]);
        assert!(empty[1].asked.contains("typed") && empty[1].found.contains("empty"), "{:?}", empty[1]);
        assert!(empty[3].asked.contains("raw and receipts"), "{:?}", empty[3]);
        let topics = Topics::new(&connection).unwrap();
        let has_records = |topic: &TopicName| {
            let watermarks = |partition| topics.watermarks(topic, partition, TIMEOUT).unwrap();
            Partition::all(2).any(|partition| watermarks(partition).high.0 > 0)
        };
        let PipelineTopics { raw, typed, dead_letters, receipts } = &wish.topics;
        let receipts = receipts.as_ref().unwrap();
        assert_eq!([raw, typed, receipts, dead_letters].map(has_records), [false, false, false, true]);

        let writer = WriteProbe::open(&connection, "another", TIMEOUT).unwrap();
        writer.write_and_abort(typed, Partition(1), TIMEOUT).unwrap();
        assert_eq!(levels(&lines()), [(TRANSACTION, Level::Good), good, good, note]);
        let first = topics.watermarks(typed, Partition(0), TIMEOUT).unwrap();
        assert_eq!(first.high.0, 0, "an empty partition stays empty");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn with_the_embedded_broker_the_write_check_is_skipped() {
        let broker = EmbeddedBroker::start().unwrap();
        let lines = lines(&broker.connection("test"), &wish(), &[], true, ID).await;
        assert_eq!(lines.iter().map(|line| line.level).collect::<Vec<_>>(), [Level::Skipped]);
    }
}
