//! Extractors for queries and forms that show an error page if the input is invalid.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::failure::Failure;
use crate::state::Console;

/// The query of a URL. It must not contain personal data, because URLs are shared and kept in browser histories.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Console> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Failure> {
        let found = axum::extract::Query::<T>::from_request_parts(parts, console).await;
        let axum::extract::Query(found) =
            found.map_err(|_| Failure::Invalid("The part of the address after `?` cannot be used.".to_owned()))?;
        Ok(Self(found))
    }
}

/// The fields of a form that was sent with POST.
#[derive(Debug)]
pub(crate) struct Form<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Console> for Form<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Failure> {
        let found = axum::extract::Form::<T>::from_request(request, console).await;
        let axum::extract::Form(found) =
            found.map_err(|_| Failure::Invalid("A field of the form is missing or cannot be used.".to_owned()))?;
        Ok(Self(found))
    }
}
