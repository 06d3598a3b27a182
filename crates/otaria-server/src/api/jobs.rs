//! Jobs: packages on their way to devices.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;

use super::Paging;
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::model::{Assignment, Job, NewJob, Page, Published};
use crate::shared::Shared;

/// Lists jobs, newest first.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs", operation_id = "list_jobs",
    params(Paging),
    responses((status = OK, body = Page<Job>)),
)]
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Job>>> {
    let Query(paging) = query?;
    Ok(Json(
        shared
            .store
            .jobs(paging.cursor.as_deref(), paging.limit()?)
            .await?,
    ))
}

/// A job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", operation_id = "job", responses((status = OK, body = Job)))]
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Answer<Json<Job>> {
    shared
        .store
        .job(&id)
        .await?
        .map(Json)
        .ok_or_else(|| unknown(&id))
}

/// Lists the devices of a job, by id.
#[utoipa::path(
    get, path = "/jobs/{id}/devices", tag = "jobs", operation_id = "list_job_devices",
    params(Paging),
    responses((status = OK, body = Page<Assignment>)),
)]
pub(super) async fn devices(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Assignment>>> {
    let Query(paging) = query?;
    let page = shared
        .store
        .assignments(&id, paging.cursor.as_deref(), paging.limit()?)
        .await?;
    if page.items.is_empty() && shared.store.job(&id).await?.is_none() {
        return Err(unknown(&id));
    }
    Ok(Json(page))
}

/// Brings a package to devices.
#[utoipa::path(
    post, path = "/jobs", tag = "jobs", operation_id = "publish",
    request_body = NewJob,
    responses((status = CREATED, body = Published)),
)]
pub(super) async fn publish(
    State(shared): State<Arc<Shared>>,
    body: Result<Json<NewJob>, JsonRejection>,
) -> Answer<(StatusCode, Json<Published>)> {
    let Json(request) = body?;
    Ok((
        StatusCode::CREATED,
        Json(shared.publish(&request, now()).await?),
    ))
}

fn unknown(id: &str) -> Fault {
    Fault::not_found(format!("there is no job '{id}' here"))
}
