//! Finds out whether another running process uses the name of a worker whose producer was fenced.
//!
//! A producer is fenced if another process initialises its `transactional.id`, and also if its own transaction timed
//! out; the error is the same. The members of the consumer group show the difference: the client id of a named worker's
//! consumer contains the name. If a member with this client id remains after this worker has left the group, the member
//! belongs to another process. A member whose process has died is removed when its session times out.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::error::KafkaError;
use crate::topic::Topics;

/// Interval between two checks of the group.
const INTERVAL: Duration = Duration::from_millis(500);

/// Time limit for a response of the brokers.
const CALL: Duration = Duration::from_secs(5);

/// Maximum time that another process needs to join the group after it has fenced this one.
const JOIN: Duration = Duration::from_secs(5);

/// Whether another process is a member of `group` with this client id. The caller's own consumer must be closed. Blocks
/// until the result is known, also while no broker responds. A member counts only once it has stayed for longer than
/// `session` (the session timeout of the group's members). Returns `None` if `stop` is cancelled first.
pub(crate) fn exists(
    connection: &Connection,
    group: &str,
    client_id: &str,
    session: Duration,
    stop: &CancellationToken,
) -> Result<Option<bool>, KafkaError> {
    let topics = Topics::new(connection)?;
    let started = Instant::now();
    let mut seen_since: Option<Instant> = None;
    let mut absent = false;
    while !stop.is_cancelled() {
        match topics.client().fetch_group_list(Some(group), CALL) {
            Ok(groups) => {
                let members =
                    groups.groups().iter().filter(|found| found.name() == group).flat_map(|found| found.members());
                if members.into_iter().any(|member| member.client_id() == client_id) {
                    let since = *seen_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > session + Duration::from_secs(2) {
                        return Ok(Some(true));
                    }
                } else {
                    // The member existed and is gone: it belonged to this process, or to a process that has ended.
                    absent = seen_since.take().is_some() || absent;
                    if absent || started.elapsed() >= JOIN {
                        return Ok(Some(false));
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "asking for the group's members"),
        }
        let wake = Instant::now() + INTERVAL;
        while Instant::now() < wake && !stop.is_cancelled() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(None)
}
