//! `/keys`: which release keys count for a product, which devices go by them, and other ones by a record that a root key signed.
//! Signed records come as files: the server holds no private key.

use std::sync::Arc;

use askama::Template;
use axum::extract::multipart::{MultipartError, MultipartRejection};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Multipart, Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::form::see;
use super::frame::Frame;
use super::page;
use super::words::{Mark, ago, complaint, encoded, moment};
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::keys::KeysError;
use crate::model::KeyEpoch;
use crate::shared::Shared;
use crate::store::KeyFollower;

/// Devices on one page.
const DEVICES: u32 = 100;

type Shares = State<Arc<Shared>>;

#[derive(Template)]
#[template(path = "keys.html")]
struct Keys {
    frame: Frame,
    rows: Vec<KeyEpoch>,
    problem: String,
}

#[derive(Template)]
#[template(path = "key_record.html")]
struct KeyRecordPage {
    frame: Frame,
    record: KeyEpoch,
    uploaded: String,
    /// The page's own address.
    here: String,
    behind: bool,
    devices: Vec<Follower>,
    next: Option<String>,
}

struct Follower {
    device: String,
    presence: Mark,
    /// The epoch that it goes by.
    keys: Mark,
    told: &'static str,
    seen: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Listed {
    after: Option<String>,
    /// Only devices that do not go by the newest record.
    behind: Option<String>,
}

pub(super) async fn list(State(shared): Shares, frame: Frame) -> Answer<Response> {
    form(&shared, frame, String::new()).await
}

async fn form(shared: &Shared, frame: Frame, problem: String) -> Answer<Response> {
    page(&Keys {
        frame: frame.of("Keys"),
        rows: shared.key_epochs().await?,
        problem,
    })
}

pub(super) async fn publish(
    State(shared): Shares,
    frame: Frame,
    given: Result<Multipart, MultipartRejection>,
) -> Answer<Response> {
    let published = async {
        let record = record(given?).await?;
        Ok::<_, Fault>(shared.publish_keys(&record, now()).await?)
    };
    match published.await {
        Ok(published) => Ok(see(&address(&published.epoch.product))),
        Err(fault) => {
            let again = form(&shared, frame, complaint(&fault)).await?;
            Ok((fault.status(), again).into_response())
        }
    }
}

/// The file in the form.
async fn record(mut form: Multipart) -> Answer<Vec<u8>> {
    while let Some(field) = form.next_field().await? {
        if field.name() == Some("record") {
            return Ok(field.bytes().await?.to_vec());
        }
    }
    Err(Fault::bad_request("choose the file of a key record"))
}

pub(super) async fn show(
    State(shared): Shares,
    frame: Frame,
    Path(product): Path<String>,
    asked: Result<Query<Listed>, QueryRejection>,
) -> Answer<Response> {
    let Query(Listed { after, behind }) = asked?;
    let behind = behind.is_some();
    let now = now();
    let epochs = shared.key_epochs().await?;
    let record = epochs.into_iter().find(|epoch| epoch.product == product);
    let record = record.ok_or_else(|| KeysError::NoProduct(product.clone()))?;
    let followers = shared
        .store
        .key_followers((&product, record.epoch), behind, after.as_deref(), DEVICES)
        .await?;
    let here = address(&product);
    let only = if behind { "behind=yes&" } else { "" };
    let follower = |one: KeyFollower| follower(one, record.epoch, now);
    page(&KeyRecordPage {
        frame: frame.of("Keys"),
        uploaded: moment(record.uploaded_at),
        devices: followers.items.into_iter().map(follower).collect(),
        next: followers
            .next
            .map(|after| format!("{here}?{only}after={}", encoded(&after))),
        here,
        behind,
        record,
    })
}

fn follower(one: KeyFollower, newest: u32, now: i64) -> Follower {
    let (word, tone) = match one.epoch {
        0 => ("no record".to_owned(), "warn"),
        epoch if epoch == newest => (format!("epoch {epoch}"), "good"),
        epoch => (format!("epoch {epoch}"), "warn"),
    };
    Follower {
        device: one.device,
        presence: Mark::presence(one.online),
        keys: Mark { word, tone },
        told: if one.told { "yes" } else { "no" },
        seen: ago(one.last_seen, now),
    }
}

pub(super) async fn forget(State(shared): Shares, Path(product): Path<String>) -> Answer<Response> {
    shared.forget_keys(&product).await?;
    Ok(see("/keys"))
}

/// The page of a product's record. A product's name is any text.
fn address(product: &str) -> String {
    format!("/keys/{}", encoded(product))
}

impl From<MultipartRejection> for Fault {
    fn from(error: MultipartRejection) -> Self {
        Self::bad_request(error.body_text())
    }
}

impl From<MultipartError> for Fault {
    fn from(error: MultipartError) -> Self {
        Self::refused(error.status(), error.body_text())
    }
}
