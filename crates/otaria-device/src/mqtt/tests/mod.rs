//! The session against scripted brokers, in virtual time.

mod bad_brokers;
mod behaviour;
mod broker;
mod properties;
