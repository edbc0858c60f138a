//! Routes and the roles that they require. The first argument of a handler must be [`By`], whose type parameter is the
//! required role; only public routes accept other handlers.

use std::marker::PhantomData;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::routing::{MethodFilter, on};

use crate::access::{RequiredRole, Role, User, Visit, Visitor};
use crate::failure::Failure;
use crate::state::Console;

/// The authenticated user of a request, who has at least the role `R`.
#[derive(Debug)]
pub(crate) struct By<R> {
    pub(crate) user: User,
    pub(crate) visit: Visit,
    role: PhantomData<R>,
}

impl<R: RequiredRole> FromRequestParts<Console> for By<R> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Console) -> Result<Self, Failure> {
        let visit = parts.extensions.get::<Visit>().cloned();
        let visit = visit.ok_or(Failure::Defect("a request was not admitted by the guard"))?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        match visit.visitor.clone() {
            Visitor::User(user) if user.role >= R::ROLE => Ok(Self { user, visit, role: PhantomData }),
            Visitor::User(_) => Err(Failure::RoleNeeded(R::ROLE)),
            Visitor::Unknown => Err(Failure::login_needed(&parts.method, &parts.headers, path)),
            Visitor::NoRole(_) => Err(Failure::NoRole),
            Visitor::NotFromProxy => Err(Failure::NotFromProxy),
        }
    }
}

/// The argument types of a handler, the first of which is [`By`], and the role that the handler requires.
pub(crate) trait NamesRole {
    const ROLE: Role;
}

macro_rules! names_role {
    ($($argument:ident),*) => {
        impl<M, R: RequiredRole, $($argument),*> NamesRole for (M, By<R>, $($argument,)*) {
            const ROLE: Role = R::ROLE;
        }
    };
}

names_role!();
names_role!(A);
names_role!(A, B);
names_role!(A, B, C);
names_role!(A, B, C, D);

/// HTTP method of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
}

/// A route, for the tests that request every route as every role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// The minimum role; `None` for public routes.
    pub(crate) role: Option<Role>,
}

/// Routes with the role that each of them requires.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    router: Router<Console>,
    table: Vec<Route>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a GET route for a page. Its handler must not change anything.
    pub(crate) fn get<T, H>(self, path: &'static str, handler: H) -> Self
    where
        T: NamesRole + 'static,
        H: Handler<T, Console>,
    {
        self.add(Method::Get, path, Some(T::ROLE), handler)
    }

    /// Adds a POST route for an action. The guard has already checked the origin and the form token.
    pub(crate) fn post<T, H>(self, path: &'static str, handler: H) -> Self
    where
        T: NamesRole + 'static,
        H: Handler<T, Console>,
    {
        self.add(Method::Post, path, Some(T::ROLE), handler)
    }

    /// Adds a GET route that does not require a login.
    pub(crate) fn public_get<T: 'static, H: Handler<T, Console>>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::Get, path, None, handler)
    }

    /// Adds a POST route that does not require a login. The guard has already checked the origin and the form token.
    pub(crate) fn public_post<T: 'static, H: Handler<T, Console>>(self, path: &'static str, handler: H) -> Self {
        self.add(Method::Post, path, None, handler)
    }

    fn add<T: 'static, H: Handler<T, Console>>(
        mut self,
        method: Method,
        path: &'static str,
        role: Option<Role>,
        handler: H,
    ) -> Self {
        let filter = match method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
        };
        self.table.push(Route { method, path, role });
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// Adds the routes of another screen.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.table.extend(other.table);
        self.router = self.router.merge(other.router);
        self
    }

    /// Returns all routes, for the tests that request each route as each role.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests read the table"))]
    pub(crate) fn table(&self) -> &[Route] {
        &self.table
    }

    pub(crate) fn into_router(self) -> Router<Console> {
        self.router
    }
}
