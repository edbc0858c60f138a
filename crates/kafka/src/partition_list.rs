//! Converts partitions and offsets to and from librdkafka's lists.

use contract::{Offset, Partition, Position, TopicName};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset as RdOffset, TopicPartitionList};

use crate::error::KafkaError;

/// Builds a list of partitions of one topic.
pub(crate) fn partitions(topic: &TopicName, partitions: &[Partition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic.as_str(), partition.0);
    }
    list
}

/// Builds a list of partitions of one topic with offsets.
pub(crate) fn positions(topic: &TopicName, positions: &[Position]) -> Result<TopicPartitionList, KafkaError> {
    build(topic, positions.iter().map(|position| (position.partition, RdOffset::Offset(position.offset.0))))
}

/// Builds a list of partitions of several topics with offsets.
pub(crate) fn positions_of_topics<'t>(
    positions: impl IntoIterator<Item = (&'t TopicName, Position)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, Position { partition, offset }) in positions {
        add(&mut list, topic, partition, RdOffset::Offset(offset.0))?;
    }
    Ok(list)
}

/// Builds a list of partitions of one topic, each at its first offset.
pub(crate) fn beginnings(topic: &TopicName, partitions: &[Partition]) -> Result<TopicPartitionList, KafkaError> {
    build(topic, partitions.iter().map(|partition| (*partition, RdOffset::Beginning)))
}

/// Builds a list of partitions of one topic, each at its end.
pub(crate) fn ends(topic: &TopicName, partitions: &[Partition]) -> Result<TopicPartitionList, KafkaError> {
    build(topic, partitions.iter().map(|partition| (*partition, RdOffset::End)))
}

/// Builds a list for querying the first offset at or after a time (milliseconds since 1970) in partitions of one topic.
pub(crate) fn times(
    topic: &TopicName,
    partitions: &[Partition],
    millis: i64,
) -> Result<TopicPartitionList, KafkaError> {
    build(topic, partitions.iter().map(|partition| (*partition, RdOffset::Offset(millis))))
}

fn build(
    topic: &TopicName,
    elements: impl ExactSizeIterator<Item = (Partition, RdOffset)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(elements.len());
    for (partition, offset) in elements {
        add(&mut list, topic, partition, offset)?;
    }
    Ok(list)
}

fn add(
    list: &mut TopicPartitionList,
    topic: &TopicName,
    partition: Partition,
    offset: RdOffset,
) -> Result<(), KafkaError> {
    list.add_partition_offset(topic.as_str(), partition.0, offset)
        .map_err(KafkaError::during("building a list of offsets"))
}

/// Builds a list for a commit: each offset with its metadata, if there is any.
pub(crate) fn with_metadata(
    topic: &TopicName,
    positions: &[Position],
    metadata: impl Fn(Partition) -> Option<String>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(positions.len());
    for &Position { partition, offset } in positions {
        let mut element = list.add_partition(topic.as_str(), partition.0);
        element.set_offset(RdOffset::Offset(offset.0)).map_err(KafkaError::during("building a list of offsets"))?;
        if let Some(metadata) = metadata(partition) {
            element.set_metadata(metadata);
        }
    }
    Ok(list)
}

/// Finds the element of a partition.
pub(crate) fn find<'l>(
    list: &'l TopicPartitionList,
    topic: &TopicName,
    partition: Partition,
) -> Option<TopicPartitionListElem<'l>> {
    list.find_partition(topic.as_str(), partition.0)
}

/// Returns the offset of an element; `None` if it has none, or a logical one such as `Beginning`.
pub(crate) fn offset(element: &TopicPartitionListElem<'_>) -> Option<Offset> {
    match element.offset() {
        RdOffset::Offset(offset) => Some(Offset(offset)),
        _ => None,
    }
}

/// Returns the partition of each element.
pub(crate) fn partitions_of(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(|element| Partition(element.partition())).collect()
}

/// Returns the positions of the elements that have an offset.
pub(crate) fn positions_of(list: &TopicPartitionList) -> Vec<Position> {
    let position =
        |element: &TopicPartitionListElem<'_>| Some(Position::of(Partition(element.partition()), offset(element)?));
    list.elements().iter().filter_map(position).collect()
}
