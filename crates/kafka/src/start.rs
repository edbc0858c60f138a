//! Decides at which offset a consumer starts in a partition. The decision is not left to Kafka
//! (`auto.offset.reset=error`), because a wrong start either loses records or repeats a whole topic.

use std::time::Duration;

use contract::{Offset, Partition, Position, TopicName};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

use crate::connection::Connection;
use crate::consumed::Consumed;
use crate::error::KafkaError;
use crate::error_table::{self, Refusal};
use crate::fingerprint::{Fingerprint, Log};
use crate::log_watch::{Latest, LogLookUp};
use crate::metrics::ConsumerMetrics;
use crate::partition_list;
use crate::topic::Topics;
use crate::watermarks::{Watermarks, watermarks};

/// The decision about the starting offset of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Start at this offset. No record was lost.
    At(Offset),
    /// The committed offset has expired, or the first records expired before anything was committed. Start at the
    /// oldest record; `lost` offsets were removed without having been read.
    Expired {
        /// Oldest retained offset.
        at: Offset,
        /// Number of offsets that were removed without having been read.
        lost: u64,
    },
    /// The committed offset is after the end of the partition, for example because the topic was deleted and created
    /// again. Start at the oldest record.
    Recreated {
        /// Oldest retained offset.
        at: Offset,
    },
    /// There is no committed offset, but output exists. A start would repeat the output, so a person must decide.
    Refuse,
}

/// The facts about a partition that the decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Committed offset of the group.
    pub committed: Option<Offset>,
    /// Oldest retained offset.
    pub low: Offset,
    /// Offset that the next record will get.
    pub high: Offset,
    /// Whether earlier work on this partition has left output.
    pub output_exists: bool,
    /// Whether the operator accepts that output is repeated.
    pub from_beginning: bool,
}

/// Whether the operator accepts that a partition without a committed offset is read from its beginning although output
/// exists, so that the output is repeated.
#[derive(Debug, Clone, Copy)]
pub struct FromBeginning {
    /// Whether the operator accepts the repeats.
    pub accepted: bool,
    /// Name of the option that accepts the repeats, for messages.
    pub option: &'static str,
}

/// Decides the starting offset of a partition.
#[must_use]
pub fn resolve(known: Known) -> Start {
    match known.committed {
        Some(committed) if committed < known.low => {
            Start::Expired { at: known.low, lost: known.low.0.abs_diff(committed.0) }
        }
        Some(committed) if committed > known.high => Start::Recreated { at: known.low },
        Some(committed) => Start::At(committed),
        None if known.output_exists && !known.from_beginning => Start::Refuse,
        None if known.output_exists || known.low == Offset(0) => Start::At(known.low),
        None => Start::Expired { at: known.low, lost: known.low.0.unsigned_abs() },
    }
}

/// Describes the consumer that starts, and how to find its earlier output.
pub(crate) struct StartRule<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a TopicName,
    pub(crate) connection: &'a Connection,
    pub(crate) from_beginning: FromBeginning,
    /// Partitions whose log was found to be replaced, each with the last processed record of its old log.
    pub(crate) replaced: &'a Latest,
    /// Returns the location of the output that earlier work on a partition has left; `None` if there is none.
    pub(crate) output: &'a dyn Fn(Partition) -> Result<Option<String>, KafkaError>,
}

/// The starting offset of a partition, and the processed records after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundStart {
    pub(crate) position: Position,
    /// Whether the group has not committed this offset yet, so that [`new_offsets`] must include it.
    pub(crate) is_new: bool,
    /// Processed and deferred records from this offset on.
    pub(crate) consumed: Consumed,
    /// The reason why reading does not continue at the group's committed offset.
    gap: Option<Gap>,
}

#[cfg(test)]
impl FoundStart {
    /// Creates a start for tests. If it `is_new`, the group has not committed it.
    pub(crate) fn of_test(position: Position, is_new: bool) -> Self {
        Self { position, is_new, consumed: Consumed::at(position.offset), gap: None }
    }

    /// Creates a start for tests: `lost` records before it have expired, and the group has not committed it.
    pub(crate) fn expired_of_test(position: Position, lost: u64) -> Self {
        Self { gap: Some(Gap::Expired { lost }), ..Self::of_test(position, true) }
    }
}

/// The reason why reading does not continue at the group's committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// `lost` records expired before they were read.
    Expired { lost: u64 },
    /// The committed offset is after the end of the partition.
    AfterEnd { committed: Option<Offset>, high: Offset },
    /// The log is not the one that was read; `last` is the offset of the last processed record of the old log.
    Replaced { committed: Offset, last: Offset, low: Offset, high: Offset },
}

impl Gap {
    fn report(self, topic: &TopicName, start: Position, metrics: &ConsumerMetrics) {
        let (partition, at) = (start.partition.0, start.offset.0);
        match self {
            Self::Expired { lost } => {
                metrics.expired(lost);
                tracing::error!(
                    %topic,
                    partition,
                    lost,
                    at,
                    "records expired before they were read; the loss is final. Check the lag alert and the topic's retention"
                );
            }
            Self::AfterEnd { committed, high } => tracing::error!(
                %topic,
                partition,
                ?committed,
                high = high.0,
                at,
                "the committed offset is after the end of the partition, as after the topic was deleted and created again; starting at its oldest record"
            ),
            Self::Replaced { committed, last, low, high } => {
                metrics.log_replaced();
                tracing::error!(
                    %topic,
                    partition,
                    committed = committed.0,
                    last_record = last.0,
                    low = low.0,
                    high = high.0,
                    at,
                    "the partition's log is not the one that was read: the topic was created again, or an unclean leader election removed records. Records that were not read yet may be lost. Reading continues with the records from a minute before the last processed one on; to process everything that is retained again, stop the service and reset the group's offsets"
                );
            }
        }
    }
}

/// Returns the list for committing the starts that the group has not committed yet; `None` if there are none. A member
/// must commit them before it processes a record. Otherwise, a process that is killed before its first commit could
/// leave output (aborted records count as well) without a committed offset, and its group would then look lost.
pub(crate) fn new_offsets(topic: &TopicName, starts: &[FoundStart]) -> Result<Option<TopicPartitionList>, KafkaError> {
    let new: Vec<_> = starts.iter().filter(|start| start.is_new).map(|start| start.position).collect();
    if new.is_empty() {
        return Ok(None);
    }
    let note = |partition| starts.iter().find(|start| start.position.partition == partition)?.consumed.note();
    partition_list::with_metadata(topic, &new, note).map(Some)
}

/// Reports the records that were lost before the starts. Called after the commit of [`new_offsets`].
///
/// A loss is not reported if the group has refused the commit: the next member to get the partition finds the same loss
/// and reports it. After every other result, the new start may be stored, and no member would find the loss again, so
/// it is reported, perhaps twice.
pub(crate) fn report_losses(
    committed: Result<(), &KafkaError>,
    topic: &TopicName,
    starts: &[FoundStart],
    metrics: &ConsumerMetrics,
) {
    if committed.is_err_and(|error| refusal(error).is_some()) {
        return;
    }
    for start in starts {
        if let Some(gap) = start.gap {
            gap.report(topic, start.position, metrics);
        }
    }
}

/// Returns why the brokers have certainly not stored a commit of this member; `None` if they may have stored it.
pub(crate) fn refusal(error: &KafkaError) -> Option<Refusal> {
    let KafkaError::Operation { source, .. } = error else { return None };
    source.rdkafka_error_code().and_then(error_table::refusal)
}

/// Queries the brokers about the partitions, and returns the start of each. Blocks: each request takes at most
/// `timeout`. The request for the committed offsets can take `pending` longer, because an open transaction delays it.
///
/// # Errors
/// [`KafkaError::LostGroup`] if a person must decide, [`KafkaError::Operation`] if the brokers do not respond.
pub(crate) fn starts<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    rule: &StartRule<'_>,
    partitions: &[Partition],
    timeout: Duration,
    pending: Duration,
) -> Result<Vec<FoundStart>, KafkaError> {
    let topic = rule.topic;
    let committed = consumer
        .committed_offsets(partition_list::partitions(topic, partitions), timeout + pending)
        .map_err(KafkaError::during("reading the group's committed offsets"))?;
    let lookup = LogLookUp::new(rule.connection, rule.topic)?;
    let mut starts = Vec::with_capacity(partitions.len());
    for &partition in partitions {
        let mut last = rule.replaced.get(&partition).copied();
        let is_replaced = last.is_some();
        let mut consumed = None;
        let committed = match partition_list::find(&committed, topic, partition) {
            Some(found) => {
                found.error().map_err(KafkaError::during("reading the group's committed offsets"))?;
                last = last.or_else(|| found.metadata().parse().ok());
                let offset = partition_list::offset(&found);
                consumed = offset.map(|offset| Consumed::read(offset, found.metadata()));
                offset
            }
            None => None,
        };
        let Watermarks { low, mut high } = watermarks(consumer, topic, partition, timeout)?;
        if committed.is_some_and(|committed| committed > high) {
            // `consumer` does not see records after an open transaction, but an operator may have set the committed
            // offset to one of them. Therefore, this queries the end including open transactions.
            high = Topics::new(rule.connection)?.watermarks(topic, partition, timeout)?.high;
        }
        let is_in_range = committed.is_some_and(|committed| (low..=high).contains(&committed));
        // If the log was replaced, `committed` may be missing: brokers that delete a topic also delete the group's
        // offsets for it.
        if let Some(last) = last
            && let Some(committed) = committed.or(is_replaced.then_some(last.offset.next()))
            && (is_replaced || committed >= low)
            && (is_replaced || !is_in_range || lookup.check(partition, &last)? == Some(Log::Replaced))
        {
            let at = resume(consumer, topic, partition, &last, timeout)?.unwrap_or(high).clamp(low, high);
            let gap = Some(Gap::Replaced { committed, last: last.offset, low, high });
            let position = Position::of(partition, at);
            starts.push(FoundStart { position, is_new: true, consumed: Consumed::at(at), gap });
            continue;
        }
        starts.push(continued(rule, partition, Watermarks { low, high }, committed, consumed)?);
    }
    Ok(starts)
}

/// Returns the start of a partition whose log is not known to be replaced: the offset that [`resolve`] decides, or the
/// first record after it that is not processed.
fn continued(
    rule: &StartRule<'_>,
    partition: Partition,
    Watermarks { low, high }: Watermarks,
    committed: Option<Offset>,
    mut consumed: Option<Consumed>,
) -> Result<FoundStart, KafkaError> {
    let output = if committed.is_none() { (rule.output)(partition)? } else { None };
    let known =
        Known { committed, low, high, output_exists: output.is_some(), from_beginning: rule.from_beginning.accepted };
    let (offset, gap) = match resolve(known) {
        Start::At(offset) => (offset, None),
        Start::Expired { at, lost } => {
            // Records after the committed offset that were processed while others were deferred are not lost.
            let lost = consumed.as_mut().map_or(lost, |consumed| consumed.expire(at));
            (at, Some(Gap::Expired { lost }))
        }
        Start::Recreated { at } => (at, Some(Gap::AfterEnd { committed, high })),
        Start::Refuse => {
            return Err(KafkaError::LostGroup {
                group: rule.group.to_owned(),
                topic: rule.topic.to_string(),
                partition,
                output: output.unwrap_or_default(),
                option: rule.from_beginning.option,
            });
        }
    };
    let consumed = consumed.filter(|consumed| consumed.frontier() >= offset).unwrap_or(Consumed::at(offset));
    let offset = consumed.frontier();
    let position = Position::of(partition, offset);
    Ok(FoundStart { position, is_new: committed != Some(offset), consumed, gap })
}

/// Returns the first offset with a record that may not have been processed before the log was replaced; `None` if all
/// records are older.
fn resume<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &TopicName,
    partition: Partition,
    last: &Fingerprint,
    timeout: Duration,
) -> Result<Option<Offset>, KafkaError> {
    let during = || KafkaError::during("asking for the offset at a time");
    let list = partition_list::times(topic, &[partition], last.resume_millis())?;
    let found = consumer.offsets_for_times(list, timeout).map_err(during())?;
    let Some(element) = partition_list::find(&found, topic, partition) else { return Ok(None) };
    element.error().map_err(during())?;
    Ok(partition_list::offset(&element))
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use rdkafka::consumer::CommitMode;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::client::outsider;

    fn commit_starts<C: ConsumerContext>(
        consumer: &BaseConsumer<C>,
        topic: &TopicName,
        starts: &[FoundStart],
        metrics: &ConsumerMetrics,
    ) -> Result<(), KafkaError> {
        let list = new_offsets(topic, starts)?.expect("the starts are new");
        let committed = consumer.commit(&list, CommitMode::Sync).map_err(KafkaError::during("committing offsets"));
        report_losses(committed.as_ref().copied(), topic, starts, metrics);
        committed
    }

    fn known(committed: Option<i64>) -> Known {
        let (committed, low, high) = (committed.map(Offset), Offset(10), Offset(20));
        Known { committed, low, high, output_exists: false, from_beginning: false }
    }

    #[test]
    fn a_committed_offset_in_range_is_always_used() {
        for committed in [10, 15, 20] {
            assert_eq!(resolve(Known { output_exists: true, ..known(Some(committed)) }), Start::At(Offset(committed)));
        }
    }

    #[test]
    fn lost_offsets_are_reported_unless_the_group_refuses_the_commit() {
        let cluster = MockCluster::new(1).unwrap();
        let topic: TopicName = "raw".parse().unwrap();
        cluster.create_topic(topic.as_str(), 1, 1).unwrap();
        let connection = Connection::plaintext(&cluster.bootstrap_servers(), "test");
        let consumer = outsider(&connection, "group").unwrap();
        let registry = Registry::new();
        let metrics = ConsumerMetrics::register(&registry, "test", "the gateway", &topic).unwrap();
        let reported = || {
            let families = registry.gather();
            let expired = families.iter().find(|family| family.name().ends_with("records_expired_total")).unwrap();
            expired.get_metric()[0].get_counter().get_value()
        };
        let gap = Some(Gap::Expired { lost: 7 });
        let start =
            FoundStart { position: Position::new(0, 10), is_new: true, consumed: Consumed::at(Offset(10)), gap };
        let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION;
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refusal]);
        assert!(commit_starts(&consumer, &topic, std::slice::from_ref(&start), &metrics).is_err());
        assert_eq!(reported(), 0.0, "the next member finds the same loss");
        commit_starts(&consumer, &topic, std::slice::from_ref(&start), &metrics).unwrap();
        assert_eq!(reported(), 7.0);
        let uncertain = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[uncertain]);
        assert!(commit_starts(&consumer, &topic, std::slice::from_ref(&start), &metrics).is_err());
        assert_eq!(reported(), 14.0, "the start of another partition may be stored");
    }

    #[test]
    fn a_refused_commit_shows_whether_the_member_was_evicted() {
        use rdkafka::error::RDKafkaErrorCode as Code;
        for (code, expected) in [
            (Code::IllegalGeneration, Some(Refusal::Rebalancing)),
            (Code::RebalanceInProgress, Some(Refusal::Rebalancing)),
            (Code::UnknownMemberId, Some(Refusal::Evicted)),
            (Code::FencedInstanceId, Some(Refusal::Evicted)),
            // The commit may be stored nevertheless.
            (Code::RequestTimedOut, None),
            (Code::GroupAuthorizationFailed, None),
        ] {
            let error = KafkaError::during("committing")(rdkafka::error::KafkaError::ConsumerCommit(code));
            assert_eq!(refusal(&error), expected, "{code:?}");
        }
    }

    /// No running process has read the old log, so only the fingerprint shows that the log is another one.
    #[test]
    fn a_start_detects_a_replaced_log_by_the_fingerprint_in_the_commit_metadata() {
        let cluster = MockCluster::new(1).unwrap();
        let topic: TopicName = "raw".parse().unwrap();
        cluster.create_topic(topic.as_str(), 1, 1).unwrap();
        let connection = Connection::plaintext(&cluster.bootstrap_servers(), "test");
        let producer: BaseProducer = connection.config().create().unwrap();
        let time = |offset: i64| 1_700_000_000_000 + offset;
        for offset in 0..8 {
            let record = BaseRecord::<(), [u8]>::to(topic.as_str()).partition(0).payload(b"value");
            producer.send(record.timestamp(time(offset))).unwrap();
        }
        producer.flush(Duration::from_secs(10)).unwrap();
        let consumer = outsider(&connection, "group").unwrap();
        let replaced = Latest::new();
        let rule = StartRule {
            group: "group",
            topic: &topic,
            connection: &connection,
            from_beginning: FromBeginning { accepted: false, option: "--from-beginning" },
            replaced: &replaced,
            output: &|_| Ok(None),
        };
        let start_after = |last: Fingerprint| {
            let committed = [Position::of(Partition(0), last.offset.next())];
            let list = partition_list::with_metadata(&topic, &committed, |_| Some(last.to_string())).unwrap();
            consumer.commit(&list, CommitMode::Sync).unwrap();
            starts(&consumer, &rule, &[Partition(0)], Duration::from_secs(10), Duration::ZERO).unwrap().remove(0)
        };
        let last = Fingerprint { offset: Offset(4), timestamp: time(4), bytes: 5 };
        let start = start_after(last);
        assert_eq!(
            (start.position.offset, start.is_new, start.gap),
            (Offset(5), false, None),
            "it is the log that was read"
        );
        // The log has another record at the offset of the fingerprint, or no record.
        for other in [
            Fingerprint { timestamp: time(5), ..last },
            Fingerprint { bytes: 6, ..last },
            Fingerprint { offset: Offset(20), ..last },
        ] {
            let start = start_after(other);
            let committed = other.offset.next();
            let gap = Some(Gap::Replaced { committed, last: other.offset, low: Offset(0), high: Offset(8) });
            assert_eq!((start.is_new, start.gap), (true, gap), "{other}");
            let registry = Registry::new();
            let metrics = ConsumerMetrics::register(&registry, "test", "the gateway", &topic).unwrap();
            commit_starts(&consumer, &topic, &[start], &metrics).unwrap();
            let families = registry.gather();
            let replaced = families.iter().find(|family| family.name().ends_with("logs_replaced_total")).unwrap();
            assert_eq!(replaced.get_metric()[0].get_counter().get_value(), 1.0, "the replacement is counted");
        }
    }

    #[test]
    fn an_expired_committed_offset_starts_at_the_oldest_record_and_counts_the_loss() {
        assert_eq!(resolve(known(Some(3))), Start::Expired { at: Offset(10), lost: 7 });
    }

    #[test]
    fn a_committed_offset_after_the_end_starts_at_the_oldest_record() {
        assert_eq!(resolve(known(Some(21))), Start::Recreated { at: Offset(10) });
    }

    #[test]
    fn without_a_committed_offset_existing_output_prevents_the_start_by_default() {
        assert_eq!(resolve(Known { low: Offset(0), ..known(None) }), Start::At(Offset(0)));
        assert_eq!(
            resolve(known(None)),
            Start::Expired { at: Offset(10), lost: 10 },
            "the expired records were never read"
        );
        assert_eq!(resolve(Known { output_exists: true, ..known(None) }), Start::Refuse);
        assert_eq!(resolve(Known { output_exists: true, from_beginning: true, ..known(None) }), Start::At(Offset(10)));
    }
}
