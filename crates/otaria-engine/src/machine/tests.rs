//! The machine by scenarios that read like the specification, and by random walks.

mod bench;
mod trials;
mod updates;
mod walks;

use core::cell::RefCell;
use std::collections::HashSet;

use super::transitions::{StateName, TRANSITIONS, Trigger};

std::thread_local! {
    static WALKED: RefCell<HashSet<(StateName, Trigger, StateName)>> = RefCell::default();
}

/// The engine calls this for every step it takes.
pub(super) fn walked(from: StateName, trigger: Trigger, to: StateName) {
    WALKED.with_borrow_mut(|walked| walked.insert((from, trigger, to)));
}

#[test]
fn every_step_of_the_table_is_taken_by_some_walk() {
    for seed in 0..3_000 {
        walks::walk(seed);
    }
    WALKED.with_borrow(|walked| {
        for step in TRANSITIONS {
            assert!(walked.contains(step), "no walk takes {step:?}");
        }
    });
}
