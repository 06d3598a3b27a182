//! Devices: what they are, what they reported, what to do with them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use otaria_wire::topics::DeviceId;
use serde::Deserialize;

use super::Paging;
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::model::{
    Cancelled, Device, Group, Groups, NewCommand, Page, ReceivedEvent, ReceivedLine, Sent,
};
use crate::shared::Shared;

/// Groups that a device can be in.
const MAX_GROUPS: usize = 32;

type Shares = State<Arc<Shared>>;
type Asked<T> = Result<Query<T>, QueryRejection>;

#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    group: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(shared): Shares,
    query: Asked<Filter>,
) -> Answer<Json<Page<Device>>> {
    let Query(Filter {
        group,
        after,
        limit,
    }) = query?;
    let limit = Paging { after: None, limit }.limit()?;
    Ok(Json(
        shared
            .store
            .devices(group.as_deref(), after.as_deref(), limit)
            .await?,
    ))
}

pub(super) async fn one(State(shared): Shares, Path(id): Path<String>) -> Answer<Json<Device>> {
    shared
        .store
        .device(&id)
        .await?
        .map(Json)
        .ok_or_else(|| unknown(&id))
}

pub(super) async fn forget(State(shared): Shares, Path(id): Path<String>) -> Answer<StatusCode> {
    shared.forget(&id, now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn groups(State(shared): Shares) -> Answer<Json<Vec<Group>>> {
    Ok(Json(shared.store.groups().await?))
}

pub(super) async fn set_groups(
    State(shared): Shares,
    Path(id): Path<String>,
    body: Result<Json<Groups>, JsonRejection>,
) -> Answer<Json<Groups>> {
    let Json(mut wanted) = body?;
    wanted.groups.sort_unstable();
    wanted.groups.dedup();
    if wanted.groups.len() > MAX_GROUPS {
        return Err(Fault::bad_request(format!(
            "a device can be in {MAX_GROUPS} groups"
        )));
    }
    if wanted
        .groups
        .iter()
        .any(|name| DeviceId::new(name).is_err())
    {
        return Err(Fault::bad_request(
            "a group's name is 1 to 40 letters, digits, '_' or '-'",
        ));
    }
    let mut tx = shared.store.write().await?;
    if !tx.knows(&id).await? {
        return Err(unknown(&id));
    }
    tx.set_groups(&id, &wanted.groups).await?;
    tx.commit().await?;
    Ok(Json(wanted))
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

async fn known(shared: &Shared, id: &str) -> Answer<()> {
    shared
        .store
        .device(id)
        .await?
        .map(|_| ())
        .ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Fault {
    Fault::new(
        StatusCode::NOT_FOUND,
        "no_device",
        "No such device",
        format!("no device '{id}' has reported to this server"),
    )
}
