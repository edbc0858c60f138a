//! Descriptors of schemas, which mark fields as identities. Descriptors have no versions and use their own `Accept`
//! types.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::control::answer::{Answer, Unreadable, no_content};
use crate::control::paging::{Page, page};
use crate::control::registry::BASE;
use crate::control::request::{Call, Request, encode};

const IDENTITY: &str = "xdm:descriptorIdentity";
const ACCEPT: &str = "application/vnd.adobe.xdm+json";

/// A descriptor, as the Schema Registry returns it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Descriptor {
    /// Id of the descriptor.
    #[serde(rename = "@id")]
    pub id: String,
    /// Type of the descriptor; `xdm:descriptorIdentity` marks an identity.
    #[serde(rename = "@type", default)]
    pub kind: String,
    /// `$id` of the schema.
    #[serde(rename = "xdm:sourceSchema", default)]
    pub source_schema: String,
    /// JSON Pointer to the field in an event, without `properties`: `/_acme/customerio/cioID`.
    #[serde(rename = "xdm:sourceProperty", default)]
    pub source_property: String,
    /// Namespace of the identity: a code or a number, depending on `property`.
    #[serde(rename = "xdm:namespace", default)]
    pub namespace: Option<Value>,
    /// Form of `namespace`: `xdm:code` or `xdm:id`.
    #[serde(rename = "xdm:property", default)]
    pub property: Option<String>,
    /// Whether the field is the primary identity, which makes the field mandatory.
    #[serde(rename = "xdm:isPrimary", default)]
    pub is_primary: Option<bool>,
}

/// An identity descriptor to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDescriptor {
    /// `$id` of the schema.
    pub source_schema: String,
    /// JSON Pointer to the field in an event, without `properties`: `/_acme/customerio/cioID`.
    pub source_property: String,
    /// Code of the identity namespace.
    pub namespace: String,
    /// Whether the field is the primary identity, which makes the field mandatory.
    pub is_primary: bool,
}

/// Lists all descriptors of the sandbox.
#[must_use]
pub fn descriptors() -> Call<Page<Descriptor>> {
    Call::new(Request::get(format!("{BASE}/tenant/descriptors")).accept(ACCEPT), read_list)
}

/// Reads one descriptor.
#[must_use]
pub fn descriptor(id: &str) -> Call<Descriptor> {
    let request = Request::get(format!("{BASE}/tenant/descriptors/{}", encode(id))).accept(ACCEPT);
    Call::new(request, |_, answer| answer.json())
}

/// Creates an identity descriptor.
#[must_use]
pub fn create_descriptor(new: &NewDescriptor) -> Call<Descriptor> {
    let body = serde_json::json!({
        "@type": IDENTITY,
        "xdm:sourceSchema": new.source_schema,
        "xdm:sourceVersion": 1,
        "xdm:sourceProperty": new.source_property,
        "xdm:namespace": new.namespace,
        "xdm:property": "xdm:code",
        "xdm:isPrimary": new.is_primary,
    });
    Call::new(Request::post(format!("{BASE}/tenant/descriptors"), body), |_, answer| answer.json())
}

/// Removes a descriptor.
#[must_use]
pub fn delete_descriptor(id: &str) -> Call<()> {
    Call::new(Request::delete(format!("{BASE}/tenant/descriptors/{}", encode(id))), no_content)
}

/// Reads the list of descriptors: a map from type to descriptors or, in the paged form, a list in `results`.
fn read_list(_: &Request, answer: &Answer) -> Result<Page<Descriptor>, Unreadable> {
    let body: Map<String, Value> = answer.json()?;
    if body.contains_key("results") {
        return page(answer, "results");
    }
    let mut items = Vec::new();
    for (name, list) in body {
        if name.starts_with('_') {
            continue;
        }
        let read: Vec<Descriptor> = serde_json::from_value(list)
            .map_err(|_| Unreadable("a list of descriptors is not of the documented form".to_owned()))?;
        items.extend(read);
    }
    Ok(Page { items, next: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn descriptors_are_read_from_a_map_by_type_and_from_a_page() {
        let one = json!({"@id": "1", "@type": IDENTITY, "xdm:sourceSchema": "s", "xdm:sourceProperty": "/a", "xdm:namespace": "Email"});
        for body in [
            json!({IDENTITY: [one], "xdm:alternateDisplayInfo": []}),
            json!({"results": [one], "_page": {"next": null}}),
        ] {
            let answer = Answer { body: body.to_string().into(), ..Answer::default() };
            let page = descriptors().read(&answer).unwrap();
            assert_eq!((page.items.len(), page.items[0].id.as_str(), page.next), (1, "1", None));
        }
        let answer =
            Answer { body: bytes::Bytes::from_static(b"{\"xdm:descriptorIdentity\":[\"id\"]}"), ..Answer::default() };
        assert!(descriptors().read(&answer).is_err());
    }

    #[test]
    fn a_new_identity_descriptor_refers_to_its_namespace_by_code() {
        let new = NewDescriptor {
            source_schema: "s".to_owned(),
            source_property: "/_acme/customerio/cioID".to_owned(),
            namespace: "CioId".to_owned(),
            is_primary: false,
        };
        let call = create_descriptor(&new);
        assert_eq!(call.request().body.as_ref().unwrap()["xdm:property"], "xdm:code");
        assert!(!call.request().is_repeatable());
    }
}
