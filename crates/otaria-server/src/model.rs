//! What the API takes and gives, as JSON. The command line uses the same types.
//!
//! Times are unix seconds, sizes bytes, digests lower-case hexadecimal.

mod access;
mod audit;
mod keys;
mod registry;
mod rollout;
mod schema;
mod units;
mod webhook;

pub use access::*;
pub use audit::*;
pub use keys::*;
pub use registry::*;
pub use rollout::*;
pub use units::*;
pub use webhook::*;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{CommandKind, Event, LogLine, Progress, State, Timing};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Give this as `cursor` to get the next page; `None` on the last.
    pub next: Option<String>,
}

/// How far a device has come with a job.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Declared; the device has not answered yet.
    Pending,
    /// The device is working on it.
    Running,
    /// A try failed; the device tries again.
    Retrying,
    /// The new image runs and has not proved itself yet.
    Trial,
    /// Given up by the operator; the device has not said yet that it stopped.
    Cancelling,
    /// The expected image runs, confirmed. The only success.
    Succeeded,
    /// The new image was given up; the old one runs.
    RolledBack,
    /// It failed.
    Failed,
    /// The device does not take it.
    Refused,
    /// Given up by the operator.
    Cancelled,
    /// Replaced by a newer job before its end.
    Superseded,
}

impl Status {
    /// All, in the order in which people read them.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Running,
        Self::Retrying,
        Self::Trial,
        Self::Cancelling,
        Self::Succeeded,
        Self::RolledBack,
        Self::Failed,
        Self::Refused,
        Self::Cancelled,
        Self::Superseded,
    ];

    /// The name in JSON and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Trial => "trial",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// Whether nothing more is expected of the device for this job.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Retrying | Self::Trial | Self::Cancelling => {
                false
            }
            Self::Succeeded
            | Self::RolledBack
            | Self::Failed
            | Self::Refused
            | Self::Cancelled
            | Self::Superseded => true,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name().replace('_', " "))
    }
}

/// A text is not the name of a [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a status")]
pub struct UnknownStatus;

impl FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(name: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.name() == name)
            .ok_or(UnknownStatus)
    }
}

/// A device, as last reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Whether it is connected to the broker.
    pub online: bool,
    /// When it was first heard of.
    pub first_seen: i64,
    /// When it last reported; `None` if it never did.
    pub last_seen: Option<i64>,
    /// The groups that it was put into.
    pub groups: Vec<String>,
    /// The groups that it is in because it matches their query.
    #[serde(default)]
    pub matched_groups: Vec<String>,
    /// Its tags; a tag without a value has an empty one.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// What operators have noted of it.
    #[serde(default)]
    pub note: String,
    /// What it is and runs.
    #[schema(value_type = Option<schema::State>)]
    pub state: Option<State>,
    /// The newest progress report.
    #[schema(value_type = Option<schema::Progress>)]
    pub progress: Option<Progress>,
    /// What is declared for it.
    pub wish: Option<WishInfo>,
    /// The newest job that includes it.
    pub assignment: Option<Assignment>,
}

impl Device {
    /// All groups that it is in, for whatever reason.
    pub fn all_groups(&self) -> Vec<String> {
        let mut all = [self.groups.as_slice(), self.matched_groups.as_slice()].concat();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// What is declared for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WishInfo {
    /// The job; `None` if a bare URL was declared.
    pub job: Option<String>,
    /// Where the package is.
    pub url: String,
    /// The version that was declared.
    pub version: Option<String>,
    /// The image that was declared.
    #[schema(value_type = Option<schema::Digest>)]
    pub image_sha256: Option<Sha256Digest>,
    /// Since when.
    pub since: i64,
}

/// A job on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Assignment {
    /// The job.
    pub job: String,
    /// The device.
    pub device: String,
    /// The version that the job brings.
    pub version: String,
    /// How far it is.
    pub status: Status,
    /// The newest event's name.
    pub event: Option<String>,
    /// Why, as the number of a failure code.
    pub code: Option<u16>,
    /// The name of that code.
    pub reason: Option<String>,
    /// Why, for people.
    pub text: Option<String>,
    /// When the device tries again.
    pub retry_at: Option<i64>,
    /// When this last changed.
    pub updated_at: i64,
    /// Where the time went, once the device has said so; the last report has all of it.
    #[schema(value_type = Option<schema::Timing>)]
    pub timing: Option<Timing>,
    /// The newest progress report of this job.
    #[schema(value_type = Option<schema::Progress>)]
    pub progress: Option<Progress>,
}

/// Which devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// One.
    Device(String),
    /// Those of a group.
    Group(String),
    /// Those that match a [query](crate::query).
    Query(String),
    /// All that the server knows.
    All,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(id) => write!(f, "device {id}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::Query(query) => write!(f, "devices that match '{query}'"),
            Self::All => f.write_str("all devices"),
        }
    }
}

/// A package in the server's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Package {
    /// SHA-256 of the file: its name in the API and its strong ETag.
    #[schema(value_type = schema::Digest)]
    pub digest: Sha256Digest,
    /// Length of the file.
    pub size: u64,
    /// SHA-256 of the header's signed bytes: how devices name it.
    #[schema(value_type = schema::Digest)]
    pub identity: Sha256Digest,
    /// The image in it.
    #[schema(value_type = schema::Digest)]
    pub image_sha256: Sha256Digest,
    /// Length of the image.
    pub image_len: u32,
    /// The product that it is for.
    pub product: String,
    /// Its version, for people.
    pub version: String,
    /// The chip that it is for.
    pub chip: String,
    /// Its place in the product's order of releases.
    pub sequence: u64,
    /// The image's security version.
    pub security_version: u32,
    /// Who signed it. The server holds no keys and does not check this; devices do.
    pub key_id: String,
    /// How many keys it is encrypted to; 0: it is not encrypted. The server could not decrypt it.
    #[serde(default)]
    pub recipients: u16,
    /// When it was made, by the packager's clock.
    pub created: i64,
    /// When it was uploaded.
    pub uploaded_at: i64,
    /// Where devices get it.
    pub url: String,
}

/// A request to bring a package to devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewJob {
    /// The package's digest.
    #[schema(value_type = schema::Digest)]
    pub package: Sha256Digest,
    /// Which devices.
    pub target: Target,
    /// A name of your own, which makes repeating this request harmless; else the server chooses one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Not to be started before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// Not to be started or retried after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<i64>,
    /// Take a device id that never reported: the wish waits for it at the broker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unseen: bool,
}

/// One package on its way to some devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// The package's digest.
    #[schema(value_type = schema::Digest)]
    pub package: Sha256Digest,
    /// The package's product.
    pub product: String,
    /// The package's version.
    pub version: String,
    /// The image that must run in the end.
    #[schema(value_type = schema::Digest)]
    pub image_sha256: Sha256Digest,
    /// Where devices get it.
    pub url: String,
    /// Which devices were asked for.
    pub target: Target,
    /// Not to be started before this time.
    pub not_before: Option<i64>,
    /// Not to be started or retried after this time.
    pub deadline: Option<i64>,
    /// When it was made.
    pub created_at: i64,
    /// How many devices are how far.
    pub counts: Vec<Count>,
}

impl Job {
    /// How many devices it includes.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.devices).sum()
    }

    /// How many devices are done with it, well or badly.
    pub fn ended(&self) -> u64 {
        self.counts
            .iter()
            .filter(|count| count.status.is_final())
            .map(|count| count.devices)
            .sum()
    }

    /// How many devices have a status.
    pub fn count(&self, status: Status) -> u64 {
        self.counts
            .iter()
            .find(|count| count.status == status)
            .map_or(0, |count| count.devices)
    }
}

/// How many devices have a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Count {
    /// The status.
    pub status: Status,
    /// How many.
    pub devices: u64,
}

/// The answer to [`NewJob`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Published {
    /// The job.
    pub job: Job,
    /// Devices of the target that were left out.
    pub skipped: Vec<Skipped>,
}

/// A device of a target that a job leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Skipped {
    /// The device.
    pub device: String,
    /// Why.
    pub reason: String,
}

/// A command to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCommand {
    /// What to do.
    #[schema(value_type = schema::CommandKind)]
    pub cmd: CommandKind,
    /// `logs`: how many lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u16>,
    /// How long the command waits for a device that is not connected, in seconds; ten minutes unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u32>,
}

/// A command on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sent {
    /// Its id, by which the device ignores a repeat.
    pub id: String,
    /// When the broker drops it if the device has not fetched it.
    pub expires_at: i64,
}

/// The answer to a cancel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cancelled {
    /// The device.
    pub device: String,
    /// The job that was given up, if one was open.
    pub job: Option<String>,
    /// Its status now.
    pub status: Option<Status>,
}

/// An event, with when it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceivedEvent {
    /// The server's number of it.
    pub id: i64,
    /// The device.
    pub device: String,
    /// When it came.
    pub received_at: i64,
    /// The event.
    #[serde(flatten)]
    #[schema(value_type = schema::Event)]
    pub event: Event,
}

/// A log line, with when it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceivedLine {
    /// The server's number of it.
    pub id: i64,
    /// The device.
    pub device: String,
    /// When it came.
    pub received_at: i64,
    /// The line.
    #[serde(flatten)]
    #[schema(value_type = schema::LogLine)]
    pub line: LogLine,
}

/// Whether the server works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// The server's version.
    pub version: String,
    /// Whether it is connected to the broker.
    pub broker_connected: bool,
    /// Messages that the broker has not taken yet.
    pub outbox: u64,
    /// Where devices get packages.
    pub public_url: String,
}

/// An error, as RFC 9457 has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URN that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, and what to do.
    pub detail: String,
}

/// What the event stream carries. The name of the event is the variant's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind", content = "data")]
pub enum Live {
    /// A device came or went.
    Presence {
        /// The device.
        device: String,
        /// Whether it is connected.
        online: bool,
    },
    /// A device reported its state.
    State {
        /// The device.
        device: String,
        /// The state.
        #[schema(value_type = schema::State)]
        state: Box<State>,
    },
    /// A device reported progress.
    Progress {
        /// The device.
        device: String,
        /// The progress.
        #[schema(value_type = schema::Progress)]
        progress: Progress,
    },
    /// A device reported an event.
    Event(Box<ReceivedEvent>),
    /// A device sent a log line.
    Log(Box<ReceivedLine>),
    /// A job moved on a device.
    Assignment(Box<Assignment>),
    /// Something was missed: read again what matters to you.
    Resync {},
}

impl Live {
    /// The event's name in the stream.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Presence { .. } => "presence",
            Self::State { .. } => "state",
            Self::Progress { .. } => "progress",
            Self::Event(_) => "event",
            Self::Log(_) => "log",
            Self::Assignment(_) => "assignment",
            Self::Resync {} => "resync",
        }
    }

    /// The device that it is about.
    pub fn device(&self) -> Option<&str> {
        match self {
            Self::Presence { device, .. }
            | Self::State { device, .. }
            | Self::Progress { device, .. } => Some(device),
            Self::Event(event) => Some(&event.device),
            Self::Log(line) => Some(&line.device),
            Self::Assignment(assignment) => Some(&assignment.device),
            Self::Resync {} => None,
        }
    }
}
