//! For whatever watches over the server: whether it lives, and whether it can do its work.
//!
//! Open to everybody, with log-in or without: an orchestrator has no token, and all that is told is a word for each part.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::shared::Shared;
use crate::store::StoreError;

/// How long the database, or the directory of packages, may take: a probe waits about that long itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process answers. That says nothing of the parts that it needs: a restart would not bring a broker back.
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = OK, body = String)))]
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// 200 if the database takes a write, the broker is connected and packages can be had, else 503 with the part that fails.
#[utoipa::path(
    get, path = "/readyz", tag = "server",
    responses((status = OK, body = Object), (status = SERVICE_UNAVAILABLE, body = Object)),
)]
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Value>) {
    let writes = matches!(
        tokio::time::timeout(PATIENCE, writes(&shared)).await,
        Ok(Ok(()))
    );
    let connected = *shared.broker_connected.borrow();
    let packages = tokio::time::timeout(PATIENCE, shared.packages.is_ready()).await;
    let packages = packages == Ok(true);
    let ready = writes && connected && packages;
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body =
        json!({"ready": ready, "database": writes, "broker": connected, "packages": packages});
    (status, Json(body))
}

/// Writes, and takes it back: nothing of it comes to the disk.
async fn writes(shared: &Shared) -> Result<(), StoreError> {
    let mut tx = shared.store.write().await?;
    tx.set_note("probe", Some("")).await
}
