//! Explains from which value of the webhook each field of an event was mapped.
//!
//! The origin is found by experiment. Each value of the body is changed or removed in turn; the parts of the event that
//! change were mapped from that value. So the explanation always matches the mapping, and tests compare [`RULES`] with
//! the explanation.

use customerio::webhook::{Data, Device, Field, Identifiers, Webhook};
use serde_json::Value;
use xdm::{TenantId, write_json};

use crate::details::DEVICES;
use crate::identity::{self, NoIdentity};
use crate::record::guarded;
use crate::rules::{NEVER_FORWARDED, RULES, Rule};
use crate::{ReceivedAt, Rejection, SourceOptions, map};

/// An event with the origin of each of its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The event as XDM JSON, as Platform gets it.
    pub event: Value,
    /// Origin of every field, in the order of the event.
    pub fields: Vec<Origin>,
    /// Every value of the webhook that is not in the event.
    pub ignored: Vec<Ignored>,
}

/// Origin of one field of the event.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// Path of the field, for example `identityMap.CustomerioID[0].id`.
    pub path: String,
    /// Value of the field.
    pub value: Value,
    /// Paths in the webhook that the field was mapped from, most important first, including headers of the raw record
    /// and options.
    pub from: Vec<String>,
    /// Rule for the field. `None` would be a gap in [`RULES`], which the tests exclude.
    pub rule: Option<&'static Rule>,
}

/// A value of the webhook that is not in the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Path of the value, for example `data.headers`.
    pub path: String,
    /// Reason why the value is not in the event.
    pub reason: IgnoredReason,
}

/// Reason why a value is not in the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IgnoredReason {
    /// The mapping does not know the field.
    Unknown,
    /// The field is never forwarded to Platform, for this reason.
    NeverForwarded(&'static str),
    /// The option `DROP_FIELDS` drops the field.
    Dropped,
    /// The key is repeated later in the body.
    Doubled,
    /// The value is null or an empty text.
    Empty,
    /// The value does not have the type that this field needs.
    WrongType,
    /// The value should identify the person, but cannot be an identity, for this reason.
    NoIdentity(&'static str),
    /// The value belongs to a device after the last one that is mapped.
    BeyondDevices,
    /// The event has no field for the value, or a value with a higher priority was used.
    NotUsed,
}

impl IgnoredReason {
    /// Returns the reason in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "not known to the mapping",
            Self::NeverForwarded(why) | Self::NoIdentity(why) => why,
            Self::Dropped => "dropped by DROP_FIELDS",
            Self::Doubled => "the key came again later; the last one counts",
            Self::Empty => "null or empty",
            Self::WrongType => "not of the type this field has",
            Self::BeyondDevices => "only the first 10 devices are taken over",
            Self::NotUsed => "not needed for this event",
        }
    }
}

/// Maps one webhook and returns the origin of each field.
///
/// # Errors
/// Returns the [`Rejection`] that [`map`] returns, or one with the code `mapping_panic` if the mapping panics.
pub fn explain(
    body: &[u8],
    received_at: ReceivedAt,
    source: &SourceOptions,
    tenant: &TenantId,
) -> Result<Explanation, Rejection> {
    let event_of = |body: &[u8], received_at, source: &SourceOptions| event_of(body, received_at, source, tenant);
    guarded(|| explain_by(event_of, body, received_at, source, tenant))
}

/// Explains a webhook by the events that `event_of` returns. An experiment in which `event_of` panics is ignored.
fn explain_by(
    event_of: impl Fn(&[u8], ReceivedAt, &SourceOptions) -> Result<Value, Rejection>,
    body: &[u8],
    received_at: ReceivedAt,
    source: &SourceOptions,
    tenant: &TenantId,
) -> Result<Explanation, Rejection> {
    let experiment =
        |body: &[u8], received_at, source: &SourceOptions| guarded(|| event_of(body, received_at, source)).ok();
    let event = event_of(body, received_at, source)?;
    let mut fields = Vec::new();
    leaves(String::new(), &event, &mut |path, value| {
        let rule = rule_of(&path, source, tenant);
        fields.push(Origin { path, value: value.clone(), from: Vec::new(), rule });
    });
    let earlier = ReceivedAt(received_at.0.saturating_sub(1));
    note(&mut fields, "header received-at", experiment(body, earlier, source));
    for (option, changed) in other_options(source) {
        note(&mut fields, option, experiment(body, received_at, &changed));
    }
    let mut ignored = Vec::new();
    let mut there = Vec::new();
    for place in places(body) {
        there.push(pattern(&place.path));
        let tries = if place.reason.is_none() { replacements(place.field) } else { Vec::new() };
        let mut left_a_trace = false;
        for replacement in tries {
            let changed =
                replaced(body, place.field, &replacement).and_then(|body| experiment(&body, received_at, source));
            left_a_trace |= note(&mut fields, &place.path, changed);
        }
        if !left_a_trace && !is_required(&place.path) {
            let reason = place.reason.unwrap_or_else(|| why_unused(&place, source));
            ignored.push(Ignored { path: place.path, reason });
        }
    }
    fields.iter_mut().for_each(|field| complete(field, &there));
    Ok(Explanation { event, fields, ignored })
}

/// Maps a webhook and returns the event as JSON.
fn event_of(
    body: &[u8],
    received_at: ReceivedAt,
    source: &SourceOptions,
    tenant: &TenantId,
) -> Result<Value, Rejection> {
    let mapped = map(body, received_at, source)?;
    let mut json = Vec::new();
    write_json(&mapped.event, tenant, &mut json);
    Ok(serde_json::from_slice(&json).unwrap_or_default())
}

/// Notes an input at every field whose value differs in `changed`, the event of an experiment in which only this input
/// was changed. Returns whether there is such a field.
fn note(fields: &mut [Origin], input: &str, changed: Option<Value>) -> bool {
    let Some(changed) = changed else { return false };
    let mut after = std::collections::HashMap::new();
    leaves(String::new(), &changed, &mut |path, value| drop(after.insert(path, value.clone())));
    let mut left_a_trace = false;
    for field in fields.iter_mut().filter(|field| after.get(&field.path) != Some(&field.value)) {
        left_a_trace = true;
        if field.from.iter().all(|known| known != input) {
            field.from.push(input.to_owned());
        }
    }
    left_a_trace
}

/// Sorts the inputs of a field into the order of its rule. If the experiments found no input except options, adds the
/// first input of the rule that is in `there`, the paths of the webhook's values.
fn complete(field: &mut Origin, there: &[String]) {
    let rank = |input: &String| {
        let inputs = field.rule.map_or(&[][..], |rule| rule.inputs);
        inputs.iter().position(|known| *known == pattern(input)).unwrap_or(inputs.len())
    };
    let mut from = std::mem::take(&mut field.from);
    if from.iter().all(|input| input.starts_with("option ")) {
        // No change of a value changes this field, so its origin is taken from the rule. For example, `producedBy` is
        // `self` for each metric of a person.
        let said = field.rule.into_iter().flat_map(|rule| rule.inputs);
        from.extend(said.copied().find(|input| there.iter().any(|path| path == input)).map(str::to_owned));
    }
    from.sort_by_key(rank);
    field.from = from;
}

/// Returns variants of the source, each with one changed option.
fn other_options(source: &SourceOptions) -> [(&'static str, SourceOptions); 6] {
    let other = |change: fn(&mut SourceOptions)| {
        let mut other = source.clone();
        change(&mut other);
        other
    };
    [
        ("option source", other(|source| source.name.push('x'))),
        ("option workspace_id", other(|source| source.workspace_id = None)),
        ("option IDENTITY_NAMESPACE_ID", other(|source| source.namespace_id.push('x'))),
        ("option IDENTITY_NAMESPACE_CIO_ID", other(|source| source.namespace_cio_id.push('x'))),
        ("option INCLUDE_PHONE", other(|source| source.include_phone = !source.include_phone)),
        ("option HASH_EMAIL", other(|source| source.hash_email = !source.hash_email)),
    ]
}

/// Calls `each` with the path and the value of every leaf: every value that is neither an object nor an array.
pub(crate) fn leaves(path: String, value: &Value, each: &mut impl FnMut(String, &Value)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                leaves(if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, member, each);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                leaves(format!("{path}[{index}]"), element, each);
            }
        }
        leaf => each(path, leaf),
    }
}

/// Returns a path without the numbers of its array indices: `a[].b` for `a[0].b`.
fn pattern(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        inside = inside && c != ']';
        if !inside {
            pattern.push(c);
        }
        inside |= c == '[';
    }
    pattern
}

/// Finds the rule of a field: first a rule with the placeholder for a configured namespace code, then a rule with `*`.
fn rule_of(path: &str, source: &SourceOptions, tenant: &TenantId) -> Option<&'static Rule> {
    let path = pattern(path);
    let mut steps: Vec<&str> = path.split('.').collect();
    let tenant = tenant.to_string();
    if steps.first() == Some(&tenant.as_str()) {
        steps[0] = "_{TENANT_ID}";
    }
    let find = |steps: &[&str]| {
        let wanted = steps.join(".");
        RULES.iter().find(|rule| rule.output == wanted)
    };
    if let ["identityMap", namespace, ..] = steps[..] {
        steps[1] = match namespace.trim_end_matches("[]") {
            code if code == source.namespace_id => "{IDENTITY_NAMESPACE_ID}[]",
            code if code == source.namespace_cio_id => "{IDENTITY_NAMESPACE_CIO_ID}[]",
            _ => namespace,
        };
    }
    find(&steps).or_else(|| {
        let brackets = steps.get(1).is_some_and(|step| step.ends_with("[]"));
        *steps.get_mut(1)? = if brackets { "*[]" } else { "*" };
        find(&steps)
    })
}

/// A value of the body. `reason` is set if the event cannot depend on the value.
struct Place<'a> {
    path: String,
    field: Field<'a>,
    reason: Option<IgnoredReason>,
}

/// Returns every value of the body. An object or array that the mapping reads is replaced by its members.
fn places(body: &[u8]) -> Vec<Place<'_>> {
    let Some(root) = std::str::from_utf8(body).ok().and_then(Field::parse) else { return Vec::new() };
    let mut places = Vec::new();
    let mut data = Field::default();
    members(root, "", Webhook::NAMES, &mut places);
    expand(&mut places, "data", |field, places| {
        data = field;
        members(field, "data.", Data::NAMES, places);
    });
    expand(&mut places, "data.identifiers", |field, places| {
        members(field, "data.identifiers.", Identifiers::NAMES, places);
    });
    expand(&mut places, "data.recipients", |field, places| {
        let objects = field.elements().into_iter().filter(|element| !element.entries().is_empty());
        for (index, device) in objects.enumerate() {
            let before = places.len();
            members(device, &format!("data.recipients[{index}]."), Device::NAMES, places);
            if index >= DEVICES {
                places[before..].iter_mut().for_each(|place| place.reason = Some(IgnoredReason::BeyondDevices));
            }
        }
    });
    places
}

/// Replaces a value in `places` by its members, if it has members.
fn expand<'a>(places: &mut Vec<Place<'a>>, path: &str, members: impl FnOnce(Field<'a>, &mut Vec<Place<'a>>)) {
    let Some(index) = places.iter().position(|place| place.path == path && place.reason.is_none()) else { return };
    let mut found = Vec::new();
    members(places[index].field, &mut found);
    if !found.is_empty() {
        places.splice(index..=index, found);
    }
}

fn members<'a>(object: Field<'a>, prefix: &str, known: &[&str], places: &mut Vec<Place<'a>>) {
    let entries = object.entries();
    let mut last = std::collections::HashMap::new();
    for (index, (name, _)) in entries.iter().enumerate() {
        last.insert(name.clone(), index);
    }
    for (index, (name, field)) in entries.into_iter().enumerate() {
        let path = format!("{prefix}{name}");
        let reason = if !known.contains(&name.as_ref()) {
            Some(IgnoredReason::Unknown)
        } else if last.get(&name) != Some(&index) {
            Some(IgnoredReason::Doubled)
        } else {
            None
        };
        places.push(Place { path, field, reason });
    }
}

/// Returns the replacements for a value in the experiment: null, and other values of the same type.
fn replacements(field: Field<'_>) -> Vec<String> {
    let json = field.json().unwrap_or_default();
    let mut tries = vec!["null".to_owned()];
    match json.as_bytes() {
        [b'"', ..] => tries.push(format!("\"7{}", json.get(1..).unwrap_or_default())),
        [.., last @ b'0'..=b'9'] => {
            let changed = if *last == b'0' { '1' } else { char::from(last - 1) };
            tries.push(format!("{}{changed}", json.get(..json.len() - 1).unwrap_or_default()));
            tries.push("1".to_owned());
        }
        b"true" => tries.push("false".to_owned()),
        b"false" => tries.push("true".to_owned()),
        _ => {}
    }
    tries
}

fn replaced(body: &[u8], field: Field<'_>, replacement: &str) -> Option<Vec<u8>> {
    let span = field.span(body)?;
    Some([body.get(..span.start)?, replacement.as_bytes(), body.get(span.end..)?].concat())
}

/// Whether the mapping rejects a body without this field, so that no experiment can show the effect of the field.
fn is_required(path: &str) -> bool {
    path == "data"
}

fn why_unused(place: &Place<'_>, source: &SourceOptions) -> IgnoredReason {
    const FLAGS: &[&str] = &["data.machine", "data.proxied", "data.prefetched", "data.synthetic"];
    let name = pattern(&place.path);
    let inner = name.strip_prefix("data.").unwrap_or_default();
    let inner = inner.strip_prefix("recipients[].").filter(|name| *name == "failure_message").unwrap_or(inner);
    if source.drops(inner.split('[').next().unwrap_or_default()) {
        return IgnoredReason::Dropped;
    }
    if let Some((_, why)) = NEVER_FORWARDED.iter().find(|(path, _)| *path == name) {
        return IgnoredReason::NeverForwarded(why);
    }
    let field = place.field;
    let empty = field.is_null() || field.text().is_some_and(|text| text.is_empty());
    let fits = if FLAGS.contains(&name.as_str()) { field.boolean().is_some() } else { field.text().is_some() };
    let container = matches!(field.json(), Some("{}" | "[]"));
    if let Some(reason) = identity::refusal(&name, field, source) {
        return IgnoredReason::NoIdentity(match reason {
            NoIdentity::NotAnAddress => "not exactly one valid email address",
            NoIdentity::NotInternational => "not an international phone number",
            NoIdentity::Blocked => "a placeholder that Identity Service or BLOCKED_IDS blocks",
            NoIdentity::TooLong => "longer than Identity Service takes",
        });
    }
    match (empty || container, fits) {
        (true, _) => IgnoredReason::Empty,
        (false, true) => IgnoredReason::NotUsed,
        (false, false) => IgnoredReason::WrongType,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RejectionCode;

    const BODY: &[u8] = br#"{"event_id":"01X","object_type":"email","metric":"sent","timestamp":1700000000,"data":{}}"#;

    /// Explains [`BODY`] with a mapping that panics on each body for which `panics` is true.
    fn explain_with(panics: fn(&[u8]) -> bool) -> Result<Explanation, Rejection> {
        let (received_at, source) = (ReceivedAt(1_700_000_001_480), SourceOptions::default());
        let tenant = "acme".parse().unwrap();
        let event = |body: &[u8], received_at, source: &SourceOptions| {
            assert!(!panics(body), "a defect");
            event_of(body, received_at, source, &tenant)
        };
        guarded(|| explain_by(event, BODY, received_at, &source, &tenant))
    }

    #[test]
    fn a_panic_of_the_mapping_becomes_a_rejection_of_the_webhook() {
        assert_eq!(explain_with(|_| true).unwrap_err().code, RejectionCode::MappingPanic);
    }

    #[test]
    fn a_panic_in_one_experiment_does_not_change_the_origin_of_other_fields() {
        let without_metric = |body: &[u8]| !String::from_utf8_lossy(body).contains("\"metric\":\"sent\"");
        let explanation = explain_with(without_metric).unwrap();
        let id = explanation.fields.iter().find(|field| field.path == "_id").unwrap();
        assert_eq!(id.from, ["event_id"]);
    }
}
