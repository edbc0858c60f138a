//! Partitions that nobody in the group reads, and what helps against it.
//!
//! A cooperative rebalance has two steps: a member gives partitions up and joins again, and by that the others get them.
//! A member with a `group.instance.id` that is killed and comes back between the two takes its old place without a
//! rebalance, and the second step is never made: the partitions that were on their way stay without a reader until
//! the group rebalances for another reason, which may be never. A member without a name that joins and leaves is such
//! a reason.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::error::KafkaError;
use crate::group::{self, GroupSettings};
use crate::topic::{TopicName, Topics};

/// How often the group is looked at. Partitions that are without a reader twice in a row are not on their way any more: a
/// rebalance takes two heartbeats, of three seconds each.
const INTERVAL: Duration = Duration::from_secs(7);

/// How long the brokers have to answer a question.
const CALL: Duration = Duration::from_secs(5);

/// How long the passing member may take to join.
const JOIN: Duration = Duration::from_secs(20);

/// Watches over the readers of a topic in a group until `stop`. Blocks: it wants a thread of its own. Groups of members
/// without names need none of this.
///
/// # Errors
/// [`KafkaError::Configuration`] if librdkafka refuses the configuration.
pub fn watch(
    connection: &Connection,
    group: &str,
    topic: &TopicName,
    stop: &CancellationToken,
) -> Result<(), KafkaError> {
    let topics = Topics::new(connection)?;
    let mut before = BTreeSet::new();
    while pause(INTERVAL.mul_f64(0.75 + 0.5 * fastrand::f64()), stop) {
        // A question without an answer is asked again; that the brokers do not answer is told elsewhere.
        let now = unread(&topics, group, topic).unwrap_or_else(|error| {
            tracing::debug!(%error, "looking for partitions without a reader");
            BTreeSet::new()
        });
        let orphans: Vec<i32> = now.intersection(&before).copied().collect();
        before = now;
        if orphans.is_empty() {
            continue;
        }
        tracing::warn!(%topic, partitions = ?orphans, "no member of the group reads these partitions; making it share them out anew");
        if let Err(error) = pass_by(connection, group, topic, stop) {
            tracing::warn!(%error, "the group could not be made to share its partitions out");
        }
        before.clear();
    }
    Ok(())
}

/// Waits; `false` when `stop` came.
fn pause(time: Duration, stop: &CancellationToken) -> bool {
    let end = Instant::now() + time;
    while Instant::now() < end && !stop.is_cancelled() {
        std::thread::sleep(Duration::from_millis(100));
    }
    !stop.is_cancelled()
}

/// Partitions of the topic that no member has. None while the group is rebalancing, or has no members.
fn unread(topics: &Topics, group: &str, topic: &TopicName) -> Result<BTreeSet<i32>, KafkaError> {
    let groups = topics.client().fetch_group_list(Some(group), CALL);
    let groups = groups.map_err(KafkaError::during("asking for the group's members"))?;
    let Some(found) = groups.groups().iter().find(|found| found.name() == group && found.state() == "Stable") else {
        return Ok(BTreeSet::new());
    };
    let count = i32::try_from(topics.partitions(topic, CALL)?).unwrap_or(i32::MAX);
    let mut unread: BTreeSet<i32> = (0..count).collect();
    for member in found.members() {
        let Some(partitions) = member.assignment().and_then(|bytes| assigned(bytes, topic.as_str())) else {
            // Not a form that is known: nothing can be said.
            return Ok(BTreeSet::new());
        };
        for partition in partitions {
            unread.remove(&partition);
        }
    }
    Ok(unread)
}

/// The partitions of a topic in a member's assignment, as Kafka's consumer protocol writes it (`ConsumerProtocolAssignment`):
/// version, then for each topic its name and partitions. `None` if that is not what it is.
fn assigned(bytes: &[u8], topic: &str) -> Option<Vec<i32>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut rest = bytes;
    take(&mut rest, 2)?;
    let mut partitions = Vec::new();
    for _ in 0..number(&mut rest)? {
        let length = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let name = take(&mut rest, usize::try_from(length).ok()?)?;
        for _ in 0..number(&mut rest)? {
            let partition = number(&mut rest)?;
            if name == topic.as_bytes() {
                partitions.push(partition);
            }
        }
    }
    Some(partitions)
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(take(rest, 4)?.try_into().ok()?))
}

/// Joins the group without a name, reads nothing, and leaves.
fn pass_by(
    connection: &Connection,
    group: &str,
    topic: &TopicName,
    stop: &CancellationToken,
) -> Result<(), KafkaError> {
    let settings = GroupSettings { group, instance: None, fetch_bytes: 0 };
    let consumer = group::consumer(connection, &settings)?;
    consumer.subscribe(&[topic.as_str()]).map_err(KafkaError::during("subscribing"))?;
    let deadline = Instant::now() + JOIN;
    while Instant::now() < deadline && !stop.is_cancelled() {
        drop(consumer.poll(Duration::from_millis(100)));
        if consumer.context().has_rebalance() {
            break;
        }
    }
    // Taken and given back, as the consumer is dropped and leaves: what it read meanwhile goes nowhere, and it commits nothing.
    group::stop_following(&consumer, topic);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment(topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend(i32::try_from(topics.len()).unwrap().to_be_bytes());
        for (name, partitions) in topics {
            bytes.extend(i16::try_from(name.len()).unwrap().to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
            bytes.extend(partitions.iter().flat_map(|partition| partition.to_be_bytes()));
        }
        // User data: null.
        bytes.extend((-1i32).to_be_bytes());
        bytes
    }

    #[test]
    fn an_assignment_is_read_and_anything_else_is_not() {
        let bytes = assignment(&[("other", &[7]), ("raw", &[0, 3])]);
        assert_eq!(assigned(&bytes, "raw"), Some(vec![0, 3]));
        assert_eq!(assigned(&bytes, "absent"), Some(vec![]));
        assert_eq!(assigned(&[], "raw"), Some(vec![]), "a member that has just joined");
        for cut in 1..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..cut], "raw"), None, "{cut} bytes");
        }
        assert_eq!(assigned(&[0, 0, 0, 0, 0, 1, 0xff, 0xff], "raw"), None, "a negative length");
    }
}
