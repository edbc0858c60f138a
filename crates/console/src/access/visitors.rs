//! Finds the user who sent a request.

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

/// Delay before the response to a wrong password. Other logins wait during this time.
const AFTER_A_WRONG_PASSWORD: Duration = Duration::from_secs(1);
/// Maximum number of logins that wait for or run a password check; more are refused.
const WAITING: usize = 10;

/// Method of authentication.
#[derive(Debug)]
enum Method {
    /// Every visitor is the same user. The configuration allows this method only on a loopback address.
    Everyone,
    /// Users log in with a password, which starts a session.
    Sessions { users: Mutex<UsersFile>, sessions: Mutex<Sessions> },
    /// An authenticating proxy names the user in headers.
    Proxy(ProxySettings),
}

/// Authenticates requests with one [`Method`].
#[derive(Debug)]
pub(crate) struct Visitors {
    method: Method,
    key: FormKey,
    /// Allows one password check at a time, which limits memory and the rate of attempts.
    checking: Semaphore,
    waiting: Semaphore,
}

/// The sender of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Visitor {
    User(User),
    /// A visitor without a session, who has to log in.
    Unknown,
    /// Name of a user whom the proxy authenticated but whose groups have no role.
    NoRole(String),
    /// The request did not come through the proxy.
    NotFromProxy,
}

/// Session and sender of a request that the guard accepted, for the handlers.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) session: SessionId,
    pub(crate) visitor: Visitor,
    /// Token for the forms of the page.
    pub(crate) token: String,
}

/// Reason of a failed login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginError {
    /// The name or the password is wrong.
    Wrong,
    /// Too many other logins are waiting.
    Busy,
    /// The console does not authenticate with passwords.
    NotUsed,
}

impl Visitors {
    fn new(method: Method) -> Self {
        Self { method, key: FormKey::random(), checking: Semaphore::new(1), waiting: Semaphore::new(WAITING) }
    }

    /// Makes every visitor an operator without a login.
    pub(crate) fn everyone() -> Self {
        Self::new(Method::Everyone)
    }

    pub(crate) fn of_file(users: UsersFile) -> Self {
        Self::new(Method::Sessions { users: Mutex::new(users), sessions: Mutex::default() })
    }

    pub(crate) fn of_proxy(settings: ProxySettings) -> Self {
        Self::new(Method::Proxy(settings))
    }

    /// Returns whether users log in with a password and can log out.
    pub(crate) fn has_login(&self) -> bool {
        matches!(self.method, Method::Sessions { .. })
    }

    /// Returns the session and the sender of a request.
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

    /// Returns whether a form token was issued for the session and user of this visit.
    pub(crate) fn is_token(&self, visit: &Visit, token: &str) -> bool {
        self.key.is_token(&visit.session, name(&visit.visitor), token)
    }

    /// Checks a password and starts a session. The session id is new, so that an attacker cannot have chosen it.
    ///
    /// # Errors
    /// [`LoginError`] if the login is refused.
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
