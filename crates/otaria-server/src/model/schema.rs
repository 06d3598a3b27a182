//! What the API's types share with devices, for the [OpenAPI document](crate::openapi). `otaria-wire` has no allocator and so
//! no schemas; these have the same fields under the same names, which a test compares.
#![allow(dead_code, reason = "they are read by the derive alone")]

use utoipa::ToSchema;

/// SHA-256, 64 lower-case hexadecimal digits.
#[derive(ToSchema)]
#[schema(as = Sha256Digest, value_type = String, pattern = "^[0-9a-f]{64}$")]
pub(crate) struct Digest(String);

/// What a device is and runs.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct State {
    /// The device's id.
    device: String,
    /// The running image's product.
    product: String,
    /// The running image's version.
    version: String,
    /// The running image; zeros if it is not known.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    image_sha256: String,
    /// The sequence floor.
    sequence: u64,
    /// The floor of the security version.
    security_version: u32,
    /// The chip, such as `esp32c3`.
    chip: String,
    /// The chip's revision, major x 100 + minor.
    chip_rev: u16,
    /// The running slot.
    slot: u8,
    /// The open trial.
    trial: Option<Trial>,
    /// Why the chip started.
    reset: ResetReason,
    /// Number of this boot.
    boot: u32,
    /// Seconds since the start.
    uptime_s: u32,
    /// Free heap, bytes.
    heap_free: u32,
    /// Lowest free heap since the start, bytes.
    heap_min: u32,
    /// Signal strength in dBm, if there is a radio.
    rssi: Option<i8>,
    /// The device's address.
    ip: Option<String>,
    /// Whether the bootloader was seen to do rollback; null until an update has shown it.
    bootloader_rollback: Option<bool>,
    /// The job at hand.
    job: Option<String>,
    /// What the device does.
    phase: Phase,
    /// Whose packages the device takes; absent from a device of an earlier version.
    keys: Option<TrustedKeys>,
}

/// Counters of the trial that is open.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Trial {
    /// Boots that were no crash.
    boots: u8,
    /// Crashes.
    crashes: u8,
}

/// The keys that count on a device.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct TrustedKeys {
    /// Of the key record in force; 0 if there is none, and the root keys sign packages.
    epoch: u32,
    /// How many of them must have signed a package.
    threshold: u8,
    /// Which they are.
    ids: Vec<String>,
}

/// How far a download or another phase is.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Progress {
    /// The job; null until the package's header has named it.
    job: Option<String>,
    /// What the device does.
    phase: Phase,
    /// Plain bytes done in this phase.
    done: u32,
    /// Plain bytes in all.
    total: u32,
    /// Bytes a second, over the last few seconds.
    rate: u32,
}

/// A step of a job. Ordered by (boot, n) within an install.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Event {
    /// Names the installation: 16 hexadecimal digits.
    install: String,
    /// Number of the boot.
    boot: u32,
    /// Number within the boot.
    n: u32,
    /// The job; null if the package's header had not named it yet.
    job: Option<String>,
    /// What happened.
    event: EventKind,
    /// Why, as the number of a failure code: docs/failure-codes.md.
    code: Option<u16>,
    /// Why, for people: what the code alone does not say.
    text: Option<String>,
    /// When the next try is due.
    retry_in_s: Option<u32>,
    /// Where the time went.
    timing: Option<Timing>,
}

/// Where the time of an update went. Phases overlap, so they need not add up; one that was not measured is 0.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Timing {
    /// Name look-up and TCP connect.
    connect_ms: u32,
    /// TLS handshake.
    tls_ms: u32,
    /// Waiting for the body's bytes.
    receive_ms: u32,
    /// Erasing.
    erase_ms: u32,
    /// Writing.
    write_ms: u32,
    /// Reading the image back.
    verify_ms: u32,
    /// From the first request to this step, without the time in which the chip was off or in its bootloader.
    total_ms: u32,
    /// Bytes received.
    bytes: u32,
    /// Lowest free heap in bytes; 0 if there is no heap.
    heap_min: u32,
    /// Signal strength at the end in dBm.
    rssi: Option<i8>,
    /// From the start of the boot that confirmed the image to that.
    confirm_ms: Option<u32>,
    /// MQTT sessions that were opened anew, beside the first one of each boot.
    reconnects: Option<u32>,
}

/// A line of a device's log.
#[derive(ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct LogLine {
    /// Number of the line within the boot.
    n: u32,
    /// Number of the boot.
    boot: u32,
    /// Milliseconds since the start.
    t_ms: u64,
    /// How much it matters.
    level: Level,
    /// The line.
    text: String,
}

/// Words that devices use. One of a later version is shown as `unknown`.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($word:ident),+ })+) => {$(
        $(#[$doc])*
        #[derive(ToSchema)]
        #[schema(rename_all = "snake_case")]
        #[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
        pub(crate) enum $name { $($word),+ }
    )+};
}

words! {
    /// What to do.
    CommandKind { Cancel, Reboot, Logs, Identify }
    /// What a device is doing about its firmware.
    Phase { Idle, Checking, Downloading, Verifying, Activating, Rebooting, Trial, Unknown }
    /// What happened.
    EventKind {
        Accepted, Resumed, Retrying, Downloaded, Verified, Activated, TrialStarted, Confirmed, RolledBack, Failed, Refused,
        AlreadyRunning, Cancelled, Superseded, Unknown
    }
    /// Why the chip started.
    ResetReason { PowerOn, Software, Panic, Watchdog, BrownOut, DeepSleep, External, Unknown }
    /// How much a log line matters.
    Level { Error, Warn, Info, Debug, Unknown }
}

#[cfg(test)]
mod tests {
    use otaria_wire::messages as wire;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    /// A message with every field, as a device sends it, by way of the type that the server reads it with.
    fn same<Theirs: DeserializeOwned + serde::Serialize, Ours: DeserializeOwned>(message: &Value) {
        let read: Theirs = serde_json::from_value(message.clone()).unwrap();
        let shown = serde_json::to_value(read).unwrap();
        assert_eq!(&shown, message, "the example has every field");
        serde_json::from_value::<Ours>(shown).expect("the schema has the same fields");
    }

    #[test]
    fn schemas_have_the_fields_that_devices_report() {
        let digest = "ab".repeat(32);
        let timing = json!({
            "connect_ms": 1, "tls_ms": 2, "receive_ms": 3, "erase_ms": 4, "write_ms": 5, "verify_ms": 6, "total_ms": 7,
            "bytes": 8, "heap_min": 9, "rssi": -10, "confirm_ms": 11, "reconnects": 12
        });
        same::<wire::State, State>(&json!({
            "device": "d", "product": "p", "version": "1", "image_sha256": digest, "sequence": 1, "security_version": 2,
            "chip": "esp32c3", "chip_rev": 3, "slot": 0, "trial": {"boots": 1, "crashes": 0}, "reset": "power_on", "boot": 1,
            "uptime_s": 1, "heap_free": 1, "heap_min": 1, "rssi": -1, "ip": "10.0.0.7", "bootloader_rollback": true,
            "job": "j", "phase": "trial", "keys": {"epoch": 1, "threshold": 1, "ids": ["0011223344556677"]}
        }));
        same::<wire::Progress, Progress>(&json!({
            "job": "j", "phase": "downloading", "done": 1, "total": 2, "rate": 3
        }));
        same::<wire::Event, Event>(&json!({
            "install": "00000000000000aa", "boot": 1, "n": 1, "job": "j", "event": "failed", "code": 1, "text": "t",
            "retry_in_s": 1, "timing": timing
        }));
        same::<wire::Timing, Timing>(&timing);
        same::<wire::LogLine, LogLine>(&json!({
            "n": 1, "boot": 1, "t_ms": 1, "level": "warn", "text": "t"
        }));
        for kind in wire::EventKind::ALL {
            same::<wire::EventKind, EventKind>(&json!(kind.name()));
        }
        for number in 0..=u8::MAX {
            let reason = wire::ResetReason::from_number(number);
            same::<wire::ResetReason, ResetReason>(&json!(reason.name()));
        }
    }
}
