//! The ready-made firmware, for whichever board: [`start`] first of all, then [`run`] for ever.
//!
//! ```text
//!   main of a board           this crate
//!   --------------            ----------
//!   clocks, reset reason
//!   arm the watchdog     -->  start: partitions, journal, boot guard; resets if the guard says so
//!   heap, scheduler, radio
//!   ticker, LED: own tasks
//!   one task             -->  run: settings, network stack, link, Otaria, health, what the console says
//! ```
//!
//! Everything in `run` is one future, joined of parts, so that it can be generic over the board; the board's `main` gives it a
//! task of its own, whose memory is static. The application's own work is [`Alive`]: a ticker that runs at its own pace beside an
//! update, and measures how well.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod alive;
mod facts;
mod fault;
mod provisioning;
mod run;
mod start;
mod timing;

pub use alive::{Alive, TICK};
pub use facts::{PRODUCT, SECURITY_VERSION, VERSION, number};
pub use fault::{FAULT, Fault};
pub use run::{Parts, Resources, run};
pub use start::{Guarded, Started, layout, start};
pub use timing::TIMING;
