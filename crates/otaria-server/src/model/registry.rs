//! What operators say of devices, and what is kept of their past.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Status;

/// The groups of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// Their names.
    pub groups: Vec<String>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How many devices are in it.
    pub devices: u64,
    /// Devices that match this are in it, too.
    #[serde(default)]
    pub query: Option<String>,
}

/// The query of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupQuery {
    /// See [`query`](crate::query).
    pub query: String,
}

/// The tags of a device; one without a value has an empty one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tags {
    /// Their names and values.
    pub tags: BTreeMap<String, String>,
}

/// Changes of a device's tags; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TagChanges {
    /// Tags to set, with their values; an empty value is none.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Tags to take away.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// A note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// Its text; empty for none.
    pub note: String,
}

/// What became of one job on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Update {
    /// The job.
    pub job: String,
    /// The version that it brought.
    pub version: String,
    /// How far it came.
    pub status: Status,
    /// When it was declared.
    pub started_at: i64,
    /// When it last changed.
    pub updated_at: i64,
    /// Why it failed, if it did.
    pub reason: Option<String>,
    /// What happened, oldest first.
    pub steps: Vec<Step>,
}

/// A step of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// When.
    pub at: i64,
    /// The status from then on.
    pub status: Status,
    /// The device's event; none if the server or another report moved it.
    pub event: Option<String>,
    /// The name of the failure's code.
    pub reason: Option<String>,
    /// Why, for people.
    pub text: Option<String>,
}

/// What a device reported of itself at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// When.
    pub at: i64,
    /// Number of the boot.
    pub boot: u32,
    /// Why the chip had started.
    pub reset: String,
    /// The version that ran.
    pub version: String,
    /// Free heap, bytes.
    pub heap_free: u32,
    /// Lowest free heap since the start, bytes.
    pub heap_min: u32,
    /// Signal strength, dBm.
    pub rssi: Option<i8>,
}
