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
//! | [`uart`], [`rtc`], [`straps`] | console (also as a `log` logger), wall clock, what QEMU's command line says |
//! | [`trap`], [`stack`] | start, interrupts, panic; how much stack was used |
//! | [`board`] | all of that as Otaria's `Board` |
//!
//! ```ignore
//! otaria_virt::app_descriptor!("pump", "1.0.0", 0);
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
pub mod board;
pub mod clint;
mod console;
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
pub mod stack;
pub mod straps;
mod transport;
pub mod trap;
pub mod uart;

use otaria_device::board::{ResetReason, Slot};

use board::VirtBoard;
use flash::CfiFlash;
use heap::Heap;
use net::Port;
use retained::Record;

/// Register `a0` when the loader starts an app that lies in no slot.
pub const NO_SLOT: u32 = u32::MAX;

/// Everything that there is one of.
pub struct Machine {
    /// The flash, or why there is none.
    pub flash: Result<CfiFlash, &'static str>,
    /// The network device, not looked for yet.
    pub port: Port,
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
        console::init();
        let last_words = Record::take();
        clint::start();
        trap::enable_interrupts();
        // SAFETY: the caller promises that this happens once.
        let flash = unsafe { CfiFlash::open() };
        let board = VirtBoard {
            slot: u8::try_from(slot).ok().and_then(Slot::from_index),
            reset_reason: last_words
                .as_ref()
                .map_or(ResetReason::PowerOn, Record::reason),
            heap,
            random: VirtBoard::seed(),
        };
        Self {
            flash,
            port: Port(()),
            board,
            last_words,
        }
    }
}
