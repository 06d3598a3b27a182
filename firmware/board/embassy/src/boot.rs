//! The start of `main`: boot guard first.

use core::cell::RefCell;
use core::fmt::Display;

use embedded_storage::nor_flash::NorFlash;
use log::{error, info, warn};
use otaria_device::board::{Board, Clock, Slot};
use otaria_device::guard::{BootReport, Then};
use otaria_device::install::Stores;
use otaria_wire::messages::Level;
use otaria_wire::partitions::{
    Layout, PARTITION_TABLE_LEN, PARTITION_TABLE_OFFSET, PartitionTable,
};

use crate::EmbassyClock;

/// What the running image calls itself: the same as in its app descriptor, which packager and bootloader read.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// The product that the image is for, 1 to 31 printable ASCII characters. A device takes packages of its own product only.
    pub product: &'a str,
    /// Its version, for people.
    pub version: &'a str,
}

/// A board at the start of `main`: nothing has run yet that could crash.
pub struct Hardware<'a, B, F> {
    /// The board. Its watchdog is armed.
    pub board: B,
    /// The flash, lent for the whole boot. The same for all that is in it: everybody borrows it for one command at a time.
    pub flash: &'a RefCell<F>,
    /// Where the partitions are, see [`layout`]; `None` if there is no table that Otaria can work with.
    pub layout: Option<Layout>,
    /// What runs.
    pub image: Image<'a>,
}

/// What is in flash, and what the guard has made of it.
pub(crate) struct Guarded<'a, F> {
    pub(crate) stores: Stores<'a, F>,
    pub(crate) boot: BootReport,
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

/// Guards this boot, and says on the console what runs and why. `None` if flash cannot be worked with: the application runs then,
/// and nothing is updated.
pub(crate) fn guard<'a, B: Board, F: NorFlash>(
    hardware: &Hardware<'a, B, F>,
) -> Option<Guarded<'a, F>> {
    let Hardware {
        board,
        flash,
        layout,
        image: Image { product, version },
    } = hardware;
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
    let slot = running.map_or("no slot", Slot::name);
    match &guarded {
        Some(Guarded { boot, .. }) => info!(
            "{product} {version} in {slot}, boot {} after {}, guard: {}",
            boot.boot,
            reset.name(),
            boot.decision
        ),
        None => info!(
            "{product} {version} in {slot}, after {}, not guarded",
            reset.name()
        ),
    }
    guarded
}

/// Notes what the boot before died of, a line of the log in flash each; then resets the board if the guard wants it.
pub(crate) fn go_on<B: Board, F: NorFlash>(
    board: &mut B,
    guarded: Option<&Guarded<'_, F>>,
    last_words: &[&dyn Display],
) {
    for words in last_words {
        warn!("the boot before died: {words}");
    }
    let Some(Guarded { stores, boot }) = guarded else {
        return;
    };
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
