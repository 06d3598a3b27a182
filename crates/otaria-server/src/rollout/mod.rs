//! Rollouts: a package brought to many devices, wave by wave, which stops by itself when too many fail.
//!
//! | part | what it does |
//! |---|---|
//! | [`spec`] | whether what was asked for makes sense |
//! | [`plan`] | which device is in which wave, and what that takes |
//! | [`engine`] | what is done next: a function of what is stored, what devices reported, and the time |
//! | [`halt`] | when it stops by itself |
//! | [`window`] | times of day by each device's clock |
//! | [`runner`] | the thin layer over the store: reads, asks the engine, writes, all in one transaction |
//!
//! All but the last are pure. The engine holds nothing: what it decides from is in the database, and what it decides is
//! committed together with the messages that carry it out (the outbox). So the process may die at any moment: what was
//! not committed is decided again, what was committed is sent.

pub(crate) mod engine;
pub(crate) mod halt;
pub(crate) mod plan;
pub(crate) mod runner;
pub(crate) mod spec;
pub(crate) mod window;

#[cfg(test)]
mod tests;
