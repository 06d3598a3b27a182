//! URLs from a broker, and the Locations that redirects put in their place.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(otaria_wire::fuzz::url(bytes));
});
