//! The runtime's own parts. Whole updates are tried in otaria-sim.

mod commands;
mod outbox;
mod startup;
