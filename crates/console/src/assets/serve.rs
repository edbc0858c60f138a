//! Route of the assets.

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::served;
use crate::failure::Failure;
use crate::routes::Routes;

pub(crate) fn routes() -> Routes {
    Routes::new().public_get("/assets/{name}", serve)
}

async fn serve(Path(name): Path<String>) -> Result<Response, Failure> {
    let asset = served(&name).ok_or_else(|| Failure::NotFound("There is no such file.".to_owned()))?;
    let headers = [(CONTENT_TYPE, asset.content_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.content).into_response())
}
