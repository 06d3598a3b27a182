//! The start of `main`: boot guard first.

use core::cell::RefCell;
use core::fmt::{self, Display};

use embedded_storage::nor_flash::NorFlash;
use log::{error, info, warn};
use otaria_device::board::{Board, Clock, Slot};
use otaria_device::guard::{BootReport, Then};
use otaria_device::install::Stores;
use otaria_embassy::EmbassyClock;
use otaria_wire::messages::Level;
use otaria_wire::partitions::{
    Layout, PARTITION_TABLE_LEN, PARTITION_TABLE_OFFSET, PartitionTable,
};

use crate::facts::{PRODUCT, VERSION};
use crate::fault::FAULT;

/// A boot that the guard has looked at.
pub struct Guarded<'a, F> {
    /// What is kept in flash.
    pub stores: Stores<'a, F>,
    /// What the guard said.
    pub boot: BootReport,
}

/// How `main` goes on.
pub struct Started<'a, F> {
    /// Where the partitions are; `None` if there is no table that Otaria can work with.
    pub layout: Option<Layout>,
    /// The guarded boot; `None` if flash cannot be worked with. The application runs then, and nothing is updated.
    pub guarded: Option<Guarded<'a, F>>,
}

struct SlotName(Option<Slot>);

impl Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(slot) => slot.fmt(f),
            None => f.write_str("no slot"),
        }
    }
}

/// Bytes that begin at a word.
#[repr(align(4))]
struct Table([u8; PARTITION_TABLE_LEN]);

/// Where the partition table in flash says that Otaria's partitions lie.
pub fn layout<F: NorFlash>(flash: &RefCell<F>) -> Option<Layout> {
    let mut table = Table([0; PARTITION_TABLE_LEN]);
    let mut flash = flash.try_borrow_mut().ok()?;
    flash.read(PARTITION_TABLE_OFFSET, &mut table.0).ok()?;
    Layout::from_table(&PartitionTable::parse(&table.0).ok()?).ok()
}

/// Guards this boot: to be called before anything that can crash, with the watchdog armed. Says on the console what runs and why,
/// and resets the board if the guard wants it. `last_words` are what the boot before died of, a line of the log in flash each.
pub fn start<'a, F: NorFlash>(
    board: &mut impl Board,
    flash: &'a RefCell<F>,
    layout: Option<Layout>,
    last_words: &[&dyn Display],
) -> Started<'a, F> {
    let running = board.running_slot();
    let reset = board.reset_reason();
    let opened = layout.map(|layout| Stores::open(flash, &layout, running));
    let guarded = match opened {
        None => {
            error!(
                "flash: no partition table that Otaria can work with at {PARTITION_TABLE_OFFSET:#x}: nothing is updated"
            );
            None
        }
        Some(Err(error)) => {
            error!("flash: {error}: nothing is updated");
            None
        }
        Some(Ok(stores)) => match stores.guard(reset) {
            Ok(boot) => Some(Guarded { stores, boot }),
            Err(error) => {
                error!("guard: {error}: nothing is updated");
                None
            }
        },
    };
    let slot = SlotName(running);
    match &guarded {
        Some(Guarded { boot, .. }) => info!(
            "{PRODUCT} {VERSION} in {slot}, boot {} after {}, guard: {}",
            boot.boot,
            reset.name(),
            boot.decision
        ),
        None => info!(
            "{PRODUCT} {VERSION} in {slot}, after {}, not guarded",
            reset.name()
        ),
    }
    if let Some(fault) = FAULT {
        warn!("this image is built to fail: {fault:?}");
    }
    for words in last_words {
        warn!("the boot before died: {words}");
    }
    if let Some(Guarded { stores, boot }) = &guarded {
        for words in last_words {
            let now = EmbassyClock.now();
            stores.note(boot.boot, now, Level::Error, format_args!("died: {words}"));
        }
        if let Some(error) = boot.failed {
            error!("guard: {error}");
        }
        if boot.then == Then::Reset {
            info!("guard: resetting");
            board.reset();
        }
    }
    Started { layout, guarded }
}
