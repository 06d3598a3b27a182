//! What the boot guard decides: the first thing that happens in `main`, before anything else can crash.
//!
//! The guard knows the running slot (from the MMU), why the chip started, the journal's trial and confirmed records and both
//! otadata entries. [`decide`] turns these into one [`GuardDecision`], whose [`GuardPlan`] is carried out in this order: first
//! the journal, then otadata, then run or reset. Nothing here touches flash.
//!
//! # The life of a trial record
//!
//! ```text
//!             activated             proved itself: Confirmed record, then entry VALID
//!  (verified) ------> Open ------------------------------------------------------> Closed
//!                     ^  |                                                            ^
//!   MQTT and HTTP     |  | crashed, failed, cancelled,                                |
//!   work in the old   |  v no network                                                 |
//!   image             |  RollingBack --(entry erased; old image: quarantine, result)--|
//!                     |       | (entry erased; it had failed only for want of network) |
//!                     |       v                                                        |
//!                     '-- Inconclusive --(superseded, cancelled, given up)-------------'
//! ```
//!
//! # What a cut leaves
//!
//! "Old" is the image that ran before, "new" the one on trial. Each line is a place where the power may go, what the next boot
//! finds, and what the guard makes of it.
//!
//! | cut | found at the next boot | decision |
//! |---|---|---|
//! | before the trial record | no open trial; old runs | [`Nothing`](GuardDecision::Nothing); the download goes on from its record |
//! | after the trial record, before or in the activation | Open, new's entry not in force (blank, torn or stale) | [`Reactivate`](GuardDecision::Reactivate): the image was verified before the record was written |
//! | after the activation | Open, new runs | [`CountBoot`](GuardDecision::CountBoot) |
//! | in the bootloader's NEW -> PENDING_VERIFY | Open, new's entry torn, old runs | `Reactivate` |
//! | new crashes or loses power, stock bootloader | Open, new runs again | `CountBoot`, after the limit [`RollBack`](GuardDecision::RollBack) |
//! | the same, bootloader with rollback | Open, new's entry ABORTED, old runs | `Reactivate` after counting, after the limit `RollBack` |
//! | new's image is refused by the bootloader | Open, new's entry in force, old runs | [`BootloaderRefused`](GuardDecision::BootloaderRefused) |
//! | confirm: before the Confirmed record | as on trial | as on trial |
//! | confirm: after it, before entry VALID | Open, Confirmed is the trial's, new runs | [`FinishConfirm`](GuardDecision::FinishConfirm) |
//! | the same, bootloader with rollback | ... entry ABORTED, old runs | [`ReactivateConfirmed`](GuardDecision::ReactivateConfirmed) |
//! | confirm: in the rewrite to VALID | ... entry blank or torn, old runs | `ReactivateConfirmed` |
//! | confirm: before the record is closed | Open, Confirmed is the trial's, new runs | `FinishConfirm` (nothing left but to close) |
//! | roll back: after stage RollingBack, before or in the erase | RollingBack, either runs | [`FinishRollBack`](GuardDecision::FinishRollBack): the entry is erased again even if it reads blank, because a torn erase may read 0xFF and still be unstable |
//! | roll back: before quarantine and result | RollingBack, old runs | `FinishRollBack`; the runtime writes both again and closes the record |
//! | roll back, but old no longer boots | RollingBack, entry blank, new runs | [`Stranded`](GuardDecision::Stranded): it runs on and reports; a later update goes over the old one |

mod decide;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod table_tests;

pub use decide::{decide, finish_confirm};

use core::fmt;

pub use otaria_wire::journal::TrialStage;

use crate::reset::ResetReason;
use crate::slot::Slot;

/// Crashes (panic, watchdog, brown-out) that end a trial: at the boot after the third one it rolls back.
pub const CRASH_LIMIT: u8 = 3;

/// Boots of any other kind that end a trial: the tenth one rolls back. Wakes from deep sleep are not counted.
pub const BOOT_LIMIT: u8 = 10;

/// How often a trial that failed only for want of network is started again.
pub const REACTIVATION_LIMIT: u8 = 3;

/// What the trial record counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TrialCounts {
    /// Boots other than after a crash; wakes from deep sleep excepted.
    pub boots: u8,
    /// Boots after a panic, a watchdog reset or a brown-out.
    pub crashes: u8,
}

impl TrialCounts {
    /// Whether the trial has used up its boots or crashes, and which.
    #[must_use]
    pub const fn exhausted(self) -> Option<RollBackReason> {
        if self.crashes >= CRASH_LIMIT {
            Some(RollBackReason::Crashes)
        } else if self.boots >= BOOT_LIMIT {
            Some(RollBackReason::Boots)
        } else {
            None
        }
    }
}

/// The trial record as the guard needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrialView {
    /// The slot that holds the image on trial.
    pub slot: Slot,
    /// How far the record has come.
    pub stage: TrialStage,
    /// Boots and crashes so far.
    pub counts: TrialCounts,
}

/// The confirmed record as the guard needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConfirmedView {
    /// The slot of the image that was confirmed last.
    pub slot: Slot,
    /// Its slot and package identity are those of the trial record: the trial has been won, whatever the record's stage says.
    pub is_trial: bool,
}

/// A slot's entry in otadata: the one with the highest sequence number that selects this slot and has a good CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryState {
    /// There is none: blank, torn, or never written.
    Absent,
    /// 0: not yet booted.
    New,
    /// 1: a bootloader with rollback has booted it, and will mark it ABORTED at the next reset.
    PendingVerify,
    /// 2: confirmed.
    Valid,
    /// 3: the bootloader ignores it.
    Invalid,
    /// 4: the bootloader ignores it.
    Aborted,
    /// 0xFFFFFFFF, or a number that nobody defined (a torn write leaves such): the bootloader boots it.
    Undefined,
}

impl EntryState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Absent,
        Self::New,
        Self::PendingVerify,
        Self::Valid,
        Self::Invalid,
        Self::Aborted,
        Self::Undefined,
    ];

    /// Whether a bootloader considers the entry at all.
    #[must_use]
    pub const fn bootable(self) -> bool {
        match self {
            Self::New | Self::PendingVerify | Self::Valid | Self::Undefined => true,
            Self::Absent | Self::Invalid | Self::Aborted => false,
        }
    }
}

/// Both otadata sectors, as the guard needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OtadataView {
    /// The entry of each slot, by [`Slot::index`].
    pub entries: [EntryState; 2],
    /// The slot that the bootloader's rule selects; `None` if no entry is bootable.
    pub selected: Option<Slot>,
    /// A sector is neither blank nor holds an entry with a good CRC.
    pub torn: bool,
}

impl OtadataView {
    /// The entry of `slot`.
    #[must_use]
    pub const fn entry(&self, slot: Slot) -> EntryState {
        let [first, second] = self.entries;
        match slot {
            Slot::Ota0 => first,
            Slot::Ota1 => second,
        }
    }
}

/// All that the guard knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuardInput {
    /// The slot that runs, from the MMU; `None` if it is neither.
    pub running: Option<Slot>,
    /// Why the chip started.
    pub reset: ResetReason,
    /// The trial record, if there is one.
    pub trial: Option<TrialView>,
    /// The confirmed record, if there is one.
    pub confirmed: Option<ConfirmedView>,
    /// Otadata.
    pub otadata: OtadataView,
}

/// Why the guard ends a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RollBackReason {
    /// [`CRASH_LIMIT`] crashes.
    Crashes,
    /// [`BOOT_LIMIT`] boots of another kind.
    Boots,
    /// The bootloader did not boot the image although it was selected.
    BootloaderRefused,
}

/// What the guard makes of a boot. [`GuardDecision::plan`] says what is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuardDecision {
    /// No trial concerns this boot, and otadata is in order.
    Nothing,
    /// No trial concerns this boot, but otadata does not select what runs, or one of its entries is torn.
    Repair,
    /// The confirmed image was selected and the bootloader did not boot it: it is lost. The older one runs on, and the
    /// runtime reports.
    ConfirmedLost,
    /// The image on trial runs, and this boot is counted.
    CountBoot(TrialCounts),
    /// The image on trial runs, in a boot that is not counted: it woke from deep sleep, or a bootloader with rollback booted it
    /// straight after an activation, and the old image's guard has counted what came before.
    ContinueTrial,
    /// The trial is over.
    RollBack(RollBackReason, TrialCounts),
    /// The bootloader refused the image on trial: the trial is over. The old image runs.
    BootloaderRefused,
    /// The trial was over before this boot; its entry is erased (again).
    FinishRollBack,
    /// The old image runs and the image on trial is not selected, though it should be: it is activated again.
    Reactivate(TrialCounts),
    /// The image on trial runs and has been confirmed; its entry and its record are still to be finished.
    FinishConfirm,
    /// The image on trial has been confirmed, but the old one runs: the confirmed one is activated again.
    ReactivateConfirmed(TrialCounts),
    /// The trial is over, but the old image does not boot. The failed image is all there is, so it runs.
    Stranded,
}

/// A few words for logs, with the counts where a boot was counted.
impl fmt::Display for GuardDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, counts) = match self {
            Self::Nothing => ("nothing to do", None),
            Self::Repair => ("otadata repaired", None),
            Self::ConfirmedLost => ("confirmed image lost", None),
            Self::CountBoot(counts) => ("boot counted", Some(counts)),
            Self::ContinueTrial => ("trial goes on", None),
            Self::RollBack(RollBackReason::Crashes, counts) => {
                ("roll back, too many crashes", Some(counts))
            }
            Self::RollBack(RollBackReason::Boots, counts) => {
                ("roll back, too many boots", Some(counts))
            }
            Self::RollBack(RollBackReason::BootloaderRefused, counts) => {
                ("roll back, refused by the bootloader", Some(counts))
            }
            Self::BootloaderRefused => ("refused by the bootloader", None),
            Self::FinishRollBack => ("roll back finished", None),
            Self::Reactivate(counts) => ("activated again", Some(counts)),
            Self::FinishConfirm => ("confirmation finished", None),
            Self::ReactivateConfirmed(counts) => ("confirmed image activated again", Some(counts)),
            Self::Stranded => ("the old image does not boot", None),
        };
        f.write_str(words)?;
        match counts {
            Some(TrialCounts { boots, crashes }) => {
                write!(f, ", {boots} boots and {crashes} crashes so far")
            }
            None => Ok(()),
        }
    }
}

/// How an activation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivateAs {
    /// State NEW: a bootloader with rollback gives it one boot.
    Trial,
    /// State VALID: it has been confirmed.
    Confirmed,
    /// State UNDEFINED: it is the image that runs, or ran before; nothing is claimed about a confirmation.
    Fallback,
}

/// The one thing that the guard does to otadata in a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OtadataStep {
    /// Leave it.
    Keep,
    /// One erase and one write of a whole entry in the sector that is not in force, so that `slot` is selected.
    Activate {
        /// The slot to select.
        slot: Slot,
        /// The state to write.
        state: ActivateAs,
    },
    /// Rewrite the entry in force, which selects `slot`, with state VALID.
    MarkValid {
        /// The slot that is selected, and stays so.
        slot: Slot,
    },
    /// Erase the sector that does not hold the other slot's entry, whatever it reads.
    Erase {
        /// The slot that is not to be selected any more.
        slot: Slot,
    },
    /// Erase the torn sector; the other one stays.
    EraseTorn,
}

/// What is written into the trial record before otadata is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordStep {
    /// Leave it.
    Keep,
    /// Write the counts; the stage stays.
    Count(TrialCounts),
    /// Write the counts and stage [`TrialStage::RollingBack`] with the reason.
    RollingBack(RollBackReason, TrialCounts),
}

/// How the boot goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// Start the application and the runtime, which is given the decision.
    Run,
    /// Reset, **if** what was written reads back; else run: flash that cannot be written must not become a reset loop.
    Reset,
}

/// What is to be done about a decision, in this order. If a step fails, the ones after it are left out and the image runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GuardPlan {
    /// First: the journal.
    pub record: RecordStep,
    /// Second: otadata.
    pub otadata: OtadataStep,
    /// Third.
    pub then: Then,
}

/// Whether the installed bootloader does rollback, as far as this boot shows. `None` if it shows nothing.
///
/// Only the bootloader writes PENDING_VERIFY and ABORTED; only the rewrite of a PENDING_VERIFY entry writes VALID for an image
/// that the journal knows as confirmed, beside the entry of the image before it. (Where otadata is blank, every bootloader writes
/// one VALID entry itself.) An image that runs from an entry that still reads NEW was booted by one without.
#[must_use]
pub fn bootloader_rollback(input: &GuardInput) -> Option<bool> {
    let running = input.running?;
    let any = |state| input.otadata.entries.contains(&state);
    if any(EntryState::PendingVerify) || any(EntryState::Aborted) {
        return Some(true);
    }
    if input.otadata.selected != Some(running) {
        return None;
    }
    match input.otadata.entry(running) {
        EntryState::New => Some(false),
        EntryState::Valid => input
            .confirmed
            .filter(|confirmed| confirmed.slot == running && !any(EntryState::Absent))
            .map(|_| true),
        EntryState::Absent
        | EntryState::PendingVerify
        | EntryState::Invalid
        | EntryState::Aborted
        | EntryState::Undefined => None,
    }
}
