//! Whole updates in virtual time: a device, a broker and a web server in one world.

mod lab;

use std::time::Duration;

use lab::{CREATED, Lab, MINUTE, SECOND};
use otaria_device::board::ResetReason;
use otaria_device::time::BUILT;
use otaria_sim::device::{AppStart, Factory, Hardware, SimDevice, WorldSite};
use otaria_sim::flash::Timing;
use otaria_sim::images::Stamp;
use otaria_wire::messages::{Event, from_json};

const SIZE: usize = 200 * 1024;

fn both_bootloaders() -> [Hardware; 2] {
    [false, true].map(|rollback| Hardware {
        rollback,
        ..Hardware::default()
    })
}

/// A device whose flash takes its time, with 1.0.0 from the factory.
fn slow_factory() -> Factory {
    let image = Stamp::new("1.0.0").project("pump").size(SIZE).image();
    Factory::new(&image).with_timing(Timing::W25Q)
}

#[test]
fn a_bare_url_updates_a_device_and_the_new_image_is_confirmed() {
    for hardware in both_bootloaders() {
        let lab = Lab::new(hardware);
        lab.offer("/pump.otaria", &Stamp::new("1.1.0").size(SIZE), 2);
        lab.world.run_for(10 * SECOND);
        lab.wish("http://server/pump.otaria");
        let took = lab.until(20 * MINUTE, |lab| lab.has_run("1.1.0", "confirmed"));
        assert!(took < MINUTE, "{took:?}");
        assert_eq!(lab.running(), (1, "1.1.0".to_owned()));
        assert_eq!(
            lab.reset_reasons(),
            [ResetReason::PowerOn, ResetReason::Software]
        );
        assert_eq!(
            lab.web.requests().len(),
            2,
            "the package, and the probe of the trial"
        );
        assert!(matches!(lab.app.start(), Some(AppStart::Guarded(_))));
        assert!(lab.app.monitor().connected() && !lab.app.monitor().on_trial());
    }
}

#[test]
fn the_last_report_says_where_the_time_went() {
    let lab = Lab::with(Hardware::default(), &slow_factory());
    lab.offer("/pump.otaria", &Stamp::new("1.1.0").size(SIZE), 2);
    lab.world.run_for(10 * SECOND);
    lab.wish("http://server/pump.otaria");
    lab.until(MINUTE, |lab| lab.trials() == 1);
    lab.world.run_for(5 * SECOND);
    lab.broker.restart(true);
    lab.until(20 * MINUTE, |lab| lab.has_run("1.1.0", "confirmed"));
    let timing = |kind: &str| {
        let event = lab.events().into_iter().find(|event| event.contains(kind));
        let event: Event = from_json(event.unwrap().as_bytes()).unwrap();
        event.timing.unwrap()
    };
    let (before, after) = (timing("\"activated\""), timing("\"confirmed\""));
    assert!(before.receive_ms > 0 && before.erase_ms > 0 && before.write_ms > 0);
    assert_eq!((before.confirm_ms, before.reconnects), (None, Some(0)));
    let confirm_ms = after.confirm_ms.unwrap();
    assert!((10_000..60_000).contains(&confirm_ms), "{after:?}");
    assert_eq!(after.reconnects, Some(1), "{}", lab.story());
    assert!(
        after.total_ms >= before.total_ms + confirm_ms - 1_000,
        "{before:?} {after:?}"
    );
    let kept = otaria_wire::messages::Timing {
        total_ms: after.total_ms,
        heap_min: after.heap_min,
        rssi: after.rssi,
        confirm_ms: after.confirm_ms,
        reconnects: after.reconnects,
        ..before
    };
    assert_eq!(
        after, kept,
        "what was measured before the restart is not lost"
    );
}

#[test]
fn releases_that_are_bad_each_in_its_way_are_rolled_back_and_a_good_one_follows() {
    for hardware in both_bootloaders() {
        for (behaviour, reason) in [
            ("crash", Some(ResetReason::Panic)),
            ("hang", Some(ResetReason::Watchdog)),
            ("crash-after:2", Some(ResetReason::Panic)),
            ("unhealthy", None),
            ("never-healthy", None),
        ] {
            let what = format!("{behaviour}, rollback {}", hardware.rollback);
            // An image that crashes before it has a network cannot have been confirmed by then.
            let lab = Lab::new(Hardware {
                join: 5 * SECOND,
                ..hardware
            });
            let bad = Stamp::new("1.1.0").behaviour(behaviour).size(SIZE);
            lab.offer("/bad.otaria", &bad, 2);
            lab.offer("/good.otaria", &Stamp::new("1.2.0").size(SIZE), 3);
            lab.world.run_for(10 * SECOND);
            lab.wish("http://server/bad.otaria");
            lab.until(30 * MINUTE, |lab| lab.has_run("1.0.0", "rolled_back"));
            assert_eq!(lab.running(), (0, "1.0.0".to_owned()), "{what}");
            let crashes = lab
                .reset_reasons()
                .iter()
                .filter(|why| Some(**why) == reason)
                .count();
            assert_eq!(
                crashes,
                if reason.is_some() { 3 } else { 0 },
                "{what}: {}",
                lab.story()
            );
            // It stays away from what it has tried.
            let boots = lab.reset_reasons().len();
            lab.world.run_for(120 * MINUTE);
            assert_eq!(lab.reset_reasons().len(), boots, "{what}: {}", lab.story());
            lab.wish("http://server/good.otaria");
            lab.until(30 * MINUTE, |lab| lab.has_run("1.2.0", "confirmed"));
        }
    }
}

#[test]
fn a_release_without_network_is_rolled_back_without_blame_and_tried_three_times_more() {
    let lab = Lab::new(Hardware::default());
    lab.offer("/deaf.otaria", &Stamp::new("1.1.0").behaviour("no-wifi"), 2);
    lab.world.run_for(10 * SECOND);
    lab.wish("http://server/deaf.otaria");
    lab.until(180 * MINUTE, |lab| {
        lab.has_run("1.0.0", "failed") || lab.trials() == 4
    });
    lab.world.run_for(120 * MINUTE);
    assert_eq!(lab.trials(), 4, "{}", lab.story());
    assert_eq!(lab.running(), (0, "1.0.0".to_owned()));
}

#[test]
fn a_power_cut_in_the_middle_resumes_where_it_was() {
    for hardware in both_bootloaders() {
        for cut_after in [800, 1_300, 1_800, 2_300, 2_800] {
            let lab = Lab::with(hardware, &slow_factory());
            lab.offer("/pump.otaria", &Stamp::new("1.1.0").size(SIZE), 2);
            lab.world.run_for(10 * SECOND);
            lab.wish("http://server/pump.otaria");
            lab.world.run_for(Duration::from_millis(cut_after));
            lab.device.cut_power();
            lab.world.run_for(30 * SECOND);
            lab.device.plug_in();
            lab.until(20 * MINUTE, |lab| lab.has_run("1.1.0", "confirmed"));
            assert!(
                lab.host.bytes_received() < 2 * SIZE as u64,
                "{}",
                lab.story()
            );
        }
    }
}

#[test]
fn a_lost_access_point_only_delays_an_update() {
    let lab = Lab::with(Hardware::default(), &slow_factory());
    lab.offer("/pump.otaria", &Stamp::new("1.1.0").size(SIZE), 2);
    lab.world.run_for(10 * SECOND);
    lab.wish("http://server/pump.otaria");
    lab.world.run_for(Duration::from_millis(1_500));
    lab.device.set_access_point(false);
    lab.world.run_for(3 * MINUTE);
    lab.device.set_access_point(true);
    lab.until(20 * MINUTE, |lab| lab.has_run("1.1.0", "confirmed"));
    assert_eq!(lab.reset_reasons().len(), 2);
}

/// A device whose clock says that the package is of tomorrow takes the image all the same, and believes neither.
#[test]
fn a_confirmed_package_raises_the_time_floor_if_the_clock_agrees() {
    for (unix_time, floor) in [
        (None, BUILT),
        (Some(CREATED + 60), CREATED),
        (Some(CREATED - 24 * 60 * 60), BUILT),
    ] {
        let factory = Factory::new(&Stamp::new("1.0.0").project("pump").image());
        let lab = Lab::at(unix_time, Hardware::default(), &factory);
        lab.offer("/pump.otaria", &Stamp::new("1.1.0").size(SIZE), 2);
        lab.world.run_for(10 * SECOND);
        assert_eq!(
            lab.time_floor(),
            None,
            "nothing is written without a reason"
        );
        lab.wish("http://server/pump.otaria");
        lab.until(20 * MINUTE, |lab| lab.has_run("1.1.0", "confirmed"));
        assert_eq!(lab.time_floor(), Some(floor), "{unix_time:?}");
    }
}

#[test]
fn the_same_world_has_the_same_story() {
    let story = || {
        let lab = Lab::with(Hardware::default(), &slow_factory());
        lab.offer("/pump.otaria", &Stamp::new("1.1.0").size(SIZE), 2);
        lab.world.run_for(10 * SECOND);
        lab.wish("http://server/pump.otaria");
        lab.until(20 * MINUTE, |lab| lab.has_run("1.1.0", "confirmed"));
        lab.story()
    };
    assert_eq!(story(), story());
}

#[test]
fn hundreds_of_devices_update_in_one_world() {
    let factory = slow_factory();
    let lab = Lab::with(Hardware::default(), &factory);
    let devices: Vec<_> = (0..300).map(|number| lab.add(number, &factory)).collect();
    lab.offer("/pump.otaria", &Stamp::new("1.1.0").size(SIZE), 2);
    lab.world.run_for(10 * SECOND);
    for number in 0..300 {
        let topic = format!("otaria/v1/e{number}/desired");
        lab.broker
            .publish(&topic, "http://server/pump.otaria", true);
    }
    let updated = || {
        let new = |device: &SimDevice<WorldSite>| {
            device
                .running()
                .is_some_and(|booted| booted.image.desc.version == *"1.1.0")
        };
        devices.iter().filter(|device| new(device)).count()
    };
    lab.until(10 * MINUTE, |_| updated() == devices.len());
    assert!(
        devices
            .iter()
            .all(|device| device.flash().violations().is_empty())
    );
    assert_eq!(
        lab.running(),
        (0, "1.0.0".to_owned()),
        "nobody asked the first one"
    );
}
