//! What is swept: each line a story that is told once without a cut, and then again for every cut.

use otaria_wire::messages::{EventKind, FailureCode};

use crate::releases::Release;

/// How often an image whose trial failed only for want of network is activated again.
const REACTIVATION_LIMIT: u8 = 3;

/// A story. Whatever is cut in it, it has to come to one of its ends.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What happened before, without cuts. A new device has blank otadata, a blank journal and a blank log.
    pub(crate) before: &'static [Before],
    /// The release that is wished for.
    pub(crate) wish: Release,
    /// What is special about the world.
    pub(crate) world: Circumstance,
    /// How it ends: what runs, and which final event says so.
    pub(crate) ends: End,
}

/// Something that happened before.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Before {
    /// This release was wished for, and it came to its end.
    Wish(Release),
    /// The half in force of the journal was written, except for so many cells.
    JournalRoom(usize),
    /// The newest sector of the log was written, except for so many cells.
    LogRoom(usize),
}

/// What is special about the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Circumstance {
    /// Nothing.
    Fair,
    /// The broker cannot be reached from the image on trial, until that has been activated again so often.
    NoBrokerOnTrial(u8),
    /// Somebody cancels as soon as the image on trial runs.
    CancelledOnTrial,
    /// The web server does not know ranges, as Python's `http.server`.
    NoRanges,
    /// The web server closes each connection in the middle of the second block that it sends.
    ClosesEarly,
    /// While the device has no power, another release takes the place of the first one at its URL.
    FileChanges(Release),
    /// The same, and the server gives no entity tags.
    FileChangesUnseen(Release),
    /// While the device has no power, another release is wished for.
    WishChanges(Release),
}

/// How a story ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// What runs.
    pub(crate) runs: Release,
    /// What was reported last, and why.
    pub(crate) says: EventKind,
    pub(crate) code: Option<FailureCode>,
}

const fn confirmed(runs: Release) -> End {
    End {
        runs,
        says: EventKind::Confirmed,
        code: None,
    }
}

const fn rolled_back(runs: Release, code: FailureCode) -> End {
    End {
        runs,
        says: EventKind::RolledBack,
        code: Some(code),
    }
}

const fn cancelled(runs: Release) -> End {
    End {
        runs,
        says: EventKind::Cancelled,
        code: Some(FailureCode::Cancelled),
    }
}

use Before::{JournalRoom, LogRoom, Wish};
use Circumstance::{
    CancelledOnTrial, ClosesEarly, Fair, FileChanges, FileChangesUnseen, NoBrokerOnTrial, NoRanges,
    WishChanges,
};
use Release::{Crashes, Encrypted, Factory, Good, Hangs, Large, NeverHealthy, Next, Unhealthy};

const fn story(
    name: &'static str,
    before: &'static [Before],
    wish: Release,
    world: Circumstance,
    ends: End,
) -> Scenario {
    Scenario {
        name,
        before,
        wish,
        world,
        ends,
    }
}

/// The stories.
#[rustfmt::skip]
pub(crate) const SCENARIOS: &[Scenario] = &[
    //    name                          before                              wish          world                     ends
    // A new device: blank otadata, which a bootloader writes; the journal's first use; nothing to erase in slot 1.
    story("first_update",               &[],                                Good,         Fair,                     confirmed(Good)),
    // Slot 0 is written for the first time, sector by sector; both otadata entries are in use.
    story("update_after_confirm",       &[Wish(Good)],                      Next,         Fair,                     confirmed(Next)),
    // A block erase of 64 KiB.
    story("large_after_confirm",        &[Wish(Good)],                      Large,        Fair,                     confirmed(Large)),
    story("update_after_roll_back",     &[Wish(Crashes)],                   Next,         Fair,                     confirmed(Next)),
    // Trials that fail.
    story("crash_on_trial",             &[],                                Crashes,      Fair,                     rolled_back(Factory, FailureCode::TrialCrashed)),
    story("crash_on_trial_from_slot_1", &[Wish(Good)],                      Crashes,      Fair,                     rolled_back(Good, FailureCode::TrialCrashed)),
    story("hang_on_trial",              &[Wish(Good)],                      Hangs,        Fair,                     rolled_back(Good, FailureCode::TrialCrashed)),
    story("unhealthy_on_trial",         &[Wish(Good)],                      Unhealthy,    Fair,                     rolled_back(Good, FailureCode::HealthCheckFailed)),
    story("never_healthy_on_trial",     &[],                                NeverHealthy, Fair,                     rolled_back(Factory, FailureCode::TrialTimeout)),
    story("cancelled_on_trial",         &[Wish(Good)],                      NeverHealthy, CancelledOnTrial,         cancelled(Good)),
    story("no_network_on_trial",        &[Wish(Good)],                      Next,         NoBrokerOnTrial(1),       confirmed(Next)),
    story("never_network_on_trial",     &[],                                Good,         NoBrokerOnTrial(u8::MAX), rolled_back(Factory, FailureCode::TrialNoNetwork)),
    // Resuming from what may have changed.
    story("server_without_ranges",      &[Wish(Good)],                      Next,         NoRanges,                 confirmed(Next)),
    story("server_closes_early",        &[Wish(Good)],                      Large,        ClosesEarly,              confirmed(Large)),
    story("file_changes",               &[Wish(Good)],                      Large,        FileChanges(Next),        confirmed(Large)),
    story("file_changes_unseen",        &[Wish(Good)],                      Large,        FileChangesUnseen(Next),  confirmed(Large)),
    story("wish_changes",               &[Wish(Good)],                      Large,        WishChanges(Next),        confirmed(Large)),
    // Resuming needs the content key again, from what is kept in flash.
    story("encrypted",                  &[Wish(Good)],                      Encrypted,    ClosesEarly,              confirmed(Encrypted)),
    // The journal compacts: between two blocks, at the trial's record, at the confirmed record, at the record of a roll back.
    story("journal_full_in_download",   &[Wish(Good), JournalRoom(12)],     Next,         Fair,                     confirmed(Next)),
    story("journal_full_at_activation", &[Wish(Good), JournalRoom(16)],     Next,         Fair,                     confirmed(Next)),
    story("journal_full_at_confirm",    &[Wish(Good), JournalRoom(23)],     Next,         Fair,                     confirmed(Next)),
    story("journal_full_at_roll_back",  &[Wish(Good), JournalRoom(27)],     Crashes,      Fair,                     rolled_back(Good, FailureCode::TrialCrashed)),
    // The log takes its next sector into use.
    story("log_wraps",                  &[Wish(Good), LogRoom(16)],         Next,         Fair,                     confirmed(Next)),
];

impl Scenario {
    pub(crate) fn named(name: &str) -> &'static Scenario {
        SCENARIOS
            .iter()
            .find(|scenario| scenario.name == name)
            .unwrap_or_else(|| panic!("there is no scenario {name}"))
    }

    /// The ends that are right after so many cuts.
    pub(crate) fn ends(&self, cuts: u32) -> Vec<End> {
        match self.world {
            FileChanges(other) | FileChangesUnseen(other) if cuts > 0 => {
                vec![self.ends, confirmed(other)]
            }
            WishChanges(other) if cuts > 0 => vec![confirmed(other)],
            Fair | NoBrokerOnTrial(_) | CancelledOnTrial | NoRanges | ClosesEarly
            | FileChanges(_) | FileChangesUnseen(_) | WishChanges(_) => vec![self.ends],
        }
    }

    /// How often an image may be on trial for one wish.
    pub(crate) fn trials(&self) -> u32 {
        match self.world {
            NoBrokerOnTrial(times) => 1 + u32::from(times.min(REACTIVATION_LIMIT)),
            Fair | CancelledOnTrial | NoRanges | ClosesEarly | FileChanges(_)
            | FileChangesUnseen(_) | WishChanges(_) => 1,
        }
    }

    /// How many images may be downloaded after so many cuts.
    pub(crate) fn downloads(&self, cuts: u32) -> u32 {
        match self.world {
            FileChanges(_) | FileChangesUnseen(_) | WishChanges(_) if cuts > 0 => 2,
            Fair | NoBrokerOnTrial(_) | CancelledOnTrial | NoRanges | ClosesEarly
            | FileChanges(_) | FileChangesUnseen(_) | WishChanges(_) => 1,
        }
    }
}
