//! Rollouts: as people write them, and as the API shows them.

use std::fmt;
use std::str::FromStr;

use otaria_wire::Sha256Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;
use super::units::{Bytes, Day, NotThat, Seconds, TimeOfDay};

/// A rollout as it is asked for. docs/ROLLOUTS.md says what it all means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// Its name: 1 to 48 letters, digits, `_`, `-` or `.`.
    pub name: String,
    /// The package's digest.
    #[schema(value_type = schema::Digest)]
    pub package: Sha256Digest,
    /// Which devices, as a [query](crate::query).
    pub target: String,
    /// Who comes first; none: all at once.
    #[serde(default)]
    pub waves: Vec<Wave>,
    /// When it stops by itself.
    #[serde(default)]
    pub halt: HaltRule,
    /// How long a device may take.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// How much at once, and how often.
    #[serde(default)]
    pub limits: Limits,
    /// When, by each device's clock; none: at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// A wave: some of the devices that are left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wave {
    /// For people.
    pub name: String,
    /// How many; neither this nor `percent`: all that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How many, of the whole target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// Only those that match this query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Take them evenly over the values of `chip_rev`, `version`, `chip` or `tag:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spread: Option<String>,
    /// What has to be so before the next wave begins.
    pub gate: Gate,
}

/// What has to be so before the next wave begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Percent of the wave's devices that are awake which have to have confirmed; at least one device has to.
    pub confirmed: f64,
    /// For how long that has to have been so.
    pub soak: Seconds,
    /// Somebody has to approve.
    pub approve: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            confirmed: 90.0,
            soak: Seconds(0),
            approve: false,
        }
    }
}

/// When a rollout stops by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HaltRule {
    /// At this many failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// At this percentage of failures among the tries that have ended...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<f64>,
    /// ... once so many have ended.
    pub after: u32,
    /// Whether failures are tested against the baseline.
    pub test: bool,
    /// Percent of tries that fail with a good release; none: what this fleet's past says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// How much worse a bad release is: the ratio of the odds of a failure.
    pub worse: f64,
    /// Percent of good rollouts that the test may stop, at most.
    pub false_alarm: f64,
}

impl Default for HaltRule {
    fn default() -> Self {
        Self {
            failures: None,
            percent: None,
            after: 10,
            test: true,
            baseline: None,
            worse: 10.0,
            false_alarm: 5.0,
        }
    }
}

/// How long a device may take for each phase. What takes longer has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// From the offer to the first answer, while the device is connected.
    pub start: Seconds,
    /// Checking, downloading, verifying, with all the device's own retries.
    pub download: Seconds,
    /// From the activation to the first sign of the new image.
    pub reboot: Seconds,
    /// From there to the confirmation.
    pub trial: Seconds,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            start: Seconds(15 * 60),
            download: Seconds(2 * 3600),
            reboot: Seconds(10 * 60),
            trial: Seconds(30 * 60),
        }
    }
}

/// How much at once, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Devices that update at the same time.
    pub concurrent: u32,
    /// Bytes of packages offered in a second, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<Bytes>,
    /// How often a device that failed is offered the package again.
    pub retries: u32,
    /// How long after the failure.
    pub retry_after: Seconds,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent: 100,
            bytes_per_second: None,
            retries: 1,
            retry_after: Seconds(15 * 60),
        }
    }
}

/// A time of day in which devices may be updated. One that ends before it begins goes over midnight, and belongs to the
/// day on which it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// `HH:MM`.
    pub from: TimeOfDay,
    /// `HH:MM`.
    pub to: TimeOfDay,
    /// `mon` to `sun`; none: every day.
    #[serde(default)]
    pub days: Vec<Day>,
    /// The time zone of a device without tag `tz`: an IANA name, or `+02:00`.
    #[serde(default = "utc")]
    pub tz: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Whether a rollout goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// It offers the package to devices.
    Running,
    /// An operator holds it: nobody new begins.
    Paused,
    /// It has stopped by itself: nobody new begins, and who has not begun the trial is called back.
    Halted,
    /// An operator has ended it.
    Cancelled,
    /// Every device has ended.
    Done,
}

impl RolloutState {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::Paused,
        Self::Halted,
        Self::Cancelled,
        Self::Done,
    ];

    /// The name in JSON and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }
}

/// How far a device is in a rollout.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its turn has not come, or it sleeps.
    Waiting,
    /// The package is declared for it; it has not answered.
    Offered,
    /// It checks, downloads, verifies.
    Working,
    /// It has activated the image and restarts.
    Rebooting,
    /// The image runs and has to prove itself.
    Trial,
    /// The image runs, confirmed. The only success.
    Confirmed,
    /// It has failed, and is not offered the package again.
    Failed,
    /// Somebody else decided about it: an operator, or a newer job.
    Left,
}

impl Stage {
    /// All, in the order of an update.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Offered,
        Self::Working,
        Self::Rebooting,
        Self::Trial,
        Self::Confirmed,
        Self::Failed,
        Self::Left,
    ];

    /// The name in JSON and in the store.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Offered => "offered",
            Self::Working => "working",
            Self::Rebooting => "rebooting",
            Self::Trial => "trial",
            Self::Confirmed => "confirmed",
            Self::Failed => "failed",
            Self::Left => "left",
        }
    }

    /// Whether the device is at it.
    pub fn is_in_flight(self) -> bool {
        match self {
            Self::Offered | Self::Working | Self::Rebooting | Self::Trial => true,
            Self::Waiting | Self::Confirmed | Self::Failed | Self::Left => false,
        }
    }

    /// Whether nothing more is to be done.
    pub fn is_final(self) -> bool {
        match self {
            Self::Confirmed | Self::Failed | Self::Left => true,
            Self::Waiting | Self::Offered | Self::Working | Self::Rebooting | Self::Trial => false,
        }
    }
}

macro_rules! by_name {
    ($($kind:ty),+) => {$(
        impl FromStr for $kind {
            type Err = NotThat;

            fn from_str(name: &str) -> Result<Self, NotThat> {
                let found = Self::ALL.into_iter().find(|one| one.name() == name);
                found.ok_or(NotThat("not a name of one"))
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    )+};
}

by_name!(RolloutState, Stage);

/// A rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// Its name.
    pub id: String,
    /// Whether it goes on.
    pub state: RolloutState,
    /// Why it has halted.
    pub reason: Option<String>,
    /// What has to happen before it goes on, in words.
    pub waits_for: Option<String>,
    /// The version that it brings.
    pub version: String,
    /// The image that must run in the end.
    #[schema(value_type = schema::Digest)]
    pub image_sha256: Sha256Digest,
    /// The wave that is under way, counted from 0.
    pub wave: u32,
    /// How far each wave is.
    pub waves: Vec<WaveCounts>,
    /// How far all are.
    pub total: StageCounts,
    /// Percent of tries that fail with a good release, as the halt test takes it.
    pub baseline: f64,
    /// When it was made.
    pub created_at: i64,
    /// When something was last decided.
    pub updated_at: i64,
    /// What was asked for.
    pub spec: RolloutSpec,
}

/// How far a wave is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaveCounts {
    /// Its name.
    pub name: String,
    /// How many are how far.
    #[serde(flatten)]
    pub counts: StageCounts,
}

/// How many devices are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StageCounts {
    /// All of them.
    pub devices: u64,
    /// Connected, and their turn has not come.
    pub waiting: u64,
    /// Not connected, and not offered the package.
    pub asleep: u64,
    /// At it.
    pub in_flight: u64,
    /// Done.
    pub confirmed: u64,
    /// Failed for good.
    pub failed: u64,
    /// Decided about elsewhere.
    pub left: u64,
}

/// A device of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutDevice {
    /// The device.
    pub device: String,
    /// Its wave, counted from 0.
    pub wave: u32,
    /// How far it is.
    pub stage: Stage,
    /// Since when.
    pub since: i64,
    /// How often the package was offered to it.
    pub offers: u32,
    /// How often it has failed.
    pub failures: u32,
    /// Why it failed last, or why it left.
    pub why: Option<String>,
}

/// What can be done to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutAction {
    /// Nobody new begins.
    Pause,
    /// Goes on after a pause or a halt; failures so far are no reason to halt any more.
    Resume,
    /// The gate of this wave is approved.
    Approve,
    /// Ended: who has not begun the trial is called back.
    Cancel,
    /// Those that failed are offered the package again.
    RetryFailed,
}

impl RolloutAction {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Pause,
        Self::Resume,
        Self::Approve,
        Self::Cancel,
        Self::RetryFailed,
    ];

    /// The name in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Approve => "approve",
            Self::Cancel => "cancel",
            Self::RetryFailed => "retry-failed",
        }
    }
}

/// A dry run is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The rollout.
    pub spec: RolloutSpec,
    /// Its package, if the server may not have it yet.
    #[serde(default)]
    pub package: Option<PackageFacts>,
}

/// What a plan has to know of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageFacts {
    /// Length of the file.
    pub size: u64,
    /// The product that it is for.
    pub product: String,
    /// The chip that it is for.
    pub chip: String,
    /// Its version.
    pub version: String,
    /// The image in it.
    #[schema(value_type = schema::Digest)]
    pub image_sha256: Sha256Digest,
}

/// Who would get what, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Who comes when.
    pub waves: Vec<PlannedWave>,
    /// Devices in all waves.
    pub devices: u64,
    /// Devices that run the image already.
    pub already: u64,
    /// Bytes that are downloaded in all.
    pub bytes: u64,
    /// How long it takes, soaking included, with nobody asleep, nobody approving late and every window open.
    pub seconds: u64,
    /// Percent of tries that fail with a good release, as the halt test takes it.
    pub baseline: f64,
    /// Devices of the target that cannot take the package.
    pub skipped: Vec<super::Skipped>,
    /// Devices of the target that are in no wave.
    pub left_out: Vec<String>,
}

/// A wave of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlannedWave {
    /// Its name.
    pub name: String,
    /// Its devices.
    pub devices: Vec<String>,
    /// How many of them are connected now.
    pub online: u64,
    /// Bytes that are downloaded.
    pub bytes: u64,
    /// When it begins, in seconds from the start.
    pub begins_s: u64,
    /// How long it takes, without its soak.
    pub takes_s: u64,
}
