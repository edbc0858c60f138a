//! Base address of the control plane.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

use crate::address::base_address;

/// Base address of Platform's APIs, `PLATFORM_API_URL`; paths such as `/data/foundation/…` are appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl(Url);

impl Default for ApiUrl {
    fn default() -> Self {
        Self(Url::parse("https://platform.adobe.io").expect("a constant that a test parses"))
    }
}

impl ApiUrl {
    /// Returns the configured base address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Appends a path with its query to the base address. Returns `None` if the result is not a URL.
    pub(crate) fn join(&self, path: &str) -> Option<Url> {
        format!("{}{path}", self.0.as_str().trim_end_matches('/')).parse().ok()
    }

    /// Whether a URL has the scheme, host and port of the base address, and neither a user name nor a password.
    pub(crate) fn is_same_server(&self, url: &Url) -> bool {
        let server =
            |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
        url.username().is_empty() && url.password().is_none() && server(url) == server(&self.0)
    }

    /// Returns path and query of a URL on this server, without the path of the base address.
    pub(crate) fn path_of(&self, url: &Url) -> String {
        let base = self.0.path().trim_end_matches('/');
        let path = url.path().strip_prefix(base).unwrap_or(url.path());
        match url.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }
}

impl FromStr for ApiUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        base_address(text, "the address of Platform's APIs", "https://platform.adobe.io").map(Self)
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_an_invalid_api_address_does_not_quote_the_address() {
        assert_eq!(ApiUrl::default().url().host_str(), Some("platform.adobe.io"));
        for text in ["ftp://topsecret", "topsecret", "https://me:topsecret@x", "https://x?k=topsecret"] {
            let error = text.parse::<ApiUrl>().unwrap_err();
            assert!(error.contains("https://platform.adobe.io") && !error.contains("topsecret"), "{text}: {error}");
        }
    }

    #[test]
    fn the_path_of_the_base_address_is_added_to_requests_and_removed_from_links() {
        let base: ApiUrl = "https://proxy.example/adobe/".parse().unwrap();
        assert_eq!(base.join("/data/x?a=b").unwrap().as_str(), "https://proxy.example/adobe/data/x?a=b");
        assert_eq!(base.path_of(&"https://proxy.example/adobe/data/x?a=b".parse().unwrap()), "/data/x?a=b");
        assert!(base.is_same_server(&"https://proxy.example:443/y".parse().unwrap()));
        for other in
            ["http://proxy.example/", "https://proxy.example:444/", "https://other/", "https://me@proxy.example/"]
        {
            assert!(!base.is_same_server(&other.parse().unwrap()), "{other}");
        }
    }
}
