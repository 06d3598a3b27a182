//! What the tests of this crate share.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod esptool;

use std::ffi::OsString;
use std::process::{Command, Output};

use otaria_package::keys::{DecryptionKey, SigningKey};
use otaria_package::pack::{Options, TimeStamp};

pub(crate) fn key() -> SigningKey {
    SigningKey::from_pem(include_str!("../keys/test.pem"), None).unwrap()
}

pub(crate) fn stranger() -> SigningKey {
    SigningKey::from_pem(include_str!("../keys/stranger.pem"), None).unwrap()
}

/// What the device of the tests decrypts with.
pub(crate) fn recipient() -> DecryptionKey {
    DecryptionKey::from_pem(include_str!("../keys/recipient.pem"), None).unwrap()
}

/// Options that do not depend on the clock.
pub(crate) fn options() -> Options {
    Options::new(TimeStamp {
        sequence: 1_700_000_000_123,
        created: 1_700_000_000,
    })
}

/// The Python that `cargo xtask` has set up, else the system's.
pub(crate) fn python() -> Command {
    Command::new(std::env::var_os("OTARIA_PYTHON").unwrap_or_else(|| OsString::from("python3")))
}

/// Whether Python has a module; prints why a test is skipped if not.
pub(crate) fn python_has(module: &str) -> bool {
    let found = python().args(["-c", &format!("import {module}")]).output();
    let there = found.is_ok_and(|output| output.status.success());
    or_skip(there, &format!("Python 3 with the module {module}"))
}

/// Whether a program runs; prints why a test is skipped if not.
pub(crate) fn program_runs(program: &str, argument: &str) -> bool {
    let there = Command::new(program)
        .arg(argument)
        .output()
        .is_ok_and(|output| output.status.success());
    or_skip(there, program)
}

/// Says why a test is skipped. Where `cargo xtask test` has installed everything, nothing may be.
fn or_skip(there: bool, what: &str) -> bool {
    if !there {
        assert!(
            std::env::var_os("OTARIA_REQUIRE_PEERS").is_none(),
            "{what} is not there"
        );
        println!("skipped: {what} is not there");
    }
    there
}

/// What a program printed, for assertions that show it.
pub(crate) fn text(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}\n{out}{err}", output.status)
}
