//! What is settled when an image is built: environment variables of the build, which `cargo xtask firmware` sets.

/// What the image says its version is, at most 31 bytes.
pub const VERSION: &str = match option_env!("OTARIA_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// The product that the image is for, at most 31 bytes. A device takes packages of its own product only.
pub const PRODUCT: &str = match option_env!("OTARIA_PRODUCT") {
    Some(product) => product,
    None => env!("CARGO_PKG_NAME"),
};

/// Once an image with a higher one is confirmed, no image with a lower one is taken.
pub const SECURITY_VERSION: u32 = match option_env!("OTARIA_SECURITY_VERSION") {
    Some(digits) => number(digits),
    None => 0,
};

// The app descriptor has 32 bytes for each, and they end with a zero.
const _: () = assert!(
    !VERSION.is_empty() && VERSION.len() <= 31,
    "OTARIA_VERSION has 1 to 31 bytes"
);
const _: () = assert!(
    !PRODUCT.is_empty() && PRODUCT.len() <= 31,
    "OTARIA_PRODUCT has 1 to 31 bytes"
);

/// A number of a build's environment.
///
/// # Panics
/// At compile time, if it is none.
#[must_use]
#[allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "evaluated while compiling"
)]
pub const fn number(digits: &str) -> u32 {
    let digits = digits.as_bytes();
    assert!(
        !digits.is_empty() && digits.len() <= 9,
        "a number of 1 to 9 digits is wanted"
    );
    let mut value = 0;
    let mut at = 0;
    while at < digits.len() {
        assert!(
            digits[at].is_ascii_digit(),
            "a number of 1 to 9 digits is wanted"
        );
        value = value * 10 + (digits[at] - b'0') as u32;
        at += 1;
    }
    value
}
