//! Certificates of devices.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::{Paging, newest_first};
use crate::clock::now;
use crate::http::Answer;
use crate::model::{Certificate, CutOff, IssuedCertificate, NewCertificate, Page};
use crate::shared::Shared;

type Shares = State<Arc<Shared>>;

/// Lists the certificates of a device, newest first.
#[utoipa::path(
    get, path = "/devices/{id}/certificates", tag = "devices", operation_id = "list_certificates",
    params(Paging),
    responses((status = OK, body = Page<Certificate>)),
)]
pub(super) async fn list(
    State(shared): Shares,
    Path(device): Path<String>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Certificate>>> {
    let Query(paging) = query?;
    let all = shared.store.certificates(&device).await?;
    let key = |one: &Certificate| newest_first(one.issued_at, &one.serial);
    Ok(Json(paging.cut(all, key)?))
}

/// Issues a certificate for a device.
#[utoipa::path(
    post, path = "/devices/{id}/certificates", tag = "devices", operation_id = "issue_certificate",
    request_body = NewCertificate,
    responses((status = CREATED, body = IssuedCertificate)),
)]
pub(super) async fn issue(
    State(shared): Shares,
    Path(device): Path<String>,
    body: Result<Json<NewCertificate>, JsonRejection>,
) -> Answer<(StatusCode, Json<IssuedCertificate>)> {
    let Json(asked) = body?;
    let issued = shared.certify(&device, &asked, now()).await?;
    Ok((StatusCode::CREATED, Json(issued)))
}

/// Revokes the certificates of a device and cuts it off.
#[utoipa::path(
    delete, path = "/devices/{id}/certificates", tag = "devices", operation_id = "revoke_certificates",
    responses((status = OK, body = CutOff)),
)]
pub(super) async fn revoke(
    State(shared): Shares,
    Path(device): Path<String>,
) -> Answer<Json<CutOff>> {
    Ok(Json(shared.cut_off(&device, now()).await?))
}
