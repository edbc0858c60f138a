//! Responses of the services' admin addresses at one moment.

use super::exposition::Exposition;

/// Responses of all admin addresses at one moment: a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Time of the snapshot: milliseconds since 1970.
    pub at: i64,
    /// Responses, one entry for each address.
    pub answers: Vec<Answer>,
}

/// Responses of one admin address.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Admin address, with the IP address if the host has several.
    pub address: String,
    /// Response of `/readyz`: `Ok(None)` if the service is ready, `Ok` with the reason if it is not, and an error if
    /// there is no valid response.
    pub ready: Result<Option<String>, String>,
    /// Metrics of the service, or the reason why they could not be read.
    pub metrics: Result<Exposition, String>,
}

impl Answer {
    /// Returns the name of the service; `None` if the metrics do not contain it.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.label("service")
    }

    /// Returns the version of the service; `None` if the metrics do not contain it.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.label("version")
    }

    fn label(&self, name: &str) -> Option<&str> {
        let info = self.metrics.as_ref().ok()?.all("customerio_build_info").first()?;
        Some(info.label(name)).filter(|value| !value.is_empty())
    }
}
