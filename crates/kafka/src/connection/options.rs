//! `KAFKA_OPTIONS`: any librdkafka property, except those that the product's guarantees depend on.
//!
//! Messages never show a value, and show a name only if librdkafka knows it: a secret that contains a comma is split,
//! and its pieces look like names.

use std::fmt;
use std::str::FromStr;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError as RdError;
use rdkafka::types::RDKafkaConfRes;

/// Properties that `KAFKA_OPTIONS` may not set, because a guarantee of this product depends on them or because another
/// variable sets them.
const RESERVED: &[&str] = &[
    "auto.commit.enable",
    "auto.offset.reset",
    "client.id",
    "delivery.report.only.error",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "enabled_events",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "partitioner",
    "queuing.strategy",
    "request.required.acks",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "statistics.interval.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Aliases of reserved properties ("Alias for" in librdkafka's CONFIGURATION.md).
const ALIASES: &[(&str, &str)] = &[
    ("acks", "request.required.acks"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
];

/// Parsed `KAFKA_OPTIONS`. Its `Debug` form shows only the keys, since a value may be a secret.
#[derive(Clone, Default)]
pub struct KafkaOptions(Vec<(String, String)>);

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}

impl FromStr for KafkaOptions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut options = Vec::new();
        let entries = text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
        for (number, entry) in (1..).zip(entries) {
            let Some((key, value)) = entry.split_once('=') else {
                return Err(format!("entry {number} is not of the form key=value; entries are separated by commas"));
            };
            let (key, value) = (key.trim(), value.trim());
            if let Some(reserved) = reserved(key) {
                return Err(format!(
                    "entry {number} sets `{reserved}`, which may not be set here: a guarantee of this product depends on it, or a variable of its own sets it"
                ));
            }
            check(number, key, value)?;
            options.push((key.to_owned(), value.to_owned()));
        }
        let options = Self(options);
        let mut with = ClientConfig::new();
        options.add_to(&mut with);
        match changed(&with) {
            None => Ok(options),
            Some(reserved) => Err(format!(
                "an entry changes `{reserved}`, which may not be changed here: a guarantee of this product depends on it"
            )),
        }
    }
}

impl KafkaOptions {
    /// Sets these properties in a librdkafka configuration.
    pub(super) fn add_to(&self, config: &mut ClientConfig) {
        for (key, value) in &self.0 {
            config.set(key, value);
        }
    }
}

/// Returns the reserved property with this name or alias.
fn reserved(name: &str) -> Option<&'static str> {
    // librdkafka also accepts the names of topic properties with this prefix.
    let name = name.strip_prefix("topic.").unwrap_or(name);
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, property)| property);
    RESERVED.iter().copied().find(|reserved| *reserved == name)
}

/// Checks that librdkafka knows the property and accepts the value.
fn check(number: usize, key: &str, value: &str) -> Result<(), String> {
    let mut alone = ClientConfig::new();
    alone.set(key, value);
    match alone.create_native_config() {
        Ok(_) => Ok(()),
        Err(RdError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_INVALID, ..)) => Err(format!(
            "librdkafka refuses the value of `{key}` (entry {number}); its CONFIGURATION.md lists the valid values"
        )),
        Err(_) => Err(format!(
            "entry {number} does not start with the name of a librdkafka property (it is not shown, in case it is a part of a secret: a value cannot contain a comma)"
        )),
    }
}

/// Returns a reserved property that the configuration changes from its default, under any of the property's names.
fn changed(with: &ClientConfig) -> Option<&'static str> {
    let (Ok(default), Ok(with)) = (ClientConfig::new().create_native_config(), with.create_native_config()) else {
        return None;
    };
    let value = |config: &rdkafka::config::NativeClientConfig, name: &str| config.get(name).ok();
    // librdkafka returns no value for a topic property until any topic property is set.
    RESERVED.iter().copied().find(|name| {
        let now = value(&with, name);
        now.is_some() && now != value(&default, name).or_else(|| topic_default(name))
    })
}

/// Returns the default of a topic property.
fn topic_default(name: &str) -> Option<String> {
    let mut config = ClientConfig::new();
    // Setting any topic property makes librdkafka fill in the others.
    config.set("request.timeout.ms", "30000");
    config.create_native_config().ok()?.get(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<KafkaOptions>().unwrap_err()
    }

    #[test]
    fn reserved_options_are_refused_under_every_alias() {
        for name in RESERVED.iter().chain(ALIASES.iter().map(|(alias, _)| alias)) {
            for name in [(*name).to_owned(), format!("topic.{name}")] {
                let error = refused(&format!("socket.keepalive.enable=true,{name}=topmarker"));
                assert!(error.contains("guarantee") && !error.contains("topmarker"), "{name}: {error}");
            }
        }
    }

    /// Asks librdkafka itself which property a name sets, instead of trusting [`ALIASES`].
    #[test]
    fn every_librdkafka_alias_of_a_reserved_property_is_reserved_too() {
        let set = |name: &str, value: &str| {
            let mut config = ClientConfig::new();
            config.set(name, value);
            changed(&config)
        };
        for (name, value, property) in [
            ("acks", "1", "request.required.acks"),
            ("topic.acks", "1", "request.required.acks"),
            ("topic.request.required.acks", "0", "request.required.acks"),
            ("retries", "1", "message.send.max.retries"),
            ("max.in.flight", "7", "max.in.flight.requests.per.connection"),
            ("bootstrap.servers", "elsewhere:9092", "metadata.broker.list"),
            ("sasl.mechanism", "PLAIN", "sasl.mechanisms"),
            ("topic.delivery.timeout.ms", "1", "message.timeout.ms"),
            ("topic.partitioner", "random", "partitioner"),
        ] {
            assert_eq!(set(name, value), Some(property), "{name}");
        }
        for (name, value) in [("linger.ms", "7"), ("request.timeout.ms", "1000"), ("topic.compression.codec", "lz4")] {
            assert_eq!(set(name, value), None, "{name}");
        }
        let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/librdkafka-aliases.txt"));
        let mut found = 0;
        for (alias, property) in page.lines().filter_map(|line| line.split_once(' ')) {
            if RESERVED.contains(&property) {
                found += 1;
                assert_eq!(reserved(alias).map(|_| ()), Some(()), "{alias} is an alias of {property}");
            }
        }
        assert!(found >= ALIASES.len(), "{found}");
    }

    #[test]
    fn an_error_shows_at_most_the_property_name_of_an_invalid_entry() {
        for text in [
            "topmarker",
            "ssl.key.password=top,marker",
            "ssl.key.password=top,marker=1",
            "sasl.password=topmarker",
            "ssl.key.password:topmarker",
            "socket.timeout.ms=topmarker",
            "no.such.topmarker=1",
            "=topmarker",
            "socket.timeout.ms=1;sasl.password=topmarker",
        ] {
            let error = refused(text);
            assert!(!error.contains("marker"), "{text}: {error}");
        }
        assert!(refused("linger.ms=1,socket.timeout.ms=x").contains("`socket.timeout.ms` (entry 2)"));
    }

    #[test]
    fn options_that_are_not_reserved_reach_librdkafka() {
        let options: KafkaOptions = "linger.ms=7, socket.keepalive.enable=true\nssl.key.password=a=b".parse().unwrap();
        let mut config = ClientConfig::new();
        options.add_to(&mut config);
        assert_eq!((config.get("linger.ms"), config.get("ssl.key.password")), (Some("7"), Some("a=b")));
        assert!(!format!("{options:?}").contains("a=b"));
    }
}
