//! Key records: which release keys count for a product.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::clock::now;
use crate::http::Answer;
use crate::model::{KeyEpoch, PublishedKeys};
use crate::shared::Shared;

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Answer<Json<Vec<KeyEpoch>>> {
    Ok(Json(shared.key_epochs().await?))
}

pub(super) async fn publish(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Answer<Json<PublishedKeys>> {
    Ok(Json(shared.publish_keys(&body, now()).await?))
}

pub(super) async fn forget(
    State(shared): State<Arc<Shared>>,
    Path(product): Path<String>,
) -> Answer<StatusCode> {
    shared.forget_keys(&product).await?;
    Ok(StatusCode::NO_CONTENT)
}
