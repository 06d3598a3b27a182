//! The boot guard with a bootloader below and a small runtime above: a trial ends as it should, whatever is cut.
//!
//! The runtime here does what the real one does to flash, and nothing else: it opens the trial, confirms, and closes records.

use std::cell::{Cell, RefCell};

use otaria_boot::{BootError, boot};
use otaria_device::board::{ResetReason, Slot};
use otaria_device::guard::{GuardDecision, Then, boot_guard};
use otaria_device::storage::journal::{JOURNAL_SECTORS, Journal};
use otaria_device::storage::otadata::{ActivateAs, OtaData, SectorState};
use otaria_device::storage::region::Region;
use otaria_device::storage::slot::TargetSlot;
use otaria_device::storage::trial::{self, TrialRecord};
use otaria_device::storage::verify::ImageVerifier;
use otaria_sim::flash::{FaultPlan, SimFlash};
use otaria_sim::images::Stamp;
use otaria_wire::journal::{Confirmed, TrialCounters, TrialStage, TrialTarget};
use otaria_wire::messages::FailureCode;
use otaria_wire::otadata::{Entry, OtaState};
use otaria_wire::partitions::{
    DEFAULT_4MB, Layout, PARTITION_TABLE_OFFSET, default_4mb_partitions, encode,
};
use otaria_wire::{Sha256Digest, clip};

use crate::package::Package;
use crate::sweep::{Count, Scenario, sweep};

const LAYOUT: Layout = DEFAULT_4MB;
/// More boots than any of these stories takes.
const BOOTS: u32 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image {
    /// Proves itself and is confirmed.
    Good,
    /// Panics at once.
    Crashes,
    /// Changes in flash after it was verified, so that the bootloader refuses it.
    Rots,
}

struct Trial {
    old: Slot,
    before: [Option<Entry>; 2],
    image: Image,
    rollback: bool,
    package: Package,
}

#[derive(Clone)]
struct World {
    reset: ResetReason,
    boots: u32,
    /// The image on trial was seen running.
    ran: bool,
    /// The image on trial was confirmed, as far as the outside has been told.
    confirmed: bool,
    /// Why the trial failed, as far as the outside has been told.
    failed: Option<u16>,
}

type SimRegion<'a> = Region<'a, SimFlash>;

/// What a boot ends in.
enum End {
    Reset(ResetReason),
    /// Nothing is left to be done.
    Done,
    PowerLost,
}

impl Trial {
    fn new_slot(&self) -> Slot {
        self.old.other()
    }

    fn journal<'a>(&self, flash: &'a RefCell<SimFlash>) -> Option<Journal<SimRegion<'a>>> {
        let region = LAYOUT.journal;
        let region = Region::new(flash, region.offset, region.len).unwrap();
        Journal::mount(region.part(0, JOURNAL_SECTORS * 4096).unwrap()).ok()
    }

    fn otadata<'a>(&self, flash: &'a RefCell<SimFlash>) -> OtaData<SimRegion<'a>> {
        let region = LAYOUT.otadata;
        OtaData::new(Region::new(flash, region.offset, region.len).unwrap()).unwrap()
    }

    /// Whether the image was verified. Looks at a copy.
    fn trial_is_on_record(&self, flash: &RefCell<SimFlash>) -> bool {
        let mut copy = flash.borrow().clone();
        copy.power_on();
        copy.set_plan(FaultPlan::default());
        let copy = RefCell::new(copy);
        let journal = self.journal(&copy);
        journal.is_some_and(|mut journal| {
            let trial = trial::load(&mut journal).unwrap();
            trial.is_some_and(|trial| trial.target.identity == self.package.header.identity())
        })
    }

    /// One boot, from the bootloader to the next reset.
    fn boot(&self, flash: &RefCell<SimFlash>, world: &mut World) -> End {
        if self.image == Image::Rots && self.trial_is_on_record(flash) {
            let slot = LAYOUT.slots[usize::from(self.new_slot().index())];
            flash.borrow_mut().load(slot.offset + 100, &[0xEE]);
        }
        let booted = match boot(&mut *flash.borrow_mut(), self.rollback) {
            Ok(booted) => booted,
            Err(BootError::Flash(_)) => return End::PowerLost,
            Err(error) => panic!("invariant 1: nothing boots: {error}"),
        };
        let running = Slot::from_index(booted.slot().unwrap()).unwrap();
        let Some(mut journal) = self.journal(flash) else {
            return End::PowerLost;
        };
        let mut otadata = self.otadata(flash);
        let Ok(report) = boot_guard(&mut journal, &mut otadata, Some(running), world.reset) else {
            return End::PowerLost;
        };
        if report.failed.is_some() {
            assert!(!flash.borrow().powered(), "{:?}", report.failed);
            return End::PowerLost;
        }
        if report.then == Then::Reset {
            return End::Reset(ResetReason::Software);
        }
        let Ok(trial) = trial::load(&mut journal) else {
            return End::PowerLost;
        };
        let new = self.new_slot();
        let of_this = |trial: &TrialRecord| trial.target.identity == self.package.header.identity();
        if running == new {
            assert!(
                trial.as_ref().is_some_and(of_this),
                "invariant 3: an unconfirmed image runs without a trial record of its own"
            );
            world.ran = true;
        }
        let end = match trial {
            None => self.start_trial(flash, &mut journal),
            Some(trial) if !of_this(&trial) => self.start_trial(flash, &mut journal),
            Some(trial) if trial.counters.stage == TrialStage::Closed => Some(End::Done),
            Some(trial) if running == new => self.on_trial(flash, &mut journal, trial, world),
            Some(trial) => self.after_trial(&mut journal, &trial, report.decision, world),
        };
        end.unwrap_or(End::PowerLost)
    }

    fn start_trial(
        &self,
        flash: &RefCell<SimFlash>,
        journal: &mut Journal<SimRegion<'_>>,
    ) -> Option<End> {
        let new = self.new_slot();
        let slot = LAYOUT.slots[usize::from(new.index())];
        let region = Region::new(flash, slot.offset, slot.len).unwrap();
        let mut target = TargetSlot::new(new, Some(self.old), region).unwrap();
        let mut verifier = ImageVerifier::new(&self.package.header);
        let image = loop {
            if let Some(image) = verifier.step(&mut target).unwrap() {
                break image;
            }
        };
        trial::open(journal, &image, "job", "http://host/a.otaria", None).ok()?;
        self.otadata(flash).activate(new, ActivateAs::Trial).ok()?;
        Some(End::Reset(ResetReason::Software))
    }

    /// The image on trial runs.
    fn on_trial(
        &self,
        flash: &RefCell<SimFlash>,
        journal: &mut Journal<SimRegion<'_>>,
        trial: TrialRecord,
        world: &mut World,
    ) -> Option<End> {
        match self.image {
            Image::Rots => panic!("an image runs that the bootloader should have refused"),
            Image::Crashes => return Some(End::Reset(ResetReason::Panic)),
            Image::Good => {}
        }
        let target = &trial.target;
        let confirmed = Confirmed {
            slot: target.slot,
            image_sha256: target.image_sha256,
            identity: target.identity,
            sequence: target.sequence,
            security_version: target.security_version,
        };
        journal.append(0, &confirmed).ok()?;
        world.confirmed = true;
        self.otadata(flash).confirm(self.new_slot()).ok()?;
        close(journal, trial.counters)?;
        Some(End::Reset(ResetReason::Software))
    }

    /// The old image runs, and the guard had nothing to reset for.
    fn after_trial(
        &self,
        journal: &mut Journal<SimRegion<'_>>,
        trial: &TrialRecord,
        decision: GuardDecision,
        world: &mut World,
    ) -> Option<End> {
        let counters = trial.counters;
        assert_eq!(counters.stage, TrialStage::RollingBack, "{decision:?}");
        assert!(
            !world.confirmed,
            "invariant 4: a confirmed image is rolled back, {decision:?}"
        );
        world.failed = Some(counters.code);
        close(journal, counters)?;
        Some(End::Reset(ResetReason::Software))
    }

    fn run_until_done(&self, flash: &RefCell<SimFlash>, world: &mut World) -> bool {
        loop {
            world.boots += 1;
            assert!(world.boots < BOOTS, "invariant 7: it boots and boots");
            match self.boot(flash, world) {
                End::Reset(reason) => world.reset = reason,
                End::Done => return true,
                End::PowerLost => {
                    assert!(!flash.borrow().powered());
                    world.reset = ResetReason::PowerOn;
                    return false;
                }
            }
        }
    }
}

fn close(journal: &mut Journal<SimRegion<'_>>, counters: TrialCounters) -> Option<()> {
    journal
        .append(
            0,
            &TrialCounters {
                stage: TrialStage::Closed,
                ..counters
            },
        )
        .ok()
}

impl Scenario for Trial {
    type World = World;

    fn start(&self) -> (SimFlash, World) {
        let mut flash = SimFlash::new(0x40_0000);
        flash.load(
            PARTITION_TABLE_OFFSET,
            &encode(&default_4mb_partitions()).unwrap(),
        );
        let [old, new] =
            [self.old, self.new_slot()].map(|slot| LAYOUT.slots[usize::from(slot.index())].offset);
        flash.load(old, &Stamp::new("1.0.0").image());
        flash.load(new, &self.package.image);
        for (at, entry) in [0, 0x1000].into_iter().zip(self.before) {
            if let Some(entry) = entry {
                flash.load(LAYOUT.otadata.offset + at, &entry.encode());
            }
        }
        let flash = RefCell::new(flash);
        let mut journal = self.journal(&flash).unwrap();
        // Another package has failed its trial in the same slot before.
        let failed = TrialTarget {
            slot: self.new_slot().index(),
            image_sha256: Sha256Digest([9; 32]),
            identity: Sha256Digest([8; 32]),
            sequence: 1,
            security_version: 0,
            job: clip("an earlier job"),
            url: clip("http://host/b.otaria"),
            created: 1,
            timing: None,
        };
        journal.append(0, &failed).unwrap();
        close(&mut journal, trial::fresh_counters(&failed)).unwrap();
        drop(journal);
        let world = World {
            reset: ResetReason::PowerOn,
            boots: 0,
            ran: false,
            confirmed: false,
            failed: None,
        };
        (flash.into_inner(), world)
    }

    fn run(&self, flash: &RefCell<SimFlash>, world: &mut World) -> bool {
        self.run_until_done(flash, world)
    }

    fn check_after_cut(&self, flash: &RefCell<SimFlash>, world: &mut World) {
        // What the journal says is what the outside has been told, or about to be.
        let mut journal = self.journal(flash).unwrap();
        let confirmed = journal.latest::<Confirmed>(0).unwrap().is_some();
        assert!(confirmed || !world.confirmed);
        world.confirmed = confirmed;
    }

    fn check_at_end(&self, flash: &SimFlash, world: &World, _cuts: u32) {
        let new = self.new_slot();
        let runs = if self.image == Image::Good {
            new
        } else {
            self.old
        };
        for _ in 0..3 {
            let booted = boot(&mut flash.clone(), self.rollback).unwrap();
            assert_eq!(booted.slot(), Some(runs.index()));
        }
        let flash = RefCell::new(flash.clone());
        let entries = self.otadata(&flash).read().unwrap();
        assert_eq!(entries.selected_slot(), Some(runs), "{entries:?}");
        assert!(!entries.sectors.contains(&SectorState::Torn), "{entries:?}");
        let in_force = entries.selected().unwrap().sector as u32;
        let in_force = LAYOUT.otadata.offset + in_force * 4096;
        assert!(
            !flash.borrow().is_unstable(in_force),
            "the entry in force is unstable: {entries:?}"
        );
        match self.image {
            Image::Good => assert!(world.confirmed && world.ran && world.failed.is_none()),
            Image::Crashes | Image::Rots => {
                assert!(!entries.view().entry(new).bootable(), "{entries:?}");
                let code = world.failed.and_then(FailureCode::from_number);
                let expected = match self.image {
                    Image::Rots => FailureCode::BootloaderRefused,
                    Image::Good | Image::Crashes => FailureCode::TrialCrashed,
                };
                assert_eq!(code, Some(expected));
            }
        }
        WORST.with(|worst| worst.set(worst.get().max(world.boots)));
    }
}

thread_local! {
    /// Most boots that one story took.
    static WORST: Cell<u32> = const { Cell::new(0) };
}

/// Both bootloaders, each slot as the old one, and otadata as it may be before.
fn sweep_trials(image: Image) {
    let entry = |seq, state| Some(Entry::new(seq, state));
    let starts = [
        (Slot::Ota0, [None, None]),
        (Slot::Ota0, [entry(1, OtaState::Valid), None]),
        (
            Slot::Ota0,
            [entry(3, OtaState::Undefined), entry(2, OtaState::Valid)],
        ),
        (
            Slot::Ota0,
            [entry(2, OtaState::Aborted), entry(3, OtaState::Valid)],
        ),
        (Slot::Ota1, [None, entry(2, OtaState::Valid)]),
        (
            Slot::Ota1,
            [entry(4, OtaState::Valid), entry(1, OtaState::Valid)],
        ),
    ];
    for rollback in [false, true] {
        let mut count = Count::default();
        for (old, before) in starts {
            let package = Package::new(&Stamp::new("1.1.0").image(), "1.1.0", 4096);
            let name = format!("{image:?}, rollback {rollback}, {old} over {before:?}");
            count += sweep(
                &name,
                &Trial {
                    old,
                    before,
                    image,
                    rollback,
                    package,
                },
            );
        }
        println!(
            "guard, {image:?}, rollback {rollback}: {count}, at most {} boots",
            WORST.get()
        );
    }
}

#[test]
fn a_good_image_is_confirmed_whatever_is_cut() {
    sweep_trials(Image::Good);
}

#[test]
fn an_image_that_crashes_is_rolled_back_whatever_is_cut() {
    sweep_trials(Image::Crashes);
}

#[test]
fn an_image_that_the_bootloader_refuses_is_rolled_back_whatever_is_cut() {
    sweep_trials(Image::Rots);
}
