//! The audit trail.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};

use super::Paging;
use crate::http::Answer;
use crate::model::AuditPage;
use crate::shared::Shared;

/// Lists who changed what, newest first.
#[utoipa::path(
    get, path = "/audit", tag = "access", operation_id = "list_audit",
    params(Paging),
    responses((status = OK, body = AuditPage)),
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<AuditPage>> {
    let Query(paging) = query?;
    let page = shared.store.audit(paging.before()?, paging.limit()?);
    Ok(Json(page.await?))
}
