//! Rollouts as people read them.

use std::fmt;

use otaria_server::model::{self, Rollout, RolloutDevice, Stage};
use serde::Serialize;

use crate::text::{grouped, utc};

/// One line of a rollout that is watched.
pub(super) fn line(rollout: &Rollout) -> String {
    let total = &rollout.total;
    let wave = rollout.waves.get(rollout.wave as usize);
    format!(
        "{} {}, wave {} of {} ({}): {} of {} confirmed, {} at it, {} failed, {} asleep",
        rollout.id,
        rollout.state,
        rollout.wave + 1,
        rollout.waves.len(),
        wave.map_or("", |wave| wave.name.as_str()),
        total.confirmed,
        total.devices,
        total.in_flight,
        total.failed,
        total.asleep
    )
}

/// How far a rollout is.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Status(pub(super) Rollout);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rollout = &self.0;
        writeln!(
            f,
            "{} brings {} to {} devices: {}",
            rollout.id, rollout.version, rollout.total.devices, rollout.state
        )?;
        if let Some(reason) = &rollout.reason {
            writeln!(f, "halted because {reason}")?;
        }
        if let Some(what) = &rollout.waits_for {
            writeln!(f, "waits for {what}")?;
        }
        writeln!(
            f,
            "\n  {:<20} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7} {:>5}",
            "WAVE", "DEVICES", "WAITING", "ASLEEP", "AT IT", "CONFIRMED", "FAILED", "LEFT"
        )?;
        for (number, wave) in rollout.waves.iter().enumerate() {
            let mark = if number == rollout.wave as usize {
                ">"
            } else {
                " "
            };
            let counts = &wave.counts;
            writeln!(
                f,
                "{mark} {:<20} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7} {:>5}",
                wave.name,
                counts.devices,
                counts.waiting,
                counts.asleep,
                counts.in_flight,
                counts.confirmed,
                counts.failed,
                counts.left
            )?;
        }
        Ok(())
    }
}

/// All rollouts.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct List(pub(super) Vec<Rollout>);

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("There is no rollout yet.");
        }
        writeln!(
            f,
            "{:<28} {:<14} {:<10} {:>9} {:>9} {:>7}  SINCE",
            "ROLLOUT", "VERSION", "STATE", "DEVICES", "CONFIRMED", "FAILED"
        )?;
        for rollout in &self.0 {
            writeln!(
                f,
                "{:<28} {:<14} {:<10} {:>9} {:>9} {:>7}  {}",
                rollout.id,
                rollout.version,
                rollout.state,
                rollout.total.devices,
                rollout.total.confirmed,
                rollout.total.failed,
                utc(u64::try_from(rollout.created_at).unwrap_or_default())
            )?;
        }
        Ok(())
    }
}

/// The devices of a rollout.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Devices(pub(super) Vec<RolloutDevice>);

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<40} {:>4} {:<10} {:>6}  WHY",
            "DEVICE", "WAVE", "STAGE", "OFFERS"
        )?;
        // Those that need somebody come last, where they are seen.
        let mut sorted: Vec<&RolloutDevice> = self.0.iter().collect();
        sorted.sort_by_key(|device| device.stage == Stage::Failed);
        for device in sorted {
            writeln!(
                f,
                "{:<40} {:>4} {:<10} {:>6}  {}",
                device.device,
                device.wave + 1,
                device.stage,
                device.offers,
                device.why.as_deref().unwrap_or("")
            )?;
        }
        Ok(())
    }
}

/// A dry run.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Planned(pub(super) model::Plan);

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        let plan = &self.0;
        writeln!(
            f,
            "{:<20} {:>8} {:>8} {:>16} {:>12} {:>12}  DEVICES",
            "WAVE", "DEVICES", "ONLINE", "BYTES", "BEGINS", "TAKES"
        )?;
        for wave in &plan.waves {
            let mut shown = wave
                .devices
                .iter()
                .take(SHOWN)
                .cloned()
                .collect::<Vec<_>>()
                .join(", ");
            if wave.devices.len() > SHOWN {
                shown.push_str(", …");
            }
            writeln!(
                f,
                "{:<20} {:>8} {:>8} {:>16} {:>12} {:>12}  {shown}",
                wave.name,
                wave.devices.len(),
                wave.online,
                grouped(wave.bytes),
                format!("+{}", time(wave.begins_s)),
                time(wave.takes_s)
            )?;
        }
        writeln!(
            f,
            "\n{} devices, {} of which run it already; {} bytes; about {}, if nobody sleeps, approvals come at once and \
             windows are open. With a good release {:.1} % of updates fail.",
            plan.devices,
            plan.already,
            grouped(plan.bytes),
            time(plan.seconds),
            plan.baseline
        )?;
        for skipped in plan.skipped.iter().take(SHOWN) {
            writeln!(f, "not {}: {}", skipped.device, skipped.reason)?;
        }
        if plan.skipped.len() > SHOWN {
            writeln!(
                f,
                "and {} more that cannot take it",
                plan.skipped.len() - SHOWN
            )?;
        }
        if !plan.left_out.is_empty() {
            writeln!(
                f,
                "{} devices of the target are in no wave; a last wave without a count takes all that are left",
                plan.left_out.len()
            )?;
        }
        Ok(())
    }
}

/// `1 h 05 min`.
fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}
