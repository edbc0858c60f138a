//! The address of an inlet, as the HTTP API source shows it (`inletUrl`).

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// Address of an inlet, `https://…/collection/{inletId}`. The batch form `…/collection/batch/{inletId}` is accepted
/// too.
#[derive(Clone, PartialEq, Eq)]
pub struct InletUrl {
    batch: Url,
    id: String,
}

impl FromStr for InletUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| {
            // The error leaves out the address, because it may contain a password.
            format!(
                "this is not an inlet address ({why}); it looks like https://dcs.adobedc.net/collection/ followed by the inlet's id"
            )
        };
        let mut url: Url = text.parse().map_err(|_| wrong("not a URL"))?;
        if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
            return Err(wrong("it needs http or https and a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("no user name or password belongs into it"));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let id = path
            .strip_prefix("/collection/batch/")
            .or_else(|| path.strip_prefix("/collection/"))
            .filter(|id| !id.is_empty() && !id.contains('/') && *id != "batch")
            .ok_or_else(|| wrong("its path is not /collection/{id}"))?
            .to_owned();
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "it ends with the id; the flow's id of `?x-adobe-flow-id=` belongs into PLATFORM_FLOW_ID",
            ));
        }
        url.set_path(&format!("/collection/batch/{id}"));
        Ok(Self { batch: url, id })
    }
}

impl InletUrl {
    /// Returns the URL that batches are sent to.
    #[must_use]
    pub fn batch_url(&self) -> &Url {
        &self.batch
    }

    /// Whether the inlet belongs to the simulator, whose inlet ids begin with `sim`. Ids of Platform are hexadecimal
    /// digits.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.id.starts_with("sim")
    }

    /// Returns the inlet's id, the last segment of the path.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Debug for InletUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for InletUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.batch.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_inlet_address_lead_to_the_batch_endpoint() {
        for text in ["https://dcs.adobedc.net/collection/abc", "https://dcs.adobedc.net/collection/batch/abc/"] {
            let url: InletUrl = text.parse().unwrap();
            assert_eq!(url.batch_url().as_str(), "https://dcs.adobedc.net/collection/batch/abc");
            assert_eq!(url.id(), "abc");
        }
    }

    #[test]
    fn an_invalid_inlet_address_is_refused_with_an_example() {
        for text in
            ["", "abc", "ftp://x/collection/a", "https://x/collection/", "https://x/collection/batch", "https://x/a/b"]
        {
            assert!(text.parse::<InletUrl>().unwrap_err().contains("dcs.adobedc.net"), "{text}");
        }
    }

    #[test]
    fn the_error_for_an_inlet_address_with_a_flow_id_mentions_platform_flow_id() {
        let error = "https://dcs.adobedc.net/collection/abc?x-adobe-flow-id=1".parse::<InletUrl>().unwrap_err();
        assert!(error.contains("PLATFORM_FLOW_ID"), "{error}");
    }

    #[test]
    fn the_error_for_an_inlet_address_does_not_repeat_the_password() {
        let error = "https://me:topsecret@x/collection/a".parse::<InletUrl>().unwrap_err();
        assert!(!error.contains("topsecret"), "{error}");
    }
}
