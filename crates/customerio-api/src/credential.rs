//! Customer.io's credentials. No credential is ever printed; an App API key is shown as a fingerprint.

use std::fmt;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// The first characters of every service-account token.
const SERVICE_ACCOUNT_PREFIX: &str = "sa_live_";

/// Replacement for a secret that a text from the API contains.
const REDACTED: &str = "[redacted]";

/// The reason why a credential cannot be used, found before any request is sent. The message never contains the
/// credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The text is blank.
    #[error("{0} is empty; put the credential there as Customer.io showed it")]
    Empty(&'static str),
    /// The text contains a character that cannot be sent in a header.
    #[error(
        "{0} has a character that no credential of Customer.io has, such as a space or a line break; copy it again"
    )]
    Character(&'static str),
    /// The given App API key is a service-account token.
    #[error(
        "CUSTOMERIO_APP_API_KEY holds a service-account token; put it into CUSTOMERIO_SERVICE_ACCOUNT_TOKEN, and an App API key here"
    )]
    IsServiceAccountToken,
    /// The given App API key is a credential of the Track API (site id and key).
    #[error(
        "CUSTOMERIO_APP_API_KEY holds two parts with a colon, as the Track API has them; put an App API key there \
         (in Customer.io: Account settings > API credentials > App API keys)"
    )]
    IsTrackCredential,
    /// The given service-account token does not begin with `sa_live_`.
    #[error("CUSTOMERIO_SERVICE_ACCOUNT_TOKEN does not begin with `sa_live_`; put a service-account token there")]
    NotServiceAccountToken,
}

/// A key of the App API.
#[derive(Clone)]
pub struct AppApiKey(SecretString);

impl AppApiKey {
    /// Accepts the key as Customer.io shows it. White space around the key is ignored.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn new(secret: &SecretString) -> Result<Self, CredentialError> {
        let text = checked(secret, "CUSTOMERIO_APP_API_KEY")?;
        if text.starts_with(SERVICE_ACCOUNT_PREFIX) {
            return Err(CredentialError::IsServiceAccountToken);
        }
        if text.contains(':') {
            return Err(CredentialError::IsTrackCredential);
        }
        Ok(Self(text.into()))
    }

    /// The first 8 hexadecimal digits of the key's SHA-256: enough to distinguish two keys, and too little to guess a
    /// key.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut digest = customerio::sha256_hex([self.0.expose_secret()]);
        digest.truncate(8);
        digest
    }

    pub(crate) fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl fmt::Debug for AppApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppApiKey(fingerprint {})", self.fingerprint())
    }
}

/// A long-lived service-account token, which is exchanged for a short-lived access token.
#[derive(Clone)]
pub struct ServiceAccountToken(SecretString);

impl ServiceAccountToken {
    /// Accepts the token as Customer.io shows it.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn new(secret: &SecretString) -> Result<Self, CredentialError> {
        let text = checked(secret, "CUSTOMERIO_SERVICE_ACCOUNT_TOKEN")?;
        if !text.starts_with(SERVICE_ACCOUNT_PREFIX) {
            return Err(CredentialError::NotServiceAccountToken);
        }
        Ok(Self(text.into()))
    }

    pub(crate) fn secret(&self) -> &SecretString {
        &self.0
    }
}

impl fmt::Debug for ServiceAccountToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceAccountToken([redacted])")
    }
}

/// The credential without white space around it; an error if it cannot be sent in a header.
fn checked<'a>(secret: &'a SecretString, variable: &'static str) -> Result<&'a str, CredentialError> {
    let text = secret.expose_secret().trim();
    if text.is_empty() {
        return Err(CredentialError::Empty(variable));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || HeaderValue::from_str(text).is_err() {
        return Err(CredentialError::Character(variable));
    }
    Ok(text)
}

/// Redacts the secret in a text from the API, because the API may repeat a credential that it received.
pub(crate) fn without_secret(text: &str, secret: &SecretString) -> String {
    match secret.expose_secret() {
        "" => text.to_owned(),
        secret => text.replace(secret, REDACTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_the_wrong_kind_or_form_are_refused() {
        let key = |text: &str| AppApiKey::new(&text.into()).map(|key| key.0.expose_secret().to_owned());
        assert_eq!(key(" 5f3c \n").as_deref(), Ok("5f3c"));
        assert_eq!(key(" \n"), Err(CredentialError::Empty("CUSTOMERIO_APP_API_KEY")));
        assert_eq!(key("top secret"), Err(CredentialError::Character("CUSTOMERIO_APP_API_KEY")));
        assert_eq!(key("topsecrét"), Err(CredentialError::Character("CUSTOMERIO_APP_API_KEY")));
        assert_eq!(key("sa_live_topsecret"), Err(CredentialError::IsServiceAccountToken));
        assert_eq!(key("site:topsecret"), Err(CredentialError::IsTrackCredential));
        let token = |text: &str| ServiceAccountToken::new(&text.into()).map(|_| ());
        assert_eq!(token("sa_live_topsecret"), Ok(()));
        assert_eq!(token("topsecret"), Err(CredentialError::NotServiceAccountToken));
    }

    #[test]
    fn a_key_is_shown_only_as_its_fingerprint() {
        let key = |text: &str| AppApiKey::new(&text.into()).unwrap();
        let (one, other) = (key("topsecret1"), key("topsecret2"));
        assert_eq!(one.fingerprint().len(), 8);
        assert_ne!(one.fingerprint(), other.fingerprint());
        let token = ServiceAccountToken::new(&"sa_live_topsecret".into()).unwrap();
        assert!(!format!("{one:?}{token:?}").contains("topsecret"));
        assert_eq!(without_secret("key topsecret1 is bad", one.secret()), "key [redacted] is bad");
    }
}
