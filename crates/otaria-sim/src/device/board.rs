//! The board that a simulated device's code sees.

use core::cell::{Cell, RefCell};
use core::fmt;
use core::net::Ipv4Addr;
use std::rc::Rc;

use fastrand::Rng;
use otaria_device::board::{Board, Clock, Duration, Instant, ResetReason, Slot};

use super::bell::Bell;
use super::chip::Hardware;

/// What the chip and the program that runs on it share during one boot.
pub(super) struct BootState {
    /// Rings when anything here changes.
    pub(super) bell: Bell,
    pub(super) reset_wanted: Cell<bool>,
    pub(super) linked: Cell<bool>,
    /// When the watchdog bites, and after which time without being fed.
    pub(super) watchdog: Cell<Option<(Instant, Duration)>>,
    pub(super) identified: Cell<u32>,
}

impl BootState {
    pub(super) fn new() -> Self {
        BootState {
            bell: Bell::default(),
            reset_wanted: Cell::new(false),
            linked: Cell::new(false),
            watchdog: Cell::new(None),
            identified: Cell::new(0),
        }
    }
}

/// A board in one boot. A clone is the same board.
#[derive(Clone)]
pub struct SimBoard<C> {
    pub(super) state: Rc<BootState>,
    pub(super) clock: C,
    pub(super) hardware: Hardware,
    pub(super) reset_reason: ResetReason,
    pub(super) slot: Option<Slot>,
    pub(super) rng: Rc<RefCell<Rng>>,
    pub(super) console: Rc<RefCell<Vec<String>>>,
}

impl<C> SimBoard<C> {
    /// How often the device was asked to show itself in this boot.
    pub fn identified(&self) -> u32 {
        self.state.identified.get()
    }
}

impl<C: Clock> Board for SimBoard<C> {
    fn reset(&mut self) {
        self.state.reset_wanted.set(true);
        self.state.bell.ring();
    }

    fn reset_reason(&self) -> ResetReason {
        self.reset_reason
    }

    fn random_u64(&mut self) -> u64 {
        self.rng.borrow_mut().u64(..)
    }

    fn running_slot(&self) -> Option<Slot> {
        self.slot
    }

    fn chip_id(&self) -> u16 {
        self.hardware.chip.0
    }

    fn chip_revision(&self) -> u16 {
        self.hardware.revision
    }

    fn arm_watchdog(&mut self, timeout: Duration) {
        self.state
            .watchdog
            .set(Some((self.clock.now() + timeout, timeout)));
        self.state.bell.ring();
    }

    fn feed_watchdog(&mut self) {
        // Later than before, so nobody has to be woken for it.
        if let Some((_, timeout)) = self.state.watchdog.get() {
            self.state
                .watchdog
                .set(Some((self.clock.now() + timeout, timeout)));
        }
    }

    fn disarm_watchdog(&mut self) {
        self.state.watchdog.set(None);
    }

    fn link_up(&self) -> bool {
        self.state.linked.get()
    }

    fn ip(&self) -> Option<Ipv4Addr> {
        self.hardware.ip.filter(|_| self.link_up())
    }

    fn say(&mut self, text: fmt::Arguments<'_>) {
        self.console.borrow_mut().push(text.to_string());
    }

    fn rssi(&self) -> Option<i8> {
        self.link_up().then_some(-61)
    }

    fn heap_free(&self) -> Option<u32> {
        Some(94_208)
    }

    fn heap_min(&self) -> Option<u32> {
        Some(71_680)
    }

    fn identify(&mut self) {
        self.state.identified.set(self.state.identified.get() + 1);
    }
}
