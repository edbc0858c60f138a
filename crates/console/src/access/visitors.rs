//! Recognises the visitor of a request.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use secrecy::SecretString;
use tokio::sync::Semaphore;

use super::proxy::{Proxied, ProxySettings};
use super::role::Role;
use super::session::{FormKey, SessionId, Sessions};
use super::user::User;
use super::users_file::UsersFile;

/// How long the answer to a wrong password takes in addition. Attempts wait for each other.
const AFTER_A_WRONG_PASSWORD: Duration = Duration::from_secs(1);
/// How many log-ins wait for each other; others are refused.
const WAITING: usize = 10;

/// How visitors are recognised.
#[derive(Debug)]
enum Method {
    /// Everyone is the same user: only for loopback addresses.
    Everyone,
    /// By a session that began with a password.
    Sessions { users: Mutex<UsersFile>, sessions: Mutex<Sessions> },
    /// By the headers of a proxy.
    Proxy(ProxySettings),
}

/// Recognises visitors.
#[derive(Debug)]
pub(crate) struct Visitors {
    method: Method,
    key: FormKey,
    /// One password is checked at a time, which limits memory and the rate of attempts.
    checking: Semaphore,
    waiting: Semaphore,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Visitor {
    User(User),
    /// Somebody who has to log in.
    Unknown,
    /// Somebody whom the proxy knows, and whose groups have no role.
    NoRole(String),
    /// A request that did not come through the proxy.
    NotFromProxy,
}

/// A request that was admitted, as handlers see it.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) session: SessionId,
    pub(crate) visitor: Visitor,
    /// The token of the page's forms.
    pub(crate) token: String,
}

/// Why a log-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// The name or the password is wrong.
    Wrong,
    /// Too many log-ins wait.
    Busy,
    /// This console has no passwords.
    NotUsed,
}

impl Visitors {
    fn new(method: Method) -> Self {
        Self { method, key: FormKey::random(), checking: Semaphore::new(1), waiting: Semaphore::new(WAITING) }
    }

    /// Everyone who reaches the console is its operator.
    pub(crate) fn everyone() -> Self {
        Self::new(Method::Everyone)
    }

    pub(crate) fn of_file(users: UsersFile) -> Self {
        Self::new(Method::Sessions { users: Mutex::new(users), sessions: Mutex::default() })
    }

    pub(crate) fn of_proxy(settings: ProxySettings) -> Self {
        Self::new(Method::Proxy(settings))
    }

    /// Whether people log in, and can log out.
    pub(crate) fn has_login(&self) -> bool {
        matches!(self.method, Method::Sessions { .. })
    }

    /// The visit that a request is part of.
    pub(crate) fn visit(&self, session: SessionId, headers: &HeaderMap, peer: Option<IpAddr>, now: i64) -> Visit {
        let visitor = match &self.method {
            Method::Everyone => Visitor::User(User { name: "local".to_owned(), role: Role::Operator }),
            Method::Sessions { users, sessions } => {
                let name = sessions.lock().unwrap_or_else(PoisonError::into_inner).name(&session, now);
                let user = name.and_then(|name| {
                    let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
                    users.refresh();
                    users.user(&name)
                });
                user.map_or(Visitor::Unknown, Visitor::User)
            }
            Method::Proxy(settings) => match settings.user(headers, peer) {
                Proxied::User(user) => Visitor::User(user),
                Proxied::NoRole(name) => Visitor::NoRole(name),
                Proxied::NotFromProxy => Visitor::NotFromProxy,
            },
        };
        let token = self.key.token(&session, name(&visitor));
        Visit { session, visitor, token }
    }

    /// Whether a form was made for this visit.
    pub(crate) fn is_token(&self, visit: &Visit, token: &str) -> bool {
        self.key.is_token(&visit.session, name(&visit.visitor), token)
    }

    /// Checks a password. The session of the user is a new one, so that no one can have chosen its id.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(crate) async fn log_in(&self, name: &str, password: SecretString, now: i64) -> Result<SessionId, LoginError> {
        let Method::Sessions { users, sessions } = &self.method else { return Err(LoginError::NotUsed) };
        let _waiting = self.waiting.try_acquire().map_err(|_| LoginError::Busy)?;
        let _checking = self.checking.acquire().await.map_err(|_| LoginError::Busy)?;
        let hash = {
            let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
            users.refresh();
            users.hash(name)
        };
        let is_right = tokio::task::spawn_blocking(move || hash.is_of(&password)).await.unwrap_or(false);
        if !is_right {
            tokio::time::sleep(AFTER_A_WRONG_PASSWORD).await;
            return Err(LoginError::Wrong);
        }
        let id = SessionId::random();
        sessions.lock().unwrap_or_else(PoisonError::into_inner).begin(&id, name, now);
        Ok(id)
    }

    pub(crate) fn log_out(&self, session: &SessionId) {
        if let Method::Sessions { sessions, .. } = &self.method {
            sessions.lock().unwrap_or_else(PoisonError::into_inner).end(session);
        }
    }
}

fn name(visitor: &Visitor) -> Option<&str> {
    match visitor {
        Visitor::User(user) => Some(&user.name),
        Visitor::Unknown | Visitor::NoRole(_) | Visitor::NotFromProxy => None,
    }
}
