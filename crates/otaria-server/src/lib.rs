//! Broker, HTTP, store and fleet state.
#![forbid(unsafe_code)]
