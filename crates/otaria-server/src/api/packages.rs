//! Packages: upload and look up. Devices get the files under `/packages/`.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use futures_util::StreamExt as _;
use otaria_wire::Sha256Digest;

use super::Paging;
use crate::audit::Action;
use crate::http::{Answer, Fault};
use crate::model::{Package, Page};
use crate::shared::Shared;

/// Most that is read of an upload that is refused already.
const DRAIN: usize = 64 * 1024 * 1024;

/// Lists packages, newest first.
#[utoipa::path(
    get, path = "/packages", tag = "packages", operation_id = "list_packages",
    params(Paging),
    responses((status = OK, body = Page<Package>)),
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Package>>> {
    let Query(paging) = query?;
    let mut page = shared
        .store
        .packages(paging.cursor.as_deref(), paging.limit()?)
        .await?;
    for package in &mut page.items {
        package.url = shared.package_url(&package.digest);
    }
    Ok(Json(page))
}

/// A package.
#[utoipa::path(
    get, path = "/packages/{digest}", tag = "packages", operation_id = "package",
    responses((status = OK, body = Package)),
)]
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Answer<Json<Package>> {
    let none = || Fault::not_found(format!("there is no package '{name}' here"));
    let digest: Sha256Digest = name.parse().map_err(|_| none())?;
    let package = shared.store.package(&digest).await?.ok_or_else(none)?;
    Ok(Json(addressed(package, &shared)))
}

/// Uploads a package: 201 for a new one, 200 for one that is here already.
#[utoipa::path(
    post, path = "/packages", tag = "packages", operation_id = "upload_package",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file, as `otaria package` wrote it."),
    responses((status = CREATED, body = Package), (status = OK, body = Package)),
)]
pub(super) async fn upload(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Answer<(StatusCode, Json<Package>)> {
    // A type that no form and no plain link sends, so that no foreign page can upload through a browser.
    if headers
        .get(CONTENT_TYPE)
        .is_none_or(|kind| kind != "application/octet-stream")
    {
        return Err(Fault::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "The request cannot be read",
            "send the package as application/octet-stream",
        ));
    }
    let told = headers
        .get(CONTENT_LENGTH)
        .and_then(|len| len.to_str().ok()?.parse().ok());
    // Who asks first sends nothing after a no. Everybody else reads no answer before all is sent.
    let asks = headers
        .get(EXPECT)
        .is_some_and(|what| what.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let mut body = body.into_data_stream();
    let taken = match shared.packages.admit(told) {
        Ok(()) => {
            shared
                .packages
                .take(&mut body, crate::clock::now_ms())
                .await
        }
        Err(error) if asks => return Err(error.into()),
        Err(error) => Err(error),
    };
    if taken.is_err() {
        drain(body).await;
    }
    let package = taken?;
    let mut tx = shared.store.write().await?;
    let added = tx.add_package(&package).await?;
    let detail = format!(
        "{} {}{}",
        package.product,
        package.version,
        if added { "" } else { ", here already" }
    );
    tx.audit(Action::PackageUpload, &package.digest.to_string(), &detail)
        .await?;
    tx.commit().await?;
    shared.offer_changed.notify_one();
    let package = shared
        .store
        .package(&package.digest)
        .await?
        .unwrap_or(package);
    let status = if added {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(addressed(package, &shared))))
}

/// Reads on for a while, so that the client comes to read why its upload is refused.
async fn drain(mut body: BodyDataStream) {
    let mut rest = DRAIN;
    while let Some(Ok(piece)) = body.next().await {
        rest = rest.saturating_sub(piece.len());
        if rest == 0 {
            return;
        }
    }
}

fn addressed(mut package: Package, shared: &Shared) -> Package {
    package.url = shared.package_url(&package.digest);
    package
}
