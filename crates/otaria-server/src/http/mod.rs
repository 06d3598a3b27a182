//! HTTP: packages for devices, the API, the page.

mod auth;
mod connections;
mod download;
mod etag;
mod guard;
pub(crate) mod idempotency;
mod probe;
mod problem;
mod range;

pub(crate) use auth::{Session, address, cookie};
pub(crate) use connections::serve;
pub(crate) use etag::{IfMatch, tagged};
pub(crate) use idempotency::{IDEMPOTENCY_KEY, takes_key};
pub(crate) use problem::{Answer, Fault, as_problem, chain};

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::shared::Shared;
use crate::{api, metrics, page};

/// The routes for programs, with what the [OpenAPI document](crate::openapi) says of them.
pub(crate) fn for_programs() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(download::package))
        .routes(routes!(probe::alive))
        .routes(routes!(probe::ready))
        .routes(routes!(metrics::scrape))
        .nest("/api/v1", api::router())
}

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::from(for_programs())
        .merge(page::router())
        .fallback(|| async {
            Fault::not_found("there is nothing under this address").into_response()
        })
        .method_not_allowed_fallback(|| async {
            let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
            Fault::new(
                status,
                "method",
                "Method not allowed",
                "this address does not take that method",
            )
            .into_response()
        })
        // The last is the first that a request meets.
        .layer(from_fn_with_state(Arc::clone(&shared), idempotency::once))
        .layer(from_fn_with_state(Arc::clone(&shared), auth::authenticate))
        .layer(from_fn_with_state(Arc::clone(&shared), guard::guard))
        .layer(from_fn(page::problem_as_page))
        .layer(from_fn_with_state(Arc::clone(&shared), auth::headers))
        .layer(from_fn_with_state(Arc::clone(&shared), metrics::count))
        .with_state(shared)
}
