//! Every decision of an update, without I/O, clock or async.
//!
//! | module | decides |
//! |---|---|
//! | [`admission`] | whether a package is for this device |
//! | [`machine`] | what is to be done next, from a wish to a confirmed image |
//! | [`retry`], [`backoff`] | which failures are tried again, and when |
//! | [`guard`] | what a boot means while a trial is open |
//! | [`wear`] | which downloads may begin without wearing the flash out |
//!
//! All of it is pure: the time, the random seed and the facts come in as arguments, so that each decision can be replayed and
//! every combination tried.
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

pub mod admission;
pub mod backoff;
pub mod guard;
pub mod machine;
pub mod reset;
pub mod retry;
mod rng;
pub mod slot;
pub mod time;
pub mod wear;
