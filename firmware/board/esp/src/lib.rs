//! Otaria's board for ESP32 chips, on esp-hal.
//!
//! | module | what it is |
//! |---|---|
//! | [`board`] | the chip as Otaria's `Board` |
//! | [`chip`] | what differs from chip to chip: number, where the MMU is, how much memory |
//! | [`flash`] | the flash chip |
//! | [`wifi`] | joins a network and keeps it |
//! | [`reset`] | why the chip started; the last panic |
//! | [`console`] | `log` to UART or USB |
//! | [`heap`] | the heap's regions, and what they are for |
//!
//! # The order in `main`
//! [`esp_hal::init`] disables the RTC watchdog, which the bootloader has left running. So the next thing is [`EspBoard::new`]
//! and arming it again, then the boot guard, and only then the heap, the scheduler and the radio: nothing of those can crash
//! without the boot having been counted.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "panic-handler")]
mod backtrace;
pub mod board;
pub mod chip;
pub mod console;
pub mod flash;
pub mod heap;
#[cfg(feature = "panic-handler")]
mod panic_handler;
pub mod reset;
pub mod wifi;

pub use board::EspBoard;
pub use wifi::WifiLink;
