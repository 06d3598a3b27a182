//! What Otaria says on the console while it runs.

use core::future::pending;

use alloc::vec::Vec;

use embassy_futures::join::join;
use embassy_time::{Duration, Timer};
use log::{info, warn};
use otaria_device::runtime::Monitor;
use otaria_settings::Settings;

use crate::Uplink;

/// How often is looked for changes.
const LOOK: Duration = Duration::from_millis(250);
/// Time between two reminders.
const REMIND: Duration = Duration::from_secs(10);

/// Says what there is to say, for the rest of the boot. `wifi`: whether it takes Wi-Fi to get anywhere.
pub(crate) async fn all(
    settings: &Settings,
    wifi: bool,
    monitor: &Monitor,
    uplink: &impl Uplink,
) -> ! {
    let (_, never) = join(missing(settings, wifi), changes(monitor, uplink)).await;
    never
}

/// Says every few seconds what is missing, as long as something is.
async fn missing(settings: &Settings, wifi: bool) {
    let mut missing = Vec::new();
    if wifi && settings.wifi.is_empty() {
        missing.push("a Wi-Fi network");
    }
    if settings.broker.is_none() {
        missing.push("a broker");
    }
    if settings.signers.is_empty() {
        missing.push("a public key");
    }
    if missing.is_empty() {
        return pending().await;
    }
    let missing = missing.join(" and no ");
    loop {
        warn!("not set up: the settings have no {missing}; write them with `otaria provision`");
        Timer::after(REMIND).await;
    }
}

/// Says what changes.
async fn changes(monitor: &Monitor, uplink: &impl Uplink) -> ! {
    let (mut phase, mut connected, mut address) = (monitor.phase(), false, None);
    loop {
        Timer::after(LOOK).await;
        let now = uplink.address();
        if now != address {
            address = now;
            match now {
                Some(address) => info!("network: address {address}"),
                None => info!("network: no address"),
            }
        }
        if monitor.connected() != connected {
            connected = monitor.connected();
            info!(
                "mqtt: {}",
                if connected {
                    "connected"
                } else {
                    "not connected"
                }
            );
        }
        if monitor.phase() != phase {
            phase = monitor.phase();
            info!("update: {phase:?}");
        }
    }
}
