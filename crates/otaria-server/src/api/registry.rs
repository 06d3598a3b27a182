//! Tags, notes, groups, and what is kept of a device's past.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use otaria_wire::topics::DeviceId;

use super::Paging;
use super::devices::{known, unknown};
use crate::audit::Action;
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::model::{Device, Group, GroupQuery, Groups, Note, Page, Sample, TagChanges, Update};
use crate::shared::Shared;
use crate::store::StoreError;

/// Groups that a device can be in.
const MAX_GROUPS: usize = 32;
/// Tags that a device can have.
const MAX_TAGS: usize = 32;
/// Longest name of a tag, and longest value, in bytes.
const MAX_TAG: (usize, usize) = (40, 80);
/// Longest note, in bytes.
const MAX_NOTE: usize = 4096;

type Shares = State<Arc<Shared>>;

/// Lists groups, by name.
#[utoipa::path(
    get, path = "/groups", tag = "groups", operation_id = "list_groups",
    responses((status = OK, body = Vec<Group>)),
)]
pub(super) async fn groups(State(shared): Shares) -> Answer<Json<Vec<Group>>> {
    Ok(Json(shared.store.groups(now()).await?))
}

/// Replaces the groups that a device was put into.
#[utoipa::path(
    put, path = "/devices/{id}/groups", tag = "devices",
    request_body = Groups,
    responses((status = OK, body = Groups)),
)]
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
    for name in &wanted.groups {
        group_name(name)?;
    }
    let mut tx = shared.store.write().await?;
    if !tx.knows(&id).await? {
        return Err(unknown(&id));
    }
    tx.set_groups(&id, &wanted.groups).await?;
    tx.audit(Action::DeviceGroups, &id, &wanted.groups.join(", "))
        .await?;
    tx.commit().await?;
    Ok(Json(wanted))
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
    let query = query.to_string();
    tx.set_group_query(&name, &query).await?;
    tx.audit(Action::GroupSet, &name, &query).await?;
    tx.commit().await?;
    let groups = shared.store.groups(now()).await?;
    let group = groups.into_iter().find(|group| group.name == name);
    Ok(Json(group.ok_or(StoreError::Unexpected("group_queries"))?))
}

/// Removes a group. Its devices stay.
#[utoipa::path(delete, path = "/groups/{name}", tag = "groups", responses((status = NO_CONTENT)))]
pub(super) async fn remove_group(
    State(shared): Shares,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    let mut tx = shared.store.write().await?;
    if !tx.remove_group(&name).await? {
        return Err(Fault::not_found(format!("there is no group '{name}'")));
    }
    tx.audit(Action::GroupRemove, &name, "").await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes tags of a device; what is not named stays.
#[utoipa::path(
    patch, path = "/devices/{id}/tags", tag = "devices",
    request_body = TagChanges,
    responses((status = OK, body = Device)),
)]
pub(crate) async fn change_tags(
    State(shared): Shares,
    Path(id): Path<String>,
    body: Result<Json<TagChanges>, JsonRejection>,
) -> Answer<Json<Device>> {
    let Json(changes) = body?;
    for (name, value) in &changes.set {
        tag(name, value)?;
    }
    let mut tx = shared.store.write().await?;
    if !tx.knows(&id).await? {
        return Err(unknown(&id));
    }
    tx.change_tags(&id, &changes).await?;
    if tx.tag_count(&id).await? > MAX_TAGS {
        return Err(Fault::bad_request(format!(
            "a device can have {MAX_TAGS} tags"
        )));
    }
    let set = changes
        .set
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let removed = changes.remove.iter().map(|name| format!("without {name}"));
    let detail: Vec<_> = set.chain(removed).collect();
    tx.audit(Action::DeviceTags, &id, &detail.join(", "))
        .await?;
    tx.commit().await?;
    found(&shared, &id).await
}

/// Replaces the note of a device.
#[utoipa::path(
    put, path = "/devices/{id}/note", tag = "devices",
    request_body = Note,
    responses((status = OK, body = Device)),
)]
pub(crate) async fn set_note(
    State(shared): Shares,
    Path(id): Path<String>,
    body: Result<Json<Note>, JsonRejection>,
) -> Answer<Json<Device>> {
    let Json(Note { note }) = body?;
    if note.len() > MAX_NOTE {
        return Err(Fault::bad_request(format!(
            "a note has at most {MAX_NOTE} bytes"
        )));
    }
    let mut tx = shared.store.write().await?;
    if !tx.knows(&id).await? {
        return Err(unknown(&id));
    }
    tx.set_device_note(&id, &note).await?;
    tx.audit(Action::DeviceNote, &id, &note).await?;
    tx.commit().await?;
    found(&shared, &id).await
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
        .updates(&id, paging.after.as_deref(), paging.limit()?)
        .await?;
    Ok(Json(page))
}

/// Heap, signal and resets of a device over time, oldest first.
#[utoipa::path(get, path = "/devices/{id}/samples", tag = "devices", responses((status = OK, body = Vec<Sample>)))]
pub(super) async fn samples(
    State(shared): Shares,
    Path(id): Path<String>,
) -> Answer<Json<Vec<Sample>>> {
    known(&shared, &id).await?;
    Ok(Json(shared.store.samples(&id).await?))
}

async fn found(shared: &Shared, id: &str) -> Answer<Json<Device>> {
    let device = shared.store.device(id, now()).await?;
    device.map(Json).ok_or_else(|| unknown(id))
}

fn group_name(name: &str) -> Answer<()> {
    DeviceId::new(name)
        .map(drop)
        .map_err(|_| Fault::bad_request("a group's name is 1 to 40 letters, digits, '_' or '-'"))
}

/// What a query can name without quotes, and a list can hold.
fn tag(name: &str, value: &str) -> Answer<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > MAX_TAG.0 || !name.chars().all(plain) {
        return Err(Fault::bad_request(format!(
            "a tag's name is 1 to {} letters, digits, '_', '-' or '.'",
            MAX_TAG.0
        )));
    }
    if value.len() > MAX_TAG.1 || value.contains(|c: char| c.is_control() || c == ',') {
        return Err(Fault::bad_request(format!(
            "the value of tag '{name}' is at most {} bytes, without commas and line ends",
            MAX_TAG.1
        )));
    }
    Ok(())
}
