//! A slot: a block that the journal holds is in flash and stays there, an interrupted download goes on, and another package
//! never meets bytes or half-erased sectors of the earlier one.

use std::cell::RefCell;
use std::error::Error;

use otaria_device::board::Slot;
use otaria_device::storage::journal::{JOURNAL_SECTORS, Journal};
use otaria_device::storage::region::Region;
use otaria_device::storage::slot::{EraseState, SlotWriter, TargetSlot, start_download};
use otaria_device::storage::table_store::{
    CheckedTable, TABLE_STORE_SECTORS, TableStore, TableStoreError,
};
use otaria_device::storage::verify::ImageVerifier;
use otaria_sim::flash::{BLOCK_LEN, SECTOR_LEN, SimFlash};
use otaria_sim::images::Stamp;
use otaria_wire::journal::Progress;

use crate::package::Package;
use crate::sweep::{Scenario, sweep};

const TABLE_AT: u32 = JOURNAL_SECTORS * SECTOR_LEN;
const SLOT_AT: u32 = BLOCK_LEN;

/// Downloads of some packages, one after the other. All but the last one are given up after some blocks.
struct Downloads {
    slot_sectors: u32,
    /// Something lies in the slot at the beginning.
    used: bool,
    /// It erases ahead after each write; else only once a block, so that blocks are finished in the middle of an erase.
    eager: bool,
    /// After a cut the next package is wanted at once.
    fickle: bool,
    packages: Vec<(Package, u32)>,
}

/// Why a run stops.
type Stop = Box<dyn Error>;

type SimRegion<'a> = Region<'a, SimFlash>;

impl Downloads {
    fn region<'a>(&self, flash: &'a RefCell<SimFlash>, at: u32, sectors: u32) -> SimRegion<'a> {
        Region::new(flash, at, sectors * SECTOR_LEN).unwrap()
    }

    fn journal<'a>(&self, flash: &'a RefCell<SimFlash>) -> Result<Journal<SimRegion<'a>>, Stop> {
        Ok(Journal::mount(self.region(flash, 0, JOURNAL_SECTORS))?)
    }

    fn target<'a>(&self, flash: &'a RefCell<SimFlash>) -> TargetSlot<SimRegion<'a>> {
        let region = self.region(flash, SLOT_AT, self.slot_sectors);
        TargetSlot::new(Slot::Ota1, Some(Slot::Ota0), region).unwrap()
    }

    /// The table as it was kept, or kept now: as a device does it.
    fn table(
        &self,
        flash: &RefCell<SimFlash>,
        package: &Package,
        journal: &mut Journal<SimRegion<'_>>,
    ) -> Result<CheckedTable, Stop> {
        let mut store = TableStore::new(self.region(flash, TABLE_AT, TABLE_STORE_SECTORS)).unwrap();
        let progress = journal.latest::<Progress>(0)?;
        if progress.is_some_and(|progress| progress.identity8 == package.identity8()) {
            match store.check(&package.header) {
                Err(TableStoreError::NotStored) => {}
                checked => return Ok(checked?),
            }
        }
        let mut writer = start_download(journal, &package.header, 320)?;
        while !writer.step(&mut store, &package.header, &package.table())? {}
        Ok(store.check(&package.header)?)
    }

    /// Downloads up to `blocks` blocks, with a little erasing ahead after each write.
    fn download(
        &self,
        flash: &RefCell<SimFlash>,
        package: &Package,
        blocks: u32,
    ) -> Result<(), Stop> {
        let mut journal = self.journal(flash)?;
        let table = self.table(flash, package, &mut journal)?;
        let mut writer =
            SlotWriter::open(self.target(flash), &package.header, &table, &mut journal)?;
        while writer.blocks_held() < blocks.min(writer.blocks()) {
            while !writer.can_begin_block() {
                assert_eq!(writer.poll_erase(&mut journal)?, EraseState::More);
            }
            let index = writer.blocks_held();
            let mut plain = package.block(index);
            writer.begin_block(index, plain.len() as u32)?;
            while !plain.is_empty() {
                let taken = writer.write(plain)?;
                plain = &plain[taken..];
                if self.eager || plain.is_empty() {
                    writer.poll_erase(&mut journal)?;
                }
            }
            writer.finish_block(&mut journal)?;
        }
        if writer.is_complete() {
            let mut target = writer.into_target();
            let mut verifier = ImageVerifier::new(&package.header);
            while verifier.step(&mut target)?.is_none() {}
        }
        Ok(())
    }
}

impl Scenario for Downloads {
    /// The package that is wanted now.
    type World = usize;

    fn start(&self) -> (SimFlash, usize) {
        let mut flash = SimFlash::new(SLOT_AT + self.slot_sectors * SECTOR_LEN);
        if self.used {
            let old: Vec<u8> = (0..self.slot_sectors * SECTOR_LEN)
                .map(|i| ((i * 31) >> 3) as u8)
                .collect();
            flash.load(SLOT_AT, &old);
        }
        // A device has made its journal at its first boot, long before.
        let flash = RefCell::new(flash);
        self.journal(&flash).unwrap();
        (flash.into_inner(), 0)
    }

    fn run(&self, flash: &RefCell<SimFlash>, wanted: &mut usize) -> bool {
        while let Some((package, blocks)) = self.packages.get(*wanted) {
            match self.download(flash, package, *blocks) {
                Ok(()) => *wanted += 1,
                Err(_) if !flash.borrow().powered() => return false,
                Err(stop) => panic!("{stop}"),
            }
        }
        true
    }

    fn check_after_cut(&self, flash: &RefCell<SimFlash>, wanted: &mut usize) {
        if self.fickle {
            *wanted = (*wanted + 1).min(self.packages.len() - 1);
        }
        let mut journal = self.journal(flash).unwrap();
        let Some(progress) = journal.latest::<Progress>(0).unwrap() else {
            return;
        };
        let package = self
            .packages
            .iter()
            .find(|(package, _)| package.identity8() == progress.identity8);
        if let Some((package, _)) = package {
            let held = usize::from(progress.blocks_held) * package.header.block_len as usize;
            let held = held.min(package.image.len());
            for _ in 0..3 {
                let mut found = vec![0; held];
                self.target(flash).read(0, &mut found).unwrap();
                assert!(
                    found == package.image[..held],
                    "a block that is held is not in the slot"
                );
            }
        }
    }

    fn check_at_end(&self, flash: &SimFlash, _: &usize, cuts: u32) {
        let (package, _) = self.packages.last().unwrap();
        assert!(flash.peek(SLOT_AT, package.image.len()) == package.image);
        for sector in 0..(package.image.len() as u32).div_ceil(SECTOR_LEN) {
            let at = SLOT_AT + sector * SECTOR_LEN;
            assert!(
                !flash.is_unstable(at),
                "sector {sector} of the image is not erased to the end"
            );
        }
        if cuts == 0 {
            // DESIGN 7, invariant 9, for one update.
            let slot = &flash.wear()[(SLOT_AT / SECTOR_LEN) as usize..];
            let others: u32 = flash.wear()[..(SLOT_AT / SECTOR_LEN) as usize].iter().sum();
            let downloads = self.packages.len() as u32;
            assert!(slot.iter().all(|wear| *wear <= downloads), "{slot:?}");
            assert!(others <= 16 * downloads, "{others} erases beside the slot");
        }
    }
}

/// Sweeps, and checks how many erase commands a cut adds at most.
fn sweep_downloads(name: &str, downloads: &Downloads) {
    let (flash, mut world) = downloads.start();
    let flash = RefCell::new(flash);
    assert!(downloads.run(&flash, &mut world));
    let erases = |flash: &SimFlash| flash.stats().sector_erases + flash.stats().block_erases;
    let once = erases(&flash.borrow());
    let worn = Worn { downloads, once };
    let count = sweep(name, &worn);
    println!("slot, {name}: {count}");
}

/// The same scenario with a bound on the wear.
struct Worn<'a> {
    downloads: &'a Downloads,
    once: u64,
}

impl Scenario for Worn<'_> {
    type World = usize;

    fn start(&self) -> (SimFlash, usize) {
        self.downloads.start()
    }

    fn run(&self, flash: &RefCell<SimFlash>, wanted: &mut usize) -> bool {
        self.downloads.run(flash, wanted)
    }

    fn check_after_cut(&self, flash: &RefCell<SimFlash>, wanted: &mut usize) {
        self.downloads.check_after_cut(flash, wanted);
    }

    fn check_at_end(&self, flash: &SimFlash, wanted: &usize, cuts: u32) {
        self.downloads.check_at_end(flash, wanted, cuts);
        let erases = flash.stats().sector_erases + flash.stats().block_erases;
        let allowed = self.once + 8 * u64::from(cuts);
        assert!(
            erases <= allowed,
            "{erases} erase commands, {allowed} allowed"
        );
    }
}

fn package(version: &str, len: usize, block_len: u32) -> Package {
    Package::new(&Stamp::new(version).size(len).image(), version, block_len)
}

#[test]
fn a_download_by_sectors_survives_two_cuts_anywhere() {
    let packages = vec![(package("1.1.0", 5 * 4096 + 528, 8192), u32::MAX)];
    let downloads = Downloads {
        slot_sectors: 8,
        used: true,
        eager: true,
        fickle: false,
        packages,
    };
    sweep_downloads("by sectors", &downloads);
}

#[test]
fn a_download_that_erases_late_survives_two_cuts_anywhere() {
    let packages = vec![(package("1.1.0", 10 * 4096, 4096), u32::MAX)];
    let downloads = Downloads {
        slot_sectors: 12,
        used: true,
        eager: false,
        fickle: false,
        packages,
    };
    sweep_downloads("late", &downloads);
}

#[test]
fn a_download_by_blocks_survives_two_cuts_anywhere() {
    let packages = vec![(package("1.1.0", 17 * 4096 + 1040, 16384), u32::MAX)];
    let downloads = Downloads {
        slot_sectors: 20,
        used: true,
        eager: true,
        fickle: false,
        packages,
    };
    sweep_downloads("by blocks", &downloads);
}

#[test]
fn a_download_into_a_blank_slot_survives_two_cuts_anywhere() {
    let packages = vec![(package("1.1.0", 5 * 4096, 4096), u32::MAX)];
    let downloads = Downloads {
        slot_sectors: 16,
        used: false,
        eager: true,
        fickle: false,
        packages,
    };
    sweep_downloads("blank", &downloads);
}

#[test]
fn a_package_after_others_that_were_given_up_survives_two_cuts_anywhere() {
    for (used, fickle) in [(false, false), (true, false), (true, true)] {
        let packages = vec![
            (package("1.1.0", 6 * 4096, 4096), 2),
            (package("1.2.0", 7 * 4096 + 16, 8192), 1),
            (package("1.1.0", 6 * 4096, 4096), u32::MAX),
        ];
        let downloads = Downloads {
            slot_sectors: 12,
            used,
            eager: true,
            fickle,
            packages,
        };
        sweep_downloads(&format!("superseded, {used}, {fickle}"), &downloads);
    }
}
