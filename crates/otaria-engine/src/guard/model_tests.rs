//! The whole protocol of DESIGN 6 in a small model: both kinds of bootloader, images that are good, crash, lose the network or
//! are damaged, power cuts before every single write, twice over. It asks what the tables cannot: does every road end, and where?

use super::*;
use crate::slot::Slot::{Ota0, Ota1};
use std::vec::Vec;

/// How the new image behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum New {
    Good,
    Crashes,
    Hangs,
    WithoutNetwork,
    Damaged,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Sector {
    Blank,
    Torn,
    Entry(u32, EntryState),
}

#[derive(Clone, Debug)]
struct Device {
    rollback: bool,
    new: New,
    old_boots: bool,
    sectors: [Sector; 2],
    trial: Option<TrialView>,
    reactivations: u8,
    no_network: bool,
    confirmed: Option<ConfirmedView>,
    quarantined: bool,
    reset: ResetReason,
    /// Writes left until the power goes; `None` for stable power.
    fuel: Option<u32>,
    writes: u32,
}

/// The power went.
struct Cut;

impl Device {
    fn new(rollback: bool, new: New, old_boots: bool) -> Self {
        Self {
            rollback,
            new,
            old_boots,
            sectors: [Sector::Entry(1, EntryState::Valid), Sector::Blank],
            trial: None,
            reactivations: 0,
            no_network: false,
            confirmed: Some(ConfirmedView {
                slot: Ota0,
                is_trial: false,
            }),
            quarantined: false,
            reset: ResetReason::Software,
            fuel: None,
            writes: 0,
        }
    }

    /// Every write and erase goes through here.
    fn write(&mut self) -> Result<(), Cut> {
        self.writes += 1;
        match &mut self.fuel {
            Some(0) => {
                self.fuel = None;
                Err(Cut)
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn slot_of(seq: u32) -> Slot {
        if seq % 2 == 1 { Ota0 } else { Ota1 }
    }

    fn in_force(&self) -> Option<(usize, u32)> {
        let seq_of = |sector: &Sector| match sector {
            Sector::Entry(seq, state) if state.bootable() => Some(*seq),
            Sector::Entry(..) | Sector::Blank | Sector::Torn => None,
        };
        (0..2)
            .filter_map(|index| Some((index, seq_of(&self.sectors[index])?)))
            .max_by_key(|&(_, seq)| seq)
    }

    fn view(&self) -> OtadataView {
        let mut entries = [EntryState::Absent; 2];
        let mut highest = [0; 2];
        for sector in self.sectors {
            if let Sector::Entry(seq, state) = sector {
                let index = usize::from(Self::slot_of(seq).index());
                if seq > highest[index] {
                    highest[index] = seq;
                    entries[index] = state;
                }
            }
        }
        OtadataView {
            entries,
            selected: self.in_force().map(|(_, seq)| Self::slot_of(seq)),
            torn: self.sectors.contains(&Sector::Torn),
        }
    }

    /// A sector is erased and then written; a cut before or in the erase leaves the old entry, or a torn sector.
    fn replace(&mut self, index: usize, with: Option<(u32, EntryState)>) -> Result<(), Cut> {
        self.write()?;
        self.sectors[index] = Sector::Torn;
        self.write()?;
        self.sectors[index] = Sector::Blank;
        if let Some((seq, state)) = with {
            self.write()?;
            self.sectors[index] = Sector::Entry(seq, state);
        }
        Ok(())
    }

    fn activate(&mut self, slot: Slot, state: EntryState) -> Result<(), Cut> {
        let (sector, highest) = match self.in_force() {
            Some((index, seq)) => (1 - index, seq),
            None => (0, 0),
        };
        let mut seq = highest + 1;
        while Self::slot_of(seq) != slot {
            seq += 1;
        }
        self.replace(sector, Some((seq, state)))
    }

    /// Which slot the bootloader boots.
    fn bootloader(&mut self) -> Result<Slot, Cut> {
        if self.rollback {
            for index in 0..2 {
                if let Sector::Entry(seq, EntryState::PendingVerify) = self.sectors[index] {
                    self.replace(index, Some((seq, EntryState::Aborted)))?;
                }
            }
            if let Some((index, seq)) = self.in_force()
                && self.sectors[index] == Sector::Entry(seq, EntryState::New)
            {
                self.replace(index, Some((seq, EntryState::PendingVerify)))?;
            }
        }
        let chosen = self.in_force().map_or(Ota0, |(_, seq)| Self::slot_of(seq));
        if self.in_force().is_none()
            && !self
                .sectors
                .iter()
                .any(|sector| matches!(sector, Sector::Entry(..)))
        {
            self.replace(0, Some((1, EntryState::Valid)))?;
        }
        let boots = |slot| {
            if slot == Ota0 {
                self.old_boots
            } else {
                self.new != New::Damaged && self.trial.is_some()
            }
        };
        Ok(if boots(chosen) {
            chosen
        } else {
            chosen.other()
        })
    }

    fn stage(&mut self, stage: TrialStage) -> Result<(), Cut> {
        self.write()?;
        if let Some(trial) = &mut self.trial {
            trial.stage = stage;
        }
        Ok(())
    }

    fn guard(&mut self, running: Slot) -> Result<(GuardDecision, Then), Cut> {
        let input = GuardInput {
            running: Some(running),
            reset: self.reset,
            trial: self.trial,
            confirmed: self.confirmed,
            otadata: self.view(),
        };
        let decision = decide(&input);
        let plan = decision.plan(&input);
        match plan.record {
            RecordStep::Keep => {}
            RecordStep::Count(counts) => {
                self.write()?;
                self.trial.as_mut().unwrap().counts = counts;
            }
            RecordStep::RollingBack(_, counts) => {
                self.write()?;
                let trial = self.trial.as_mut().unwrap();
                trial.counts = counts;
                trial.stage = TrialStage::RollingBack;
            }
        }
        match plan.otadata {
            OtadataStep::Keep => {}
            OtadataStep::Activate { slot, state } => {
                let state = match state {
                    ActivateAs::Trial => EntryState::New,
                    ActivateAs::Confirmed => EntryState::Valid,
                    ActivateAs::Fallback => EntryState::Undefined,
                };
                self.activate(slot, state)?;
            }
            OtadataStep::MarkValid { slot } => self.mark_valid(slot)?,
            OtadataStep::Erase { slot } => self.erase_entry(slot)?,
            OtadataStep::EraseTorn => {
                for index in 0..2 {
                    if self.sectors[index] == Sector::Torn {
                        self.replace(index, None)?;
                    }
                }
            }
        }
        Ok((decision, plan.then))
    }

    fn mark_valid(&mut self, slot: Slot) -> Result<(), Cut> {
        let (index, seq) = self.in_force().unwrap();
        assert_eq!(Self::slot_of(seq), slot);
        self.replace(index, Some((seq, EntryState::Valid)))
    }

    fn erase_entry(&mut self, slot: Slot) -> Result<(), Cut> {
        let keep = (0..2)
            .filter_map(|index| match self.sectors[index] {
                Sector::Entry(seq, _) if Self::slot_of(seq) == slot.other() => Some((seq, index)),
                Sector::Entry(..) | Sector::Blank | Sector::Torn => None,
            })
            .max()
            .unwrap()
            .1;
        self.replace(1 - keep, None)
    }

    /// One boot from the bootloader to the next reset or cut; the end of the story if it comes to rest.
    fn boot(&mut self) -> Result<Option<Slot>, Cut> {
        let running = self.bootloader()?;
        let on_trial = running == Ota1;
        assert!(
            !(on_trial && self.new == New::Damaged),
            "an image ran that the bootloader cannot load"
        );
        let (decision, then) = self.guard(running)?;
        if on_trial && !self.confirmed.is_some_and(|confirmed| confirmed.is_trial) {
            let stage = self.trial.map(|trial| trial.stage);
            assert!(
                stage.is_some_and(|stage| stage != TrialStage::Closed),
                "invariant 3: {self:?}"
            );
        }
        if then == Then::Reset {
            self.reset = ResetReason::Software;
            return Ok(None);
        }
        match decision {
            GuardDecision::CountBoot(_) | GuardDecision::ContinueTrial => {
                self.run_new().map(|()| None)
            }
            GuardDecision::FinishConfirm => {
                self.stage(TrialStage::Closed)?;
                Ok(Some(running))
            }
            GuardDecision::Stranded => Ok(Some(running)),
            GuardDecision::RollBack(..)
            | GuardDecision::BootloaderRefused
            | GuardDecision::FinishRollBack => {
                assert_eq!(running, Ota0);
                self.settle()
            }
            GuardDecision::ConfirmedLost => {
                self.write()?;
                self.confirmed = Some(ConfirmedView {
                    slot: running,
                    is_trial: false,
                });
                self.stage(TrialStage::Closed)?;
                Ok(Some(running))
            }
            GuardDecision::Nothing | GuardDecision::Repair => self.run_old(running),
            GuardDecision::Reactivate(_) | GuardDecision::ReactivateConfirmed(_) => {
                unreachable!("{decision:?} resets")
            }
        }
    }

    /// The image on trial, until it resets.
    fn run_new(&mut self) -> Result<(), Cut> {
        match self.new {
            New::Good => {
                self.write()?;
                self.confirmed = Some(ConfirmedView {
                    slot: Ota1,
                    is_trial: true,
                });
                if self.view().entry(Ota1) == EntryState::PendingVerify {
                    self.mark_valid(Ota1)?;
                }
                self.stage(TrialStage::Closed)?;
                self.reset = ResetReason::Software;
            }
            New::Crashes => self.reset = ResetReason::Panic,
            New::Hangs => self.reset = ResetReason::Watchdog,
            New::WithoutNetwork => {
                self.stage(TrialStage::RollingBack)?;
                self.no_network = true;
                self.erase_entry(Ota1)?;
                self.reset = ResetReason::Software;
            }
            New::Damaged => unreachable!(),
        }
        Ok(())
    }

    /// The old image, after the guard has erased the trial's entry.
    fn settle(&mut self) -> Result<Option<Slot>, Cut> {
        match self.trial.unwrap().stage {
            TrialStage::Inconclusive => self.reactivate(),
            TrialStage::RollingBack
                if self.no_network && self.reactivations < REACTIVATION_LIMIT =>
            {
                self.stage(TrialStage::Inconclusive)?;
                self.reactivate()
            }
            TrialStage::RollingBack => {
                self.write()?;
                self.quarantined = true;
                self.stage(TrialStage::Closed)?;
                Ok(Some(Ota0))
            }
            TrialStage::Open | TrialStage::Closed => panic!("nothing to settle: {self:?}"),
        }
    }

    fn reactivate(&mut self) -> Result<Option<Slot>, Cut> {
        self.write()?;
        self.reactivations += 1;
        self.no_network = false;
        self.trial = Some(TrialView {
            slot: Ota1,
            stage: TrialStage::Open,
            counts: TrialCounts::default(),
        });
        self.activate(Ota1, EntryState::New)?;
        self.reset = ResetReason::Software;
        Ok(None)
    }

    /// The old image or the confirmed one, with nothing open; starts the trial the first time.
    fn run_old(&mut self, running: Slot) -> Result<Option<Slot>, Cut> {
        match self.trial.map(|trial| trial.stage) {
            None => {
                assert_eq!(running, Ota0);
                self.write()?;
                self.trial = Some(TrialView {
                    slot: Ota1,
                    stage: TrialStage::Open,
                    counts: TrialCounts::default(),
                });
                self.activate(Ota1, EntryState::New)?;
                self.reset = ResetReason::Software;
                Ok(None)
            }
            Some(TrialStage::Inconclusive) => self.reactivate(),
            Some(TrialStage::Open | TrialStage::RollingBack | TrialStage::Closed) => {
                Ok(Some(running))
            }
        }
    }

    /// Runs to rest, with power cuts before the writes with these numbers (counted from the one before).
    fn run(&mut self, cuts: &[u32]) -> Slot {
        let mut cuts = cuts.iter();
        self.fuel = cuts.next().copied();
        for _ in 0..100 {
            match self.boot() {
                Ok(Some(slot)) => return slot,
                Ok(None) => {}
                Err(Cut) => {
                    self.reset = ResetReason::PowerOn;
                    self.fuel = cuts.next().copied();
                }
            }
        }
        panic!("never came to rest: {self:?}");
    }
}

fn check(device: &Device, rests_in: Slot) {
    let open = device
        .trial
        .is_some_and(|trial| trial.stage != TrialStage::Closed);
    let won = device.confirmed.is_some_and(|confirmed| confirmed.is_trial);
    match (device.new, device.old_boots) {
        (New::Good, _) => {
            assert_eq!(rests_in, Ota1, "{device:?}");
            assert!(won && !open, "{device:?}");
            assert_ne!(
                device.view().entry(Ota1),
                EntryState::PendingVerify,
                "{device:?}"
            );
        }
        (New::Crashes | New::Hangs | New::WithoutNetwork | New::Damaged, true) => {
            assert_eq!(rests_in, Ota0, "{device:?}");
            assert!(device.quarantined && !won && !open, "{device:?}");
            assert_eq!(device.view().entry(Ota1), EntryState::Absent, "{device:?}");
        }
        // Nothing else boots, so the failed image stays, and its record says so.
        (New::Crashes | New::Hangs | New::WithoutNetwork, false) => {
            assert_eq!(rests_in, Ota1, "{device:?}");
            assert!(open && !won, "{device:?}");
        }
        (New::Damaged, false) => unreachable!("no image boots"),
    }
}

#[test]
fn every_road_ends_with_the_right_image_after_any_two_power_cuts() {
    let mut roads = 0_u32;
    for rollback in [false, true] {
        for new in [
            New::Good,
            New::Crashes,
            New::Hangs,
            New::WithoutNetwork,
            New::Damaged,
        ] {
            let start = Device::new(rollback, new, true);
            let mut uncut = start.clone();
            let rests_in = uncut.run(&[]);
            check(&uncut, rests_in);
            for first in 0..uncut.writes {
                let mut once = start.clone();
                let rests_in = once.run(&[first]);
                check(&once, rests_in);
                roads += 1;
                for second in 0..once.writes - first {
                    let mut twice = start.clone();
                    let rests_in = twice.run(&[first, second]);
                    check(&twice, rests_in);
                    roads += 1;
                }
            }
        }
    }
    assert!(roads > 2_000, "only {roads} roads were tried");
}

#[test]
fn a_failed_image_runs_on_when_the_old_one_no_longer_boots() {
    for rollback in [false, true] {
        for new in [New::Good, New::Crashes, New::Hangs, New::WithoutNetwork] {
            let mut device = Device::new(rollback, new, true);
            // The old image breaks once the new one is activated.
            let mut boots = Vec::new();
            for _ in 0..100 {
                if device.trial.is_some() && device.view().selected == Some(Ota1) {
                    device.old_boots = false;
                }
                if let Ok(Some(slot)) = device.boot() {
                    boots.push(slot);
                    break;
                }
            }
            let rests_in = *boots.last().unwrap();
            check(&device, rests_in);
        }
    }
}
