//! Compares the explanation with the described rules: every field of every event has a rule and depends only on the
//! inputs of the rule, and every rule is used.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod quirk_cases;

use std::collections::BTreeSet;

use customerio::sample::{Person, Sample, combinations};
use mapping::rules::{NEVER_FORWARDED, RULES};
use mapping::{Explanation, IgnoredReason, ReceivedAt, SourceOptions, explain};
use serde_json::Value;

const RECEIVED_AT: i64 = 1_700_000_001_480;

fn explained(body: &str, source: &SourceOptions) -> Option<Explanation> {
    explain(body.as_bytes(), ReceivedAt::from_millis(RECEIVED_AT), source, &"acme".parse().unwrap()).ok()
}

/// Returns a path without the numbers of its array indices, as in the rules.
fn pattern(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |pattern, part| pattern + "[" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Checks one explanation, and adds the outputs of the rules that it used to `met`.
fn check(name: &str, explanation: &Explanation, met: &mut BTreeSet<&'static str>) {
    for field in &explanation.fields {
        let rule = field.rule.unwrap_or_else(|| panic!("{name}: no rule for {}", field.path));
        met.insert(rule.output);
        for input in &field.from {
            assert!(
                rule.inputs.contains(&pattern(input).as_str()),
                "{name}: {} came from {input}, which its rule does not name",
                field.path
            );
        }
        assert!(
            rule.inputs.is_empty() || !field.from.is_empty(),
            "{name}: {} came from nothing, but its rule names inputs",
            field.path
        );
    }
}

fn samples() -> Vec<(String, String)> {
    let person = Person { id: "u-1042", email: "Jo.Doe@example.com", cio_id: "d9c106000001" };
    let sample = |(event, variant): (&'static customerio::catalogue::CatalogueEvent, _)| {
        let event_id = "01E4C4CT6YDC7Y5M7FE1GWWPQJ";
        let sample = Sample { event, variant, event_id, timestamp: 1_700_000_000, person, number: 7 };
        (event.subscription.to_owned(), sample.body())
    };
    combinations().map(sample).collect()
}

#[test]
fn every_field_has_a_rule_with_its_origin_and_every_rule_is_used() {
    let mut met = BTreeSet::new();
    let bodies: Vec<_> = samples()
        .into_iter()
        .chain(quirk_cases::cases().into_iter().map(|(name, _, body)| (name.to_owned(), body)))
        .collect();
    let private = SourceOptions {
        workspace_id: Some("42".to_owned()),
        include_phone: true,
        hash_email: true,
        drop_fields: vec!["subject".parse().unwrap()],
        ..SourceOptions::default()
    };
    for (name, body) in &bodies {
        for source in [&SourceOptions::default(), &private] {
            if let Some(explanation) = explained(body, source) {
                check(name, &explanation, &mut met);
            }
        }
    }
    // No sample has the field `conversion_event_id`, so this body adds it.
    let conversion = bodies[0].1.replacen("\"data\":{", "\"data\":{\"conversion_event_id\":\"c1\",", 1);
    check("conversion", &explained(&conversion, &SourceOptions::default()).unwrap(), &mut met);
    let never: Vec<_> = RULES.iter().map(|rule| rule.output).filter(|output| !met.contains(output)).collect();
    assert_eq!(never, [""; 0], "rules that no example uses");
}

#[test]
fn rules_refer_to_existing_fields_and_have_unique_outputs() {
    use customerio::webhook::{Data, Device, Identifiers, Webhook};
    let mut known: BTreeSet<String> = Webhook::NAMES.iter().map(ToString::to_string).collect();
    known.extend(Data::NAMES.iter().map(|name| format!("data.{name}")));
    known.extend(Identifiers::NAMES.iter().map(|name| format!("data.identifiers.{name}")));
    known.extend(Device::NAMES.iter().map(|name| format!("data.recipients[].{name}")));
    let mut read: BTreeSet<String> = ["data", "data.identifiers", "data.recipients"].map(str::to_owned).into();
    for rule in RULES {
        assert_eq!(RULES.iter().filter(|other| other.output == rule.output).count(), 1, "{}", rule.output);
        for input in rule.inputs.iter().filter(|input| !input.starts_with("header ") && !input.starts_with("option ")) {
            assert!(known.contains(*input), "{} names {input}", rule.output);
            read.insert((*input).to_owned());
        }
    }
    read.extend(NEVER_FORWARDED.iter().map(|(path, _)| (*path).to_owned()));
    assert_eq!(known, read, "a field of the webhook that no rule reads");
}

#[test]
fn explain_lists_the_origin_of_fields_and_the_reason_of_ignored_values() {
    let body = r#"{"event_id":"01X","object_type":"email","metric":"opened","timestamp":1700000000,"mood":"good","data":{
        "identifiers":{"id":"u1","tiktok":"t"},"customer_id":"u1","recipient":"a@example.com","recipient":"b@example.com",
        "subject":"Hi","campaign_id":7,"delivery_id":true,"journey_id":null,"content":"<p>","prefetched":true,"href":""}}"#;
    let source = SourceOptions { drop_fields: vec!["subject".parse().unwrap()], ..SourceOptions::default() };
    let explanation = explained(body, &source).unwrap();
    let from = |path: &str| {
        let field = explanation.fields.iter().find(|field| field.path == path).unwrap_or_else(|| panic!("{path}"));
        (field.value.clone(), field.from.clone())
    };
    assert_eq!(from("_id"), (Value::from("01X"), vec!["event_id".to_owned()]));
    // `data.identifiers.id` and `data.customer_id` have the same value, but only the first is read.
    assert_eq!(from("_acme.customerio.personID").1[0], "data.identifiers.id");
    assert_eq!(from("identityMap.CustomerioID[0].id").1[0], "data.identifiers.id");
    assert_eq!(from("_acme.customerio.campaignID"), (Value::from("7"), vec!["data.campaign_id".to_owned()]));
    assert_eq!(from("_acme.customerio.interactionType").1, ["metric", "data.prefetched"]);
    assert_eq!(from("producedBy").0, "system");
    assert_eq!(from("_acme.customerio.receivedAt").1, ["header received-at"]);
    let ignored: Vec<_> = explanation.ignored.iter().map(|ignored| (ignored.path.as_str(), ignored.reason)).collect();
    assert_eq!(
        ignored,
        [
            ("mood", IgnoredReason::Unknown),
            ("data.identifiers.tiktok", IgnoredReason::Unknown),
            ("data.customer_id", IgnoredReason::NotUsed),
            ("data.recipient", IgnoredReason::Doubled),
            ("data.subject", IgnoredReason::Dropped),
            ("data.delivery_id", IgnoredReason::WrongType),
            ("data.journey_id", IgnoredReason::Empty),
            ("data.content", IgnoredReason::NeverForwarded(NEVER_FORWARDED[0].1)),
            ("data.href", IgnoredReason::Empty),
        ]
    );
}
