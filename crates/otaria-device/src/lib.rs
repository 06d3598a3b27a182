//! The runtime around the engine: flash, MQTT, HTTP, trial.
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
pub mod guard;
pub mod http;
pub mod install;
pub mod mqtt;
pub mod net;
pub mod runtime;
pub mod settings;
pub mod storage;
pub mod trust;
