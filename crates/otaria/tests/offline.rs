//! The commands that need no network, as people and scripts see them: what is printed, and the exit code.
//!
//! `SNAPSHOTS=overwrite cargo test -p otaria --test offline` writes `tests/snapshots/` again.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::assert_snapshot;
use snapbox::cmd::{Command, OutputAssert};
use tempfile::TempDir;

/// A directory with what a developer has: a key pair, an image, and a package made of it.
struct Desk {
    dir: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for (from, to) in [
            ("keys/test.pem", "release.pem"),
            ("keys/test.pub.pem", "release.pub.pem"),
            ("keys/stranger.pub.pem", "stranger.pub.pem"),
            ("golden/demo-1.1.0.bin", "app.bin"),
            ("golden/demo-1.1.0-deflate.otaria", "app.otaria"),
        ] {
            let from = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../otaria-package/tests")
                .join(from);
            fs::copy(from, desk.path(to)).unwrap();
        }
        desk.protect("release.pem", 0o600);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn protect(&self, name: &str, mode: u32) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        fs::write(self.path(name), bytes).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<String> = fs::read_dir(self.dir.path()).unwrap().map(name).collect();
        names.sort();
        names
    }

    /// Runs `otaria` with arguments that are separated by spaces.
    fn otaria(&self, arguments: &str) -> OutputAssert {
        self.command(arguments).assert()
    }

    fn command(&self, arguments: &str) -> Command {
        Command::new(env!("CARGO_BIN_EXE_otaria"))
            .args(arguments.split_whitespace())
            .current_dir(self.dir.path())
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .env_remove("OTARIA_PASSPHRASE")
            .env_remove("COLUMNS")
    }
}

#[test]
fn help_texts() {
    let desk = Desk::new();
    assert_snapshot(&desk.otaria("keygen --help"), "keygen-help");
    assert_snapshot(&desk.otaria("package --help"), "package-help");
    assert_snapshot(&desk.otaria("inspect --help"), "inspect-help");
    assert_snapshot(&desk.otaria("verify --help"), "verify-help");
}

#[test]
fn a_package_is_made_and_shown() {
    let desk = Desk::new();
    assert_snapshot(&desk.otaria("package app.bin --key release.pem"), "package");
    assert_snapshot(
        &desk.otaria("package app.bin --key release.pem --codec stored --json"),
        "package-json",
    );
    assert!(desk.path("otaria-demo-1.1.0.otaria").exists());
    assert_snapshot(&desk.otaria("inspect app.otaria"), "inspect-package");
    assert_snapshot(
        &desk.otaria("inspect app.otaria --json"),
        "inspect-package-json",
    );
    assert_snapshot(&desk.otaria("inspect app.bin"), "inspect-image");
    assert_snapshot(&desk.otaria("inspect app.bin --json"), "inspect-image-json");
    assert_snapshot(
        &desk.otaria("verify app.otaria --key release.pub.pem"),
        "verify",
    );
    assert_snapshot(
        &desk.otaria("verify app.otaria --key release.pub.pem --json"),
        "verify-json",
    );
}

#[test]
fn packaging_is_reproducible_and_the_sequence_can_be_chosen() {
    let desk = Desk::new();
    desk.otaria("package app.bin --key release.pem --out one.otaria")
        .success();
    desk.otaria("package app.bin --key release.pem --out two.otaria")
        .success();
    assert_eq!(
        fs::read(desk.path("one.otaria")).unwrap(),
        fs::read(desk.path("two.otaria")).unwrap()
    );
    let shown = desk
        .otaria("package app.bin --key release.pem --sequence 42 --json")
        .success();
    assert!(String::from_utf8_lossy(&shown.get_output().stdout).contains("\"sequence\": 42"));
    let refused = desk
        .command("package app.bin --key release.pem")
        .env("SOURCE_DATE_EPOCH", "today")
        .assert();
    assert_snapshot(&refused, "package-bad-epoch");
}

#[test]
fn partition_tables_are_shown() {
    let desk = Desk::new();
    let table = otaria_wire::partitions::encode(&otaria_wire::partitions::default_4mb_partitions())
        .unwrap();
    fs::write(desk.path("partition-table.bin"), table).unwrap();
    assert_snapshot(
        &desk.otaria("inspect partition-table.bin"),
        "inspect-partitions",
    );
    // Without the entry of otalog, its MD5 and all: ESP-IDF's tool would say the same.
    let all = otaria_wire::partitions::default_4mb_partitions();
    let table = otaria_wire::partitions::encode(&all[..6]).unwrap();
    fs::write(desk.path("partition-table.bin"), table).unwrap();
    assert_snapshot(
        &desk.otaria("inspect partition-table.bin --json"),
        "inspect-partitions-json",
    );
    desk.change("partition-table.bin", |bytes| bytes[5] ^= 0x10);
    assert_snapshot(
        &desk.otaria("inspect partition-table.bin"),
        "inspect-partitions-damaged",
    );
}

#[test]
fn bad_packages_are_refused_with_the_reason() {
    let desk = Desk::new();
    assert_snapshot(
        &desk.otaria("verify app.otaria --key stranger.pub.pem"),
        "verify-wrong-key",
    );
    assert_snapshot(
        &desk.otaria("verify app.otaria --key release.pem"),
        "verify-private-key",
    );
    assert_snapshot(
        &desk.otaria("verify app.bin --key release.pub.pem"),
        "verify-image",
    );
    assert_snapshot(
        &desk.otaria("verify missing.otaria --key release.pub.pem"),
        "verify-missing",
    );
    desk.change("app.otaria", |bytes| bytes.push(0));
    assert_snapshot(
        &desk.otaria("verify app.otaria --key release.pub.pem"),
        "verify-trailing",
    );
    desk.change("app.otaria", |bytes| bytes.truncate(5000));
    assert_snapshot(
        &desk.otaria("verify app.otaria --key release.pub.pem"),
        "verify-truncated",
    );
    assert_snapshot(&desk.otaria("inspect app.otaria"), "inspect-truncated");
    desk.change("app.otaria", |bytes| bytes[1000] ^= 1);
    assert_snapshot(
        &desk.otaria("verify app.otaria --key release.pub.pem --json"),
        "verify-damaged-json",
    );
}

#[test]
fn bad_images_are_refused_and_leave_no_file() {
    let desk = Desk::new();
    let before = desk.files();
    assert_snapshot(
        &desk.otaria("package app.otaria --key release.pem"),
        "package-package",
    );
    assert_snapshot(
        &desk.otaria("package release.pub.pem --key release.pem"),
        "package-no-image",
    );
    assert_snapshot(
        &desk.otaria("package app.bin --key release.pem --slot-size 8K"),
        "package-too-big",
    );
    assert_snapshot(
        &desk.otaria("package app.bin --key release.pem --product other"),
        "package-other-product",
    );
    assert_snapshot(
        &desk.otaria("package app.bin --key release.pem --block-len 5000"),
        "package-block-len",
    );
    assert_snapshot(
        &desk.otaria("package app.bin --key release.pub.pem"),
        "package-public-key",
    );
    assert_snapshot(
        &desk.otaria("package app.bin --key release.pem --out missing/app.otaria"),
        "package-no-directory",
    );
    desk.change("app.bin", |bytes| bytes[5000] ^= 1);
    assert_snapshot(
        &desk.otaria("package app.bin --key release.pem --json"),
        "package-damaged-json",
    );
    desk.change("app.bin", |bytes| bytes.truncate(5000));
    assert_snapshot(
        &desk.otaria("package app.bin --key release.pem"),
        "package-truncated",
    );
    assert_eq!(desk.files(), before);
}

#[test]
fn only_a_package_is_replaced_by_a_package() {
    let desk = Desk::new();
    desk.otaria("package app.bin --key release.pem --out app.otaria")
        .success();
    fs::write(desk.path("empty"), b"").unwrap();
    desk.otaria("package app.bin --key release.pem --out empty")
        .success();
    for other in ["app.bin", "release.pem", "."] {
        let before = fs::read(desk.path(other)).ok();
        desk.otaria(&format!("package app.bin --key release.pem --out {other}"))
            .code(1);
        assert_eq!(fs::read(desk.path(other)).ok(), before, "{other}");
    }
    assert_snapshot(
        &desk.otaria("package app.bin --key release.pem --out app.bin"),
        "package-over-image",
    );
}

#[test]
fn an_elf_for_a_pc_is_refused() {
    let desk = Desk::new();
    fs::copy(env!("CARGO_BIN_EXE_otaria"), desk.path("app")).unwrap();
    let refused = desk.otaria("package app --key release.pem").code(1);
    let error = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(error.contains("not for an ESP32 chip"), "{error}");
}

#[test]
fn keys_are_made_with_a_passphrase_or_expressly_without() {
    let desk = Desk::new();
    fs::write(desk.path("passphrase"), "correct horse\nsecond line\n").unwrap();
    desk.otaria("keygen --out a --passphrase-file passphrase")
        .success();
    desk.command("keygen --out b")
        .env("OTARIA_PASSPHRASE", "correct horse")
        .assert()
        .success();
    let plain = desk
        .otaria("keygen --out c --no-passphrase --json")
        .success();
    let printed = String::from_utf8_lossy(&plain.get_output().stdout).into_owned();
    assert!(
        printed.contains("\"encrypted\": false") && printed.contains("\"public_point\": \"04"),
        "{printed}"
    );
    let text = |name: &str| fs::read_to_string(desk.path(name)).unwrap();
    assert!(text("a.pem").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert!(text("b.pem").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert!(text("c.pem").starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(text("c.pub.pem").starts_with("-----BEGIN PUBLIC KEY-----"));
    // The private key is in its file and nowhere else.
    let secret = text("c.pem");
    assert!(
        secret
            .lines()
            .filter(|line| !line.starts_with('-'))
            .all(|line| !printed.contains(line))
    );

    desk.command("package app.bin --key a.pem")
        .env("OTARIA_PASSPHRASE", "correct horse")
        .assert()
        .success();
    desk.otaria("package app.bin --key b.pem --passphrase-file passphrase")
        .success();
    desk.otaria("package app.bin --key c.pem").success();
    assert_snapshot(
        &desk
            .command("package app.bin --key a.pem")
            .env("OTARIA_PASSPHRASE", "wrong")
            .assert(),
        "package-wrong-passphrase",
    );
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let desk = Desk::new();
    desk.command("keygen --out a")
        .env("OTARIA_PASSPHRASE", "x")
        .assert()
        .success();
    let before = desk.files();
    assert_snapshot(
        &desk
            .command("keygen --out b")
            .stdin("typed\ntyped\n")
            .assert(),
        "keygen-no-terminal",
    );
    assert_snapshot(
        &desk
            .command("package app.bin --key a.pem")
            .stdin("x\n")
            .assert(),
        "package-no-terminal",
    );
    assert_snapshot(
        &desk
            .command("keygen --out b")
            .env("OTARIA_PASSPHRASE", "")
            .assert(),
        "keygen-empty-passphrase",
    );
    assert_eq!(desk.files(), before);
}

#[test]
fn keys_that_exist_are_kept_and_keys_that_others_read_are_refused() {
    let desk = Desk::new();
    let key = fs::read(desk.path("release.pem")).unwrap();
    assert_snapshot(
        &desk.otaria("keygen --out release --no-passphrase"),
        "keygen-exists",
    );
    assert_eq!(fs::read(desk.path("release.pem")).unwrap(), key);
    desk.otaria("keygen --out release --no-passphrase --force")
        .success();
    assert_ne!(fs::read(desk.path("release.pem")).unwrap(), key);
    #[cfg(unix)]
    {
        desk.protect("release.pem", 0o644);
        assert_snapshot(
            &desk.otaria("package app.bin --key release.pem"),
            "package-key-readable",
        );
    }
}

#[test]
fn wrong_usage_ends_with_two() {
    let desk = Desk::new();
    desk.otaria("package app.bin").code(2);
    desk.otaria("package app.bin --key release.pem --codec zip")
        .code(2);
    desk.otaria("package app.bin --key release.pem --block-len many")
        .code(2);
    desk.otaria("verify app.otaria").code(2);
    desk.otaria("keygen --no-passphrase --passphrase-file p")
        .code(2);
    desk.otaria("unknown").code(2);
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let desk = Desk::new();
    let otaria = env!("CARGO_BIN_EXE_otaria");
    // `true` reads nothing: the pipe is closed before, or while, otaria prints.
    let script = format!(
        "set -o pipefail; for i in 1 2 3 4 5; do '{otaria}' inspect app.otaria | true || exit 1; done"
    );
    Command::new("bash")
        .args(["-c", &script])
        .current_dir(desk.dir.path())
        .assert()
        .success();
}

/// What a command printed, wherever it did.
fn printed(ran: &OutputAssert) -> String {
    let output = ran.get_output();
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

#[test]
fn packages_are_encrypted_shown_and_opened_by_who_has_the_key() {
    let desk = Desk::new();
    for name in ["device", "other"] {
        desk.otaria(&format!("keygen --encryption --no-passphrase --out {name}"))
            .success();
    }
    desk.otaria(
        "package app.bin --key release.pem --encrypt-to device.pub.pem --encrypt-to stranger.pub.pem --out secret.otaria",
    )
    .success();
    let shown = printed(&desk.otaria("inspect secret.otaria").success());
    for part in [
        "chacha20-poly1305, to 2 keys",
        "encrypted to",
        "every block is good, the image in it is encrypted",
    ] {
        assert!(shown.contains(part), "no '{part}' in {shown}");
    }
    let verify = "verify secret.otaria --key release.pub.pem";
    let closed = printed(&desk.otaria(verify).success());
    assert!(closed.contains("without --decrypt-key"), "{closed}");
    let opened = desk.otaria(&format!("{verify} --decrypt-key device.pem --json"));
    let opened = printed(&opened.success());
    assert!(opened.contains("\"image_checked\": true"), "{opened}");
    let refused = desk.otaria(&format!("{verify} --decrypt-key other.pem"));
    let refused = printed(&refused.failure());
    assert!(refused.contains("not_a_recipient"), "{refused}");

    for (to, reason) in [
        ("release.pub.pem", "signs this package"),
        ("device.pem", "give the public one"),
        ("app.bin", "not a key in PEM form"),
    ] {
        let ran = desk.otaria(&format!(
            "package app.bin --key release.pem --encrypt-to {to} --out no.otaria"
        ));
        let said = printed(&ran.failure());
        assert!(said.contains(reason), "{said}");
    }
    assert!(!desk.path("no.otaria").exists());
}

#[test]
fn what_is_to_be_encrypted_is_not_uploaded_plain() {
    let desk = Desk::new();
    for (file, reason) in [
        ("app.otaria", "is not encrypted, and is not uploaded"),
        ("app.bin", "plain ESP image"),
    ] {
        // Nobody listens there: it does not come so far.
        let ran = desk
            .command(&format!("publish {file} --all --encrypted"))
            .env("OTARIA_SERVER", "http://127.0.0.1:9")
            .assert();
        let said = printed(&ran.failure());
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn the_keys_of_a_record_that_another_root_key_signed_are_not_signed_again() {
    let desk = Desk::new();
    for name in ["root", "thief", "other"] {
        let made = desk.otaria(&format!("keygen --no-passphrase --out {name}"));
        made.success();
    }
    let rotate = "key rotate --release release.pub.pem --keep other.pub.pem --product demo";
    desk.otaria(&format!("{rotate} --root thief.pem --out keys.bin"))
        .success();
    let planted = fs::read(desk.path("keys.bin")).unwrap();
    let revoke = "key revoke keys.bin --root root.pem --key release.pub.pem";
    let refused = desk.otaria(revoke).code(1);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(said.contains("not signed by the root key"), "{said}");
    assert_eq!(fs::read(desk.path("keys.bin")).unwrap(), planted);
    desk.otaria(&format!("{revoke} --other-root thief.pem"))
        .success();
}

#[test]
fn a_flash_image_is_made_of_an_elf_only_and_goes_over_nothing_else() {
    let desk = Desk::new();
    let says = |arguments: &str, words: &str| {
        let output = desk.otaria(arguments).code(1);
        let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(said.contains(words), "{arguments}: {said}");
    };
    fs::write(desk.path("app.elf"), b"\x7fELF").unwrap();
    let before = desk.files();
    says("image app.bin", "app.bin is no ELF");
    says("image missing.elf", "cannot read missing.elf");
    says("image app.elf", "the file ends inside the ELF header");
    says(
        "image app.elf --out release.pem",
        "release.pem exists and is no flash image",
    );
    assert_eq!(desk.files(), before);
}
