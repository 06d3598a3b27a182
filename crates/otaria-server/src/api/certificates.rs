//! Certificates of devices.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::clock::now;
use crate::http::Answer;
use crate::model::{Certificate, CutOff, IssuedCertificate, NewCertificate};
use crate::shared::Shared;

type Shares = State<Arc<Shared>>;

pub(super) async fn list(
    State(shared): Shares,
    Path(device): Path<String>,
) -> Answer<Json<Vec<Certificate>>> {
    Ok(Json(shared.store.certificates(&device).await?))
}

pub(super) async fn issue(
    State(shared): Shares,
    Path(device): Path<String>,
    body: Result<Json<NewCertificate>, JsonRejection>,
) -> Answer<(StatusCode, Json<IssuedCertificate>)> {
    let Json(asked) = body?;
    let issued = shared.certify(&device, &asked, now()).await?;
    Ok((StatusCode::CREATED, Json(issued)))
}

pub(super) async fn revoke(
    State(shared): Shares,
    Path(device): Path<String>,
) -> Answer<Json<CutOff>> {
    Ok(Json(shared.cut_off(&device, now()).await?))
}
