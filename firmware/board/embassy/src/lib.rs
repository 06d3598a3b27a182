//! What every port on embassy shares; there is no chip in it.
//!
//! | module | what it is |
//! |---|---|
//! | [`otaria`] | Otaria in an application: guard the boot, then run for ever |
//! | [`boot`] | what the boot guard is told |
//! | [`clock`] | Otaria's `Clock` over embassy-time, and where the wall clock is set |
//! | [`network`] | Otaria's connections over embassy-net |
//! | [`board`] | a board whose link and address are the network's |
//! | [`link`] | whoever joins a network and keeps it |
//! | [`setup`] | set-up by an access point, and by the serial port |
//! | [`tls`] | memory and random numbers for TLS |
//! | [`config`] | from the settings in flash to Otaria's configuration |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod board;
pub mod boot;
pub mod clock;
pub mod config;
pub mod link;
pub mod network;
pub mod otaria;
mod report;
pub mod setup;
mod time_servers;
#[cfg(feature = "tls")]
pub mod tls;

pub use board::{Networked, Uplink};
pub use boot::{Hardware, Image, layout};
pub use clock::EmbassyClock;
pub use config::{Identity, Prepared};
pub use link::Link;
pub use network::{Network, Sockets};
pub use otaria::{Lent, Otaria, Resources};
