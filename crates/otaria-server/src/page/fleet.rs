//! `/`: all devices, and how many run what.

use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use otaria_wire::messages::Phase;
use serde::Deserialize;

use super::frame::Frame;
use super::page;
use super::words::{Mark, ago, encoded};
use crate::clock::now;
use crate::http::Answer;
use crate::model::Device;
use crate::shared::Shared;
use crate::store::Filter;

/// Devices on one page.
const ROWS: u32 = 100;
/// Versions that are counted.
const VERSIONS: u32 = 5;

#[derive(Template)]
#[template(path = "fleet.html")]
struct Fleet {
    frame: Frame,
    known: u64,
    online: u64,
    versions: Vec<Version>,
    query: String,
    /// What is wrong with the query.
    problem: String,
    rows: Vec<Row>,
    /// Addresses of this page and of others.
    here: String,
    first: String,
    next: Option<String>,
    /// This is not the first page.
    further: bool,
}

/// How many devices run a version.
struct Version {
    product: String,
    version: String,
    devices: u64,
    /// Where they are listed.
    address: String,
}

/// One device.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) presence: Mark,
    pub(super) seen: String,
    pub(super) product: String,
    pub(super) version: String,
    /// The newest job's status.
    pub(super) status: Option<Mark>,
    /// What version is wanted, and why it is not there.
    pub(super) detail: String,
    /// Percent done while something is being done.
    pub(super) percent: Option<u8>,
    pub(super) tags: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    after: Option<String>,
    query: Option<String>,
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    frame: Frame,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Answer<Response> {
    let Query(Asked { after, query }) = asked?;
    let now = now();
    let text = query.unwrap_or_default().trim().to_owned();
    let (query, problem) = match (text.as_str(), text.parse::<crate::query::Query>()) {
        ("", _) => (None, None),
        (_, Ok(query)) => (Some(query), None),
        (_, Err(error)) => (None, Some(error.to_string())),
    };
    let (known, online) = shared.store.device_counts().await?;
    let filter = Filter { group: None, query };
    let devices = shared
        .store
        .devices(&filter, after.as_deref(), ROWS, now)
        .await?;
    let counts = shared.store.version_counts(VERSIONS).await?;
    let at = |after: &str| format!("/?query={}&after={}", encoded(&text), encoded(after));
    page(&Fleet {
        frame: frame.of("Fleet"),
        known,
        online,
        versions: counts
            .into_iter()
            .map(|(product, version, devices)| Version {
                address: format!(
                    "/?query={}",
                    encoded(&format!("product=\"{product}\" and version=\"{version}\""))
                ),
                product,
                version,
                devices,
            })
            .collect(),
        problem: problem.unwrap_or_default(),
        rows: devices
            .items
            .iter()
            .map(|device| Row::new(device, now))
            .collect(),
        here: at(after.as_deref().unwrap_or_default()),
        first: format!("/?query={}", encoded(&text)),
        next: devices.next.as_deref().map(at),
        further: after.is_some_and(|after| !after.is_empty()),
        query: text,
    })
}

impl Row {
    pub(super) fn new(device: &Device, now: i64) -> Self {
        let state = device.state.as_ref();
        let trial = state.is_some_and(|state| state.trial.is_some());
        let version = state.map_or("–", |state| state.version.as_str());
        let status = device
            .assignment
            .as_ref()
            .map(|assignment| Mark::from(assignment.status));
        Self {
            id: device.id.clone(),
            presence: Mark::presence(device.online),
            seen: ago(device.last_seen, now),
            product: state.map_or("–", |state| state.product.as_str()).to_owned(),
            version: if trial {
                format!("{version} (on trial)")
            } else {
                version.to_owned()
            },
            status,
            detail: detail(device),
            percent: percent(device),
            tags: device
                .tags
                .iter()
                .map(|(name, value)| match value.as_str() {
                    "" => name.clone(),
                    value => format!("{name}={value}"),
                })
                .collect(),
        }
    }
}

fn detail(device: &Device) -> String {
    let Some(assignment) = &device.assignment else {
        return String::new();
    };
    let mut parts = vec![format!("to {}", assignment.version)];
    parts.extend(
        assignment
            .reason
            .as_ref()
            .map(|reason| reason.replace('_', " ")),
    );
    parts.extend(assignment.text.clone());
    parts.join(" · ")
}

fn percent(device: &Device) -> Option<u8> {
    let open = device
        .assignment
        .as_ref()
        .is_none_or(|assignment| !assignment.status.is_final());
    let progress = device.progress.as_ref().filter(|_| open)?;
    let busy = match progress.phase {
        Phase::Checking | Phase::Downloading | Phase::Verifying | Phase::Activating => true,
        Phase::Idle | Phase::Rebooting | Phase::Trial | Phase::Unknown => false,
    };
    if !busy || progress.total == 0 {
        return None;
    }
    let percent = u64::from(progress.done) * 100 / u64::from(progress.total);
    u8::try_from(percent.min(100)).ok()
}
