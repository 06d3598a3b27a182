//! A board whose link and address are the network's.

use core::fmt;
use core::net::Ipv4Addr;

use embassy_net::Stack;
use otaria_device::board::{Board, Duration, ResetReason, Slot};

/// What only a network can say: whether the device is in it, and as whom.
pub trait Uplink {
    /// Whether there is a link, and an address on it: whether it makes sense to open a connection.
    fn is_up(&self) -> bool;

    /// The device's address, for reports; `None` without a link, or if nobody knows it.
    fn address(&self) -> Option<Ipv4Addr>;
}

impl<U: Uplink> Uplink for &U {
    fn is_up(&self) -> bool {
        (**self).is_up()
    }

    fn address(&self) -> Option<Ipv4Addr> {
        (**self).address()
    }
}

impl Uplink for Stack<'_> {
    fn is_up(&self) -> bool {
        // The stack keeps an address for a while after the link has gone.
        self.is_link_up() && self.is_config_up()
    }

    fn address(&self) -> Option<Ipv4Addr> {
        if !self.is_up() {
            return None;
        }
        let config = self.config_v4()?;
        Some(config.address.address())
    }
}

/// The board `B`, with the two answers that only its network has.
pub struct Networked<B, U> {
    board: B,
    uplink: U,
}

impl<B, U> Networked<B, U> {
    /// `board`, connected by `uplink`.
    pub const fn new(board: B, uplink: U) -> Self {
        Self { board, uplink }
    }
}

impl<B: Board, U: Uplink> Board for Networked<B, U> {
    fn reset(&mut self) {
        self.board.reset();
    }

    fn reset_reason(&self) -> ResetReason {
        self.board.reset_reason()
    }

    fn random_u64(&mut self) -> u64 {
        self.board.random_u64()
    }

    fn running_slot(&self) -> Option<Slot> {
        self.board.running_slot()
    }

    fn chip_id(&self) -> u16 {
        self.board.chip_id()
    }

    fn chip_revision(&self) -> u16 {
        self.board.chip_revision()
    }

    fn arm_watchdog(&mut self, timeout: Duration) {
        self.board.arm_watchdog(timeout);
    }

    fn feed_watchdog(&mut self) {
        self.board.feed_watchdog();
    }

    fn disarm_watchdog(&mut self) {
        self.board.disarm_watchdog();
    }

    fn link_up(&self) -> bool {
        self.uplink.is_up()
    }

    fn ip(&self) -> Option<Ipv4Addr> {
        self.uplink.address()
    }

    fn rssi(&self) -> Option<i8> {
        if self.link_up() {
            self.board.rssi()
        } else {
            None
        }
    }

    fn heap_free(&self) -> Option<u32> {
        self.board.heap_free()
    }

    fn heap_min(&self) -> Option<u32> {
        self.board.heap_min()
    }

    fn identify(&mut self) {
        self.board.identify();
    }

    fn say(&mut self, text: fmt::Arguments<'_>) {
        log::warn!("{text}");
    }
}
