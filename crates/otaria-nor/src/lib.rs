//! A second flash chip for a device: Otaria's log may lie there, and wear and space of the chip that the program runs from are
//! left to the program.
//!
//! | module | what it is |
//! |---|---|
//! | [`spi`] | an SPI NOR chip as `embedded_storage`'s `NorFlash` |
//! | [`joined`] | two chips as one, the second behind the first |
//!
//! Both block: a log is written a line at a time, a millisecond each, and a sector of it is erased every hundred lines (45 ms
//! typically, at most [`spi::SECTOR_ERASE_LIMIT`]), when nothing else happens.
#![cfg_attr(not(test), no_std)]
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

pub mod joined;
pub mod spi;

pub use joined::{Joined, JoinedError};
pub use spi::{SpiNor, SpiNorError};
