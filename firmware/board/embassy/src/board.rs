//! A board whose link and address are the network stack's.

use core::net::IpAddr;

use embassy_net::Stack;
use otaria_device::board::{Board, Duration, ResetReason, Slot};

/// The board `B`, with the two answers that only the network stack knows: whether there is a link with an address, and which.
pub struct Networked<'d, B> {
    board: B,
    stack: Stack<'d>,
}

impl<'d, B> Networked<'d, B> {
    /// `board`, connected by `stack`.
    pub const fn new(board: B, stack: Stack<'d>) -> Self {
        Self { board, stack }
    }
}

impl<B: Board> Board for Networked<'_, B> {
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
        // The stack keeps an address for a while after the link has gone.
        self.stack.is_link_up() && self.stack.is_config_up()
    }

    fn ip(&self) -> Option<IpAddr> {
        if !self.link_up() {
            return None;
        }
        let config = self.stack.config_v4()?;
        Some(IpAddr::V4(config.address.address()))
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
}
