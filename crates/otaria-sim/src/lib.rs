//! NOR flash with power cuts, faulty links and simulated devices.
#![forbid(unsafe_code)]

pub mod device;
pub mod flash;
pub mod fleet;
pub mod images;
pub mod net;
pub mod peers;
pub mod real;
pub mod world;
