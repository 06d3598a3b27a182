//! Two otadata entries, and the bootloader's choice between them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(otaria_wire::fuzz::otadata(bytes));
});
