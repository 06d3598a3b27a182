//! Who is in which wave, and what is refused.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::model::{Device, PackageFacts};
use crate::rollout::{plan, spec as checker};

fn device(n: usize, chip_rev: u16, image: &str) -> Device {
    serde_json::from_value(json!({
        "id": format!("d{n:05}"), "online": n.is_multiple_of(2), "first_seen": 1, "last_seen": 1, "groups": [],
        "tags": {"site": if n.is_multiple_of(10) { "berlin" } else { "paris" }},
        "state": {
            "device": format!("d{n:05}"), "product": "pump", "version": "1.0.0", "image_sha256": image, "sequence": 1,
            "security_version": 0, "chip": "esp32c3", "chip_rev": chip_rev, "slot": 0, "trial": null,
            "reset": "software", "boot": 1, "uptime_s": 1, "heap_free": 1, "heap_min": 1, "phase": "idle"
        },
        "progress": null, "wish": null, "assignment": null
    }))
    .unwrap()
}

fn fleet(count: usize) -> Vec<Device> {
    let other = "0b".repeat(32);
    let revision = |n: usize| if n % 33 == 7 { 101 } else { 4 };
    (0..count).map(|n| device(n, revision(n), &other)).collect()
}

fn package() -> PackageFacts {
    PackageFacts {
        size: 400_000,
        product: "pump".to_owned(),
        chip: "esp32c3".to_owned(),
        version: "1.1.0".to_owned(),
        image_sha256: otaria_wire::Sha256Digest([0x0A; 32]),
    }
}

fn checked(change: Value) -> Result<checker::Checked, checker::SpecError> {
    let mut whole = json!({"name": "r", "package": "00".repeat(32), "target": "all"});
    for (key, value) in change.as_object().unwrap() {
        whole[key] = value.clone();
    }
    checker::check(serde_json::from_value(whole).unwrap())
}

#[test]
fn every_device_is_in_one_wave_or_named_as_left_out() {
    let devices = fleet(1000);
    let waves = json!([
        {"count": 10, "spread": "chip_rev"},
        {"only": "tag:site=berlin", "count": 50},
        {"percent": 20},
        {"only": "not tag:site=berlin"},
    ]);
    let plan = plan::plan(
        &checked(json!({"waves": waves})).unwrap(),
        &devices,
        &package(),
        0.01,
        0,
    );
    let sizes: Vec<usize> = plan.waves.iter().map(|wave| wave.devices.len()).collect();
    assert_eq!(&sizes[..3], [10, 50, 200]);
    let mut all: Vec<String> = plan
        .waves
        .iter()
        .flat_map(|wave| wave.devices.clone())
        .collect();
    all.extend(plan.left_out.clone());
    assert_eq!(all.len(), 1000);
    assert_eq!(
        all.iter().collect::<BTreeSet<_>>().len(),
        1000,
        "nobody twice"
    );
    assert!(
        !plan.left_out.is_empty(),
        "those in Berlin that are in no wave are named"
    );
    assert_eq!(plan.bytes, plan.devices * 400_000);
}

#[test]
fn a_canary_that_is_spread_has_every_hardware_revision() {
    let devices = fleet(1000);
    let waves = json!([{"count": 20, "spread": "chip_rev"}, {}]);
    let checked = checked(json!({"waves": waves})).unwrap();
    let sorted = plan::sort(&checked, &devices, &package(), 0);
    let new = sorted.waves[0]
        .iter()
        .filter(|index| **index % 33 == 7)
        .count();
    assert_eq!(
        (sorted.waves[0].len(), new),
        (20, 10),
        "half of it, though only 3 % of the fleet"
    );
}

#[test]
fn a_plan_is_the_same_each_time_and_names_who_cannot_take_the_package() {
    let mut devices = fleet(100);
    devices[3] = device(3, 4, &"0a".repeat(32));
    let mut fan = serde_json::to_value(&devices[5]).unwrap();
    fan["state"]["product"] = json!("fan");
    devices[5] = serde_json::from_value(fan).unwrap();
    let checked = checked(json!({"limits": {"concurrent": 10}})).unwrap();
    let first = plan::plan(&checked, &devices, &package(), 0.01, 0);
    assert_eq!(first, plan::plan(&checked, &devices, &package(), 0.01, 0));
    assert_eq!(
        (first.devices, first.already, first.skipped.len()),
        (99, 1, 1)
    );
    // 98 devices, ten at a time: ten rounds of 90 s and 400 kB at 40 kB/s.
    assert_eq!(first.seconds, 10 * (90 + 10));
}

#[test]
fn ten_thousand_devices_are_planned_in_under_a_second() {
    let devices = fleet(10_000);
    let waves =
        json!([{"count": 20, "spread": "chip_rev"}, {"percent": 10, "only": "version < 2"}, {}]);
    let checked = checked(json!({"waves": waves})).unwrap();
    let start = Instant::now();
    let plan = plan::plan(&checked, &devices, &package(), 0.01, 0);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(plan.devices, 10_000);
}

#[test]
fn what_makes_no_sense_is_refused_and_says_what() {
    for (change, says) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "a b"}), "name"),
        (json!({"name": "plan"}), "name"),
        (json!({"name": "x".repeat(49)}), "name"),
        (json!({"target": "versio < 1"}), "no field 'versio'"),
        (json!({"waves": [{"only": "x"}]}), "no field 'x'"),
        (
            json!({"waves": [{"count": 1, "percent": 2}]}),
            "wave 'wave-1' takes a count",
        ),
        (json!({"waves": [{"count": 0}]}), "at least 1"),
        (json!({"waves": [{"percent": 0}]}), "more than 0"),
        (json!({"waves": [{"percent": 101}]}), "at most 100"),
        (json!({"waves": [{"spread": "colour"}]}), "chip_rev"),
        (
            json!({"waves": [{"gate": {"confirmed": 101}}]}),
            "gate.confirmed of wave 'wave-1'",
        ),
        (json!({"limits": {"concurrent": 0}}), "limits.concurrent"),
        (
            json!({"limits": {"bytes_per_second": "0"}}),
            "bytes_per_second",
        ),
        (json!({"halt": {"worse": 1}}), "halt.worse"),
        (json!({"halt": {"baseline": 0}}), "halt.baseline"),
        (json!({"timeouts": {"reboot": "0s"}}), "timeouts.reboot"),
        (
            json!({"window": {"from": "01:00", "to": "02:00", "tz": "Mars"}}),
            "time zone 'Mars'",
        ),
    ] {
        let error = checked(change.clone()).unwrap_err().to_string();
        assert!(error.contains(says), "{change}: {error}");
    }
    for wrong in [
        json!({"window": {"from": "1:00", "to": "02:00"}}),
        json!({"window": {"from": "24:00", "to": "02:00"}}),
        json!({"timeouts": {"reboot": "soon"}}),
        json!({"limits": {"bytes_per_second": "2 GB"}}),
        json!({"halt": {"wors": 3}}),
    ] {
        let mut whole = json!({"name": "r", "package": "00".repeat(32), "target": "all"});
        for (key, value) in wrong.as_object().unwrap() {
            whole[key] = value.clone();
        }
        assert!(
            serde_json::from_value::<RolloutSpec>(whole).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn a_specification_reads_as_it_was_written() {
    let spec = spec(&[1, 2], |spec| {
        spec.waves[0].gate.soak = seconds(5400);
        spec.limits.bytes_per_second = Some("2MB".parse().unwrap());
    });
    let text = serde_json::to_string(&spec).unwrap();
    assert!(
        text.contains(r#""soak":"90m""#) && text.contains(r#""2MB""#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<RolloutSpec>(&text).unwrap(), spec);
}
