//! `/packages`: what the server holds.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;

use super::frame::Frame;
use super::page;
use super::words::{ago, bytes, moment};
use crate::clock::now;
use crate::http::Answer;
use crate::model::Package;
use crate::shared::Shared;

/// Packages on one page.
const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "packages.html")]
struct Packages {
    frame: Frame,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    product: String,
    version: String,
    chip: String,
    size: String,
    uploaded: String,
    facts: Vec<(&'static str, String)>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Listed {
    after: Option<String>,
}

pub(super) async fn packages(
    State(shared): State<Arc<Shared>>,
    frame: Frame,
    asked: Result<Query<Listed>, QueryRejection>,
) -> Answer<Response> {
    let Query(Listed { after }) = asked?;
    let now = now();
    let packages = shared.store.packages(after.as_deref(), ROWS).await?;
    let rows = packages.items.into_iter();
    page(&Packages {
        frame: frame.of("Packages"),
        rows: rows.map(|package| row(package, now)).collect(),
        next: packages.next,
    })
}

fn row(package: Package, now: i64) -> Row {
    let encrypted = match package.recipients {
        0 => "not encrypted".to_owned(),
        1 => "to one key".to_owned(),
        many => format!("to {many} keys"),
    };
    Row {
        facts: vec![
            ("File", package.digest.to_string()),
            ("Image", package.image_sha256.to_string()),
            ("Image size", bytes(u64::from(package.image_len))),
            ("Sequence", package.sequence.to_string()),
            ("Security version", package.security_version.to_string()),
            ("Names as its key", package.key_id),
            ("Encryption", encrypted),
            ("Made", moment(package.created)),
        ],
        product: package.product,
        version: package.version,
        chip: package.chip,
        size: bytes(package.size),
        uploaded: ago(Some(package.uploaded_at), now),
    }
}
