//! The ready-made firmware, for whichever board, and the reference of how Otaria is used.
//!
//! ```text
//!   main of a board           otaria-esp, otaria-embassy                          this crate
//!   ---------------           --------------------------                          ----------
//!   clocks
//!   first of all         -->  guard: watchdog, partitions, journal, boot guard
//!   scheduler
//!   ticker, LED: own tasks                                                        Alive
//!   one task             -------------------------------------------------------> run: settings, health, ..
//!                             .. network stack, link, Otaria  <------------------ Otaria::run
//! ```
//!
//! The application's own work is [`Alive`]: a ticker that runs at its own pace beside an update, and measures how well.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod alive;
mod facts;
mod fault;
mod provisioning;
mod run;
mod timing;

pub use alive::{Alive, TICK};
pub use facts::{PRODUCT, SECURITY_VERSION, VERSION, number};
pub use fault::{FAULT, Fault};
pub use run::run;
pub use timing::TIMING;
