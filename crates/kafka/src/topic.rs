//! Queries and administrative requests about topics.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use contract::{Offset, Partition, Position, TopicName};
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;

use crate::client::{Context, LogOnly, PlainConsumer, create};
use crate::connection::Connection;
use crate::error::KafkaError;
use crate::error_table::{is_existing_topic, is_missing_topic};
use crate::partition_list;
use crate::watermarks::{Watermarks, watermarks};

/// Maximum time from the creation of a topic until a broker knows it.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// Settings of a topic to create.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Name of the topic.
    pub name: TopicName,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each partition; `None` uses the brokers' default.
    pub replication: Option<i32>,
    /// Topic settings, with Kafka's names.
    pub settings: Vec<(&'static str, String)>,
}

/// Checks that each partition of `input` has a counterpart in `output`, because records keep their partition number.
///
/// # Errors
/// [`KafkaError::TooFewPartitions`].
pub fn check_counterparts(input: (&TopicName, usize), output: (&TopicName, usize)) -> Result<(), KafkaError> {
    if output.1 >= input.1 {
        return Ok(());
    }
    Err(KafkaError::TooFewPartitions {
        input: input.0.to_string(),
        input_partitions: input.1,
        output: output.0.to_string(),
        output_partitions: output.1,
    })
}

/// The result of [`Topics::ensure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// The topic was created.
    Created,
    /// The topic existed already.
    Exists {
        /// Number of partitions of the existing topic.
        partitions: usize,
    },
}

/// A client for queries and administrative requests about topics. Its calls block, except for the `async` ones.
pub struct Topics {
    bootstrap: String,
    client: PlainConsumer,
    connection: Connection,
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

impl Topics {
    /// Creates the client, without waiting for a connection.
    ///
    /// # Errors
    /// [`KafkaError::Configuration`] if librdkafka refuses the configuration.
    pub fn new(connection: &Connection) -> Result<Self, KafkaError> {
        let mut config = connection.config();
        // A read-committed reader would see the start of an open transaction as a partition's end.
        config.set("isolation.level", "read_uncommitted");
        let client = create(&config)?;
        Ok(Self { bootstrap: connection.bootstrap().to_owned(), client, connection: connection.clone() })
    }

    /// Returns the number of partitions of `topic`. Repeats the query until a broker responds or `timeout` is over.
    ///
    /// # Errors
    /// [`KafkaError::NoTopic`] as soon as a broker reports that the topic is missing, [`KafkaError::Unreachable`] if no
    /// broker responds or the topic has no leader.
    pub fn partitions(&self, topic: &TopicName, timeout: Duration) -> Result<usize, KafkaError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.client.fetch_metadata(Some(topic.as_str()), left.min(Duration::from_secs(5))) {
                Ok(metadata) => {
                    let found = metadata.topics().iter().find(|found| found.name() == topic.as_str());
                    let missing =
                        found.is_none_or(|found| found.error().is_some_and(|error| is_missing_topic(error.into())));
                    match found {
                        _ if missing => return Err(KafkaError::NoTopic(topic.to_string())),
                        Some(found) if !found.partitions().is_empty() => return Ok(found.partitions().len()),
                        // The topic exists but has no leader yet, so the query is repeated.
                        Some(_) | None => {}
                    }
                    if left.is_zero() {
                        return Err(self.unreachable(timeout, "the topic has no leader"));
                    }
                }
                Err(error) if left.is_zero() => return Err(self.unreachable(timeout, &error.to_string())),
                Err(_) => {}
            }
            std::thread::sleep(Duration::from_millis(100).min(left));
        }
    }

    /// Returns the range of a partition, including the records of open transactions.
    ///
    /// # Errors
    /// [`KafkaError::Operation`].
    pub fn watermarks(
        &self,
        topic: &TopicName,
        partition: Partition,
        timeout: Duration,
    ) -> Result<Watermarks, KafkaError> {
        watermarks(&self.client, topic, partition, timeout)
    }

    /// Returns the committed offsets of a consumer group for a topic. Partitions without a committed offset are left
    /// out.
    ///
    /// # Errors
    /// [`KafkaError`] if the topic does not exist or the group's coordinator does not respond.
    pub fn committed(
        &self,
        group: &str,
        topic: &TopicName,
        timeout: Duration,
    ) -> Result<BTreeMap<Partition, Offset>, KafkaError> {
        let mut config = self.connection.config();
        config.set("group.id", group).set("enable.auto.commit", "false");
        let client = create(&config)?;
        let all: Vec<Partition> = Partition::all(self.partitions(topic, timeout)?).collect();
        let committed = client
            .committed_offsets(partition_list::partitions(topic, &all), timeout)
            .map_err(KafkaError::during("reading the group's committed offsets"))?;
        let committed = partition_list::positions_of(&committed).into_iter();
        Ok(committed.map(|position| (position.partition, position.offset)).collect())
    }

    /// Returns the number of members of a consumer group; 0 if the group does not exist.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] if the group's coordinator does not respond.
    pub fn members(&self, group: &str, timeout: Duration) -> Result<usize, KafkaError> {
        let groups = self.client.fetch_group_list(Some(group), timeout);
        let groups = groups.map_err(KafkaError::during("asking for the members of a consumer group"))?;
        Ok(groups.groups().iter().filter(|found| found.name() == group).map(|found| found.members().len()).sum())
    }

    /// Returns the lowest number of replicas of any partition of a topic.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`].
    pub fn replicas(&self, topic: &TopicName, timeout: Duration) -> Result<usize, KafkaError> {
        let metadata = self.client.fetch_metadata(Some(topic.as_str()), timeout);
        let metadata = metadata.map_err(|error| self.unreachable(timeout, &error.to_string()))?;
        let found = metadata.topics().iter().filter(|found| found.name() == topic.as_str());
        Ok(found.flat_map(|found| found.partitions()).map(|found| found.replicas().len()).min().unwrap_or(0))
    }

    /// Returns the number of brokers.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`].
    pub fn brokers(&self, timeout: Duration) -> Result<usize, KafkaError> {
        let metadata = self.client.fetch_metadata(None, timeout);
        metadata.map(|metadata| metadata.brokers().len()).map_err(|error| self.unreachable(timeout, &error.to_string()))
    }

    /// Creates the topic if it does not exist, and waits until a broker knows it: a service that starts right afterwards
    /// would end with "the topic does not exist". Partitions and settings of an existing topic are not changed.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] with the broker's reason.
    pub async fn ensure(&self, spec: &TopicSpec) -> Result<Ensured, KafkaError> {
        let admin = self.admin()?;
        let replication = TopicReplication::Fixed(spec.replication.unwrap_or(-1));
        let mut topic = NewTopic::new(spec.name.as_str(), spec.partitions, replication);
        for (key, value) in &spec.settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(15)));
        let answer = admin.create_topics([&topic], &options).await.map_err(KafkaError::during("creating a topic"))?;
        match answer.into_iter().next() {
            Some(Ok(_)) => {
                self.wait_until_known(&spec.name)?;
                Ok(Ensured::Created)
            }
            Some(Err((_, code))) if !is_existing_topic(code) => {
                Err(KafkaError::during("creating a topic")(rdkafka::error::KafkaError::AdminOp(code)))
            }
            Some(Err(_)) | None => {
                Ok(Ensured::Exists { partitions: self.partitions(&spec.name, Duration::from_secs(10))? })
            }
        }
    }

    /// Waits until a broker knows a topic that the controller has created.
    fn wait_until_known(&self, topic: &TopicName) -> Result<(), KafkaError> {
        let deadline = Instant::now() + KNOWN_WITHIN;
        loop {
            match self.partitions(topic, KNOWN_WITHIN) {
                Err(KafkaError::NoTopic(_)) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                known => return known.map(drop),
            }
        }
    }

    /// Sets exactly these settings of a topic. All other settings get the brokers' defaults.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] with the broker's reason.
    pub async fn set(&self, topic: &TopicName, settings: &[(&str, &str)]) -> Result<(), KafkaError> {
        let admin = self.admin()?;
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic.as_str()));
        for (key, value) in settings {
            change = change.set(key, value);
        }
        let during = || KafkaError::during("changing a topic's settings");
        let answers = admin.alter_configs([&change], &AdminOptions::new()).await.map_err(during())?;
        answers
            .into_iter()
            .try_for_each(|answer| answer.map(drop))
            .map_err(|(_, code)| during()(rdkafka::error::KafkaError::AdminOp(code)))
    }

    /// Increases the number of partitions of a topic to `partitions`. Existing records stay in their partitions, but
    /// new records of the same key may go to another partition.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] with the broker's reason, for example that the topic already has that many partitions.
    pub async fn grow(&self, topic: &TopicName, partitions: usize) -> Result<(), KafkaError> {
        let during = || KafkaError::during("adding partitions to a topic");
        let wanted = NewPartitions::new(topic.as_str(), partitions);
        let answers = self.admin()?.create_partitions([&wanted], &AdminOptions::new()).await.map_err(during())?;
        answers
            .into_iter()
            .try_for_each(|answer| answer.map(drop))
            .map_err(|(_, code)| during()(rdkafka::error::KafkaError::AdminOp(code)))
    }

    /// Deletes a topic with all its records. The brokers complete the deletion shortly after they have responded.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] with the broker's reason.
    pub async fn delete(&self, topic: &TopicName) -> Result<(), KafkaError> {
        let during = || KafkaError::during("deleting a topic");
        let answers = self.admin()?.delete_topics(&[topic.as_str()], &AdminOptions::new()).await.map_err(during())?;
        answers
            .into_iter()
            .try_for_each(|answer| answer.map(drop))
            .map_err(|(_, code)| during()(rdkafka::error::KafkaError::AdminOp(code)))
    }

    /// Deletes the records of a partition before `offset`, as the retention does; `None` deletes all records.
    ///
    /// # Errors
    /// [`KafkaError::Operation`] with the broker's reason, for example that the offset is beyond the end.
    pub async fn delete_before(
        &self,
        topic: &TopicName,
        partition: Partition,
        offset: Option<Offset>,
    ) -> Result<(), KafkaError> {
        let during = || KafkaError::during("deleting records");
        let list = match offset {
            None => partition_list::ends(topic, &[partition])?,
            Some(offset) => partition_list::positions(topic, &[Position::of(partition, offset)])?,
        };
        let answers = self.admin()?.delete_records(&list, &AdminOptions::new()).await.map_err(during())?;
        answers
            .elements()
            .iter()
            .try_for_each(rdkafka::topic_partition_list::TopicPartitionListElem::error)
            .map_err(during())
    }

    /// Returns the settings of a topic, as the broker reports them.
    ///
    /// # Errors
    /// [`KafkaError::Operation`].
    pub async fn settings(&self, topic: &TopicName) -> Result<BTreeMap<String, String>, KafkaError> {
        let admin = self.admin()?;
        let resource = ResourceSpecifier::Topic(topic.as_str());
        let answers = admin
            .describe_configs([&resource], &AdminOptions::new())
            .await
            .map_err(KafkaError::during("reading a topic's settings"))?;
        let mut settings = BTreeMap::new();
        for answer in answers {
            let answer = answer.map_err(|code| {
                KafkaError::during("reading a topic's settings")(rdkafka::error::KafkaError::AdminOp(code))
            })?;
            settings.extend(answer.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
        }
        Ok(settings)
    }

    /// Returns the client, for queries for which this type has no method.
    pub(crate) fn client(&self) -> &PlainConsumer {
        &self.client
    }

    fn admin(&self) -> Result<AdminClient<Context<LogOnly>>, KafkaError> {
        AdminClient::from_config_and_context(&self.connection.config(), Context(LogOnly))
            .map_err(|error| KafkaError::Configuration(error.to_string()))
    }

    fn unreachable(&self, timeout: Duration, reason: &str) -> KafkaError {
        KafkaError::Unreachable {
            bootstrap: self.bootstrap.clone(),
            seconds: timeout.as_secs(),
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_broker_is_reported_with_the_variable_to_check() {
        let topics = Topics::new(&Connection::plaintext("127.0.0.1:1", "test")).unwrap();
        let error = topics.partitions(&"t".parse().unwrap(), Duration::from_millis(300)).unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:1") && error.contains("KAFKA_BOOTSTRAP_SERVERS"), "{error}");
    }
}
