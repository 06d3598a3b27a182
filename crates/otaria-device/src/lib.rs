//! The runtime around the engine: flash, MQTT, HTTP, trial.
//!
//! | module | what it is |
//! |---|---|
//! | [`board`] | the traits that a port implements |
//! | [`settings`], [`trust`] | what a device is told about itself, and whose packages it takes |
//! | [`guard`] | the boot guard: the first thing in `main` |
//! | [`storage`] | everything that is kept in flash |
//! | [`time`] | the wall clock: learned from time servers, never before what is certain |
//! | [`net`], [`http`], [`mqtt`] | connections, downloads, the session with the broker |
//! | [`codec`], [`encryption`], [`install`] | from a URL to a verified image in the other slot |
//! | [`runtime`] | the one future that joins all of it with the engine |
//!
//! No allocation, no panic on any input, no wait without a limit. Whatever may be cancelled is cancel-safe, and no flash command
//! is ever inside a future that could be dropped.
//!
//! # In an application
//!
//! ```
//! use core::cell::RefCell;
//!
//! use embedded_storage::nor_flash::NorFlash;
//! use otaria_device::board::{Board, Clock};
//! use otaria_device::guard::Then;
//! use otaria_device::install::{Stores, Workspace};
//! use otaria_device::net::Connect;
//! use otaria_device::runtime::{Health, Monitor, Otaria, Parts};
//! use otaria_device::settings::Config;
//! use otaria_wire::partitions::DEFAULT_4MB;
//!
//! /// The start of `main`. `sensor_works` is what this device is for.
//! async fn run<B: Board, K: Clock, C: Connect, F: NorFlash>(
//!     mut board: B,
//!     clock: &K,
//!     network: &C,
//!     flash: &RefCell<F>,
//!     config: &Config<'_>,
//!     workspace: &mut Workspace,
//!     sensor_works: impl Fn() -> bool,
//! ) {
//!     // First of all, before anything else can crash: watchdog and boot guard.
//!     board.arm_watchdog(config.timing.watchdog);
//!     let Ok(stores) = Stores::open(flash, &DEFAULT_4MB, board.running_slot()) else { return };
//!     let Ok(boot) = stores.guard(board.reset_reason()) else { return };
//!     if boot.then == Then::Reset {
//!         board.reset();
//!     }
//!     // Then the application's own tasks, and Otaria beside them, for ever.
//!     let monitor = Monitor::new();
//!     let health = || if sensor_works() { Health::Healthy } else { Health::Unknown };
//!     let parts = Parts { board, clock, network, stores, boot, health: &health, monitor: &monitor, workspace };
//!     Otaria::new(config, parts).run().await;
//! }
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing
    )
)]

#[cfg(test)]
extern crate std;

pub mod board;
pub mod codec;
pub mod encryption;
pub mod guard;
pub mod http;
pub mod install;
pub mod mqtt;
pub mod net;
pub mod runtime;
pub mod settings;
pub mod storage;
pub mod time;
pub mod trust;
