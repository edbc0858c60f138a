//! Base addresses of Customer.io's APIs: one host per API and region, or one configured address that replaces all of
//! them.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

/// The region of a Customer.io account. A key of one region is refused by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Region {
    /// United States.
    Us,
    /// European Union.
    Eu,
}

impl Region {
    /// Both regions.
    pub const ALL: &'static [Self] = &[Self::Us, Self::Eu];

    /// The region's value in `CUSTOMERIO_REGION`: `us` or `eu`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Eu => "eu",
        }
    }

    /// Returns the other of the two regions.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Us => Self::Eu,
            Self::Eu => Self::Us,
        }
    }

    fn host(self, api: Api) -> &'static str {
        match (api, self) {
            (Api::App, Self::Us) => "https://api.customer.io",
            (Api::App, Self::Eu) => "https://api-eu.customer.io",
            (Api::ServiceAccount, Self::Us) => "https://us.fly.customer.io",
            (Api::ServiceAccount, Self::Eu) => "https://eu.fly.customer.io",
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Region {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |region: &&Self| region.as_str().eq_ignore_ascii_case(text.trim());
        Self::ALL.iter().find(named).copied().ok_or(AddressError::Region)
    }
}

/// One of the two Customer.io APIs that this crate calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// The documented App API.
    App,
    /// The API behind Customer.io's web interface. It accepts service-account tokens.
    ServiceAccount,
}

/// Policy for addresses with the scheme `http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnencryptedHttp {
    /// Only loopback addresses may use http.
    LoopbackOnly,
    /// Any address may use http. Intended for trials.
    Allowed,
}

/// The reason why an address is refused. The message does not contain the given text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The text is neither `us` nor `eu`.
    #[error("this is not a region of Customer.io; set CUSTOMERIO_REGION to `us` or `eu`")]
    Region,
    /// The text is not the address of an HTTP server.
    #[error(
        "CUSTOMERIO_API_URL is not an address that begins with https:// and a host; leave it empty to use the region's address"
    )]
    NotHttp,
    /// A user name or password is part of the address.
    #[error("CUSTOMERIO_API_URL has a user name or password; remove it, the key belongs in CUSTOMERIO_APP_API_KEY")]
    Credentials,
    /// The address has a query or a fragment.
    #[error("CUSTOMERIO_API_URL has a query; remove everything from `?` or `#` on")]
    Query,
    /// The address uses http, so the key would cross a network unencrypted.
    #[error(
        "CUSTOMERIO_API_URL would send the key unencrypted over a network; use https, or set PLATFORM_ALLOW_HTTP=true for a trial"
    )]
    Unencrypted,
}

/// The address that requests are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiAddress {
    region: Region,
    replaced_by: Option<Url>,
}

impl ApiAddress {
    /// The public address of a region's APIs.
    #[must_use]
    pub fn of(region: Region) -> Self {
        Self { region, replaced_by: None }
    }

    /// One address that replaces Customer.io's own for every API and region (`CUSTOMERIO_API_URL`). Request paths are
    /// appended to the path of this address.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn replaced(region: Region, by: &str, http: UnencryptedHttp) -> Result<Self, AddressError> {
        let url: Url = by.parse().map_err(|_| AddressError::NotHttp)?;
        let host = url.host_str().filter(|_| matches!(url.scheme(), "https" | "http")).ok_or(AddressError::NotHttp)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(AddressError::Query);
        }
        if url.scheme() == "http" && http == UnencryptedHttp::LoopbackOnly && !settings::is_loopback_host(host) {
            return Err(AddressError::Unencrypted);
        }
        Ok(Self { region, replaced_by: Some(url) })
    }

    /// The configured region.
    #[must_use]
    pub fn region(&self) -> Region {
        self.region
    }

    /// Returns true if a configured address replaces Customer.io's own addresses.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced_by.is_some()
    }

    /// The address of the other region; `None` if `CUSTOMERIO_API_URL` replaces the addresses of both regions.
    #[must_use]
    pub fn other_region(&self) -> Option<Self> {
        (!self.is_replaced()).then(|| Self::of(self.region.other()))
    }

    /// The full URL of a path below the API's base address.
    pub(crate) fn join(&self, api: Api, path: &str) -> String {
        let base = self.replaced_by.as_ref().map_or(self.region.host(api), Url::as_str);
        format!("{}{path}", base.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/v1/workspaces";

    #[test]
    fn each_region_has_one_host_per_api() {
        let us = ApiAddress::of(Region::Us);
        let eu = us.other_region().unwrap();
        assert_eq!(us.join(Api::App, PATH), "https://api.customer.io/v1/workspaces");
        assert_eq!(eu.join(Api::App, PATH), "https://api-eu.customer.io/v1/workspaces");
        assert_eq!(us.join(Api::ServiceAccount, PATH), "https://us.fly.customer.io/v1/workspaces");
        assert_eq!(eu.join(Api::ServiceAccount, PATH), "https://eu.fly.customer.io/v1/workspaces");
        assert_eq!(" EU ".parse::<Region>(), Ok(Region::Eu));
        assert!("topsecret".parse::<Region>().unwrap_err().to_string().contains("`us` or `eu`"));
    }

    #[test]
    fn a_configured_address_with_a_path_is_the_prefix_of_both_apis() {
        let address =
            ApiAddress::replaced(Region::Us, "http://127.0.0.1:8090/customerio/", UnencryptedHttp::LoopbackOnly)
                .unwrap();
        for api in [Api::App, Api::ServiceAccount] {
            assert_eq!(address.join(api, PATH), "http://127.0.0.1:8090/customerio/v1/workspaces");
        }
        assert!(address.is_replaced() && address.other_region().is_none());
    }

    #[test]
    fn the_error_for_an_invalid_address_does_not_contain_the_address() {
        for (text, expected) in [
            ("topsecret", AddressError::NotHttp),
            ("ftp://topsecret", AddressError::NotHttp),
            ("data:topsecret", AddressError::NotHttp),
            ("https://me:topsecret@x", AddressError::Credentials),
            ("https://topsecret@x", AddressError::Credentials),
            ("https://x?k=topsecret", AddressError::Query),
            ("https://x#topsecret", AddressError::Query),
        ] {
            let error = ApiAddress::replaced(Region::Us, text, UnencryptedHttp::Allowed).unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("topsecret") && error.to_string().contains("CUSTOMERIO_API_URL"));
        }
    }

    #[test]
    fn http_is_refused_for_non_loopback_hosts_unless_allowed() {
        let replaced = |text, http| ApiAddress::replaced(Region::Us, text, http);
        for text in ["http://127.0.0.1:8090", "http://sim.localhost", "http://[::1]:1", "https://proxy.example.com"] {
            assert!(replaced(text, UnencryptedHttp::LoopbackOnly).is_ok(), "{text}");
        }
        for text in ["http://10.0.0.1", "http://localhost.example.com", "http://platform-sim:8090"] {
            assert_eq!(replaced(text, UnencryptedHttp::LoopbackOnly), Err(AddressError::Unencrypted), "{text}");
            assert!(replaced(text, UnencryptedHttp::Allowed).is_ok(), "{text}");
        }
    }
}
