//! Journal records as a cut may leave them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(otaria_wire::fuzz::journal(bytes));
});
