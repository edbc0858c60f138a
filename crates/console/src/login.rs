//! Login and logout, for consoles with a users file.

use askama::Template;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::SET_COOKIE;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::{Extension, http::StatusCode};
use serde::Deserialize;

use crate::access::{LoginError, Viewer, Visit, Visitor};
use crate::action_log::Action;
use crate::failure::Failure;
use crate::guard::cookie;
use crate::input::{Form, Query};
use crate::links::path;
use crate::page::{Page, render};
use crate::routes::{By, Routes};
use crate::state::Console;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .public_get("/login", show)
        .public_post("/login", log_in)
        .post("/logout", log_out)
        .public_get("/livez", async || "ok\n")
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    page: Page,
    next: String,
    problem: Option<&'static str>,
}

#[derive(Debug, Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

fn page(visit: &Visit, next: &str, problem: Option<&'static str>) -> Result<Html<String>, Failure> {
    let page = Page { token: visit.token.clone(), ..Page::without_user("Log in") };
    render(&LoginPage { page, next: path(next).to_owned(), problem })
}

async fn show(
    State(console): State<Console>,
    Extension(visit): Extension<Visit>,
    Query(Next { next }): Query<Next>,
) -> Result<Response, Failure> {
    if !console.visitors().has_login() || matches!(visit.visitor, Visitor::User(_)) {
        return Ok(Redirect::to(path(&next)).into_response());
    }
    Ok(page(&visit, &next, None)?.into_response())
}

/// This type does not implement `Debug`, because it contains a password.
#[derive(Deserialize)]
struct Credentials {
    name: String,
    password: String,
    #[serde(default)]
    next: String,
}

async fn log_in(
    State(console): State<Console>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    Form(Credentials { name, password, next }): Form<Credentials>,
) -> Result<Response, Failure> {
    match console.visitors().log_in(&name, password.into(), console.now()).await {
        Ok(session) => {
            console.log().write_name(&name, Action::LogIn, "", None);
            let cookie =
                cookie(&console, &session, &headers).ok_or(Failure::Defect("a cookie could not be written"))?;
            Ok(([(SET_COOKIE, cookie)], Redirect::to(path(&next))).into_response())
        }
        Err(LoginError::Wrong) => {
            console.log().write_name(&name, Action::LogInRefused, "", None);
            let page = page(&visit, &next, Some("The name or the password is wrong."))?;
            Ok((StatusCode::UNAUTHORIZED, page).into_response())
        }
        Err(LoginError::Busy) => {
            let page = page(&visit, &next, Some("Too many people log in at this moment. Try again in some seconds."))?;
            Ok((StatusCode::SERVICE_UNAVAILABLE, page).into_response())
        }
        Err(LoginError::NotUsed) => Err(Failure::NotFound("This console has no passwords.".to_owned())),
    }
}

async fn log_out(by: By<Viewer>, State(console): State<Console>) -> Redirect {
    console.visitors().log_out(&by.visit.session);
    console.log().write(&by.user, Action::LogOut, "", None);
    Redirect::to("/login")
}
