//! What operators say of a device: its groups, tags and note. Each can be read alone, and changed only as it was read
//! (`If-Match`): a device's reports change the device all the time, but none of these.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};

use super::devices::unknown;
use super::registry::group_name;
use crate::audit::Action;
use crate::clock::now;
use crate::http::{Answer, Fault, IfMatch};
use crate::model::{Device, Groups, Note, TagChanges, Tags};
use crate::shared::Shared;
use crate::store::Tx;

/// Groups that a device can be in.
const MAX_GROUPS: usize = 32;
/// Tags that a device can have.
const MAX_TAGS: usize = 32;
/// Longest name of a tag, and longest value, in bytes.
const MAX_TAG: (usize, usize) = (40, 80);
/// Longest note, in bytes.
const MAX_NOTE: usize = 4096;

type Shares = State<Arc<Shared>>;

/// The groups that a device was put into.
#[utoipa::path(
    get, path = "/devices/{id}/groups", tag = "devices", operation_id = "device_groups",
    responses((status = OK, body = Groups)),
)]
pub(super) async fn groups(State(shared): Shares, Path(id): Path<String>) -> Answer<Json<Groups>> {
    Ok(Json(groups_of(&found(&shared, &id).await?)))
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
    condition: IfMatch,
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
    if condition.is_given() {
        condition.check(Some(&groups_of(&found(&shared, &id).await?)))?;
    }
    tx.set_groups(&id, &wanted.groups).await?;
    tx.audit(Action::DeviceGroups, &id, &wanted.groups.join(", "))
        .await?;
    tx.commit().await?;
    Ok(Json(wanted))
}

/// The tags of a device.
#[utoipa::path(
    get, path = "/devices/{id}/tags", tag = "devices", operation_id = "device_tags",
    responses((status = OK, body = Tags)),
)]
pub(super) async fn tags(State(shared): Shares, Path(id): Path<String>) -> Answer<Json<Tags>> {
    Ok(Json(tags_of(found(&shared, &id).await?)))
}

/// Changes tags of a device; what is not named stays.
#[utoipa::path(
    patch, path = "/devices/{id}/tags", tag = "devices",
    request_body = TagChanges,
    responses((status = OK, body = Device)),
)]
pub(super) async fn change_tags(
    State(shared): Shares,
    Path(id): Path<String>,
    condition: IfMatch,
    body: Result<Json<TagChanges>, JsonRejection>,
) -> Answer<Json<Device>> {
    let Json(changes) = body?;
    let mut tx = shared.store.write().await?;
    if condition.is_given() {
        condition.check(Some(&tags_of(found(&shared, &id).await?)))?;
    }
    put_tags(&mut tx, &id, &changes).await?;
    tx.commit().await?;
    Ok(Json(found(&shared, &id).await?))
}

/// The note of a device.
#[utoipa::path(
    get, path = "/devices/{id}/note", tag = "devices", operation_id = "device_note",
    responses((status = OK, body = Note)),
)]
pub(super) async fn note(State(shared): Shares, Path(id): Path<String>) -> Answer<Json<Note>> {
    Ok(Json(note_of(found(&shared, &id).await?)))
}

/// Replaces the note of a device.
#[utoipa::path(
    put, path = "/devices/{id}/note", tag = "devices",
    request_body = Note,
    responses((status = OK, body = Device)),
)]
pub(super) async fn set_note(
    State(shared): Shares,
    Path(id): Path<String>,
    condition: IfMatch,
    body: Result<Json<Note>, JsonRejection>,
) -> Answer<Json<Device>> {
    let Json(Note { note }) = body?;
    let mut tx = shared.store.write().await?;
    if condition.is_given() {
        condition.check(Some(&note_of(found(&shared, &id).await?)))?;
    }
    put_note(&mut tx, &id, &note).await?;
    tx.commit().await?;
    Ok(Json(found(&shared, &id).await?))
}

/// Changes tags in a transaction.
pub(crate) async fn put_tags(tx: &mut Tx, id: &str, changes: &TagChanges) -> Answer<()> {
    for (name, value) in &changes.set {
        tag(name, value)?;
    }
    if !tx.knows(id).await? {
        return Err(unknown(id));
    }
    tx.change_tags(id, changes).await?;
    if tx.tag_count(id).await? > MAX_TAGS {
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
    tx.audit(Action::DeviceTags, id, &detail.join(", ")).await?;
    Ok(())
}

/// Replaces the note in a transaction.
pub(crate) async fn put_note(tx: &mut Tx, id: &str, note: &str) -> Answer<()> {
    if note.len() > MAX_NOTE {
        return Err(Fault::bad_request(format!(
            "a note has at most {MAX_NOTE} bytes"
        )));
    }
    if !tx.knows(id).await? {
        return Err(unknown(id));
    }
    tx.set_device_note(id, note).await?;
    tx.audit(Action::DeviceNote, id, note).await?;
    Ok(())
}

/// A device as it is stored; while a transaction writes, as that has found it.
async fn found(shared: &Shared, id: &str) -> Answer<Device> {
    let device = shared.store.device(id, now()).await?;
    device.ok_or_else(|| unknown(id))
}

fn groups_of(device: &Device) -> Groups {
    Groups {
        groups: device.groups.clone(),
    }
}

fn tags_of(device: Device) -> Tags {
    Tags { tags: device.tags }
}

fn note_of(device: Device) -> Note {
    Note { note: device.note }
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
