//! ESP image to signed package; read and verify.
#![forbid(unsafe_code)]

pub mod codec;
pub mod elf;
pub mod files;
pub mod keyfile;
pub mod keys;
pub mod kind;
pub mod pack;
pub mod read;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
