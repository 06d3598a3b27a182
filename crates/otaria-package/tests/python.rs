//! A second implementation of the format, in Python and sharing no code, agrees with this one: about good packages,
//! and about every way in which one is bad.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{key, options, python, python_has, recipient, stranger, text};
use otaria_package::keys::PrivateKey as _;
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

fn packages() -> [(&'static str, Vec<u8>); 3] {
    let image = Stamp::new("1.1.0").secure_version(5).size(12_288).image();
    let make = |codec, encrypt_to| {
        pack(
            &image,
            &key(),
            &Options {
                codec,
                block_len: 4096,
                encrypt_to,
                ..options()
            },
        )
        .unwrap()
        .bytes
    };
    let recipients = vec![stranger().public_key(), recipient().public_key()];
    [
        ("stored", make(CodecChoice::Stored, Vec::new())),
        ("deflate", make(CodecChoice::Deflate, Vec::new())),
        ("encrypted", make(CodecChoice::Deflate, recipients)),
    ]
}

/// The private key of a device, with which the script opens what is encrypted, and passes over it else.
fn recipient_file() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/recipient.pem")
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
        let arguments = [
            "--image",
            image.to_str().unwrap(),
            "--decrypt-key",
            recipient_file(),
        ];
        let output = verify(&file, &arguments);
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

fn stranger_file() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/stranger.pem")
}

fn test_file() -> &'static str {
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/test.pem")
}

/// RFC 9180, appendix A.5.1, sequence number 0.
const HPKE: &str = r#"
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import verify_package
from cryptography.hazmat.primitives.asymmetric import ec

private_key = ec.derive_private_key(0xa4d1c55836aa30f9b3fbb6ac98d338c877c2867dd3a77396d13f68d3ab150d3b, ec.SECP256R1())
encapsulated = bytes.fromhex(
    "04c07836a0206e04e31d8ae99bfd549380b072a1b1b82e563c935c095827824f"
    "c1559eac6fb9e3c70cd3193968994e7fe9781aa103f5b50e934b5b2f387e381291"
)
info = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
sealed = bytes.fromhex("6469c41c5c81d3aa85432531ecf6460ec945bde1eb428cb2fedf7a29f5a685b4ccb0d057f03ea2952a27bb458b")
opened = verify_package.hpke_open(private_key, encapsulated, info, b"Count-0", sealed)
assert opened == b"Beauty is truth, truth beauty", opened
"#;

#[test]
fn pythons_hpke_opens_the_vector_of_the_rfc() {
    if !python_has("cryptography") {
        return;
    }
    let output = python()
        .args(["-c", HPKE])
        .arg(script().parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// Starting Python for each of a thousand mutants would take minutes: one process imports the script and goes through
/// them.
const MUTANTS: &str = r#"
import sys
sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import verify_package
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

public_key = load_pem_public_key(open(sys.argv[2], "rb").read())
good = open(sys.argv[3], "rb").read()
table_end = int(sys.argv[4])
private_key = load_pem_private_key(open(sys.argv[5], "rb").read(), None)
taken = []

def refused(name, data):
    try:
        verify_package.verify(bytes(data), public_key, private_key)
    except verify_package.Refused as reason:
        return str(reason)
    taken.append(name)

assert verify_package.verify(good, public_key, private_key)[1] is not None
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
            .arg(recipient_file())
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
    let [(_, good), _, (_, encrypted)] = packages();
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
    let file = dir.path().join("encrypted");
    fs::write(&file, encrypted).unwrap();
    for (private, reason) in [
        (stranger_file(), ""),
        (test_file(), "is not encrypted to key"),
    ] {
        let output = verify(&file, &["--decrypt-key", private]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.success(),
            reason.is_empty(),
            "{}",
            text(&output)
        );
        assert!(error.contains(reason), "{error}");
    }
    let missing = verify(&dir.path().join("missing"), &[]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing));
}
