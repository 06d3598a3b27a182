//! Every byte that crosses a link or lies in flash.
//!
//! One module owns one format, and starts with its byte diagram. Reading is
//! always the same two steps: a checked view of bytes that anybody may have
//! made, then a compact value that encodes to the same bytes again. No parser
//! here allocates, panics, or loops longer than its input.
//!
//! | module | format |
//! |---|---|
//! | [`package`] | the signed `.otaria` package |
//! | [`keys`] | key epoch records: which release keys count |
//! | [`esp_image`] | the ESP app image inside a package and in a slot |
//! | [`guard`] | the marker by which an image says that it has a boot guard |
//! | [`partitions`] | the partition table, and where Otaria's partitions lie |
//! | [`otadata`] | the bootloader's slot selection |
//! | [`journal`] | Otaria's records in the `otaria` partition |
//! | [`flash_log`] | the ring of log lines in the `otalog` partition |
//! | [`messages`] | JSON over MQTT, failure codes |
//! | [`topics`] | MQTT topic names and device ids |
//! | [`url`] | package addresses and redirects |
//! | [`nvs`] | ESP-IDF's key-value partition |
//! | [`settings`] | names of the settings in NVS |
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing
    )
)]

#[cfg(test)]
extern crate std;

mod bytes;
mod crc32;
mod digest;
#[cfg(test)]
mod golden;
mod md5;
mod text;

pub mod esp_image;
pub mod flash_log;
#[doc(hidden)]
pub mod fuzz;
pub mod guard;
pub mod journal;
pub mod keys;
pub mod messages;
pub mod nvs;
pub mod otadata;
pub mod package;
pub mod partitions;
pub mod settings;
pub mod topics;
pub mod url;

pub use crc32::Crc32;
pub use digest::{DigestError, Sha256Digest, Sha256Hasher};
pub use text::{FixedText, TextError, clip};
