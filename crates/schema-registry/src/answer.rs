//! Interprets the responses of a registry.

use serde_json::Value;

/// Confluent's error code in a 404 for a subject that does not exist (Schema Registry API reference, "Errors").
const SUBJECT_NOT_FOUND: u64 = 40401;

/// Error of a request to the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry sent no response.
    #[error("cannot reach the Schema Registry at {url}: {reason}; check SCHEMA_REGISTRY_URL and whether it runs")]
    Unreachable {
        /// Address of the registry.
        url: String,
        /// Error of the HTTP client.
        reason: String,
    },
    /// The registry responded with 401 or 403.
    #[error(
        "the Schema Registry answered {status}; check SCHEMA_REGISTRY_USERNAME, SCHEMA_REGISTRY_PASSWORD and the user's rights"
    )]
    Unauthorized {
        /// HTTP status.
        status: u16,
    },
    /// The registry responded to a registration with 409 or 422. Another attempt would not help.
    #[error(
        "the Schema Registry refuses the schema for subject `{subject}` ({status}: {message}); look at the versions it has: another application's schema there, or a newer version of this one with compatibility other than FULL_TRANSITIVE, has to go first"
    )]
    Refused {
        /// Subject of the registration.
        subject: String,
        /// HTTP status.
        status: u16,
        /// First 300 characters of the registry's message.
        message: String,
    },
    /// The registry has no schema with this id.
    #[error(
        "the Schema Registry at {url} has no schema of id {schema_id}; the record was written with another registry: check SCHEMA_REGISTRY_URL, or restore the registry"
    )]
    NoSuchId {
        /// Address of the registry.
        url: String,
        /// Id in the header of the record.
        schema_id: u32,
    },
    /// Any other response that is not the expected one.
    #[error("the Schema Registry answered {status}: {message}")]
    Unexpected {
        /// HTTP status.
        status: u16,
        /// The registry's message, or a description of the problem.
        message: String,
    },
    /// The file with the password cannot be read.
    #[error("SCHEMA_REGISTRY_PASSWORD_FILE: {0}")]
    Password(#[from] settings::SecretError),
}

impl RegistryError {
    /// Whether another attempt may succeed.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// A parsed response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn new(status: u16, body: &[u8]) -> Self {
        Self { status, body: serde_json::from_slice(body).unwrap_or_default() }
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    pub(crate) fn subject_is_missing(&self) -> bool {
        self.status == 404 && self.body["error_code"].as_u64() == Some(SUBJECT_NOT_FOUND)
    }

    /// Returns the member `id` of a successful response.
    pub(crate) fn id(&self) -> Option<u32> {
        self.body["id"].as_u64().filter(|_| self.is_success()).and_then(|id| id.try_into().ok())
    }

    /// Returns the first 300 characters of the registry's message.
    pub(crate) fn message(&self) -> String {
        self.body["message"].as_str().unwrap_or("no message").chars().take(300).collect()
    }

    /// Returns the error for a response that has no special meaning for its call.
    pub(crate) fn error(&self) -> RegistryError {
        match self.status {
            status @ (401 | 403) => RegistryError::Unauthorized { status },
            status if self.is_success() => {
                RegistryError::Unexpected { status, message: "an answer without what was asked for".to_owned() }
            }
            status => RegistryError::Unexpected { status, message: self.message() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_missing_subject_and_error_responses_are_distinguished() {
        let answer = |status, body: &str| Answer::new(status, body.as_bytes());
        assert_eq!(answer(200, r#"{"id":7}"#).id(), Some(7));
        assert_eq!(answer(200, r#"{"id":-1}"#).id(), None);
        assert_eq!(answer(404, r#"{"id":7}"#).id(), None);
        assert!(answer(404, r#"{"error_code":40401,"message":"Subject not found"}"#).subject_is_missing());
        assert!(!answer(404, r#"{"error_code":40403,"message":"Schema not found"}"#).subject_is_missing());
        assert!(matches!(answer(401, "").error(), RegistryError::Unauthorized { status: 401 }));
        assert!(answer(500, "<html>").error().to_string().contains("answered 500: no message"));
        assert!(answer(200, "<html>").error().to_string().contains("without what was asked for"));
    }
}
