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

use std::time::Duration;

use anyhow::{Context as _, ensure};
use otaria_sim::fleet::Inspection;
use otaria_wire::messages::ResetReason;

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
    ctx.output.note(format_args!("page     {}", stage.page()));
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
    let updated = {
        let publish = stage.publish_to_all(&good);
        let disturb = async {
            stage.halfway(unplugged, &good).await;
            stage.fleet().cut_power(unplugged, OUTAGE);
            ctx.output.note(format_args!(
                "{} loses its power for a moment",
                stage.id(unplugged)
            ));
            stage.halfway(unreachable, &good).await;
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
    let mut verdicts = Verdicts::default();
    let inspections = stage.fleet().inspect().await;
    for (device, inspection) in inspections.iter().enumerate() {
        let testimony = stage.witness().testimony(stage.id(device));
        let mut verdict = Verdict::on_good(stage.id(device), &good, &testimony, inspection);
        if device == unplugged {
            verdict.require(
                power_ons(inspection) > 1,
                "its power was cut on the way, and it went on where it was",
                "its power was never cut",
            );
        }
        if device == unreachable {
            verdict.remark("its Wi-Fi was gone on the way");
        }
        verdicts.push(verdict);
    }
    ensure!(
        updated || !verdicts.all_good(),
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
    for (device, inspection) in stage.fleet().inspect().await.iter().enumerate() {
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

/// How often a device was given power since it was built.
fn power_ons(inspection: &Inspection) -> usize {
    inspection
        .starts
        .iter()
        .filter(|start| start.reason == ResetReason::PowerOn)
        .count()
}
