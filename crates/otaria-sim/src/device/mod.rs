//! A simulated device: a chip with flash, bootloader, watchdog and radio around the code that a real chip runs.
//!
//! ```text
//!   plug in -> bootloader -> image: boot guard, otaria-device -> reset, crash, watchdog ---+
//!      ^           |   ^                                                                   |
//!      |           |   +-------------------------------------------------------------------+
//!      +-- power cut, at any moment: the program is dropped where it stands
//! ```
//!
//! [`SimDevice`] is the chip. What the running image does is a [`Firmware`], usually [`OtariaApp`]; how it behaves is read from the
//! image in flash, see [`Behaviour`]. Where the device stands, in a world or among real servers, is a [`Site`].

mod app;
mod behaviour;
mod bell;
mod board;
mod chip;
mod factory;
mod site;
#[cfg(test)]
mod tests;
mod tls;

pub use app::{AppStart, OtariaApp, Settings, SettingsError};
pub use behaviour::Behaviour;
pub use board::SimBoard;
pub use chip::{BootRecord, Env, Exit, Firmware, Hardware, Outage, SimDevice};
pub use factory::Factory;
pub use site::{RealSite, Site, WorldSite};
pub use tls::{HostBuffer, HostHeap, TlsSettings};
