//! Builds an example body for every catalogued event, in the form that Customer.io sends. The demo, load tests and
//! other tests use these bodies.
//!
//! The same inputs always give the same bytes. No body contains data of a real person.

use std::fmt::Write;

use crate::catalogue::{CATALOGUE, CatalogueEvent, Metric, ObjectType, OwnField, Variant};

/// The person that a sample is about.
#[derive(Debug, Clone, Copy)]
pub struct Person<'a> {
    /// Value of `identifiers.id` and `customer_id`.
    pub id: &'a str,
    /// Value of `identifiers.email`, and the recipient of an email.
    pub email: &'a str,
    /// Value of `identifiers.cio_id`.
    pub cio_id: &'a str,
}

/// Content of an example webhook.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Row of the catalogue for the event.
    pub event: &'a CatalogueEvent,
    /// Kind of message that the event is attributed to.
    pub variant: Variant,
    /// Id of the event.
    pub event_id: &'a str,
    /// Time of the event, in Unix seconds.
    pub timestamp: i64,
    /// The person that the event is about.
    pub person: Person<'a>,
    /// A number that varies the ids of campaigns, deliveries and the like.
    pub number: u64,
}

/// Returns every catalogued event with each kind of message that it can be attributed to.
pub fn combinations() -> impl Iterator<Item = (&'static CatalogueEvent, Variant)> {
    CATALOGUE.iter().flat_map(|event| event.variants().iter().map(move |&variant| (event, variant)))
}

impl Sample<'_> {
    /// Returns the JSON body.
    #[must_use]
    pub fn body(&self) -> String {
        let mut body = String::with_capacity(1400);
        self.write(&mut body);
        body
    }

    /// Appends the JSON body to `body`.
    pub fn write(&self, body: &mut String) {
        // For a change of preferences, the specification calls the channel's key `object_type_type`.
        let key = match self.event.metric {
            Metric::PreferencesChanged => "object_type_type",
            _ => "object_type",
        };
        push(
            body,
            format_args!(
                r#"{{"data":{{"customer_id":{},"identifiers":{{"id":{},"email":{},"cio_id":{}}}"#,
                Quoted(self.person.id),
                Quoted(self.person.id),
                Quoted(self.person.email),
                Quoted(self.person.cio_id)
            ),
        );
        self.write_attribution(body);
        for field in self.event.fields() {
            self.write_field(body, field);
        }
        push(
            body,
            format_args!(
                r#"}},"event_id":{},"{key}":"{}","metric":"{}","timestamp":{}}}"#,
                Quoted(self.event_id),
                self.event.object_type.as_str(),
                self.event.metric.as_str(),
                self.timestamp
            ),
        );
    }

    fn write_attribution(&self, body: &mut String) {
        let number = self.number;
        if self.variant != Variant::None {
            push(body, format_args!(r#","delivery_id":"RPILAgUBcRhIBqSfeiIwdIYJ{:08}""#, number % 100_000_000));
        }
        match self.variant {
            Variant::Campaign => {
                push(body, format_args!(r#","campaign_id":{},"action_id":{}"#, number % 9 + 1, number % 90 + 10));
            }
            Variant::Workflow => push(
                body,
                format_args!(
                    r#","campaign_id":{},"broadcast_id":null,"newsletter_id":null,"action_id":{},"parent_action_id":3,"journey_id":"01GW20GXAAXBKZD8J96M8FNV3R","trigger_event_id":"21E4C3CT6YDC7Y4N7FE1GWWABC""#,
                    number % 9 + 1,
                    number % 90 + 10
                ),
            ),
            Variant::Broadcast => push(
                body,
                format_args!(
                    r#","broadcast_id":{},"trigger_id":{},"action_id":{},"journey_id":"01GW20GXAAXBKZD8J96M8FNV3R""#,
                    number % 5 + 1,
                    number % 100 + 1,
                    number % 90 + 10
                ),
            ),
            Variant::Newsletter => {
                push(body, format_args!(r#","newsletter_id":{},"content_id":{}"#, number % 20 + 1, number % 3 + 1));
            }
            Variant::Transactional => push(body, format_args!(r#","transactional_message_id":{}"#, number % 50 + 1)),
            Variant::None => {}
        }
    }

    fn write_field(&self, body: &mut String, field: OwnField) {
        push(body, format_args!(r#","{}":"#, field.as_str()));
        match field {
            OwnField::Subject => body.push_str(r#""Your order is on its way – thank you 🎉""#),
            OwnField::Recipient => push(body, format_args!("{}", Quoted(self.recipient()))),
            OwnField::FailureMessage => body.push_str(r#""550 5.1.1 the account does not exist""#),
            OwnField::Content => self.write_content(body),
            OwnField::Headers => body.push_str(r#"{"X-Order":["4711"]}"#),
            OwnField::Href => body.push_str(r#""https://shop.example.com/orders/4711?utm_source=customerio""#),
            OwnField::LinkId => push(body, format_args!("{}", self.number % 40 + 1)),
            OwnField::Machine | OwnField::Prefetched => {
                body.push_str(if self.number.is_multiple_of(4) { "true" } else { "false" });
            }
            OwnField::Proxied | OwnField::Synthetic => body.push_str("false"),
            OwnField::Recipients => self.write_devices(body),
            OwnField::TrackedResponse => body.push_str(r#""very-satisfied""#),
            OwnField::InboundEventId => push(body, format_args!(r#""01HINBOUND{:016}""#, self.number)),
            OwnField::To => body.push_str(r#""+15550100""#),
            OwnField::EmailAddress => push(body, format_args!("{}", Quoted(self.person.email))),
        }
    }

    fn recipient(&self) -> &str {
        match self.event.object_type {
            ObjectType::Email | ObjectType::InApp | ObjectType::Customer => self.person.email,
            ObjectType::Sms | ObjectType::Whatsapp => "+15551234567",
            ObjectType::Push => "token",
            ObjectType::Slack => "#orders",
            ObjectType::Webhook => "https://hooks.example.com/orders",
        }
    }

    fn write_content(&self, body: &mut String) {
        body.push_str(match self.event.metric {
            Metric::PreferencesChanged => {
                r#""{\"topics\":{\"topic_1\":true,\"topic_2\":false},\"channels\":{\"email\":true}}""#
            }
            _ => r#""<p>Hello, your order is on its way.</p>""#,
        });
    }

    fn write_devices(&self, body: &mut String) {
        let platform = if self.number.is_multiple_of(2) { "ios" } else { "android" };
        push(body, format_args!(r#"[{{"device_id":"token-{:08}","device_platform":"{platform}""#, self.number));
        if matches!(self.event.metric, Metric::Bounced | Metric::Dropped) {
            body.push_str(r#","failure_message":"the token is not registered""#);
        }
        body.push_str("}]");
    }
}

/// Returns a truncated body. It is not JSON, but it can be signed.
#[must_use]
pub fn broken_json(event_id: &str) -> String {
    format!(r#"{{"event_id":{},"object_type":"email","metric":"sent","timestamp":17000"#, Quoted(event_id))
}

/// Returns a body without `event_id`.
#[must_use]
pub fn without_event_id(timestamp: i64) -> String {
    format!(
        r#"{{"object_type":"email","metric":"sent","timestamp":{timestamp},"data":{{"identifiers":{{"id":"42"}}}}}}"#
    )
}

fn push(body: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    body.write_fmt(text).unwrap_or_default();
}

/// Displays a text as a JSON string literal.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::{Data, NotJson, Webhook};

    #[test]
    fn every_sample_contains_the_fields_of_its_catalogue_row() {
        let mut count = 0;
        for (event, variant) in combinations() {
            count += 1;
            let person = Person { id: "u\"1", email: "a@example.com", cio_id: "d9" };
            let sample = Sample { event, variant, event_id: "01X", timestamp: 1_700_000_000, person, number: 7 };
            let body = sample.body();
            let webhook = Webhook::parse(body.as_bytes()).unwrap();
            let object_type = webhook.object_type.text().or(webhook.object_type_type.text());
            assert_eq!(object_type.unwrap(), event.object_type.as_str());
            assert_eq!(webhook.metric.text().unwrap(), event.metric.as_str());
            let data = Data::of(webhook.data).unwrap();
            assert_eq!((webhook.ignored, data.ignored), (0, 0), "{body}");
            for field in event.fields() {
                assert!(body.contains(&format!("\"{}\":", field.as_str())), "{} in {body}", field.as_str());
            }
            assert_eq!(data.campaign_id.is_absent(), !matches!(variant, Variant::Campaign | Variant::Workflow));
            assert_eq!(data.delivery_id.is_absent(), variant == Variant::None);
        }
        // 25 email and push events have 5 kinds of message, 45 events of other channels have 4, 2 person events have 1,
        // and 1 person event has 5.
        assert_eq!(count, 312);
    }

    #[test]
    fn broken_json_cannot_be_parsed_and_without_event_id_has_no_event_id() {
        assert!(matches!(Webhook::parse(broken_json("x").as_bytes()), Err(NotJson::Syntax { .. })));
        assert!(Webhook::parse(without_event_id(1).as_bytes()).unwrap().event_id.is_absent());
    }
}
