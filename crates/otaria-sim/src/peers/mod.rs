//! What a device talks to inside a [`World`](crate::world::World): an MQTT broker and a web server in virtual time.
//!
//! They speak over any byte stream, keep a record of all that they saw, and can be told to misbehave. They are the peers of the
//! deterministic tests only; the same device code is tested against Mosquitto, nginx and Python's `http.server` in real time.

pub mod broker;
mod broker_session;
pub mod web;

/// A wake-up from one task to another of the same thread.
pub(crate) type Bell =
    embassy_sync::signal::Signal<embassy_sync::blocking_mutex::raw::NoopRawMutex, ()>;
