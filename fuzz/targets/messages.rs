//! What a device is told over MQTT, and what a server is told by devices.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(otaria_wire::fuzz::messages(bytes));
});
