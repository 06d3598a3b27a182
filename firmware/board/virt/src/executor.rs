//! Two executors: one for everything, and one that interrupts it.
//!
//! embassy-executor's own for riscv32 has no interrupt mode, so both are made of its raw executor here. Tasks of
//! [`Urgent`] are polled in the machine software interrupt: they run while a task of [`Main`] computes (a signature takes
//! 10 million instructions and never awaits), as with esp-rtos' `InterruptExecutor` on a chip.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, Ordering};

use critical_section::Mutex;
use embassy_executor::{SendSpawner, Spawner, raw};
use static_cell::StaticCell;

use crate::clint;

/// What a pender is told.
const MAIN: *mut () = core::ptr::null_mut();
const URGENT: *mut () = core::ptr::without_provenance_mut(1);

static WORK: AtomicBool = AtomicBool::new(false);

/// Called by embassy-executor when a task is to be polled (embassy-executor 0.10, `raw::Executor`).
#[unsafe(export_name = "__pender")]
fn pender(context: *mut ()) {
    if context == URGENT {
        clint::set_software_interrupt(true);
    } else {
        WORK.store(true, Ordering::SeqCst);
    }
}

/// The executor of the main program.
pub struct Main(raw::Executor);

impl Main {
    /// Without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self(raw::Executor::new(MAIN))
    }

    /// Runs for the rest of the boot; `init` spawns the first tasks.
    pub fn run(&'static mut self, init: impl FnOnce(Spawner)) -> ! {
        init(self.0.spawner());
        loop {
            // SAFETY: embassy-executor 0.10, `raw::Executor::poll`: initialised (by `new`), not re-entrant: this is the only
            // call for this executor, and a task cannot get at it.
            unsafe { self.0.poll() };
            critical_section::with(|_| {
                // No atomic swap on this core; interrupts are off.
                let work = WORK.load(Ordering::SeqCst);
                WORK.store(false, Ordering::SeqCst);
                if !work {
                    // Wakes for an interrupt although they are off (RISC-V privileged specification 20211203, 3.3.3); it is
                    // taken when the critical section ends.
                    riscv::asm::wfi();
                }
            });
        }
    }
}

impl Default for Main {
    fn default() -> Self {
        Self::new()
    }
}

/// The executor that interrupts [`Main`].
pub struct Urgent(raw::Executor);

// SAFETY: embassy-executor 0.10 keeps `raw::Executor` from other threads because of `spawner` (tasks that are not `Send`) and
// of `poll`. Here `spawner` gives out a `SendSpawner` only, and `poll` is called in one place, `interrupt`.
unsafe impl Sync for Urgent {}

static URGENT_EXECUTOR: StaticCell<Urgent> = StaticCell::new();
static STARTED: Mutex<Cell<Option<&'static Urgent>>> = Mutex::new(Cell::new(None));

impl Urgent {
    /// Starts it, once in a boot.
    ///
    /// # Panics
    /// At a second call.
    pub fn start() -> SendSpawner {
        let urgent: &'static Self = URGENT_EXECUTOR.init_with(|| Self(raw::Executor::new(URGENT)));
        critical_section::with(|cs| STARTED.borrow(cs).set(Some(urgent)));
        urgent.0.spawner().make_send()
    }
}

/// The software interrupt.
pub(crate) fn interrupt() {
    clint::set_software_interrupt(false);
    if let Some(urgent) = critical_section::with(|cs| STARTED.borrow(cs).get()) {
        // SAFETY: as in `Main::run`: interrupts do not nest here, so this is not re-entered.
        unsafe { urgent.0.poll() };
    }
}
