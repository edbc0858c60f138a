//! Identity namespaces. Platform cannot remove a namespace.

use std::fmt;

use serde::Deserialize;
use serde_json::json;

use crate::control::answer::number;
use crate::control::request::{Call, Request};

const BASE: &str = "/data/core/idnamespace/identities";

/// The type of an identity.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum IdType {
    /// Identifies a browser by a cookie.
    Cookie,
    /// Identifies a person on several devices.
    CrossDevice,
    /// Identifies a device.
    Device,
    /// Email address of a person.
    Email,
    /// Identifies a mobile device.
    Mobile,
    /// Identifies something that is not a person.
    NonPeople,
    /// Telephone number of a person.
    Phone,
    /// A type that this program does not know.
    Other(String),
}

impl From<String> for IdType {
    /// Ignores letter case, because Platform returns the type `Cross_device` as `CROSS_DEVICE`.
    fn from(text: String) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "cookie" => Self::Cookie,
            "cross_device" => Self::CrossDevice,
            "device" => Self::Device,
            "email" => Self::Email,
            "mobile" => Self::Mobile,
            "non_people" => Self::NonPeople,
            "phone" => Self::Phone,
            _ => Self::Other(text),
        }
    }
}

impl fmt::Display for IdType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cookie => "Cookie",
            Self::CrossDevice => "Cross_device",
            Self::Device => "Device",
            Self::Email => "Email",
            Self::Mobile => "Mobile",
            Self::NonPeople => "Non_people",
            Self::Phone => "Phone",
            Self::Other(text) => text,
        })
    }
}

/// An identity namespace.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Namespace {
    /// Number that Platform assigned.
    #[serde(default, deserialize_with = "number")]
    pub id: Option<i64>,
    /// Code that events use for the namespace.
    pub code: String,
    /// Name that people see in Platform.
    #[serde(default)]
    pub name: Option<String>,
    /// Description that people see in Platform.
    #[serde(default)]
    pub description: Option<String>,
    /// Type of the identities in the namespace.
    #[serde(rename = "idType", default)]
    pub id_type: Option<IdType>,
    /// Status: `ACTIVE` or another text of Platform.
    #[serde(default)]
    pub status: Option<String>,
    /// Whether the organisation created the namespace; `false` for Adobe's standard namespaces.
    #[serde(default)]
    pub custom: Option<bool>,
}

/// Content of a namespace to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNamespace {
    /// Code of the namespace: unique, and only letters and digits.
    pub code: String,
    /// Name that people see in Platform.
    pub name: String,
    /// Description that people see in Platform.
    pub description: String,
    /// Type of the identities in the namespace.
    pub id_type: IdType,
}

/// Lists all namespaces, including Adobe's standard namespaces. The service returns them in one response.
#[must_use]
pub fn namespaces() -> Call<Vec<Namespace>> {
    Call::new(Request::get(BASE), |_, answer| answer.json())
}

/// Reads one namespace by its number.
#[must_use]
pub fn namespace(id: i64) -> Call<Namespace> {
    Call::new(Request::get(format!("{BASE}/{id}")), |_, answer| answer.json())
}

/// Creates a namespace.
#[must_use]
pub fn create_namespace(new: &NewNamespace) -> Call<Namespace> {
    let body = json!({
        "name": new.name, "code": new.code, "idType": new.id_type.to_string(), "description": new.description,
    });
    Call::new(Request::post(BASE, body), |_, answer| answer.json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_types_are_read_in_any_letter_case() {
        let read = |text: &str| serde_json::from_str::<Namespace>(text).unwrap();
        let namespace = read(r#"{"id":"10018776","code":"CioId","idType":"CROSS_DEVICE","custom":true}"#);
        assert_eq!((namespace.id, namespace.id_type), (Some(10_018_776), Some(IdType::CrossDevice)));
        let other = read(r#"{"code":"B2B","idType":"B2B_account"}"#).id_type.unwrap();
        assert_eq!(other.to_string(), "B2B_account");
    }

    #[test]
    fn create_namespace_sends_the_documented_body() {
        let new = NewNamespace {
            code: "CioId".to_owned(),
            name: "Customer.io cio_id".to_owned(),
            description: "d".to_owned(),
            id_type: IdType::CrossDevice,
        };
        let call = create_namespace(&new);
        assert_eq!(call.request().to_string(), "POST /data/core/idnamespace/identities");
        assert_eq!(call.request().body.as_ref().unwrap()["idType"], "Cross_device");
    }
}
