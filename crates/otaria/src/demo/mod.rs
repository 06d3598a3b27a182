//! The demo: a whole fleet on one machine, an update that works and one that does not, and a verdict.
//!
//! ```text
//!   packager --(signed packages)--> server + broker <--MQTT, HTTP--> devices (real device code, modelled flash)
//!                                      |                               |
//!                                      v                               v
//!                                   witness: what devices say      inspection: what their flash says
//!                                      '-----------> verdict <--------'
//! ```

mod stage;
mod verdict;
mod witness;

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use otaria_sim::fleet::Inspection;

use crate::Context;
use stage::{Fault, Release, Stage};
use verdict::Verdict;
pub(crate) use verdict::Verdicts;

/// How long all devices together may take for one release, and for each further device.
const PATIENCE: Duration = Duration::from_secs(180);
const PATIENCE_EACH: Duration = Duration::from_secs(2);
/// How long the power, or the Wi-Fi, is gone.
const OUTAGE: Duration = Duration::from_secs(3);

/// Runs everything; returns when every device has ended both updates, or could not in time.
pub(crate) async fn perform(ctx: &Context, devices: usize) -> anyhow::Result<(Stage, Verdicts)> {
    let stage = Stage::set_up(devices)
        .await
        .context("the demo could not be set up")?;
    ctx.output.note(format_args!(
        "page     {}   (open: no log-in, on this machine, while the demo runs)",
        stage.page()
    ));
    ctx.output.note(format_args!(
        "broker   {}  (open to this machine, no log-in)",
        stage.broker()
    ));
    ctx.output.note(format_args!(
        "devices  {devices} simulated ESP32-C3, 4 MB flash, running 1.0.0"
    ));
    let patience = PATIENCE + PATIENCE_EACH * u32::try_from(devices).unwrap_or(u32::MAX);

    let good = stage.release("1.1.0", None).await?;
    ctx.output
        .note(format_args!("\n1.1.0 is published to all: it works"));
    let everybody = (0..devices).collect::<Vec<_>>();
    let (unplugged, unreachable) = unlucky(devices);
    // What happens to a device after its end is no part of the story.
    let in_time = (Cell::new(false), Cell::new(false));
    let updated = {
        let publish = stage.publish_to_all(&good);
        let under_way = |device| {
            let testimony = stage.witness().testimony(stage.id(device));
            testimony.end_of(&good.job).is_none()
        };
        let disturb = async {
            stage.halfway(unplugged, &good).await;
            in_time.0.set(under_way(unplugged));
            stage.fleet().cut_power(unplugged, OUTAGE);
            ctx.output.note(format_args!(
                "{} loses its power for a moment",
                stage.id(unplugged)
            ));
            stage.halfway(unreachable, &good).await;
            in_time.1.set(under_way(unreachable));
            stage.fleet().hide_access_point(unreachable, OUTAGE);
            ctx.output.note(format_args!(
                "{} loses its Wi-Fi for a moment",
                stage.id(unreachable)
            ));
        };
        publish.await?;
        stage
            .follow(ctx, &[&good], &everybody, patience, disturb)
            .await
    };
    // Each device with each of the two releases.
    let mut verdicts = Verdicts::expecting(2 * devices);
    let inspections = inspect(&stage).await?;
    for (device, inspection) in inspections.iter().enumerate() {
        let testimony = stage.witness().testimony(stage.id(device));
        let mut verdict = Verdict::on_good(stage.id(device), &good, &testimony, inspection);
        if device == unplugged {
            verdict.require_power_cut(in_time.0.get(), inspection);
        }
        if device == unreachable {
            verdict.require_lost_wifi(in_time.1.get(), inspection);
        }
        verdicts.push(verdict);
    }
    ensure!(
        updated || !verdicts.none_wrong(),
        "devices confirmed 1.1.0 that the witness did not hear of"
    );

    let mut bad = Vec::new();
    for fault in Fault::ALL {
        bad.push(stage.release("1.2.0", Some(fault)).await?);
    }
    ctx.output.note(format_args!(
        "\n1.2.0 is published to all: it crashes, hangs, or never says that it is healthy"
    ));
    let mut releases: Vec<&Release> = Vec::new();
    for (fault, release) in Fault::ALL.into_iter().zip(&bad) {
        if stage.publish_to_group(fault, release).await? {
            releases.push(release);
        }
    }
    stage
        .follow(ctx, &releases, &everybody, patience, async {})
        .await;
    for (device, inspection) in inspect(&stage).await?.iter().enumerate() {
        let testimony = stage.witness().testimony(stage.id(device));
        let fault = Fault::of_device(device);
        let release = &bad[fault.index()];
        verdicts.push(Verdict::on_bad(
            stage.id(device),
            release,
            fault,
            &good,
            &testimony,
            inspection,
        ));
    }
    Ok((stage, verdicts))
}

/// Which devices lose their power and their Wi-Fi. With a single device, it is unlucky twice.
fn unlucky(devices: usize) -> (usize, usize) {
    (2 % devices, 4 % devices)
}

async fn inspect(stage: &Stage) -> anyhow::Result<Vec<Inspection>> {
    let inspections = stage.fleet().inspect().await;
    inspections.context("the devices' thread has ended; what it said last is above")
}
