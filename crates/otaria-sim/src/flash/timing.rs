//! How long flash commands take, and the account they are charged to.

use core::time::Duration;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{PAGE_LEN, op::OpKind};

/// How long each flash command keeps the chip, and with it the CPU that executes from it, from doing anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Erase of one 4 KiB sector.
    pub sector_erase: Duration,
    /// Erase of one 64 KiB block.
    pub block_erase: Duration,
    /// Program of one 256 B page or of a part of it.
    pub page_program: Duration,
    /// Bytes read in a second; 0 = reads take no time.
    pub read_bytes_per_second: u64,
}

impl Timing {
    /// Every command is over at once: for tests of logic.
    pub const INSTANT: Timing = Timing {
        sector_erase: Duration::ZERO,
        block_erase: Duration::ZERO,
        page_program: Duration::ZERO,
        read_bytes_per_second: 0,
    };

    /// Typical figures of Winbond's W25Q32JV (datasheet revision G, 9.6 "AC Electrical Characteristics": tSE 45 ms, tBE2
    /// 150 ms, tPP 0.7 ms at most 3 ms), read by two lines at 40 MHz.
    pub const W25Q: Timing = Timing {
        sector_erase: Duration::from_millis(45),
        block_erase: Duration::from_millis(150),
        page_program: Duration::from_micros(700),
        read_bytes_per_second: 10_000_000,
    };

    /// The time that a command takes.
    pub(super) fn of(&self, kind: OpKind, addr: u32, len: u32) -> Duration {
        match kind {
            OpKind::SectorErase => self.sector_erase,
            OpKind::BlockErase => self.block_erase,
            OpKind::Write => {
                let first = addr / PAGE_LEN;
                let last = (addr + len.max(1) - 1) / PAGE_LEN;
                self.page_program * (last - first + 1)
            }
        }
    }

    /// The time that a read of `len` bytes takes.
    pub(super) fn of_read(&self, len: usize) -> Duration {
        match (len as u64 * 1_000_000_000).checked_div(self.read_bytes_per_second) {
            Some(nanos) => Duration::from_nanos(nanos),
            None => Duration::ZERO,
        }
    }
}

/// The account of the time for which a device's CPU stands still. Flash commands add to it; whoever drives the device (see
/// [`crate::world::paced`]) settles it, and does not poll the device meanwhile.
///
/// A clone is the same account.
#[derive(Debug, Clone, Default)]
pub struct Busy(Arc<Account>);

#[derive(Debug, Default)]
struct Account {
    nanos: AtomicU64,
    settling: AtomicBool,
}

impl Busy {
    /// Adds to the time for which the CPU stands still.
    pub fn charge(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // One device is driven by one thread, so load and store cannot interleave with another's.
        let before = self.0.nanos.load(Ordering::Relaxed);
        self.0
            .nanos
            .store(before.saturating_add(nanos), Ordering::Relaxed);
    }

    /// The time charged that nobody has begun to settle. A device's clock is ahead by it.
    pub fn pending(&self) -> Duration {
        Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed))
    }

    /// Whether the CPU stands still: time is charged or being settled.
    pub fn is_busy(&self) -> bool {
        self.0.settling.load(Ordering::Relaxed) || !self.pending().is_zero()
    }

    /// Takes the time charged, which then has to pass before [`Busy::settled`] is called.
    pub fn settle(&self) -> Duration {
        let time = Duration::from_nanos(self.0.nanos.swap(0, Ordering::Relaxed));
        self.0.settling.store(!time.is_zero(), Ordering::Relaxed);
        time
    }

    /// The time that was taken has passed.
    pub fn settled(&self) {
        self.0.settling.store(false, Ordering::Relaxed);
    }

    /// Forgets what was charged, as a power cut does.
    pub fn clear(&self) {
        let _ = self.settle();
        self.settled();
    }
}
