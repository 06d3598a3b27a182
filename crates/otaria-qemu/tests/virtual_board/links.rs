//! Brokers that restart and cables that are pulled, in the middle of a download.

use std::time::Duration;

use otaria_wire::messages::EventKind;

use crate::lab::{Lab, Web};

/// Slow enough that a download lasts for some seconds.
const SLOW: Web = Web::Slow;

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_broker_that_restarts_during_an_update_does_not_stop_it() {
    let Some(mut lab) = Lab::open(SLOW, &["b"]) else {
        return;
    };
    let mut device = lab.device("broker", false);
    device.power_on();
    device.runs_confirmed(0, "1.0.0");
    lab.publish(&device, "b");
    device.downloads(20);
    for _ in 0..2 {
        lab.broker.kill();
        std::thread::sleep(Duration::from_secs(1));
        lab.broker.restart();
        std::thread::sleep(Duration::from_secs(1));
    }
    device.runs_confirmed(0, "1.1.0");
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_cable_that_is_pulled_for_a_minute_costs_a_minute() {
    let Some(lab) = Lab::open(SLOW, &["b"]) else {
        return;
    };
    let mut device = lab.device("cable", false);
    device.power_on();
    device.runs_confirmed(0, "1.0.0");
    lab.publish(&device, "b");
    device.downloads(20);
    device.machine().set_link(false).unwrap();
    std::thread::sleep(Duration::from_secs(60));
    device.machine().set_link(true).unwrap();
    assert_eq!(device.ends(), (EventKind::Confirmed, None));
    device.runs_confirmed(0, "1.1.0");
    let boots = |line: &&String| line.starts_with("loader:");
    // The image that was running went on running: no reset but the one into the new image.
    assert_eq!(device.power_off().iter().filter(boots).count(), 2);
}
