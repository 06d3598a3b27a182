//! The API as programs that are not ours see it.

#[path = "../common/mod.rs"]
mod common;
mod metrics;
mod openapi;
mod webhooks;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/python")
}

/// Runs a script of `tests/python` with this as its input.
fn python(script: &str, input: &[u8]) -> Output {
    let mut run = Command::new(common::servers::python_program())
        .arg(scripts().join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    run.stdin.take().unwrap().write_all(input).unwrap();
    run.wait_with_output().unwrap()
}
