//! Bytes on the serial port, some of them commands of the Improv protocol.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_settings::improv::{Action, DeviceInfo, Improv};

const INFO: DeviceInfo<'static> = DeviceInfo {
    firmware: "otaria",
    version: "1.2.3",
    chip: "esp32c3",
    name: "desk-1",
};

fuzz_target!(|pieces: Vec<(bool, Vec<u8>)>| {
    let mut improv = Improv::new(INFO, false);
    let mut out = Vec::new();
    for (is_command, bytes) in &pieces {
        let bytes = match u8::try_from(bytes.len()) {
            Ok(len) if *is_command => {
                let packet = [&b"IMPROV\x01\x03"[..], &[len], bytes].concat();
                let sum = packet.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
                [packet, vec![sum]].concat()
            }
            _ => bytes.clone(),
        };
        for byte in bytes {
            match improv.receive(byte, &mut out) {
                Some(Action::Join(network)) => {
                    assert!((1..=32).contains(&network.ssid.len()));
                    if network.password.is_empty() {
                        improv.connected(Some("http://device"), &mut out);
                    } else {
                        improv.failed(&mut out);
                    }
                }
                Some(Action::Scan) => improv.scanned([("network", -60, true)], &mut out),
                None => {}
            }
        }
    }
    assert!(out.is_empty() || out.starts_with(b"IMPROV\x01"));
});
