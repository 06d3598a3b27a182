//! Releases that are bad, each in its way. A board rolls back by itself, says why, and takes a good release afterwards.

use otaria_wire::messages::{EventKind, FailureCode};

use crate::lab::{Lab, Web};

/// Tries the release on a board; `rollback`: with a bootloader that does its own.
fn rolls_back(fault: &str, rollback: bool, code: FailureCode) {
    let Some(lab) = Lab::open(Web::Nginx, &[fault, "b"]) else {
        return;
    };
    let mut device = lab.device(fault, rollback);
    device.power_on();
    device.runs_confirmed(0, "1.0.0");
    lab.publish(&device, fault);
    assert_eq!(
        device.ends(),
        (EventKind::RolledBack, Some(code)),
        "{:#?}",
        device.power_off()
    );
    let heard = device.ear.count();
    device.runs_confirmed(0, "1.0.0");
    lab.publish(&device, "b");
    device.runs_confirmed(heard, "1.1.0");
    device.power_off();
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_release_that_crashes_at_start_is_rolled_back() {
    rolls_back("crash-at-start", false, FailureCode::TrialCrashed);
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_release_that_crashes_at_start_is_rolled_back_under_a_rollback_bootloader() {
    rolls_back("crash-at-start", true, FailureCode::TrialCrashed);
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_release_that_crashes_after_a_minute_is_rolled_back() {
    rolls_back("crash-after-a-minute", false, FailureCode::TrialCrashed);
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_release_that_hangs_is_rolled_back_by_the_watchdog() {
    rolls_back("hang", true, FailureCode::TrialCrashed);
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_release_that_never_becomes_healthy_is_rolled_back() {
    rolls_back("never-healthy", false, FailureCode::TrialTimeout);
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_release_that_never_joins_the_network_is_rolled_back() {
    rolls_back("never-joins", true, FailureCode::TrialNoNetwork);
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_release_that_eats_up_the_heap_is_rolled_back() {
    rolls_back("heap-exhaustion", false, FailureCode::TrialCrashed);
}
