//! NOR flash with power cuts, faulty links and simulated devices.
//!
//! | module | what it models |
//! |---|---|
//! | [`flash`] | the flash chip: its rules, its times, and power cuts inside its commands |
//! | [`world`] | virtual time: many devices, one thread, the same run for the same seed |
//! | [`net`] | links, TCP windows, name look-ups, and a network that misbehaves |
//! | [`device`] | the chip around them: power, bootloader, watchdog, radio; it runs otaria-device unchanged |
//! | [`images`] | the firmware to update with |
//! | [`peers`] | an MQTT broker and a web server for a world |
//! | [`real`] | the clock and the sockets of this machine, for devices among real servers |
//! | [`fleet`] | many devices among real servers |
//!
//! Everything that a device runs on here implements the traits that a board implements, so the code above them is the code of a
//! board. What a model leaves out is said at its top.
#![forbid(unsafe_code)]

pub mod device;
pub mod flash;
pub mod fleet;
pub mod images;
pub mod net;
pub mod peers;
pub mod real;
pub mod world;
