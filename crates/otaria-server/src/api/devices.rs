//! Devices: what they are, what they reported, what to do with them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::Paging;
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::model::{Cancelled, Device, NewCommand, Page, ReceivedEvent, ReceivedLine, Sent};
use crate::shared::Shared;
use crate::store::Filter;

type Shares = State<Arc<Shared>>;
type Asked<T> = Result<Query<T>, QueryRejection>;

#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    group: Option<String>,
    query: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(shared): Shares,
    query: Asked<Listed>,
) -> Answer<Json<Page<Device>>> {
    let Query(Listed {
        group,
        query,
        after,
        limit,
    }) = query?;
    let limit = Paging { after: None, limit }.limit()?;
    let query = query.as_deref().map(str::parse).transpose()?;
    Ok(Json(
        shared
            .store
            .devices(&Filter { group, query }, after.as_deref(), limit, now())
            .await?,
    ))
}

pub(super) async fn one(State(shared): Shares, Path(id): Path<String>) -> Answer<Json<Device>> {
    shared
        .store
        .device(&id, now())
        .await?
        .map(Json)
        .ok_or_else(|| unknown(&id))
}

pub(super) async fn forget(State(shared): Shares, Path(id): Path<String>) -> Answer<StatusCode> {
    shared.forget(&id, now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn events(
    State(shared): Shares,
    Path(id): Path<String>,
    query: Asked<Paging>,
) -> Answer<Json<Page<ReceivedEvent>>> {
    let Query(paging) = query?;
    known(&shared, &id).await?;
    Ok(Json(
        shared
            .store
            .events(&id, paging.before()?, paging.limit()?)
            .await?,
    ))
}

pub(super) async fn logs(
    State(shared): Shares,
    Path(id): Path<String>,
    query: Asked<Paging>,
) -> Answer<Json<Page<ReceivedLine>>> {
    let Query(paging) = query?;
    known(&shared, &id).await?;
    Ok(Json(
        shared
            .store
            .log_lines(&id, paging.before()?, paging.limit()?)
            .await?,
    ))
}

pub(super) async fn cancel(
    State(shared): Shares,
    Path(id): Path<String>,
) -> Answer<Json<Cancelled>> {
    Ok(Json(shared.cancel(&id, now()).await?))
}

pub(super) async fn command(
    State(shared): Shares,
    Path(id): Path<String>,
    body: Result<Json<NewCommand>, JsonRejection>,
) -> Answer<(StatusCode, Json<Sent>)> {
    let Json(command) = body?;
    Ok((
        StatusCode::ACCEPTED,
        Json(shared.command(&id, &command, now()).await?),
    ))
}

pub(super) async fn known(shared: &Shared, id: &str) -> Answer<()> {
    shared
        .store
        .device(id, now())
        .await?
        .map(|_| ())
        .ok_or_else(|| unknown(id))
}

pub(super) fn unknown(id: &str) -> Fault {
    Fault::new(
        StatusCode::NOT_FOUND,
        "no_device",
        "No such device",
        format!("no device '{id}' has reported to this server"),
    )
}
