//! What the services' admin addresses answered at one moment.

use super::exposition::Exposition;

/// What all admin addresses answered at one moment.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// When: milliseconds since 1970.
    pub at: i64,
    /// One entry for each address.
    pub answers: Vec<Answer>,
}

/// What one admin address answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The address.
    pub address: String,
    /// `/readyz`: `Ok(None)` if it is ready, or why it is not; the error if it did not answer.
    pub ready: Result<Option<String>, String>,
    /// `/metrics`, or why it could not be read.
    pub metrics: Result<Exposition, String>,
}

impl Answer {
    /// The name of the service, if it is one.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.label("service")
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.label("version")
    }

    fn label(&self, name: &str) -> Option<&str> {
        let info = self.metrics.as_ref().ok()?.all("customerio_build_info").first()?;
        Some(info.label(name)).filter(|value| !value.is_empty())
    }
}
