//! Which state follows which: the table that the machine obeys, and the diagram that is drawn from it.
//!
//! [`super::Engine`] takes no step that is not in [`TRANSITIONS`], and a test walks every line of it; the diagram in the
//! documentation is [`write_mermaid`]'s output. So none of the three can say anything that the others do not.

use core::fmt;

/// The states by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateName {
    /// Nothing is in hand: no wish, a wish that is done with, or one whose time has not come.
    Idle,
    /// The package's header and table are fetched and judged.
    Checking,
    /// Its blocks are fetched and written.
    Downloading,
    /// A try failed; the next one waits for its time.
    Backoff,
    /// The whole image is read back from flash.
    Verifying,
    /// The trial record and then otadata are written.
    Activating,
    /// The device is about to restart.
    Rebooting,
    /// The running image is to prove itself.
    Trial,
    /// It has; the floors and otadata are written.
    Confirming,
    /// It has not; its otadata entry is erased.
    RollingBack,
    /// The old image runs after a trial without network, and waits for its own to work.
    Inconclusive,
    /// The image on trial is read back and activated once more.
    Reactivating,
    /// The record of an inconclusive trial is closed.
    Closing,
}

impl StateName {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Idle,
        Self::Checking,
        Self::Downloading,
        Self::Backoff,
        Self::Verifying,
        Self::Activating,
        Self::Rebooting,
        Self::Trial,
        Self::Confirming,
        Self::RollingBack,
        Self::Inconclusive,
        Self::Reactivating,
        Self::Closing,
    ];

    /// The name in the diagram.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Checking => "Checking",
            Self::Downloading => "Downloading",
            Self::Backoff => "Backoff",
            Self::Verifying => "Verifying",
            Self::Activating => "Activating",
            Self::Rebooting => "Rebooting",
            Self::Trial => "Trial",
            Self::Confirming => "Confirming",
            Self::RollingBack => "RollingBack",
            Self::Inconclusive => "Inconclusive",
            Self::Reactivating => "Reactivating",
            Self::Closing => "Closing",
        }
    }
}

/// What makes the machine go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// There is a wish, and nothing stands in its way.
    Wish,
    /// The header is authentic and for this device.
    Admitted,
    /// All blocks are in flash.
    Downloaded,
    /// The image in flash is the signed one.
    Verified,
    /// The new slot is selected.
    Activated,
    /// It failed in a way that may pass.
    Failed,
    /// It is time to try again.
    Retry,
    /// The job is over and reported.
    Ended,
    /// The wish changed, but not the job: it starts afresh.
    Changed,
    /// Cancelled after the new slot was selected.
    CancelledLate,
    /// All conditions of the trial hold.
    Proved,
    /// The trial failed, ran out of time or was cancelled.
    GivenUp,
    /// The confirmation is in flash.
    Confirmed,
    /// The confirmation could not be written.
    NotWritten,
    /// The trial's entry is erased.
    Erased,
    /// MQTT and HTTP work in the old image.
    NetworkBack,
    /// The trial is not to be started again.
    Dropped,
    /// The record is closed.
    Closed,
}

impl Trigger {
    /// The label in the diagram.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Wish => "wish",
            Self::Admitted => "header admitted",
            Self::Downloaded => "all blocks in flash",
            Self::Verified => "image read back",
            Self::Activated => "slot selected",
            Self::Failed => "failed, may pass",
            Self::Retry => "time to try again",
            Self::Ended => "already running, refused, failed, cancelled or superseded",
            Self::Changed => "same job, wish changed",
            Self::CancelledLate => "cancelled",
            Self::Proved => "Wi-Fi, MQTT, HTTP and health",
            Self::GivenUp => "unhealthy, out of time or cancelled",
            Self::Confirmed => "confirmed",
            Self::NotWritten => "could not be written",
            Self::Erased => "entry erased",
            Self::NetworkBack => "MQTT and HTTP work here",
            Self::Dropped => "superseded, cancelled or image lost",
            Self::Closed => "closed",
        }
    }
}

/// Every step that the machine can take.
pub const TRANSITIONS: &[(StateName, Trigger, StateName)] = {
    use StateName as S;
    use Trigger as T;
    &[
        (S::Idle, T::Wish, S::Checking),
        (S::Checking, T::Admitted, S::Downloading),
        (S::Checking, T::Failed, S::Backoff),
        (S::Checking, T::Changed, S::Idle),
        (S::Checking, T::Ended, S::Idle),
        (S::Downloading, T::Downloaded, S::Verifying),
        (S::Downloading, T::Failed, S::Backoff),
        (S::Downloading, T::Changed, S::Idle),
        (S::Downloading, T::Ended, S::Idle),
        (S::Backoff, T::Retry, S::Checking),
        (S::Backoff, T::Changed, S::Idle),
        (S::Backoff, T::Ended, S::Idle),
        (S::Verifying, T::Verified, S::Activating),
        (S::Verifying, T::Failed, S::Backoff),
        (S::Verifying, T::Changed, S::Idle),
        (S::Verifying, T::Ended, S::Idle),
        (S::Activating, T::Activated, S::Rebooting),
        (S::Activating, T::Failed, S::Backoff),
        (S::Activating, T::Ended, S::Idle),
        (S::Rebooting, T::CancelledLate, S::RollingBack),
        (S::Trial, T::Proved, S::Confirming),
        (S::Trial, T::GivenUp, S::RollingBack),
        (S::Confirming, T::Confirmed, S::Idle),
        (S::Confirming, T::NotWritten, S::Trial),
        (S::RollingBack, T::Erased, S::Rebooting),
        (S::Inconclusive, T::NetworkBack, S::Reactivating),
        (S::Inconclusive, T::Dropped, S::Closing),
        (S::Reactivating, T::Activated, S::Rebooting),
        (S::Reactivating, T::Dropped, S::Closing),
        (S::Closing, T::Closed, S::Idle),
    ]
};

/// Where a boot may start.
pub const STARTS: &[(StateName, &str)] = &[
    (StateName::Idle, "boot"),
    (StateName::Trial, "boot of the image on trial"),
    (
        StateName::Inconclusive,
        "boot of the old image after a trial without network",
    ),
];

/// Whether the table has this step.
#[must_use]
pub fn allowed(from: StateName, trigger: Trigger, to: StateName) -> bool {
    TRANSITIONS.contains(&(from, trigger, to))
}

/// Draws the table as a Mermaid state diagram.
///
/// # Errors
/// Those of `out`.
pub fn write_mermaid(out: &mut impl fmt::Write) -> fmt::Result {
    writeln!(out, "stateDiagram-v2")?;
    for (state, label) in STARTS {
        writeln!(out, "    [*] --> {}: {label}", state.name())?;
    }
    for (from, trigger, to) in TRANSITIONS {
        writeln!(
            out,
            "    {} --> {}: {}",
            from.name(),
            to.name(),
            trigger.label()
        )?;
    }
    writeln!(out, "    {} --> [*]: restart", StateName::Rebooting.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn every_state_can_be_reached_and_left() {
        for state in StateName::ALL {
            let entered = STARTS.iter().any(|(start, _)| *start == state)
                || TRANSITIONS.iter().any(|(_, _, to)| *to == state);
            let left = state == StateName::Rebooting
                || TRANSITIONS.iter().any(|(from, _, _)| *from == state);
            assert!(entered && left, "{state:?}");
        }
    }

    #[test]
    fn the_slot_is_selected_only_after_the_image_was_read_back() {
        for (from, trigger, to) in TRANSITIONS {
            if *to == StateName::Activating {
                assert_eq!((*from, *trigger), (StateName::Verifying, Trigger::Verified));
            }
        }
    }

    #[test]
    fn the_diagram_has_a_line_for_every_step() {
        let mut text = String::new();
        write_mermaid(&mut text).unwrap();
        assert!(text.starts_with("stateDiagram-v2\n"));
        assert_eq!(
            text.lines().count(),
            1 + STARTS.len() + TRANSITIONS.len() + 1
        );
        assert!(text.contains("    Verifying --> Activating: image read back\n"));
    }
}
