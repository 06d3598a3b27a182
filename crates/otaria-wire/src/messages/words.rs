//! The open lists of names in messages. Each has a number too where it is kept
//! in flash; numbers are appended, never reordered.

use serde::{Deserialize, Serialize};

use super::json::Word;

/// What a device is doing about its firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing.
    #[default]
    Idle,
    /// Reading header and table of the wanted package.
    Checking,
    /// Receiving blocks.
    Downloading,
    /// Reading the whole image back from flash.
    Verifying,
    /// Selecting the slot.
    Activating,
    /// About to restart.
    Rebooting,
    /// Running an image that has not proved itself yet.
    Trial,
    /// A phase of a later version.
    #[serde(other)]
    Unknown,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The wish was taken on.
    Accepted,
    /// A download goes on where it stopped.
    Resumed,
    /// A try failed; another one follows.
    Retrying,
    /// All blocks are in flash.
    Downloaded,
    /// The image in flash is the signed one.
    Verified,
    /// The new slot is selected.
    Activated,
    /// The new image runs, on trial.
    TrialStarted,
    /// The new image has proved itself. Final.
    Confirmed,
    /// The new image was given up; the old one runs. Final.
    RolledBack,
    /// The update failed. Final.
    Failed,
    /// The package or the message is not taken. Final.
    Refused,
    /// The wanted image runs already. Final.
    AlreadyRunning,
    /// Given up on request. Final.
    Cancelled,
    /// A newer wish replaced this one. Final.
    Superseded,
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// All kinds that this version knows, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Accepted,
        Self::Resumed,
        Self::Retrying,
        Self::Downloaded,
        Self::Verified,
        Self::Activated,
        Self::TrialStarted,
        Self::Confirmed,
        Self::RolledBack,
        Self::Failed,
        Self::Refused,
        Self::AlreadyRunning,
        Self::Cancelled,
        Self::Superseded,
    ];

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Resumed => "resumed",
            Self::Retrying => "retrying",
            Self::Downloaded => "downloaded",
            Self::Verified => "verified",
            Self::Activated => "activated",
            Self::TrialStarted => "trial_started",
            Self::Confirmed => "confirmed",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::AlreadyRunning => "already_running",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
            Self::Unknown => "unknown",
        }
    }

    /// Whether nothing follows for this job.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Confirmed
            | Self::RolledBack
            | Self::Failed
            | Self::Refused
            | Self::AlreadyRunning
            | Self::Cancelled
            | Self::Superseded => true,
            Self::Accepted
            | Self::Resumed
            | Self::Retrying
            | Self::Downloaded
            | Self::Verified
            | Self::Activated
            | Self::TrialStarted
            | Self::Unknown => false,
        }
    }

    /// The number in the journal.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Accepted => 1,
            Self::Resumed => 2,
            Self::Retrying => 3,
            Self::Downloaded => 4,
            Self::Verified => 5,
            Self::Activated => 6,
            Self::TrialStarted => 7,
            Self::Confirmed => 8,
            Self::RolledBack => 9,
            Self::Failed => 10,
            Self::Refused => 11,
            Self::AlreadyRunning => 12,
            Self::Cancelled => 13,
            Self::Superseded => 14,
            Self::Unknown => 0,
        }
    }

    /// The kind of a number in the journal.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

impl Phase {
    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Checking => "checking",
            Self::Downloading => "downloading",
            Self::Verifying => "verifying",
            Self::Activating => "activating",
            Self::Rebooting => "rebooting",
            Self::Trial => "trial",
            Self::Unknown => "unknown",
        }
    }
}

/// Why the chip started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// Power came.
    PowerOn,
    /// The program asked for it.
    Software,
    /// The program panicked.
    Panic,
    /// A watchdog ran out.
    Watchdog,
    /// The voltage fell too low.
    BrownOut,
    /// The chip woke from deep sleep.
    DeepSleep,
    /// The reset pin, or a debugger.
    External,
    /// Something else.
    #[serde(other)]
    Unknown,
}

impl ResetReason {
    /// Whether this counts as a crash of the image that ran before.
    #[must_use]
    pub fn is_crash(self) -> bool {
        match self {
            Self::Panic | Self::Watchdog | Self::BrownOut => true,
            Self::PowerOn | Self::Software | Self::DeepSleep | Self::External | Self::Unknown => {
                false
            }
        }
    }

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerOn => "power_on",
            Self::Software => "software",
            Self::Panic => "panic",
            Self::Watchdog => "watchdog",
            Self::BrownOut => "brown_out",
            Self::DeepSleep => "deep_sleep",
            Self::External => "external",
            Self::Unknown => "unknown",
        }
    }

    /// The number in the journal.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::PowerOn => 1,
            Self::Software => 2,
            Self::Panic => 3,
            Self::Watchdog => 4,
            Self::BrownOut => 5,
            Self::DeepSleep => 6,
            Self::External => 7,
        }
    }

    /// The reason of a number in the journal.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::PowerOn,
            2 => Self::Software,
            3 => Self::Panic,
            4 => Self::Watchdog,
            5 => Self::BrownOut,
            6 => Self::DeepSleep,
            7 => Self::External,
            _ => Self::Unknown,
        }
    }
}

impl Word for Phase {
    const KNOWN: &'static [Self] = &[
        Self::Idle,
        Self::Checking,
        Self::Downloading,
        Self::Verifying,
        Self::Activating,
        Self::Rebooting,
        Self::Trial,
    ];
    const OTHER: Self = Self::Unknown;

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for EventKind {
    const KNOWN: &'static [Self] = &Self::ALL;
    const OTHER: Self = Self::Unknown;

    fn word(self) -> &'static str {
        self.name()
    }
}

impl Word for ResetReason {
    const KNOWN: &'static [Self] = &[
        Self::PowerOn,
        Self::Software,
        Self::Panic,
        Self::Watchdog,
        Self::BrownOut,
        Self::DeepSleep,
        Self::External,
    ];
    const OTHER: Self = Self::Unknown;

    fn word(self) -> &'static str {
        self.name()
    }
}
