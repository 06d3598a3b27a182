//! The ESP image checker gives the same verdict however the bytes are cut into chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(otaria_wire::fuzz::esp_image(bytes));
});
