//! `/devices/{id}`: one device, and what can be done with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::response::Response;
use otaria_wire::Sha256Digest;
use otaria_wire::messages::CommandKind;
use serde::Deserialize;

use super::fleet::Row;
use super::form::see;
use super::frame::Frame;
use super::page;
use super::words::{Mark, ago, bytes, moment, name, span};
use crate::api::labels;
use crate::clock::now;
use crate::http::{Answer, Fault};
use crate::model::{Device, NewCommand, NewJob, Sample, TagChanges, Target};
use crate::shared::Shared;
use crate::wishes::WishError;

/// Log lines, updates and packages that are shown.
const LINES: u32 = 100;
const UPDATES: u32 = 10;
const PACKAGES: u32 = 200;
/// Lines that a device is asked for.
const FETCHED: u16 = 50;

type Shares = State<Arc<Shared>>;
type Given<T> = Result<Form<T>, FormRejection>;

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    frame: Frame,
    row: Row,
    phase: String,
    facts: Vec<(&'static str, String)>,
    charts: Vec<Chart>,
    updates: Vec<PastUpdate>,
    lines: Vec<Line>,
    tags: String,
    note: String,
    /// Digests and names of the packages that are for this device.
    packages: Vec<(String, String)>,
}

/// A line over time, 600 wide and 100 high.
struct Chart {
    name: &'static str,
    now: String,
    low: String,
    high: String,
    since: String,
    points: String,
}

struct PastUpdate {
    job: String,
    version: String,
    status: Mark,
    reason: String,
    when: String,
    steps: Vec<String>,
}

struct Line {
    at: String,
    level: String,
    text: String,
}

pub(super) async fn show(
    State(shared): Shares,
    frame: Frame,
    Path(id): Path<String>,
) -> Answer<Response> {
    let now = now();
    let device = shared.store.device(&id, now).await?;
    let device = device.ok_or_else(|| Fault::from(WishError::NoDevice(id.clone())))?;
    let samples = shared.store.samples(&id).await?;
    let updates = shared.store.updates(&id, None, UPDATES).await?;
    let lines = shared.store.log_lines(&id, None, LINES).await?;
    let row = Row::new(&device, now);
    let shown = DevicePage {
        frame: frame.of("Fleet"),
        phase: device
            .progress
            .as_ref()
            .map(|progress| name(&progress.phase))
            .unwrap_or_default(),
        facts: facts(&device),
        charts: charts(&samples, now),
        updates: updates
            .items
            .into_iter()
            .map(|update| past(update, now))
            .collect(),
        lines: lines
            .items
            .into_iter()
            .map(|line| Line {
                at: format!(
                    "{}+{}.{:03}",
                    line.line.boot,
                    line.line.t_ms / 1000,
                    line.line.t_ms % 1000
                ),
                level: name(&line.line.level),
                text: line.line.text.to_string(),
            })
            .collect(),
        tags: row.tags.join(", "),
        note: device.note.clone(),
        packages: fitting(&shared, &device).await?,
        row,
    };
    page(&shown)
}

async fn fitting(shared: &Shared, device: &Device) -> Answer<Vec<(String, String)>> {
    let Some(state) = &device.state else {
        return Ok(Vec::new());
    };
    let packages = shared.store.packages(None, PACKAGES).await?;
    let fits = packages.items.into_iter().filter(|package| {
        package.product == state.product.as_str() && package.chip == state.chip.as_str()
    });
    Ok(fits
        .map(|package| {
            let name = format!("{} {}", package.product, package.version);
            (package.digest.to_string(), name)
        })
        .collect())
}

fn facts(device: &Device) -> Vec<(&'static str, String)> {
    let Some(state) = &device.state else {
        return Vec::new();
    };
    let mut facts = vec![
        ("Product", state.product.to_string()),
        ("Version", state.version.to_string()),
        ("Image", state.image_sha256.to_string()),
        (
            "Chip",
            format!(
                "{} revision {}.{}",
                state.chip,
                state.chip_rev / 100,
                state.chip_rev % 100
            ),
        ),
        ("Slot", state.slot.to_string()),
        (
            "Start",
            format!("number {}, {}", state.boot, name(&state.reset)),
        ),
        ("Up for", span(u64::from(state.uptime_s))),
        ("Sequence", state.sequence.to_string()),
        ("Security version", state.security_version.to_string()),
    ];
    facts.extend(state.ip.as_ref().map(|ip| ("Address", ip.to_string())));
    if let Some(rolls_back) = state.bootloader_rollback {
        let text = if rolls_back { "seen to work" } else { "none" };
        facts.push(("Rollback by bootloader", text.to_owned()));
    }
    if !device.all_groups().is_empty() {
        facts.push(("Groups", device.all_groups().join(", ")));
    }
    facts
}

fn charts(samples: &[Sample], now: i64) -> Vec<Chart> {
    let heap = samples.iter().map(|s| (s.at, i64::from(s.heap_free)));
    let lowest = samples.iter().map(|s| (s.at, i64::from(s.heap_min)));
    let signal = samples
        .iter()
        .filter_map(|s| Some((s.at, i64::from(s.rssi?))));
    let in_bytes = |value: i64| bytes(value.unsigned_abs());
    let in_dbm = |value: i64| format!("{value} dBm");
    [
        chart("Free heap", &heap.collect::<Vec<_>>(), in_bytes, now),
        chart(
            "Lowest free heap",
            &lowest.collect::<Vec<_>>(),
            in_bytes,
            now,
        ),
        chart("Signal strength", &signal.collect::<Vec<_>>(), in_dbm, now),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A chart of two values or more.
fn chart(
    name: &'static str,
    values: &[(i64, i64)],
    text: impl Fn(i64) -> String,
    now: i64,
) -> Option<Chart> {
    let ([(first, _), .., (last, newest)], Some(low), Some(high)) = (
        values,
        values.iter().map(|(_, value)| *value).min(),
        values.iter().map(|(_, value)| *value).max(),
    ) else {
        return None;
    };
    let place = |(at, value): &(i64, i64)| {
        let x = (at - first) * 600 / (last - first).max(1);
        // What never changes is drawn in the middle.
        let y = if high == low {
            50
        } else {
            96 - (value - low) * 92 / (high - low)
        };
        format!("{x},{y}")
    };
    let points: Vec<_> = values.iter().map(place).collect();
    Some(Chart {
        name,
        now: text(*newest),
        low: text(low),
        high: text(high),
        since: format!("since {}", ago(Some(*first), now)),
        points: points.join(" "),
    })
}

fn past(update: crate::model::Update, now: i64) -> PastUpdate {
    let step = |step: crate::model::Step| {
        let mut parts = vec![moment(step.at), step.status.to_string()];
        parts.extend(step.event.map(|event| event.replace('_', " ")));
        parts.extend(step.reason.map(|reason| reason.replace('_', " ")));
        parts.extend(step.text);
        parts.join(" · ")
    };
    PastUpdate {
        job: update.job,
        version: update.version,
        status: update.status.into(),
        reason: update.reason.unwrap_or_default().replace('_', " "),
        when: ago(Some(update.updated_at), now),
        steps: update.steps.into_iter().map(step).collect(),
    }
}

#[derive(Deserialize)]
pub(super) struct Registry {
    tags: String,
    note: String,
}

pub(super) async fn note(
    shares: Shares,
    Path(id): Path<String>,
    given: Given<Registry>,
) -> Answer<Response> {
    let Form(given) = given.map_err(unreadable)?;
    let device = shares.0.store.device(&id, now()).await?;
    let device = device.ok_or_else(|| Fault::from(WishError::NoDevice(id.clone())))?;
    let set: BTreeMap<String, String> = given
        .tags
        // A value may have spaces, but no comma.
        .split(',')
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .map(|tag| tag.split_once('=').unwrap_or((tag, "")))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect();
    let gone = device
        .tags
        .into_keys()
        .filter(|name| !set.contains_key(name));
    let changes = TagChanges {
        remove: gone.collect(),
        set,
    };
    // Browsers send line ends as CR LF.
    let note = given.note.replace("\r\n", "\n");
    // Both or neither, as they are one form.
    let mut tx = shares.0.store.write().await?;
    labels::put_tags(&mut tx, &id, &changes).await?;
    labels::put_note(&mut tx, &id, &note).await?;
    tx.commit().await?;
    Ok(see(&format!("/devices/{id}")))
}

#[derive(Deserialize)]
pub(super) struct Chosen {
    package: Sha256Digest,
}

pub(super) async fn publish(
    State(shared): Shares,
    Path(id): Path<String>,
    given: Given<Chosen>,
) -> Answer<Response> {
    let Form(Chosen { package }) = given.map_err(unreadable)?;
    let job = NewJob {
        package,
        target: Target::Device(id.clone()),
        job: None,
        not_before: None,
        deadline: None,
        unseen: false,
    };
    shared.publish(&job, now()).await?;
    Ok(see(&format!("/devices/{id}")))
}

#[derive(Deserialize)]
pub(super) struct Command {
    cmd: CommandKind,
}

pub(super) async fn command(
    State(shared): Shares,
    Path(id): Path<String>,
    given: Given<Command>,
) -> Answer<Response> {
    let Form(Command { cmd }) = given.map_err(unreadable)?;
    if cmd == CommandKind::Cancel {
        shared.cancel(&id, now()).await?;
    } else {
        let command = NewCommand {
            cmd,
            lines: (cmd == CommandKind::Logs).then_some(FETCHED),
            expires_in_s: None,
        };
        shared.command(&id, &command, now()).await?;
    }
    Ok(see(&format!("/devices/{id}")))
}

pub(super) fn unreadable(error: FormRejection) -> Fault {
    Fault::bad_request(error.body_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_goes_from_edge_to_edge_and_needs_two_values() {
        let text = |value: i64| value.to_string();
        assert!(chart("x", &[(1, 5)], text, 9).is_none());
        let two = chart("x", &[(10, 5), (20, 9), (30, 7)], text, 40).unwrap();
        assert_eq!(two.points, "0,96 300,4 600,50");
        assert_eq!(
            (two.now.as_str(), two.low.as_str(), two.high.as_str()),
            ("7", "5", "9")
        );
        let flat = chart("x", &[(10, 5), (10, 5)], text, 40).unwrap();
        assert_eq!(flat.points, "0,50 0,50");
    }
}
