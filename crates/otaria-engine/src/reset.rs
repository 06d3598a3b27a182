//! Why the chip started.

use core::fmt;

/// Why the chip started, as far as an update has to tell the reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResetReason {
    /// The supply came up.
    PowerOn,
    /// The firmware asked for it.
    Software,
    /// The firmware panicked or took an exception.
    Panic,
    /// A watchdog ran out.
    Watchdog,
    /// The supply sagged.
    BrownOut,
    /// A wake from deep sleep: the same image goes on with its work.
    DeepSleep,
    /// The reset pin, or a debugger.
    External,
    /// The chip does not say.
    Unknown,
}

impl ResetReason {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PowerOn,
        Self::Software,
        Self::Panic,
        Self::Watchdog,
        Self::BrownOut,
        Self::DeepSleep,
        Self::External,
        Self::Unknown,
    ];

    /// Whether a boot for this reason is counted against an image on trial.
    #[must_use]
    pub const fn class(self) -> BootClass {
        match self {
            Self::Panic | Self::Watchdog | Self::BrownOut => BootClass::Crash,
            Self::PowerOn | Self::Software | Self::External | Self::Unknown => BootClass::Other,
            Self::DeepSleep => BootClass::Wake,
        }
    }

    /// The word for it in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
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
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a boot says about the image that ran before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootClass {
    /// It crashed: three of these end a trial.
    Crash,
    /// It was stopped from outside, or on purpose: ten of these end a trial.
    Other,
    /// It slept: never counted.
    Wake,
}
