//! A second implementation of the format, in Python and sharing no code, agrees with this one: about good packages,
//! and about every way in which one is bad.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{key, options, python, python_has, text};
use otaria_package::pack::{CodecChoice, Options, pack};
use otaria_package::read::{Trust, read};
use otaria_sim::images::Stamp;
use otaria_wire::package::HEADER_LEN;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/verify_package.py")
}

fn public_key() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys/test.pub.pem")
}

fn verify(package: &Path, arguments: &[&str]) -> Output {
    python()
        .arg(script())
        .arg(package)
        .arg(public_key())
        .args(arguments)
        .output()
        .unwrap()
}

fn packages() -> [(&'static str, Vec<u8>); 2] {
    let image = Stamp::new("1.1.0").secure_version(5).size(12_288).image();
    let make = |codec| {
        pack(
            &image,
            &key(),
            &Options {
                codec,
                block_len: 4096,
                ..options()
            },
        )
        .unwrap()
        .bytes
    };
    [
        ("stored", make(CodecChoice::Stored)),
        ("deflate", make(CodecChoice::Deflate)),
    ]
}

#[test]
fn python_reads_what_is_packed_here() {
    if !python_has("cryptography") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in packages() {
        let (file, image) = (dir.path().join(name), dir.path().join("image"));
        fs::write(&file, &bytes).unwrap();
        let output = verify(&file, &["--image", image.to_str().unwrap()]);
        assert!(output.status.success(), "{name}: {}", text(&output));
        let header = read(&bytes[..], Trust::Anyone).unwrap().header;
        let printed = String::from_utf8(output.stdout).unwrap();
        for line in [
            format!("\"identity\": \"{}\"", header.identity()),
            format!("\"image_sha256\": \"{}\"", header.image_sha256),
            format!("\"key_id\": \"{}\"", header.key_id),
            format!("\"sequence\": {}", header.sequence),
            "\"security_version\": 5".to_owned(),
            "\"product\": \"otaria-demo\"".to_owned(),
            "\"version\": \"1.1.0\"".to_owned(),
        ] {
            assert!(printed.contains(&line), "{line} is not in {printed}");
        }
        assert!(
            fs::read(&image).unwrap() == Stamp::new("1.1.0").secure_version(5).size(12_288).image()
        );
    }
}

/// Starting Python for each of a thousand mutants would take minutes: one process imports the script and goes through
/// them.
const MUTANTS: &str = r#"
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import verify_package
from cryptography.hazmat.primitives.serialization import load_pem_public_key

public_key = load_pem_public_key(open(sys.argv[2], "rb").read())
good = open(sys.argv[3], "rb").read()
table_end = int(sys.argv[4])
taken = []

def refused(name, data):
    try:
        verify_package.verify(bytes(data), public_key)
    except verify_package.Refused as reason:
        return str(reason)
    taken.append(name)

verify_package.verify(good, public_key)
offsets = list(range(table_end)) + list(range(table_end, len(good), 101)) + [len(good) - 1]
for at in offsets:
    for bit in (0x01, 0x80):
        data = bytearray(good)
        data[at] ^= bit
        refused(f"byte {at} ^ {bit:#x}", data)
for length in list(range(0, table_end, 7)) + list(range(table_end, len(good), 509)) + [len(good) - 1]:
    reason = refused(f"truncated to {length}", good[:length])
    assert length < 8 or reason is None or "truncated" in reason, reason
for tail in (b"\0", good):
    refused("trailing bytes", good + tail)
print(len(offsets), "offsets;", "taken:", taken)
sys.exit(1 if taken else 0)
"#;

#[test]
fn python_refuses_every_flipped_byte_truncation_and_tail() {
    if !python_has("cryptography") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in packages() {
        let file = dir.path().join(name);
        fs::write(&file, &bytes).unwrap();
        let output = python()
            .args(["-c", MUTANTS])
            .arg(script().parent().unwrap())
            .arg(public_key())
            .arg(&file)
            .arg((HEADER_LEN + 3 * 36).to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output));
    }
}

#[test]
fn python_says_why_and_ends_with_one() {
    if !python_has("cryptography") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [(_, good), _] = packages();
    let blocks = HEADER_LEN + 3 * 36;
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for (name, bytes, reason) in [
        ("magic", changed(0), "not a package"),
        ("header", changed(40), "signature is wrong"),
        ("key", changed(56), "signed by key"),
        ("signature", changed(300), "signature is wrong"),
        ("table", changed(HEADER_LEN + 4), "block table is damaged"),
        (
            "block",
            changed(blocks + 4096),
            "block 1 at byte 4524 is damaged",
        ),
        (
            "truncated",
            good[..blocks + 5000].to_vec(),
            "truncated inside block 1",
        ),
        (
            "trailing",
            [&good[..], b"x"].concat(),
            "1 bytes follow the end",
        ),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let output = verify(&file, &[]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            error.starts_with("refused: ") && error.contains(reason),
            "{name}: {error}"
        );
    }
    let missing = verify(&dir.path().join("missing"), &[]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing));
}
