//! Users that a proxy in front of the console has authenticated: oauth2-proxy, Pomerium, Cloudflare Access and others.

use std::net::IpAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, HeaderName};
use secrecy::{ExposeSecret, SecretString};

use super::role::Role;
use super::user::User;

/// Header in which the proxy sends the shared secret.
pub(crate) const SECRET_HEADER: &str = "x-console-secret";
/// Group name that stands for every user.
const EVERYONE: &str = "*";

/// Conditions under which a proxy is trusted, and the headers that it sets.
#[derive(Debug, Clone)]
pub(crate) struct ProxySettings {
    /// Secret that the proxy sends in [`SECRET_HEADER`].
    pub(crate) secret: Option<SecretString>,
    /// IP addresses of the proxy. Without a secret, a request must come from one of them.
    pub(crate) peers: Vec<IpAddr>,
    pub(crate) user_header: HeaderName,
    /// Header with the groups of the user, separated by commas.
    pub(crate) groups_header: HeaderName,
    /// Group names and the role of each group.
    pub(crate) roles: Vec<(String, Role)>,
}

/// User of a request according to its headers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proxied {
    User(User),
    /// Name of a user whose groups have no role.
    NoRole(String),
    /// The request does not come from the proxy or has no valid user name.
    NotFromProxy,
}

impl ProxySettings {
    fn is_trusted(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> bool {
        let has_secret = self.secret.as_ref().is_some_and(|secret| {
            let sent = one(headers, &HeaderName::from_static(SECRET_HEADER)).unwrap_or_default();
            verify_slices_are_equal(secret.expose_secret().as_bytes(), sent.as_bytes()).is_ok()
        });
        let is_listed = peer.is_some_and(|peer| self.peers.contains(&peer.to_canonical()));
        has_secret || (self.secret.is_none() && is_listed)
    }

    pub(super) fn user(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Proxied {
        if !self.is_trusted(headers, peer) {
            return Proxied::NotFromProxy;
        }
        let Some(name) = one(headers, &self.user_header).filter(|name| User::is_name(name)) else {
            return Proxied::NotFromProxy;
        };
        let groups = one(headers, &self.groups_header).unwrap_or_default();
        let groups: Vec<&str> = groups.split(',').map(str::trim).collect();
        let is_in = |group: &str| group == EVERYONE || groups.contains(&group);
        let role = self.roles.iter().filter(|(group, _)| is_in(group)).map(|(_, role)| *role).max();
        match role {
            Some(role) => Proxied::User(User { name: name.to_owned(), role }),
            None => Proxied::NoRole(name.to_owned()),
        }
    }
}

/// Returns the value of a header that occurs exactly once. If a header occurs twice, the client may have sent one of
/// the values, so none is returned.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(secret: Option<&str>) -> ProxySettings {
        ProxySettings {
            secret: secret.map(Into::into),
            peers: vec!["10.0.0.1".parse().unwrap()],
            user_header: HeaderName::from_static("x-forwarded-user"),
            groups_header: HeaderName::from_static("x-forwarded-groups"),
            roles: vec![("staff".to_owned(), Role::Viewer), ("on-call".to_owned(), Role::Operator)],
        }
    }

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn user(role: Role) -> Proxied {
        Proxied::User(User { name: "jo".to_owned(), role })
    }

    #[test]
    fn a_user_gets_the_highest_role_of_their_groups() {
        let peer = Some("::ffff:10.0.0.1".parse().unwrap());
        let of = |groups: &str| {
            settings(None).user(&headers(&[("x-forwarded-user", "jo"), ("x-forwarded-groups", groups)]), peer)
        };
        assert_eq!(of("staff"), user(Role::Viewer));
        assert_eq!(of("staff, on-call"), user(Role::Operator));
        assert_eq!(of("others"), Proxied::NoRole("jo".to_owned()));
        let everyone = ProxySettings { roles: vec![("*".to_owned(), Role::Viewer)], ..settings(None) };
        assert_eq!(everyone.user(&headers(&[("x-forwarded-user", "jo")]), peer), user(Role::Viewer));
    }

    #[test]
    fn user_headers_are_trusted_only_with_the_proxy_secret_or_if_none_is_set_from_a_listed_address() {
        let good = [("x-forwarded-user", "jo"), ("x-forwarded-groups", "staff")];
        let listed: Option<IpAddr> = Some("10.0.0.1".parse().unwrap());
        let other: Option<IpAddr> = Some("10.0.0.2".parse().unwrap());
        for peer in [other, None] {
            assert_eq!(settings(None).user(&headers(&good), peer), Proxied::NotFromProxy);
        }
        let with = |secret: &'static str| [&good[..], &[(SECRET_HEADER, secret)]].concat();
        let secret = settings(Some("topsecret"));
        assert_eq!(secret.user(&headers(&with("topsecret")), other), user(Role::Viewer));
        assert_eq!(secret.user(&headers(&with("topsecre")), listed), Proxied::NotFromProxy);
        assert_eq!(
            secret.user(&headers(&good), listed),
            Proxied::NotFromProxy,
            "a listed address does not replace a configured secret"
        );
    }

    #[test]
    fn a_request_with_a_repeated_or_invalid_user_header_counts_as_not_from_the_proxy() {
        let peer = Some("10.0.0.1".parse().unwrap());
        let twice = [("x-forwarded-user", "jo"), ("x-forwarded-user", "mo"), ("x-forwarded-groups", "staff")];
        assert_eq!(settings(None).user(&headers(&twice), peer), Proxied::NotFromProxy);
        for name in ["", "a b"] {
            assert_eq!(settings(None).user(&headers(&[("x-forwarded-user", name)]), peer), Proxied::NotFromProxy);
        }
    }
}
