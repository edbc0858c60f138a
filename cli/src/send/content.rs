//! The content that `send` sends: sample events of the catalogue, or the bytes of a file.

use std::borrow::Cow;
use std::io::Read;
use std::path::Path;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use customerio::Beginning;
use customerio::catalogue::{CATALOGUE, CatalogueEvent, ObjectType, Variant};
use customerio::sample::{Person, Sample, combinations};
use customerio::webhook::Webhook;

/// The content of the requests.
#[derive(Debug)]
pub(super) enum Content {
    /// Samples of these events in turn; after the last one, the first one follows again.
    Samples(Vec<(&'static CatalogueEvent, Variant)>),
    /// The bytes of a file, unchanged.
    Body(Vec<u8>),
}

/// Accepts the names of all events in the catalogue.
pub(super) fn event_parser() -> impl TypedValueParser<Value = &'static CatalogueEvent> {
    let names = CATALOGUE.iter().map(|event| event.subscription);
    PossibleValuesParser::new(names).try_map(|name| {
        let event = CATALOGUE.iter().find(|event| event.subscription == name);
        event.ok_or("this event is not in the catalogue")
    })
}

/// Accepts the names of all channels.
pub(super) fn channel_parser() -> impl TypedValueParser<Value = ObjectType> {
    let names = ObjectType::ALL.iter().map(|channel| channel.as_str());
    PossibleValuesParser::new(names)
        .try_map(|name| ObjectType::from_name(&name).ok_or("this channel is not in the catalogue"))
}

/// Reads a body from a file, or from standard input for `-`.
pub(super) fn read_body(path: &Path) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut body).map(drop)
    } else {
        std::fs::read(path).map(|read| body = read)
    };
    read.map(|()| body).map_err(|error| format!("cannot read the body from {}: {error}", path.display()))
}

impl Content {
    /// Samples of the given events and channels. An empty list allows all of them.
    pub(super) fn samples(events: &[&'static CatalogueEvent], channels: &[ObjectType]) -> Self {
        let is_wanted = |(event, _): &(&'static CatalogueEvent, Variant)| {
            (events.is_empty() || events.contains(event))
                && (channels.is_empty() || channels.contains(&event.object_type))
        };
        Self::Samples(combinations().filter(is_wanted).collect())
    }

    /// The body with this number. A sample contains `id` as its event id.
    pub(super) fn body(&self, id: &str, number: u64, people: u64) -> Option<Cow<'_, [u8]>> {
        match self {
            Self::Body(body) => Some(Cow::Borrowed(body)),
            Self::Samples(pool) => {
                let index = usize::try_from(number).unwrap_or(0) % pool.len().max(1);
                let &(event, variant) = pool.get(index)?;
                let person = number % people;
                let (person_id, email, cio_id) =
                    (format!("u-{person}"), format!("person{person}@example.com"), format!("d9c1{person:08x}"));
                let timestamp = service::unix_millis() / 1000;
                let person = Person { id: &person_id, email: &email, cio_id: &cio_id };
                let sample = Sample { event, variant, event_id: id, timestamp, person, number };
                Some(Cow::Owned(sample.body().into_bytes()))
            }
        }
    }
}

/// The event id of a body, even if the pipeline would refuse or truncate the body.
pub(super) fn event_id(body: &[u8]) -> Option<String> {
    match Webhook::parse(body) {
        Ok(webhook) => webhook.event_id.non_blank().map(Cow::into_owned),
        Err(_) => Beginning::read(&Beginning::text(body)).event_id.non_blank().map(Cow::into_owned),
    }
}

#[cfg(test)]
mod tests {
    use customerio::catalogue::Metric;

    use super::*;

    #[test]
    fn the_name_of_every_event_in_the_catalogue_is_accepted() {
        let command =
            clap::Command::new("send").arg(clap::Arg::new("event").long("event").value_parser(event_parser()));
        for event in CATALOGUE {
            let matches = command.clone().try_get_matches_from(["send", "--event", event.subscription]).unwrap();
            assert_eq!(matches.get_one::<&'static CatalogueEvent>("event"), Some(&event));
        }
        let error = command.try_get_matches_from(["send", "--event", "email_open"]).unwrap_err().to_string();
        assert!(error.contains("a similar value exists: 'email_opened'"), "{error}");
    }

    #[test]
    fn samples_contain_only_the_given_events() {
        let opened = CatalogueEvent::find(ObjectType::Email, Metric::Opened).unwrap();
        let content = Content::samples(&[opened], &[]);
        for number in 0..10 {
            let body = content.body("01X", number, 3).unwrap();
            let webhook: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&webhook["object_type"], &webhook["metric"]), (&"email".into(), &"opened".into()));
            assert_eq!(event_id(&body).as_deref(), Some("01X"));
        }
    }

    #[test]
    fn a_body_from_a_file_is_not_changed() {
        let bytes = b" { \"event_id\" : \"01Y\",\n\"x\":\"\xff\" } \n".to_vec();
        let content = Content::Body(bytes.clone());
        assert_eq!(content.body("01X", 7, 3).as_deref(), Some(bytes.as_slice()));
        assert_eq!(event_id(br#"{"event_id":"01Y"}"#).as_deref(), Some("01Y"));
        assert_eq!(event_id(b"not json"), None);
    }
}
