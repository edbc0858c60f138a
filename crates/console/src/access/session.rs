//! Sessions: a random cookie, and for people who logged in, who they are.

use std::collections::HashMap;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::{digest, hmac};

/// How long a session lasts without a request, in milliseconds.
const IDLE: i64 = 8 * 60 * 60 * 1000;
/// How long a session lasts at most.
const LONGEST: i64 = 24 * 60 * 60 * 1000;
/// How many people can be logged in. The session that was idle for longest makes room.
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
    /// A new one.
    pub(crate) fn random() -> Self {
        Self(hex(&random::<32>()))
    }

    /// The one of a cookie, if it has the right form.
    pub(crate) fn of_cookie(text: &str) -> Option<Self> {
        let is_hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        is_hex.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What the server keeps: someone who reads its memory gets no cookie.
    fn hash(&self) -> [u8; 32] {
        let hash = digest::digest(&digest::SHA256, self.0.as_bytes());
        hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Random bytes of the operating system.
///
/// # Panics
/// If the operating system has none, which is not expected after it has started.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key of form tokens; another one after each start.
#[derive(Debug)]
pub(super) struct FormKey(hmac::Key);

impl FormKey {
    pub(super) fn random() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()))
    }

    fn text(session: &SessionId, user: Option<&str>) -> String {
        format!("{} {}", session.0, user.unwrap_or_default())
    }

    /// The token of all forms of this user in this session. Another site can neither read nor compute it.
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

/// The people who logged in.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<[u8; 32], LoggedIn>);

impl Sessions {
    /// Somebody logged in; times are in milliseconds since 1970.
    pub(super) fn begin(&mut self, id: &SessionId, name: &str, now: i64) {
        self.0.retain(|_, session| is_alive(session, now));
        if self.0.len() >= MOST
            && let Some(idle) = self.0.iter().min_by_key(|(_, session)| session.last).map(|(id, _)| *id)
        {
            self.0.remove(&idle);
        }
        self.0.insert(id.hash(), LoggedIn { name: name.to_owned(), since: now, last: now });
    }

    /// The name of who logged in with this session, if it has not expired.
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
    fn a_session_ends_after_idle_time_after_a_day_and_at_logout() {
        let (mut sessions, id) = (Sessions::default(), SessionId::random());
        sessions.begin(&id, "jo", 0);
        assert_eq!(sessions.name(&id, IDLE - 1).as_deref(), Some("jo"));
        assert_eq!(sessions.name(&id, 2 * IDLE - 2).as_deref(), Some("jo"), "each request prolongs it");
        assert_eq!(sessions.name(&id, 3 * IDLE - 2), None);
        sessions.begin(&id, "jo", 0);
        for hour in 0..24 {
            assert!(sessions.name(&id, hour * 3_600_000).is_some(), "{hour}");
        }
        assert_eq!(sessions.name(&id, LONGEST), None, "also one that is used all the time");
        sessions.begin(&id, "jo", 0);
        sessions.end(&id);
        assert_eq!(sessions.name(&id, 1), None);
    }

    #[test]
    fn only_a_limited_number_of_people_are_logged_in() {
        let mut sessions = Sessions::default();
        let ids: Vec<SessionId> = (0..=MOST).map(|_| SessionId::random()).collect();
        for (at, id) in (0..).zip(&ids) {
            sessions.begin(id, "jo", at);
        }
        assert_eq!((sessions.0.len(), sessions.name(&ids[0], 2000)), (MOST, None));
        assert!(sessions.name(&ids[1], 2000).is_some());
    }

    #[test]
    fn a_token_belongs_to_one_session_and_one_user() {
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
    fn a_cookie_of_another_form_is_no_session() {
        assert!(SessionId::of_cookie(SessionId::random().as_str()).is_some());
        for text in ["", "abc", &"g".repeat(64), &"A".repeat(64), &"a".repeat(65)] {
            assert!(SessionId::of_cookie(text).is_none(), "{text}");
        }
    }
}
