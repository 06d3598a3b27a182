//! The virtual board: QEMU's stock riscv32 `virt` machine, so that the update path of the real boards runs as RISC-V machine
//! code on any PC. `docs/VIRTUAL_BOARD.md` says what it models and how to start it.
//!
//! | module | what it is |
//! |---|---|
//! | [`map`] | where everything lies |
//! | [`flash`] | 4 MiB of NOR flash with sectors of 4 KiB, over CFI flash |
//! | [`net`] | virtio network as an embassy-net driver |
//! | [`clint`] | embassy's time, and the watchdog |
//! | [`executor`] | embassy's executors: the main one, and one that interrupts it |
//! | [`reset`], [`retained`] | resets, and why the last one happened |
//! | [`uart`], [`rtc`], [`straps`] | console, wall clock, what QEMU's command line says |
//! | [`trap`] | start, interrupts, panic |
//! | [`board`] | all of that as Otaria's `Board` |
//!
//! ```ignore
//! otaria_virt::app_descriptor!("pump", "1.0.0");
//! otaria_virt::entry!(main);
//!
//! #[global_allocator]
//! static HEAP: Heap = Heap::new();
//!
//! fn main(slot: u32) -> ! {
//!     // SAFETY: the first and only call.
//!     let machine = unsafe { Machine::take(slot, &HEAP) };
//!     ..
//! }
//! ```
#![no_std]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable
)]

pub mod board;
pub mod clint;
pub mod descriptor;
pub mod dma;
pub mod executor;
pub mod flash;
pub mod heap;
pub mod map;
pub mod net;
pub mod plic;
pub mod reset;
pub mod retained;
pub mod rtc;
pub mod straps;
mod transport;
pub mod trap;
pub mod uart;

use otaria_device::board::{ResetReason, Slot};

use board::VirtBoard;
use flash::CfiFlash;
use heap::Heap;
use net::{Net, NetError};
use retained::Record;

/// Register `a0` when the loader starts an app that lies in no slot.
pub const NO_SLOT: u32 = u32::MAX;

/// Everything that there is one of.
pub struct Machine {
    /// The flash, or why there is none.
    pub flash: Result<CfiFlash, &'static str>,
    /// The network, or why there is none.
    pub net: Result<Net, NetError>,
    /// The board.
    pub board: VirtBoard,
    /// What was said about the last reset, if it was one.
    pub last_words: Option<Record>,
}

impl Machine {
    /// Takes hold of the machine and starts time and interrupts. `slot` is what the loader has passed in register `a0`: the
    /// slot that it copied the program from, as the MMU of a chip would show it.
    ///
    /// # Safety
    /// To be called once in a boot, at the start of `main`, under `entry!`, outside of any critical section.
    pub unsafe fn take(slot: u32, heap: &'static Heap) -> Self {
        heap.init();
        let last_words = Record::take();
        clint::start();
        trap::enable_interrupts();
        // SAFETY: the caller promises that this happens once.
        let (flash, net) = unsafe { (CfiFlash::open(), Net::open()) };
        let mac = net.as_ref().map_or([0; 6], Net::mac);
        let board = VirtBoard {
            slot: u8::try_from(slot).ok().and_then(Slot::from_index),
            reset_reason: last_words
                .as_ref()
                .map_or(ResetReason::PowerOn, Record::reason),
            heap,
            random: VirtBoard::seed(mac),
        };
        Self {
            flash,
            net,
            board,
            last_words,
        }
    }
}
