//! The stores of otaria-device on flash whose power goes at every command, in every way, and once more while they recover.
//!
//! The default run takes a spread of second cuts; `OTARIA_SWEEP=exhaustive` takes them all. Each test prints how many cuts it made.

mod guard;
mod journal;
mod log;
mod otadata;
mod package;
mod slot;
mod sweep;
