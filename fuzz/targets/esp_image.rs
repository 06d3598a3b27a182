//! The ESP image checker gives the same verdict however the bytes are cut into chunks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_wire::esp_image::ImageChecker;

fuzz_target!(|input: (u8, &[u8])| {
    let (chunk, bytes) = input;
    let verdict = |chunk: usize| {
        let mut checker = ImageChecker::new();
        for piece in bytes.chunks(chunk) {
            checker.update(piece)?;
        }
        checker.finish()
    };
    assert_eq!(
        verdict(bytes.len().max(1)),
        verdict(usize::from(chunk).max(1))
    );
});
