//! Detects that the log of a consumed partition is replaced while the consumer runs: a thread periodically looks up a
//! record that was processed before its previous check.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use contract::{Offset, Partition, Position, TopicName};
use rdkafka::consumer::Consumer;
use tokio_util::sync::CancellationToken;

use crate::client::{Isolation, PlainConsumer, frugal_observer};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::fingerprint::{Fingerprint, Log, LookUp, compare};
use crate::partition_list;
use crate::record::Record;
use crate::topic::Topics;
use crate::watermarks::Watermarks;

/// Interval between two checks. A check looks up the last record processed before the previous check, so that a
/// consumer that continues in a replaced log cannot hide the replacement.
const INTERVAL: Duration = Duration::from_secs(3);

/// Time limit for a response of the brokers.
const CALL: Duration = Duration::from_secs(5);

/// Fingerprint of the last processed record of each partition.
pub(crate) type Latest = BTreeMap<Partition, Fingerprint>;

/// A client that looks up single records. Its calls block.
pub(crate) struct LogLookUp {
    topics: Topics,
    reader: PlainConsumer,
    topic: TopicName,
}

impl LogLookUp {
    pub(crate) fn new(connection: &Connection, topic: &TopicName) -> Result<Self, KafkaError> {
        let reader = frugal_observer(connection, Isolation::ReadCommitted)?;
        Ok(Self { topics: Topics::new(connection)?, reader, topic: topic.clone() })
    }

    /// Compares a partition's log with a fingerprint; `None` if the brokers do not respond in time.
    pub(crate) fn check(&self, partition: Partition, fingerprint: &Fingerprint) -> Result<Option<Log>, KafkaError> {
        Ok(self.find(Position::of(partition, fingerprint.offset))?.map(|found| compare(fingerprint, found)))
    }

    fn find(&self, position: Position) -> Result<Option<LookUp>, KafkaError> {
        let Position { partition, offset } = position;
        let Watermarks { low, high } = self.topics.watermarks(&self.topic, partition, CALL)?;
        if offset < low {
            return Ok(Some(LookUp::Expired));
        }
        if offset >= high {
            return Ok(Some(LookUp::BeyondEnd));
        }
        let list = partition_list::positions(&self.topic, &[position])?;
        self.reader.assign(&list).map_err(KafkaError::during("assigning a reader"))?;
        let found = self.read(offset);
        self.reader.unassign().map_err(KafkaError::during("unassigning a reader"))?;
        // The record may have expired since the first query.
        if found == Some(LookUp::NoRecord) && offset < self.topics.watermarks(&self.topic, partition, CALL)?.low {
            return Ok(Some(LookUp::Expired));
        }
        Ok(found)
    }

    fn read(&self, offset: Offset) -> Option<LookUp> {
        let deadline = Instant::now() + CALL;
        while Instant::now() < deadline {
            // For a moment after a leader change, a partition may look shorter than it is. So the end of the partition
            // does not mean that the record is missing, and the poll is repeated.
            if let Some(Ok(message)) = self.reader.poll(Duration::from_millis(100)) {
                let found = Fingerprint::of(&Record::new(&message));
                return Some(if found.offset == offset { LookUp::Record(found) } else { LookUp::NoRecord });
            }
        }
        None
    }
}

/// A partition whose log is not the one that was read, with the last processed record of the old log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replaced {
    pub(crate) partition: Partition,
    pub(crate) last: Fingerprint,
}

/// The thread that looks up processed records again. It ends when this value is dropped.
pub(crate) struct LogWatch {
    latest: Arc<Mutex<Latest>>,
    found: mpsc::Receiver<Replaced>,
    stop: CancellationToken,
}

impl LogWatch {
    pub(crate) fn start(connection: &Connection, topic: &TopicName) -> Result<Self, KafkaError> {
        let lookup = LogLookUp::new(connection, topic)?;
        let latest: Arc<Mutex<Latest>> = Arc::default();
        let (report, found) = mpsc::channel();
        let stop = CancellationToken::new();
        let (watched, stopped) = (Arc::clone(&latest), stop.clone());
        std::thread::spawn(move || watch(&lookup, &watched, &report, &stopped));
        Ok(Self { latest, found, stop })
    }

    /// Creates a watch that never finds a replaced log.
    #[cfg(test)]
    pub(crate) fn blind() -> Self {
        Self { latest: Arc::default(), found: mpsc::channel().1, stop: CancellationToken::new() }
    }

    /// Passes the last processed records to the thread. Sessions call this about once a second, or more often.
    pub(crate) fn processed(&self, latest: &Latest) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone_from(latest);
    }

    /// Returns a partition whose log was replaced, if there is one.
    pub(crate) fn replaced(&self) -> Option<Replaced> {
        self.found.try_recv().ok()
    }
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn watch(lookup: &LogLookUp, latest: &Mutex<Latest>, report: &mpsc::Sender<Replaced>, stop: &CancellationToken) {
    let mut before = Latest::new();
    loop {
        let wake = Instant::now() + INTERVAL;
        while Instant::now() < wake {
            if stop.is_cancelled() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let now = latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // A revoked partition belongs to another member now.
        before.retain(|partition, _| now.contains_key(partition));
        for (partition, last) in now {
            if stop.is_cancelled() {
                return;
            }
            let Some(&earlier) = before.get(&partition) else {
                before.insert(partition, last);
                continue;
            };
            match lookup.check(partition, &earlier) {
                Ok(Some(Log::Replaced)) => {
                    if report.send(Replaced { partition, last: earlier }).is_err() {
                        tracing::debug!(partition = partition.0, "the session is over already");
                    }
                    return;
                }
                Ok(Some(Log::Same | Log::Expired)) => {
                    before.insert(partition, last);
                }
                // Without a response, the next check looks up the earlier record again.
                Ok(None) => {}
                // The check failed, so nothing is known about the log. The session itself reports the outage.
                Err(error) => tracing::debug!(%error, "looking a processed record up"),
            }
        }
    }
}
