//! Packages that were made once: today's reader takes them, and today's packager makes the same bytes.
//!
//! A difference means that devices in the field and tools in use disagree: it needs a compatibility line in the
//! changelog. `OTARIA_BLESS=1 cargo test -p otaria-package --test golden` writes the files again. (Of the compressed
//! one, only what it decodes to is the format; its bytes may change with the compressor.)

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{key, options, recipient};
use otaria_package::keys::{Keyring, PrivateKey as _};
use otaria_package::pack::{CodecChoice, Options, pack};
use otaria_package::read::{Trust, read_into};
use otaria_sim::images::Stamp;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

const CASES: [(&str, CodecChoice); 2] = [
    ("demo-1.1.0-stored.otaria", CodecChoice::Stored),
    ("demo-1.1.0-deflate.otaria", CodecChoice::Deflate),
];

const ENCRYPTED: &str = "demo-1.1.0-encrypted.otaria";

fn make(image: &[u8], codec: CodecChoice) -> Vec<u8> {
    pack(
        image,
        &key(),
        &Options {
            codec,
            block_len: 4096,
            ..options()
        },
    )
    .unwrap()
    .bytes
}

#[test]
fn golden_packages_are_read_and_made_again() {
    if std::env::var_os("OTARIA_BLESS").is_some() {
        // The image is kept beside the packages, so that a rebuilt demo image does not change them.
        let image = Stamp::new("1.1.0")
            .secure_version(2)
            .size(10_000 / 16 * 16)
            .image();
        fs::write(golden("demo-1.1.0.bin"), &image).unwrap();
        for (name, codec) in CASES {
            fs::write(golden(name), make(&image, codec)).unwrap();
        }
        return;
    }
    let image = fs::read(golden("demo-1.1.0.bin")).unwrap();
    let keyring = Keyring::new([key().public_key()]);
    for (name, codec) in CASES {
        let bytes = fs::read(golden(name)).unwrap();
        let mut plain = Vec::new();
        let contents = read_into(&bytes[..], Trust::Keys(&keyring), &[], |piece| {
            plain.extend_from_slice(piece);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(plain == image, "{name} holds another image");
        assert_eq!(contents.header.sequence, 1_700_000_000_123);
        assert_eq!(
            contents.identity.to_string(),
            match codec {
                CodecChoice::Stored =>
                    "fb07bb1f2046337f4e9f44640eff71dfb8cd94198f16420d834d98359159965d",
                CodecChoice::Deflate | CodecChoice::Auto =>
                    "992ba5f62dc1eeaea2c994b4b01a34d411adcd74888cbcab0a89bc202b8961ab",
            }
        );
        assert!(
            make(&image, codec) == bytes,
            "{name}: the packager makes other bytes"
        );
    }
}

/// It cannot be made again: nobody has its content key. `OTARIA_BLESS_ENCRYPTED=1` makes another one.
#[test]
fn the_encrypted_golden_package_is_opened() {
    let image = fs::read(golden("demo-1.1.0.bin")).unwrap();
    if std::env::var_os("OTARIA_BLESS_ENCRYPTED").is_some() {
        let options = Options {
            block_len: 4096,
            encrypt_to: vec![recipient().public_key()],
            ..options()
        };
        let encrypted = pack(&image, &key(), &options).unwrap().bytes;
        fs::write(golden(ENCRYPTED), encrypted).unwrap();
    }
    let bytes = fs::read(golden(ENCRYPTED)).unwrap();
    let mut plain = Vec::new();
    let keyring = Keyring::new([key().public_key()]);
    let contents = read_into(&bytes[..], Trust::Keys(&keyring), &[recipient()], |piece| {
        plain.extend_from_slice(piece);
        Ok(())
    });
    assert_eq!(contents.unwrap().recipients, [recipient().key_id()]);
    assert!(plain == image);
}
