//! ESP image to signed package; read and verify.
#![forbid(unsafe_code)]

pub mod elf;
pub mod files;
pub mod keyfile;
pub mod keys;
