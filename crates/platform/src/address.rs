//! Addresses of Adobe's services, as they are configured.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// Base address of Adobe IMS, which grants access tokens. `/ims/token/v3` is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImsUrl(Url);

impl ImsUrl {
    /// Returns the configured base address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for ImsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        base_address(text, "the address of IMS", "https://ims-na1.adobelogin.com").map(Self)
    }
}

impl fmt::Display for ImsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Parses the base address of an HTTP server. An error describes the address with `what` and never quotes `text`, which
/// may contain a password.
pub(crate) fn base_address(text: &str, what: &str, example: &str) -> Result<Url, String> {
    let wrong = |why: &str| format!("{what} {why}; an example: {example}");
    let url: Url = text.parse().map_err(|_| wrong("is not a URL"))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return Err(wrong("must begin with https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("must not contain a user name or a password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("must not have a query"));
    }
    Ok(url)
}

/// Whether requests to `url` would cross a network unencrypted: the scheme is `http` and the host is not this machine.
#[must_use]
pub fn is_unencrypted(url: &Url) -> bool {
    url.scheme() == "http" && !url.host_str().is_some_and(settings::is_loopback_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_an_invalid_ims_address_does_not_quote_the_address() {
        assert_eq!("https://ims-na1.adobelogin.com".parse::<ImsUrl>().unwrap().url().scheme(), "https");
        for text in [
            "ftp://topsecret",
            "topsecret",
            "https://me:topsecret@x",
            "https://topsecret@x",
            "https://x?k=topsecret",
            "data:topsecret",
            "unix:/topsecret",
        ] {
            let error = text.parse::<ImsUrl>().unwrap_err();
            assert!(error.contains("https://ims-na1") && !error.contains("topsecret"), "{text}: {error}");
        }
    }

    #[test]
    fn only_http_to_another_host_counts_as_unencrypted() {
        let is_unencrypted = |text: &str| is_unencrypted(&text.parse().unwrap());
        for text in [
            "https://x",
            "http://127.0.0.1:8090/a",
            "http://127.8.9.1",
            "http://localhost",
            "http://sim.localhost",
            "http://[::1]:1",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(!is_unencrypted(text), "{text}");
        }
        for text in [
            "http://x",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://localhost.example.com",
            "http://[2001:db8::1]",
            "http://notlocalhost",
        ] {
            assert!(is_unencrypted(text), "{text}");
        }
    }
}
