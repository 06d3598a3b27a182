//! ESP image to signed package; read and verify.
#![forbid(unsafe_code)]
