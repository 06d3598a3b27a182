//! The demo firmware that is checked in is what its source builds to.
//!
//! `OTARIA_BLESS=1 cargo test -p otaria-package --test demo_image` writes it again.

mod common;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use otaria_package::elf::{self, ElfError};
use otaria_package::pack::pack;

const TARGET: &str = "riscv32imc-unknown-none-elf";
const DEFAULT_SLOT: u32 = 0x1d_0000;

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../otaria-sim/images")
}

fn rustc(args: &[&str]) -> Option<String> {
    let output = Command::new("rustc")
        .args(args)
        .current_dir(images())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Says it past the capture of the test's output, which nobody sees of a test that passes.
fn say(what: &str) {
    let _ = writeln!(io::stderr(), "warning: {what}");
}

/// Builds the ELF. If it cannot be built here, this says why, unless that is forbidden, as in CI.
fn build_elf(target_dir: &Path, strip: &str) -> Option<Vec<u8>> {
    let libdir = rustc(&["--print", "target-libdir", "--target", TARGET]).expect("rustc runs");
    if !Path::new(&libdir).is_dir() {
        let missing = format!("the target is not installed (rustup target add {TARGET})");
        assert!(
            std::env::var_os("OTARIA_REQUIRE_PEERS").is_none(),
            "{missing}"
        );
        say(&format!("the demo image is not checked: {missing}"));
        return None;
    }
    // The build of this test must not leak into that of the firmware, least of all its flags.
    let status = Command::new("cargo")
        .args(["build", "--release", "--locked", "--offline", "--quiet"])
        .current_dir(images())
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_PROFILE_RELEASE_STRIP", strip)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the demo firmware does not build");
    Some(
        fs::read(target_dir.join(TARGET).join("release/otaria-demo-image"))
            .expect("the ELF was built"),
    )
}

#[test]
fn the_checked_in_demo_image_is_what_its_source_builds_to() {
    let target_dir = tempfile::tempdir().unwrap();
    let Some(elf) = build_elf(target_dir.path(), "symbols") else {
        return;
    };
    let built = elf::to_image(&elf, Some("esp32c3"), DEFAULT_SLOT).expect("an image");
    let package =
        pack(&built, &common::key(), &common::options()).expect("an image from an ELF is packaged");
    assert_eq!(package.header.product, "otaria-demo");
    let compiler = rustc(&["--version"]).expect("rustc runs");
    let image_file = images().join("demo-esp32c3.bin");
    let compiler_file = images().join("demo-esp32c3.rustc");
    if std::env::var_os("OTARIA_BLESS").is_some() {
        fs::write(&image_file, &built).unwrap();
        fs::write(&compiler_file, format!("{compiler}\n")).unwrap();
        return;
    }
    let built_with = fs::read_to_string(&compiler_file).unwrap();
    if built_with.trim() != compiler {
        // No failure: whoever has a newer compiler than we had did nothing wrong. But not in silence.
        say(&format!(
            "the checked-in demo image is not compared: it was built with {}, here is {compiler}; \
             OTARIA_BLESS=1 writes it again",
            built_with.trim()
        ));
        return;
    }
    let checked_in = fs::read(&image_file).unwrap();
    assert!(
        checked_in == built,
        "demo-esp32c3.bin is not what images/src builds to; run with OTARIA_BLESS=1 to write it again"
    );
}

#[test]
fn an_elf_with_symbols_says_which_chip_it_is_for() {
    let target_dir = tempfile::tempdir().unwrap();
    let Some(elf) = build_elf(target_dir.path(), "none") else {
        return;
    };
    let image = elf::to_image(&elf, None, DEFAULT_SLOT).expect("an image without --chip");
    assert!(image == elf::to_image(&elf, Some("ESP32-C3"), DEFAULT_SLOT).expect("the same image"));
    let error = elf::to_image(&elf, Some("esp32c6"), DEFAULT_SLOT).unwrap_err();
    assert!(matches!(error, ElfError::OtherChip { .. }), "{error}");
}
