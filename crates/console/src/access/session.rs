//! Sessions: random cookies, and the names of the users who logged in.

use std::collections::HashMap;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::{digest, hmac};

/// Time after which a session without requests expires, in milliseconds.
const IDLE: i64 = 8 * 60 * 60 * 1000;
/// Maximum lifetime of a session, in milliseconds.
const LONGEST: i64 = 24 * 60 * 60 * 1000;
/// Maximum number of logged-in sessions. At the limit, a login ends the session that was idle longest.
const MOST: usize = 1000;

/// The value of the session cookie.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SessionId(String);

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId")
    }
}

impl SessionId {
    pub(crate) fn random() -> Self {
        Self(hex(&random::<32>()))
    }

    /// Returns the session id of a cookie value; `None` unless it is 64 lower-case hexadecimal digits.
    pub(crate) fn of_cookie(text: &str) -> Option<Self> {
        let is_hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_hex.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the hash under which the server keeps the session. The cookie cannot be computed from the hash.
    fn hash(&self) -> [u8; 32] {
        let hash = digest::digest(&digest::SHA256, self.0.as_bytes());
        hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Returns random bytes from the operating system.
///
/// # Panics
/// If the operating system provides no random bytes, which is not expected once it has started.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key that signs form tokens. It is generated at each start.
#[derive(Debug)]
pub(super) struct FormKey(hmac::Key);

impl FormKey {
    pub(super) fn random() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()))
    }

    fn text(session: &SessionId, user: Option<&str>) -> String {
        format!("{} {}", session.0, user.unwrap_or_default())
    }

    /// Returns the token for all forms of this user in this session. Another site can neither read nor compute the
    /// token.
    pub(super) fn token(&self, session: &SessionId, user: Option<&str>) -> String {
        hex(hmac::sign(&self.0, Self::text(session, user).as_bytes()).as_ref())
    }

    pub(super) fn is_token(&self, session: &SessionId, user: Option<&str>, token: &str) -> bool {
        let bytes: Option<Vec<u8>> = (token.len() == 64 && token.is_ascii())
            .then(|| (0..64).step_by(2).map(|at| u8::from_str_radix(&token[at..at + 2], 16).ok()).collect())
            .flatten();
        bytes.is_some_and(|tag| hmac::verify(&self.0, Self::text(session, user).as_bytes(), &tag).is_ok())
    }
}

#[derive(Debug)]
struct LoggedIn {
    name: String,
    since: i64,
    last: i64,
}

/// Sessions of the users who logged in, by the hash of the session id.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<[u8; 32], LoggedIn>);

impl Sessions {
    /// Starts a session for a user who logged in. `now` is in milliseconds since 1970.
    pub(super) fn begin(&mut self, id: &SessionId, name: &str, now: i64) {
        self.0.retain(|_, session| is_alive(session, now));
        if self.0.len() >= MOST
            && let Some(idle) = self.0.iter().min_by_key(|(_, session)| session.last).map(|(id, _)| *id)
        {
            self.0.remove(&idle);
        }
        self.0.insert(id.hash(), LoggedIn { name: name.to_owned(), since: now, last: now });
    }

    /// Returns the name of the session's user and restarts the idle time of the session; `None` if the session is
    /// unknown or has expired.
    pub(super) fn name(&mut self, id: &SessionId, now: i64) -> Option<String> {
        let session = self.0.get_mut(&id.hash()).filter(|session| is_alive(session, now))?;
        session.last = now;
        Some(session.name.clone())
    }

    pub(super) fn end(&mut self, id: &SessionId) {
        self.0.remove(&id.hash());
    }
}

fn is_alive(session: &LoggedIn, now: i64) -> bool {
    now - session.last < IDLE && now - session.since < LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_after_8_idle_hours_after_24_hours_or_at_logout() {
        let (mut sessions, id) = (Sessions::default(), SessionId::random());
        sessions.begin(&id, "jo", 0);
        assert_eq!(sessions.name(&id, IDLE - 1).as_deref(), Some("jo"));
        assert_eq!(sessions.name(&id, 2 * IDLE - 2).as_deref(), Some("jo"), "each request restarts the idle time");
        assert_eq!(sessions.name(&id, 3 * IDLE - 2), None);
        sessions.begin(&id, "jo", 0);
        for hour in 0..24 {
            assert!(sessions.name(&id, hour * 3_600_000).is_some(), "{hour}");
        }
        assert_eq!(sessions.name(&id, LONGEST), None, "a session in constant use ends as well");
        sessions.begin(&id, "jo", 0);
        sessions.end(&id);
        assert_eq!(sessions.name(&id, 1), None);
    }

    #[test]
    fn a_login_over_the_limit_ends_the_session_that_was_idle_longest() {
        let mut sessions = Sessions::default();
        let ids: Vec<SessionId> = (0..=MOST).map(|_| SessionId::random()).collect();
        for (at, id) in (0..).zip(&ids) {
            sessions.begin(id, "jo", at);
        }
        assert_eq!((sessions.0.len(), sessions.name(&ids[0], 2000)), (MOST, None));
        assert!(sessions.name(&ids[1], 2000).is_some());
    }

    #[test]
    fn a_form_token_is_valid_only_for_its_session_user_and_key() {
        let (key, id) = (FormKey::random(), SessionId::random());
        let token = key.token(&id, Some("jo"));
        assert!(key.is_token(&id, Some("jo"), &token));
        for (session, user) in [(SessionId::random(), Some("jo")), (id.clone(), Some("mo")), (id.clone(), None)] {
            assert!(!key.is_token(&session, user, &token));
        }
        assert!(!FormKey::random().is_token(&id, Some("jo"), &token));
        for text in ["", "0", &"0".repeat(64), &"ä".repeat(32), &"x".repeat(64)] {
            assert!(!key.is_token(&id, Some("jo"), text), "{text}");
        }
    }

    #[test]
    fn a_cookie_that_is_not_64_lowercase_hex_digits_is_ignored() {
        assert!(SessionId::of_cookie(SessionId::random().as_str()).is_some());
        for text in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"a".repeat(65)] {
            assert!(SessionId::of_cookie(text).is_none(), "{text}");
        }
    }
}
