//! Updates that go well, and another task's pace meanwhile.

use otaria_wire::messages::EventKind;

use crate::lab::{Device, Lab, Web};

fn update(device: &mut Device, lab: &Lab) {
    device.power_on();
    device.runs_confirmed(0, "1.0.0");
    lab.publish(device, "b");
    device.tells(EventKind::Accepted);
    assert_eq!(device.ends(), (EventKind::Confirmed, None));
    device.runs_confirmed(0, "1.1.0");
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_url_over_mqtt_and_a_package_over_http_update_a_board_with_either_bootloader() {
    let Some(lab) = Lab::open(Web::Nginx, &["b"]) else {
        return;
    };
    for (id, rollback) in [("stock", false), ("rollback", true)] {
        let mut device = lab.device(id, rollback);
        update(&mut device, &lab);
        // It stays so after a power cut.
        device.power_off();
        device.power_on();
        let heard = device.ear.count();
        device.says("1.1.0");
        device.runs_confirmed(heard, "1.1.0");
    }
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_task_of_ten_milliseconds_keeps_its_pace_during_an_update() {
    let Some(lab) = Lab::open(Web::Nginx, &["b"]) else {
        return;
    };
    let mut device = lab.device("pace", false);
    update(&mut device, &lab);
    let console = device.power_off();
    // "ticker: 6 us late at worst before Verifying", at the start of a phase: of the time since the one before. It is looked at
    // four times a second, so a short phase may be passed over.
    let worst: Vec<(&str, u32)> = console
        .iter()
        .filter_map(|line| {
            line.split_once("ticker: ")?
                .1
                .split_once(" us late at worst before ")
        })
        .filter_map(|(late, phase)| Some((phase, late.parse().ok()?)))
        .collect();
    println!("worst delays in us before each phase: {worst:?}");
    for needed in ["Downloading", "Trial"] {
        let seen = worst.iter().any(|(phase, _)| *phase == needed);
        assert!(seen, "{needed}: {console:#?}");
    }
    let late = worst.iter().find(|(_, delay)| *delay > 5_000);
    assert_eq!(late, None, "{console:#?}");
}

#[test]
#[ignore = "needs firmware: cargo xtask test --only \"virtual board\""]
fn a_web_server_that_ignores_ranges_updates_a_board_through_a_power_cut() {
    let Some(lab) = Lab::open(Web::Python, &["b"]) else {
        return;
    };
    let mut device = lab.device("python", false);
    device.power_on();
    device.runs_confirmed(0, "1.0.0");
    lab.publish(&device, "b");
    device.downloads(30);
    device.power_off();
    device.power_on();
    device.tells(EventKind::Resumed);
    assert_eq!(device.ends(), (EventKind::Confirmed, None));
    device.runs_confirmed(0, "1.1.0");
}
