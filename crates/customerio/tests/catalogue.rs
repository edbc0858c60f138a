//! Compares the catalogue with a copy of the facts in Customer.io's specification.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use customerio::catalogue::{CATALOGUE, Metric, ObjectType, Variant};
use serde_json::Value;

fn facts() -> Value {
    serde_json::from_str(include_str!("data/catalogue.json")).unwrap()
}

#[test]
fn every_catalogue_row_agrees_with_the_specification() {
    let facts = facts();
    let pairs = facts["pairs"].as_object().unwrap();
    assert_eq!((CATALOGUE.len(), pairs.len()), (73, 73));
    for event in CATALOGUE {
        let fact = &pairs[&format!("{}/{}", event.object_type.as_str(), event.metric.as_str())];
        assert_eq!(fact["subscription_event"], event.subscription);
        assert_eq!(fact["status"] == "documented", event.documented, "{}", event.subscription);
        let names = |required: bool| -> BTreeSet<&str> {
            let specific = fact["specific"].as_array().into_iter().flatten();
            let own =
                specific.filter(|field| !["customer_id", "identifiers"].contains(&field["name"].as_str().unwrap()));
            own.filter(|field| field["required"] == required).map(|field| field["name"].as_str().unwrap()).collect()
        };
        assert_eq!(event.required.iter().map(|field| field.as_str()).collect::<BTreeSet<_>>(), names(true));
        if event.documented {
            assert_eq!(event.optional.iter().map(|field| field.as_str()).collect::<BTreeSet<_>>(), names(false));
            let variants: BTreeSet<&str> = facts["variants"][fact["variants_of"].as_str().unwrap()]
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            // The specification does not list `workflow`. The catalogue has it wherever it has `campaign`.
            let own = event.variants().iter().filter(|variant| **variant != Variant::Workflow);
            assert_eq!(own.map(|variant| variant.as_str()).collect::<BTreeSet<_>>(), variants);
            assert_eq!(event.variants().contains(&Variant::Workflow), variants.contains("campaign"));
        }
    }
}

#[test]
fn each_channel_has_the_published_number_of_events() {
    let count = |object_type, documented| {
        CATALOGUE.iter().filter(|event| event.object_type == object_type && event.documented == documented).count()
    };
    let documented: Vec<_> = ObjectType::ALL.iter().map(|&object_type| count(object_type, true)).collect();
    assert_eq!(documented, [3, 13, 10, 12, 11, 8, 6, 6]);
    assert_eq!(ObjectType::ALL.iter().map(|&object_type| count(object_type, false)).sum::<usize>(), 4);
}

#[test]
fn subscriptions_are_unique_and_names_are_found_in_any_letter_case() {
    let names: BTreeSet<_> = CATALOGUE.iter().map(|event| event.subscription).collect();
    assert_eq!(names.len(), CATALOGUE.len());
    for metric in Metric::ALL {
        assert_eq!(Metric::from_name(metric.as_str()), Some(*metric));
    }
    assert_eq!(ObjectType::from_name("line"), None);
    assert_eq!(
        (ObjectType::from_name("In_App"), Metric::from_name("DELIVERED")),
        (Some(ObjectType::InApp), Some(Metric::Delivered))
    );
    assert_eq!(Variant::from_name("campaign"), Some(Variant::Campaign));
}
