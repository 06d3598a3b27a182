//! Why the chip started, and what that says about the image that ran before.

pub use otaria_wire::messages::ResetReason;

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

impl BootClass {
    /// Of a boot for this reason.
    #[must_use]
    pub const fn of(reason: ResetReason) -> Self {
        match reason {
            ResetReason::Panic | ResetReason::Watchdog | ResetReason::BrownOut => Self::Crash,
            ResetReason::PowerOn
            | ResetReason::Software
            | ResetReason::External
            | ResetReason::Unknown => Self::Other,
            ResetReason::DeepSleep => Self::Wake,
        }
    }
}
