//! Otaria for applications on ESP32 chips, with esp-hal and embassy.
//!
//! ```ignore
//! otaria_esp::app_desc!();
//!
//! #[esp_rtos::main]
//! async fn main(spawner: Spawner) {
//!     let chip = esp_hal::init(esp_hal::Config::default());
//!     let otaria = otaria_esp::guard(chip.RTC_TIMER, chip.FLASH);
//!     esp_rtos::start(SystemTimer::new(chip.SYSTIMER).alarm0, chip.FROM_CPU_INTR0);
//!     spawner.spawn(update(otaria, chip.WIFI).unwrap());
//!     // .. the application
//! }
//!
//! #[embassy_executor::task]
//! async fn update(otaria: Otaria, wifi: WIFI<'static>) -> ! {
//!     otaria.run(wifi::interface(), WifiLink::new(wifi), AlwaysHealthy).await
//! }
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`app`] | what an application calls: [`guard`], [`app_desc!`], [`MONITOR`] |
//! | [`board`] | the chip as Otaria's `Board` |
//! | [`chip`] | what differs from chip to chip: number, where the MMU is, how much memory |
//! | [`flash`] | the flash chip |
//! | [`wifi`] | joins a network and keeps it |
//! | [`reset`] | why the chip started; the last panic |
//! | [`console`] | `log` to UART or USB |
//! | [`heap`] | the heap's regions, and what they are for |
//!
//! # The order in `main`
//! [`esp_hal::init`] disables the RTC watchdog, which the bootloader has left running. So the next thing is [`guard`], which arms
//! it again, counts the boot, and only then makes the heap; scheduler, radio and the application come behind it: nothing of those
//! can crash without the boot having been counted.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod app;
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

pub use app::{MONITOR, Otaria, guard, guard_on, image};
pub use board::EspBoard;
#[doc(hidden)]
pub use esp_bootloader_esp_idf;
pub use otaria_device::runtime::{AlwaysHealthy, Health, HealthCheck};
pub use otaria_device::settings::Timing;
pub use otaria_embassy::{Link, Uplink};
pub use otaria_settings::{BrokerUrl, Settings, WifiNetwork};
pub use otaria_wire::partitions::Region;
pub use wifi::WifiLink;
