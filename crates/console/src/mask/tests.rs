use serde_json::json;

use super::*;

fn shown(form: Form, event: &Value, values: Values) -> Vec<(String, String)> {
    fields(form, event, values).0.into_iter().map(|field| (field.path, field.value)).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn ids_and_codes_are_readable_and_everything_about_a_person_is_masked() {
    let webhook = json!({
        "event_id": "01X", "metric": "clicked", "timestamp": 1_700_000_000,
        "data": {
            "campaign_id": 7, "customer_id": "u-1", "recipient": "jo@example.com", "subject": "Hello Jo",
            "identifiers": {"id": "u-1", "email": "jo@example.com", "cio_id": "d9c1"},
            "href": "https://shop.example/a?email=jo@example.com", "content": "<p>Hello Jo</p>",
            "recipients": [{"device_id": "secret", "device_platform": "ios"}],
            "brand_new": "anything", "machine": false
        }
    });
    assert_eq!(
        shown(Form::Webhook, &webhook, Values::Masked),
        pairs(&[
            ("event_id", "01X"),
            ("metric", "clicked"),
            ("timestamp", "1700000000"),
            ("data.campaign_id", "7"),
            ("data.customer_id", MASK),
            ("data.recipient", MASK),
            ("data.subject", MASK),
            ("data.identifiers.id", MASK),
            ("data.identifiers.email", MASK),
            ("data.identifiers.cio_id", MASK),
            ("data.href", "https://shop.example/a?•••"),
            ("data.content", MASK),
            ("data.recipients[0].device_id", MASK),
            ("data.recipients[0].device_platform", "ios"),
            ("data.brand_new", MASK),
            ("data.machine", "false"),
        ])
    );
    let revealed = shown(Form::Webhook, &webhook, Values::Revealed);
    assert!(revealed.contains(&("data.recipient".to_owned(), "jo@example.com".to_owned())));
}

#[test]
fn a_readable_field_is_masked_if_its_value_is_not_an_id_or_code() {
    for value in ["jo@example.com", "+491234567890", "Jo Smith", "<b>", "\u{202e}x", &"x".repeat(129)] {
        for field in ["event_id", "metric", "object_type"] {
            assert_eq!(shown(Form::Webhook, &json!({field: value}), Values::Masked)[0].1, MASK, "{field} {value}");
        }
        let link = json!({"data": {"href": value}});
        assert_eq!(shown(Form::Webhook, &link, Values::Masked)[0].1, MASK, "{value}");
    }
    let nested = json!({"event_id": {"email": "jo@example.com"}, "metric": ["jo@example.com"]});
    assert!(shown(Form::Webhook, &nested, Values::Masked).iter().all(|(_, value)| value == MASK));
}

#[test]
fn a_field_name_that_may_be_a_value_is_masked() {
    for key in ["jo@example.com", "+491234567890", "491234567890", "Jo Smith", ""] {
        let event = json!({"data": {key: 1}});
        assert_eq!(shown(Form::Webhook, &event, Values::Masked), pairs(&[("data.•••", MASK)]), "{key}");
    }
    let dotted = json!({"data.campaign_id": 7, "data": {"journey_id.x": 7}});
    assert!(shown(Form::Webhook, &dotted, Values::Masked).iter().all(|(_, value)| value == MASK));
    let long = json!({"x".repeat(1 << 20): 1});
    assert!(shown(Form::Webhook, &long, Values::Revealed)[0].0.ends_with("… (1048576 bytes in all)"));
    let identities = json!({"identityMap": {"Email": [{"id": "jo@example.com", "primary": true}]}});
    assert_eq!(
        shown(Form::Xdm, &identities, Values::Masked),
        pairs(&[("identityMap.Email[0].id", MASK), ("identityMap.Email[0].primary", "true")])
    );
}

#[test]
fn a_web_link_is_shown_without_its_query_and_other_links_are_hidden() {
    let of = |link: &str| before_query(link);
    assert_eq!(of("https://shop.example/a/b").as_deref(), Some("https://shop.example/a/b"));
    assert_eq!(of("http://shop.example#token").as_deref(), Some("http://shop.example?•••"));
    for other in
        ["javascript:alert(1)", "https://jo@shop.example/", "https://shop.example/jo%40example.com", "mailto:jo"]
    {
        assert_eq!(of(other), None, "{other}");
    }
}

#[test]
fn email_addresses_and_long_numbers_in_a_reason_are_masked() {
    assert_eq!(reason("ticket 4711:\nasked by jo@example.com"), "ticket 4711: asked by •••");
    assert_eq!(reason("call +491234567890 back"), "call ••• back");
    assert_eq!(reason(&"x".repeat(1000)).len(), 300);
}

#[test]
fn the_number_of_fields_and_the_length_of_values_are_limited() {
    let wide: Value = (0..1000).map(|n| (format!("f{n}"), json!(1))).collect::<serde_json::Map<_, _>>().into();
    let (fields_of_wide, is_cut) = fields(Form::Webhook, &wide, Values::Masked);
    assert!(fields_of_wide.len() == MOST_FIELDS && is_cut);
    let deep = (0..100).fold(json!("jo@example.com"), |inner, _| json!({"a": inner}));
    let (found, _) = fields(Form::Webhook, &deep, Values::Masked);
    assert_eq!(found[0].value, MASK);
    let long = json!({"data": {"content": "ä".repeat(1 << 20)}});
    let (found, _) = fields(Form::Webhook, &long, Values::Revealed);
    assert!(found[0].value.chars().count() < LONGEST_VALUE + 50 && found[0].value.ends_with("bytes in all)"));
}

/// Outputs and inputs of mapping rules that contain personal data. The fields of a new rule must be in this list or in
/// one of the tables of `mask`.
const MASKED: &[&str] = &[
    "identityMap.{IDENTITY_NAMESPACE_ID}[].id",
    "identityMap.{IDENTITY_NAMESPACE_CIO_ID}[].id",
    "identityMap.Email[].id",
    "identityMap.Email_LC_SHA256[].id",
    "identityMap.Phone[].id",
    "inappMessageTracking.action",
    "_*.customerio.personID",
    "_*.customerio.personCioID",
    "_*.customerio.recipient",
    "_*.customerio.devices[].deviceID",
    "_*.customerio.devices[].failureMessage",
    "_*.customerio.subject",
    "_*.customerio.failureMessage",
    "_*.customerio.reply.to",
    "data.identifiers.id",
    "data.identifiers.cio_id",
    "data.identifiers.email",
    "data.customer_id",
    "data.email_address",
    "data.recipient",
    "data.recipients[].device_id",
    "data.recipients[].failure_message",
    "data.failure_message",
    "data.tracked_response",
    "data.subject",
    "data.content",
    "data.to",
];

#[test]
fn every_field_of_the_mapping_is_either_readable_or_masked() {
    let known = |table: &[&str], path: &str| table.contains(&path) as u8;
    for rule in mapping::rules::RULES {
        let output = rule.output.replace("_{TENANT_ID}", "_*");
        let times = known(READABLE_IN_XDM, &output) + known(MASKED, &output) + known(LINKS, &output);
        assert_eq!(times, 1, "{output}");
        for input in rule.inputs.iter().filter(|input| !input.contains(' ')) {
            let times = known(READABLE_IN_WEBHOOK, input) + known(MASKED, input) + known(LINKS, input);
            assert_eq!(times, 1, "{input}");
        }
    }
}

#[test]
fn every_readable_field_is_used_by_a_mapping_rule() {
    let outputs: Vec<String> =
        mapping::rules::RULES.iter().map(|rule| rule.output.replace("_{TENANT_ID}", "_*")).collect();
    for path in READABLE_IN_XDM {
        assert!(outputs.iter().any(|output| output == path), "{path}");
    }
    for path in READABLE_IN_WEBHOOK {
        assert!(mapping::rules::RULES.iter().any(|rule| rule.inputs.contains(path)), "{path}");
    }
}
