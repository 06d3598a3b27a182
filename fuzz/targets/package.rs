//! Package header, block table and co-signatures, as a device reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(otaria_wire::fuzz::package(bytes));
});
