//! Fetch and verification over flash in memory and scripted servers.

mod bench;
mod fetching;
mod refusing;
mod resuming;
