//! What flash says, read from outside without changing it.

use std::cell::RefCell;

use otaria_device::storage::journal::{JOURNAL_SECTORS, Journal};
use otaria_device::storage::log::FlashLog;
use otaria_device::storage::region::Region;
use otaria_device::storage::trial::{self, TrialRecord};
use otaria_sim::flash::{SECTOR_LEN, SimFlash};
use otaria_wire::flash_log::cells_for;
use otaria_wire::journal::{Boot, CELL_LEN, Confirmed, Download, PendingReport, Progress};
use otaria_wire::messages::{Event, Level, LogLine};
use otaria_wire::otadata::{ENTRY_LEN, Entry, Selected, select};
use otaria_wire::partitions::Layout;

use crate::lab::factory;
use crate::releases::{LONGEST_IMAGE, Release};

/// What the journal says.
#[derive(Debug)]
pub(crate) struct Notes {
    pub(crate) boot: u32,
    pub(crate) trial: Option<TrialRecord>,
    pub(crate) confirmed: Option<Confirmed>,
    pub(crate) download: Option<Download>,
    pub(crate) progress: Option<Progress>,
    pub(crate) pending: Option<Event>,
}

impl Notes {
    pub(crate) fn read(flash: &SimFlash, layout: &Layout) -> Notes {
        let mut copy = flash.clone();
        copy.power_on();
        let copy = RefCell::new(copy);
        let mut journal = journal(&copy, layout);
        Notes {
            boot: journal
                .latest::<Boot>(0)
                .unwrap()
                .map_or(0, |boot| boot.count),
            trial: trial::load(&mut journal).unwrap(),
            confirmed: journal.latest(0).unwrap(),
            download: journal.latest(0).unwrap(),
            progress: journal.latest(0).unwrap(),
            pending: journal
                .latest::<PendingReport>(0)
                .unwrap()
                .and_then(|pending| pending.event),
        }
    }

    /// The trial that is not over.
    pub(crate) fn open_trial(&self) -> Option<&TrialRecord> {
        self.trial.as_ref().filter(|trial| trial.is_open())
    }

    /// Whether everything that was begun has been brought to its end.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.open_trial().is_none() && self.download.is_none() && self.pending.is_none()
    }
}

/// The journal in a flash.
pub(crate) fn journal<'a>(
    flash: &'a RefCell<SimFlash>,
    layout: &Layout,
) -> Journal<Region<'a, SimFlash>> {
    let region = Region::new(flash, layout.journal.offset, JOURNAL_SECTORS * SECTOR_LEN);
    Journal::mount(region.unwrap()).unwrap()
}

/// Writes the half of the journal in force until so many cells are left.
pub(crate) fn fill_journal(flash: &mut SimFlash, cells: usize) {
    let layout = factory().layout();
    let fill = |flash: &SimFlash, records: usize| {
        let flash = RefCell::new(flash.clone());
        let mut journal = journal(&flash, &layout);
        let count = journal
            .latest::<Boot>(0)
            .unwrap()
            .map_or(0, |boot| boot.count);
        for n in 0..records {
            let count = count + 1 + n as u32;
            journal.append(0, &Boot { count }).unwrap();
        }
        flash.into_inner()
    };
    // A record of one cell each. The one that does not fit any more makes the other half's header change.
    let headers = |flash: &SimFlash| {
        [0, 4].map(|sector| flash.peek(layout.journal.offset + sector * SECTOR_LEN, CELL_LEN))
    };
    let fits = |records: usize| headers(&fill(flash, records)) == headers(flash);
    let room = (0..1000)
        .collect::<Vec<_>>()
        .partition_point(|records| fits(*records))
        - 1;
    *flash = fill(flash, room - cells);
}

/// Writes the newest sector of the log until so many cells are left.
pub(crate) fn fill_log(flash: &mut SimFlash, cells: usize) {
    let layout = factory().layout();
    let copy = RefCell::new(flash.clone());
    let region = Region::new(&copy, layout.log.offset, layout.log.len).unwrap();
    let mut log = FlashLog::mount(region).unwrap();
    let line = LogLine {
        n: 1,
        boot: 1,
        t_ms: 0,
        level: Level::Debug,
        text: Default::default(),
    };
    let each = cells_for(0);
    let mut written = Vec::new();
    let first = copy.borrow().stats().sector_erases;
    while copy.borrow().stats().sector_erases == first {
        written.push(copy.borrow().clone());
        log.append(&line).unwrap();
    }
    let back = 1 + cells.div_ceil(each);
    *flash = written[written.len() - back].clone();
}

/// The otadata entry in force.
pub(crate) fn selected(flash: &SimFlash, layout: &Layout) -> Option<Selected> {
    let entry = |sector: u32| {
        let bytes = flash.peek(layout.otadata.offset + sector * SECTOR_LEN, ENTRY_LEN);
        Entry::parse(bytes[..].try_into().unwrap()).ok()
    };
    select(entry(0), entry(1))
}

/// The release whose image lies in a slot, whole.
pub(crate) fn release_in(flash: &SimFlash, layout: &Layout, slot: usize) -> Option<Release> {
    let slot = layout.slots[slot];
    Release::of_bytes(&flash.peek(slot.offset, LONGEST_IMAGE))
}
