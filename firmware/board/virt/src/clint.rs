//! The machine timer: time, alarms, and the watchdog.
//!
//! `mtime` counts at 10 MHz from the machine's start (`include/hw/intc/riscv_aclint.h`, `RISCV_ACLINT_DEFAULT_TIMEBASE_FREQ`).
//! It goes on over a reset, so a boot's time starts at what it showed when the boot did.
//!
//! There is one comparator. It is set to whatever comes first, an alarm or the end of the watchdog's time; so the watchdog is
//! looked at in the timer's interrupt, and bites whatever the program does, unless it keeps interrupts off. A chip's RTC
//! watchdog would bite then, too.

use core::cell::{Cell, RefCell};
use core::ptr::{read_volatile, write_volatile};
use core::task::Waker;

use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::{Driver, time_driver_impl};
use embassy_time_queue_utils::Queue;
use otaria_wire::messages::ResetReason;

use crate::map;

/// `mtime`'s ticks in a microsecond.
pub const TICKS_PER_MICRO: u64 = 10;

// SiFive FU540-C000 manual, 9.2, as `hw/intc/riscv_aclint.c` has it.
const MTIMECMP: *mut u32 = (map::CLINT + 0x4000) as *mut u32;
const MTIME: *const u32 = (map::CLINT + 0xBFF8) as *const u32;
const MSIP: *mut u32 = map::CLINT as *mut u32;

/// `mtime` now.
#[must_use]
pub fn ticks() -> u64 {
    // RISC-V privileged specification 20211203, 3.2.1: on RV32 the halves are read until the upper one has not moved. It moves
    // every seven minutes, so this ends with the second turn.
    loop {
        // SAFETY: `virt_memmap[VIRT_CLINT]` of hw/riscv/virt.c; reading `mtime` has no effect.
        let (high, low, again) = unsafe {
            (
                read_volatile(MTIME.add(1)),
                read_volatile(MTIME),
                read_volatile(MTIME.add(1)),
            )
        };
        if high == again {
            return u64::from(high) << 32 | u64::from(low);
        }
    }
}

/// The interrupt comes at this tick, or at once if it has passed. `u64::MAX`: never.
fn set_comparator(at: u64) {
    // As in 3.2.1 of the same: never a value in between that is smaller than both.
    // SAFETY: as above; writing `mtimecmp` moves the timer interrupt, for which there is a handler.
    unsafe {
        write_volatile(MTIMECMP, u32::MAX);
        write_volatile(MTIMECMP.add(1), (at >> 32) as u32);
        write_volatile(MTIMECMP, at as u32);
    }
}

/// Raises or takes back the software interrupt.
pub(crate) fn set_software_interrupt(on: bool) {
    // SAFETY: as above; `msip` of hart 0 raises the software interrupt, for which there is a handler.
    unsafe { write_volatile(MSIP, u32::from(on)) }
}

/// The watchdog: bites at the first, that long after having been fed.
#[derive(Clone, Copy)]
struct Watchdog {
    bites_at: u64,
    timeout: u64,
}

struct Timer {
    queue: Mutex<RefCell<Queue>>,
    watchdog: Mutex<Cell<Option<Watchdog>>>,
    start: Mutex<Cell<u64>>,
}

time_driver_impl!(static TIMER: Timer = Timer {
    queue: Mutex::new(RefCell::new(Queue::new())),
    watchdog: Mutex::new(Cell::new(None)),
    start: Mutex::new(Cell::new(0)),
});

impl Timer {
    /// Wakes what is due, and sets the comparator to what comes next.
    fn arrange(&self, cs: CriticalSection<'_>) {
        let mut queue = self.queue.borrow_ref_mut(cs);
        let alarm = match queue.next_expiration(self.now()) {
            u64::MAX => u64::MAX,
            micros => micros
                .saturating_mul(TICKS_PER_MICRO)
                .saturating_add(self.start.borrow(cs).get()),
        };
        let bite = self
            .watchdog
            .borrow(cs)
            .get()
            .map_or(u64::MAX, |watchdog| watchdog.bites_at);
        set_comparator(alarm.min(bite));
    }
}

impl Driver for Timer {
    fn now(&self) -> u64 {
        let start = critical_section::with(|cs| self.start.borrow(cs).get());
        ticks().saturating_sub(start) / TICKS_PER_MICRO
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        critical_section::with(|cs| {
            let sooner = self.queue.borrow_ref_mut(cs).schedule_wake(at, waker);
            if sooner {
                self.arrange(cs);
            }
        });
    }
}

/// Time starts now.
pub(crate) fn start() {
    critical_section::with(|cs| {
        TIMER.start.borrow(cs).set(ticks());
        TIMER.arrange(cs);
    });
}

/// The timer's interrupt.
pub(crate) fn interrupt() {
    critical_section::with(|cs| {
        if let Some(watchdog) = TIMER.watchdog.borrow(cs).get()
            && ticks() >= watchdog.bites_at
        {
            crate::reset::reset(ResetReason::Watchdog, format_args!("not fed in time"));
        }
        TIMER.arrange(cs);
    });
}

/// Arms the watchdog, or changes its time-out, from now on.
pub(crate) fn arm_watchdog(micros: u64) {
    let timeout = micros.saturating_mul(TICKS_PER_MICRO);
    critical_section::with(|cs| {
        TIMER.watchdog.borrow(cs).set(Some(Watchdog {
            bites_at: ticks().saturating_add(timeout),
            timeout,
        }));
        TIMER.arrange(cs);
    });
}

/// Feeds the watchdog, if it is armed.
pub(crate) fn feed_watchdog() {
    critical_section::with(|cs| {
        let watchdog = TIMER.watchdog.borrow(cs);
        // The comparator may come too early now: then its interrupt sets it anew.
        watchdog.set(watchdog.get().map(|Watchdog { timeout, .. }| Watchdog {
            bites_at: ticks().saturating_add(timeout),
            timeout,
        }));
    });
}

/// Stops the watchdog.
pub(crate) fn disarm_watchdog() {
    critical_section::with(|cs| TIMER.watchdog.borrow(cs).set(None));
}
