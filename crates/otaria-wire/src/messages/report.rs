//! What a device reports: `presence`, `state`, `progress`, `event`, `log`.

use core::fmt;

use heapless::{String, Vec};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::json::{Word, message};
use super::{
    EventKind, FailureCode, Job, Json, JsonError, MAX_LOG_TEXT_LEN, MAX_TEXT_LEN, Phase, ReadJson,
    ResetReason, WriteJson, Writer, read_text,
};
use crate::digest::{from_hex, hex_digit};
use crate::keys::MAX_KEYS;
use crate::package::KeyId;
use crate::topics::DeviceId;
use crate::{FixedText, Sha256Digest};

/// Topic `presence`, retained; offline is the Last Will.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Whether the device is connected.
    pub online: bool,
}

message! {
    Presence {
        always online,
    }
}

/// Counters of the trial that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Boots that were no crash.
    pub boots: u8,
    /// Crashes.
    pub crashes: u8,
}

message! {
    Trial {
        always boots, always crashes,
    }
}

/// The keys that count on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedKeys {
    /// Of the key record in force; 0 if there is none, and the root keys sign packages.
    pub epoch: u32,
    /// How many of them must have signed a package.
    pub threshold: u8,
    /// Which they are.
    pub ids: Vec<KeyId, MAX_KEYS>,
}

message! {
    TrustedKeys {
        always epoch, always threshold, always ids,
    }
}

/// Topic `state`, retained: what a device is and runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The device's id.
    pub device: DeviceId,
    /// The running image's product.
    pub product: FixedText<32>,
    /// The running image's version.
    pub version: FixedText<32>,
    /// The running image; zero if it is not known.
    pub image_sha256: Sha256Digest,
    /// The sequence floor.
    pub sequence: u64,
    /// The floor of the security version.
    pub security_version: u32,
    /// The chip, such as `esp32c3`.
    pub chip: String<16>,
    /// The chip's revision, major x 100 + minor.
    pub chip_rev: u16,
    /// The running slot.
    pub slot: u8,
    /// The open trial.
    #[serde(default)]
    pub trial: Option<Trial>,
    /// Why the chip started.
    pub reset: ResetReason,
    /// Number of this boot.
    pub boot: u32,
    /// Seconds since the start.
    pub uptime_s: u32,
    /// Free heap.
    pub heap_free: u32,
    /// Lowest free heap since the start.
    pub heap_min: u32,
    /// Signal strength in dBm, if there is a radio.
    #[serde(default)]
    pub rssi: Option<i8>,
    /// The device's address.
    #[serde(default)]
    pub ip: Option<String<45>>,
    /// Whether the bootloader was seen to do rollback; `None` until an update has shown it.
    #[serde(default)]
    pub bootloader_rollback: Option<bool>,
    /// The job at hand.
    #[serde(default)]
    pub job: Option<Job>,
    /// What the device does.
    pub phase: Phase,
    /// Whose packages the device takes; `None` from a device of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<TrustedKeys>,
}

message! {
    State {
        always device, always product, always version, always image_sha256, always sequence,
        always security_version, always chip, always chip_rev, always slot, always trial,
        always reset, always boot, always uptime_s, always heap_free, always heap_min,
        always rssi, always ip, always bootloader_rollback, always job, always phase, given keys,
    }
}

/// Topic `progress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The job; `None` until the header has named it.
    #[serde(default)]
    pub job: Option<Job>,
    /// What the device does.
    pub phase: Phase,
    /// Plain bytes done in this phase.
    pub done: u32,
    /// Plain bytes in all.
    pub total: u32,
    /// Bytes a second, over the last few seconds.
    pub rate: u32,
}

message! {
    Progress {
        always job, always phase, always done, always total, always rate,
    }
}

/// A random number that names one installation of settings: 16 hexadecimal
/// digits in JSON, where numbers of this size lose digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallId(pub u64);

impl InstallId {
    /// 16 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String<16> {
        let mut hex = String::new();
        for byte in self.0.to_be_bytes() {
            // Eight times 2 digits fit into 16.
            let _ = hex.push(hex_digit(byte >> 4));
            let _ = hex.push(hex_digit(byte & 15));
        }
        hex
    }
}

impl fmt::Display for InstallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for InstallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::str::FromStr for InstallId {
    type Err = crate::DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_hex(text)
            .map(u64::from_be_bytes)
            .map(Self)
            .ok_or(crate::DigestError)
    }
}

impl Serialize for InstallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for InstallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = InstallId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("16 hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<InstallId, E> {
                text.parse()
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

impl WriteJson for InstallId {
    fn write(&self, json: &mut Writer<'_>) {
        json.text(&self.to_hex());
    }
}

impl ReadJson for InstallId {
    fn blank() -> Self {
        Self(0)
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        *self = read_text(json)?;
        Ok(())
    }
}

/// Topic `event`: a step of a job. Ordered by (boot, n) within an install.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Names the installation.
    pub install: InstallId,
    /// Number of the boot.
    pub boot: u32,
    /// Number within the boot.
    pub n: u32,
    /// The job; `None` if the header had not named it yet.
    #[serde(default)]
    pub job: Option<Job>,
    /// What happened.
    pub event: EventKind,
    /// Why, as a number of [`FailureCode`] (which may be of a later version).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// Why, for people: what the code alone does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String<MAX_TEXT_LEN>>,
    /// When the next try is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_s: Option<u32>,
    /// Where the time went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
}

message! {
    Event {
        always install, always boot, always n, always job, always event, given code, given text,
        given retry_in_s, given timing,
    }
}

impl Event {
    /// The failure, if this version knows its number.
    #[must_use]
    pub fn failure(&self) -> Option<FailureCode> {
        self.code.and_then(FailureCode::from_number)
    }
}

/// Where the time of an update went, over all its tries in this boot and, for an image on trial, in the boot that activated it.
/// Phases overlap, so they need not add up; one that was not measured is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// Name look-up and TCP connect.
    pub connect_ms: u32,
    /// TLS handshake.
    pub tls_ms: u32,
    /// Waiting for the body's bytes.
    pub receive_ms: u32,
    /// Erasing.
    pub erase_ms: u32,
    /// Writing.
    pub write_ms: u32,
    /// Reading the image back.
    pub verify_ms: u32,
    /// From the first request to this step, without the time in which the chip was off or in its bootloader.
    pub total_ms: u32,
    /// Bytes received.
    pub bytes: u32,
    /// Lowest free heap in bytes; 0 if there is no heap.
    pub heap_min: u32,
    /// Signal strength at the end in dBm.
    #[serde(default)]
    pub rssi: Option<i8>,
    /// From the start of the boot that confirmed the image to that; `None` for any other step, and if a restart came in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_ms: Option<u32>,
    /// MQTT sessions that were opened anew, beside the first one of each boot; `None` from a version that did not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnects: Option<u32>,
}

message! {
    Timing {
        always connect_ms, always tls_ms, always receive_ms, always erase_ms, always write_ms,
        always verify_ms, always total_ms, always bytes, always heap_min, always rssi,
        given confirm_ms, given reconnects,
    }
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Something happened.
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// A level of a later version.
    #[serde(other)]
    Unknown,
}

impl Level {
    /// The number in the flash log.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Error => 1,
            Self::Warn => 2,
            Self::Info => 3,
            Self::Debug => 4,
        }
    }

    /// The level of a number in the flash log.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Error,
            2 => Self::Warn,
            3 => Self::Info,
            4 => Self::Debug,
            _ => Self::Unknown,
        }
    }

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Unknown => "unknown",
        }
    }
}

impl Word for Level {
    const KNOWN: &'static [Self] = &[Self::Error, Self::Warn, Self::Info, Self::Debug];
    const OTHER: Self = Self::Unknown;

    fn word(self) -> &'static str {
        self.name()
    }
}

/// Topic `log`: one line of the flash log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Number of the line within the boot.
    pub n: u32,
    /// Number of the boot.
    pub boot: u32,
    /// Milliseconds since the start.
    pub t_ms: u64,
    /// How much it matters.
    pub level: Level,
    /// The line.
    pub text: String<MAX_LOG_TEXT_LEN>,
}

message! {
    LogLine {
        always n, always boot, always t_ms, always level, always text,
    }
}
