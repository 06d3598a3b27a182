//! Real time and real sockets behind the same traits, on tokio: for simulated devices that talk to real servers.
//!
//! Device futures are not `Send`, so they run in a [`tokio::task::LocalSet`] or in `Runtime::block_on` of a current-thread runtime.

mod clock;
mod network;
mod radio;
#[cfg(test)]
mod tests;

pub use clock::RealClock;
pub use network::RealNetwork;
pub use radio::{Radio, RadioConfig, RadioStream, RadioSwitch};
