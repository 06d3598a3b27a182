//! Whatever lies in the flash, the stores can be mounted, read and written, and what is written last can be read.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use otaria_device::storage::journal::Journal;
use otaria_device::storage::otadata::OtaData;
use otaria_device::storage::region::Region;
use otaria_sim::flash::SimFlash;
use otaria_wire::journal::{Boot, TrialCounters, TrialTarget};

const SECTOR: u32 = 4096;
const JOURNAL: u32 = 16 * SECTOR;

fuzz_target!(|pieces: Vec<(u16, Vec<u8>)>| {
    let mut flash = SimFlash::new(JOURNAL + 2 * SECTOR);
    for (at, bytes) in &pieces {
        let at = u32::from(*at) % (JOURNAL + SECTOR);
        flash.load(at, &bytes[..bytes.len().min(SECTOR as usize)]);
    }
    let flash = RefCell::new(flash);
    let mut journal =
        Journal::mount(Region::new(&flash, 0, JOURNAL).expect("inside")).expect("the flash works");
    let _ = journal.latest::<TrialTarget>(0);
    let _ = journal.latest::<TrialCounters>(0);
    let boots = journal
        .latest::<Boot>(0)
        .ok()
        .flatten()
        .map_or(1, |boot| boot.count.wrapping_add(1));
    journal
        .append(0, &Boot { count: boots })
        .expect("the flash works");
    let mut again =
        Journal::mount(Region::new(&flash, 0, JOURNAL).expect("inside")).expect("the flash works");
    assert_eq!(
        again
            .latest::<Boot>(0)
            .ok()
            .flatten()
            .map(|boot| boot.count),
        Some(boots)
    );
    let mut otadata = OtaData::new(Region::new(&flash, JOURNAL, 2 * SECTOR).expect("inside"))
        .expect("two sectors");
    let entries = otadata.read().expect("the flash works");
    let _ = (entries.selected_slot(), entries.view());
});
