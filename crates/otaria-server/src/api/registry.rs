//! Groups, and what is kept of a device's past.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use otaria_wire::topics::DeviceId;

use super::Paging;
use super::devices::known;
use crate::audit::Action;
use crate::clock::now;
use crate::http::{Answer, Fault, IfMatch};
use crate::model::{Group, GroupQuery, Page, Sample, Update};
use crate::shared::Shared;
use crate::store::StoreError;

type Shares = State<Arc<Shared>>;

/// Lists groups, by name.
#[utoipa::path(
    get, path = "/groups", tag = "groups", operation_id = "list_groups",
    params(Paging),
    responses((status = OK, body = Page<Group>)),
)]
pub(super) async fn groups(
    State(shared): Shares,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Group>>> {
    let Query(paging) = query?;
    let groups = shared.store.groups(now()).await?;
    Ok(Json(paging.cut(groups, |group| group.name.clone())?))
}

/// Puts those devices into a group that match a query, now and later.
#[utoipa::path(
    put, path = "/groups/{name}", tag = "groups",
    request_body = GroupQuery,
    responses((status = OK, body = Group)),
)]
pub(super) async fn set_group_query(
    State(shared): Shares,
    Path(name): Path<String>,
    condition: IfMatch,
    body: Result<Json<GroupQuery>, JsonRejection>,
) -> Answer<Json<Group>> {
    let Json(wanted) = body?;
    group_name(&name)?;
    let query: crate::query::Query = wanted.query.parse()?;
    if query.names_groups() {
        return Err(Fault::bad_request(
            "a group's query cannot ask for groups: they could go in circles",
        ));
    }
    let mut tx = shared.store.write().await?;
    if condition.is_given() {
        condition.check(group(&shared, &name).await?.as_ref())?;
    }
    let query = query.to_string();
    tx.set_group_query(&name, &query).await?;
    tx.audit(Action::GroupSet, &name, &query).await?;
    tx.commit().await?;
    let group = group(&shared, &name).await?;
    Ok(Json(group.ok_or(StoreError::Unexpected("group_queries"))?))
}

/// A group.
#[utoipa::path(
    get, path = "/groups/{name}", tag = "groups", operation_id = "group",
    responses((status = OK, body = Group)),
)]
pub(super) async fn one_group(
    State(shared): Shares,
    Path(name): Path<String>,
) -> Answer<Json<Group>> {
    let found = group(&shared, &name).await?;
    let none = || Fault::not_found(format!("there is no group '{name}'"));
    Ok(Json(found.ok_or_else(none)?))
}

async fn group(shared: &Shared, name: &str) -> Answer<Option<Group>> {
    let groups = shared.store.groups(now()).await?;
    Ok(groups.into_iter().find(|group| group.name == name))
}

/// Removes a group. Its devices stay.
#[utoipa::path(delete, path = "/groups/{name}", tag = "groups", responses((status = NO_CONTENT)))]
pub(super) async fn remove_group(
    State(shared): Shares,
    Path(name): Path<String>,
    condition: IfMatch,
) -> Answer<StatusCode> {
    let mut tx = shared.store.write().await?;
    if condition.is_given() {
        condition.check(group(&shared, &name).await?.as_ref())?;
    }
    if !tx.remove_group(&name).await? {
        return Err(Fault::not_found(format!("there is no group '{name}'")));
    }
    tx.audit(Action::GroupRemove, &name, "").await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists what jobs became of on a device, with their steps, newest first.
#[utoipa::path(
    get, path = "/devices/{id}/updates", tag = "devices",
    params(Paging),
    responses((status = OK, body = Page<Update>)),
)]
pub(super) async fn updates(
    State(shared): Shares,
    Path(id): Path<String>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Update>>> {
    let Query(paging) = query?;
    known(&shared, &id).await?;
    let page = shared
        .store
        .updates(&id, paging.cursor.as_deref(), paging.limit()?)
        .await?;
    Ok(Json(page))
}

/// Heap, signal and resets of a device over time, oldest first.
#[utoipa::path(get, path = "/devices/{id}/samples", tag = "devices", params(Paging), responses((status = OK, body = Page<Sample>)))]
pub(super) async fn samples(
    State(shared): Shares,
    Path(id): Path<String>,
    query: Result<Query<Paging>, QueryRejection>,
) -> Answer<Json<Page<Sample>>> {
    let Query(paging) = query?;
    known(&shared, &id).await?;
    let samples = shared.store.samples(&id).await?;
    Ok(Json(paging.cut(samples, |one| format!("{:016x}", one.at))?))
}

pub(super) fn group_name(name: &str) -> Answer<()> {
    DeviceId::new(name)
        .map(drop)
        .map_err(|_| Fault::bad_request("a group's name is 1 to 40 letters, digits, '_' or '-'"))
}
