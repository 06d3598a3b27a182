//! Key records: which release keys count for a product.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::Paging;
use crate::clock::now;
use crate::http::Answer;
use crate::model::{KeyEpoch, Page, PublishedKeys};
use crate::shared::Shared;

/// Lists the newest key record of each product.
#[utoipa::path(
    get, path = "/keys", tag = "keys", operation_id = "list_keys",
    params(Paging),
    responses((status = OK, body = Page<KeyEpoch>)),
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<KeyEpoch>>> {
    let Query(paging) = query?;
    let epochs = shared.key_epochs().await?;
    Ok(Json(paging.cut(epochs, |epoch| epoch.product.clone())?))
}

/// Publishes a key record. It goes to every device of its product.
#[utoipa::path(
    put, path = "/keys", tag = "keys", operation_id = "publish_keys",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The record, as `otaria key` wrote it."),
    responses((status = OK, body = PublishedKeys)),
)]
pub(super) async fn publish(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Answer<Json<PublishedKeys>> {
    Ok(Json(shared.publish_keys(&body, now()).await?))
}

/// Forgets the key record of a product. What devices go by stays in force.
#[utoipa::path(
    delete, path = "/keys/{product}", tag = "keys", operation_id = "forget_keys",
    responses((status = NO_CONTENT)),
)]
pub(super) async fn forget(
    State(shared): State<Arc<Shared>>,
    Path(product): Path<String>,
) -> Answer<StatusCode> {
    shared.forget_keys(&product).await?;
    Ok(StatusCode::NO_CONTENT)
}
