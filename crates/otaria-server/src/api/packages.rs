//! Packages: upload and look up. Devices get the files under `/packages/`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use otaria_wire::Sha256Digest;

use super::Paging;
use crate::http::{Answer, Fault};
use crate::model::{Package, Page};
use crate::shared::Shared;

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Package>>> {
    let Query(paging) = query?;
    let mut page = shared
        .store
        .packages(paging.after.as_deref(), paging.limit()?)
        .await?;
    for package in &mut page.items {
        package.url = shared.package_url(&package.digest);
    }
    Ok(Json(page))
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Answer<Json<Package>> {
    let none = || Fault::not_found(format!("there is no package '{name}' here"));
    let digest: Sha256Digest = name.parse().map_err(|_| none())?;
    let package = shared.store.package(&digest).await?.ok_or_else(none)?;
    Ok(Json(addressed(package, &shared)))
}

/// 201 for a new package, 200 for one that is here already.
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
    let package = shared
        .packages
        .take(body.into_data_stream(), crate::clock::now_ms())
        .await?;
    let mut tx = shared.store.write().await?;
    let added = tx.add_package(&package).await?;
    tx.commit().await?;
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

fn addressed(mut package: Package, shared: &Shared) -> Package {
    package.url = shared.package_url(&package.digest);
    package
}
