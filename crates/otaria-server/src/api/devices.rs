//! Devices: what they are, what they reported, what to do with them.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::Paging;
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::model::{Cancelled, Device, NewCommand, Page, ReceivedEvent, ReceivedLine, Sent};
use crate::shared::Shared;
use crate::store::Filter;

type Shares = State<Arc<Shared>>;
type Asked<T> = Result<Query<T>, QueryRejection>;

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Listed {
    /// Only those of this group.
    group: Option<String>,
    /// Only those that match this, in the language of docs/ROLLOUTS.md.
    query: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// Entries of a page, at most; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Lists devices, by id.
#[utoipa::path(
    get, path = "/devices", tag = "devices", operation_id = "list_devices",
    params(Listed),
    responses((status = OK, body = Page<Device>)),
)]
pub(super) async fn list(
    State(shared): Shares,
    query: Asked<Listed>,
) -> Answer<Json<Page<Device>>> {
    let Query(Listed {
        group,
        query,
        cursor,
        limit,
    }) = query?;
    let paging = Paging { cursor, limit };
    let query = query.as_deref().map(str::parse).transpose()?;
    Ok(Json(
        shared
            .store
            .devices(
                &Filter { group, query },
                paging.cursor.as_deref(),
                paging.limit()?,
                now(),
            )
            .await?,
    ))
}

/// A device.
#[utoipa::path(
    get, path = "/devices/{id}", tag = "devices", operation_id = "device",
    responses((status = OK, body = Device)),
)]
pub(super) async fn one(State(shared): Shares, Path(id): Path<String>) -> Answer<Json<Device>> {
    shared
        .store
        .device(&id, now())
        .await?
        .map(Json)
        .ok_or_else(|| unknown(&id))
}

/// Forgets a device, with its history. One that still runs comes back by itself.
#[utoipa::path(
    delete, path = "/devices/{id}", tag = "devices", operation_id = "forget_device",
    responses((status = NO_CONTENT)),
)]
pub(super) async fn forget(State(shared): Shares, Path(id): Path<String>) -> Answer<StatusCode> {
    shared.forget(&id, now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the events of a device, newest first.
#[utoipa::path(
    get, path = "/devices/{id}/events", tag = "devices", operation_id = "device_events",
    params(Paging),
    responses((status = OK, body = Page<ReceivedEvent>)),
)]
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

/// Lists the log lines of a device, newest first.
#[utoipa::path(
    get, path = "/devices/{id}/logs", tag = "devices", operation_id = "device_logs",
    params(Paging),
    responses((status = OK, body = Page<ReceivedLine>)),
)]
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

/// Gives the update of a device up.
#[utoipa::path(
    post, path = "/devices/{id}/cancel", tag = "devices", operation_id = "cancel_update",
    responses((status = OK, body = Cancelled)),
)]
pub(super) async fn cancel(
    State(shared): Shares,
    Path(id): Path<String>,
) -> Answer<Json<Cancelled>> {
    Ok(Json(shared.cancel(&id, now()).await?))
}

/// Sends a command to a device.
#[utoipa::path(
    post, path = "/devices/{id}/commands", tag = "devices", operation_id = "send_command",
    request_body = NewCommand,
    responses((status = ACCEPTED, body = Sent)),
)]
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
