//! Scenarios and random walks.
use super::transitions::{StateName, Trigger};
pub(super) fn walked(_: StateName, _: Trigger, _: StateName) {}
