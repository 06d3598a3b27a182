//! Reading packages: nothing that differs from what was signed is taken, wherever the difference is.

mod common;

use std::io::{self, Read};

use common::{key, options, stranger};
use otaria_package::keys::Keyring;
use otaria_package::pack::{CodecChoice, Options, pack};
use otaria_package::read::{Part, ReadError, Trust, read, read_into};
use otaria_sim::images::Stamp;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::{HEADER_LEN, SIGNED_LEN};

fn package(codec: CodecChoice) -> Vec<u8> {
    let image = Stamp::new("1.1.0").size(12_288).image();
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
}

fn keyring() -> Keyring {
    Keyring::new([key().public_key()])
}

#[test]
fn every_flipped_byte_is_noticed_where_it_is() {
    for codec in [CodecChoice::Stored, CodecChoice::Deflate] {
        let good = package(codec);
        let keyring = keyring();
        // Signature checks take their time: of the blocks, which are hashed first of all, every 37th byte.
        let offsets = (0..HEADER_LEN + 3 * 36).chain((HEADER_LEN + 3 * 36..good.len()).step_by(37));
        for at in offsets {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            let error =
                read(&bytes[..], Trust::Keys(&keyring)).expect_err("a flipped byte was taken");
            let code = error.code();
            match at {
                0..8 => assert_eq!(code, FailureCode::NotAPackage, "byte {at}"),
                8..SIGNED_LEN => assert!((100..200).contains(&code.number()), "byte {at}: {error}"),
                SIGNED_LEN..HEADER_LEN => assert_eq!(code, FailureCode::BadSignature, "byte {at}"),
                _ if at < HEADER_LEN + 3 * 36 => {
                    assert_eq!(code, FailureCode::TableHash, "byte {at}");
                }
                _ => assert_eq!(code, FailureCode::BlockHash, "byte {at}"),
            }
        }
    }
}

#[test]
fn a_truncated_package_says_where_it_ends() {
    let good = package(CodecChoice::Stored);
    let keyring = keyring();
    let blocks = HEADER_LEN + 3 * 36;
    for (len, part, until) in [
        (8, Part::Header, HEADER_LEN),
        (319, Part::Header, HEADER_LEN),
        (320, Part::Table, blocks),
        (blocks - 1, Part::Table, blocks),
        (blocks, Part::Block(0), blocks + 4096),
        (blocks + 4096, Part::Block(1), blocks + 8192),
        (good.len() - 1, Part::Block(2), good.len()),
    ] {
        match read(&good[..len], Trust::Keys(&keyring)).unwrap_err() {
            ReadError::Truncated {
                at,
                part: found,
                until: end,
            } => {
                assert_eq!((at, found, end), (len as u64, part, until as u64));
            }
            other => panic!("{len} bytes: {other}"),
        }
    }
    for len in (0..good.len()).step_by(53) {
        read(&good[..len], Trust::Keys(&keyring)).expect_err("a truncated package was taken");
    }
}

#[test]
fn bytes_behind_the_end_are_counted() {
    let good = package(CodecChoice::Deflate);
    for extra in [1, 4096, 10_000] {
        let mut bytes = good.clone();
        bytes.resize(good.len() + extra, 0);
        match read(&bytes[..], Trust::Keys(&keyring())).unwrap_err() {
            ReadError::Trailing { end, trailing } => {
                assert_eq!((end, trailing), (good.len() as u64, extra as u64));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn only_the_given_keys_are_trusted() {
    let good = package(CodecChoice::Stored);
    let others = Keyring::new([stranger().public_key()]);
    match read(&good[..], Trust::Keys(&others)).unwrap_err() {
        ReadError::UnknownKey { signer, trusted } => {
            assert_eq!(signer, key().public_key().key_id());
            assert_eq!(trusted, [stranger().public_key().key_id()]);
        }
        other => panic!("{other}"),
    }
    let error = read(&good[..], Trust::Keys(&Keyring::default())).unwrap_err();
    assert_eq!(error.code(), FailureCode::UnknownKey);
    let both = Keyring::new([stranger().public_key(), key().public_key()]);
    assert!(
        read(&good[..], Trust::Keys(&both))
            .unwrap()
            .signature_verified
    );
    assert!(!read(&good[..], Trust::Anyone).unwrap().signature_verified);
}

#[test]
fn nothing_is_handed_out_of_a_damaged_block() {
    let mut bytes = package(CodecChoice::Stored);
    let second = HEADER_LEN + 3 * 36 + 4096;
    bytes[second + 4000] ^= 1;
    let mut handed_out = 0;
    read_into(&bytes[..], Trust::Anyone, &[], |piece| {
        handed_out += piece.len();
        Ok(())
    })
    .unwrap_err();
    assert_eq!(handed_out, 4096);
}

/// One byte at a time, with interruptions.
struct Dribble<'a> {
    bytes: &'a [u8],
    interrupt: bool,
}

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let one = buffer.len().min(1);
        self.bytes.read(&mut buffer[..one])
    }
}

#[test]
fn the_pieces_in_which_a_package_comes_do_not_matter() {
    let good = package(CodecChoice::Deflate);
    let dribble = Dribble {
        bytes: &good,
        interrupt: false,
    };
    read(dribble, Trust::Keys(&keyring())).expect("it is good");
}

#[test]
fn a_failing_stream_is_no_truncated_package() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk on fire"))
        }
    }
    let good = package(CodecChoice::Stored);
    match read(good[..1000].chain(Broken), Trust::Anyone).unwrap_err() {
        ReadError::Io { offset, source } => {
            assert_eq!(offset, 1000);
            assert_eq!(source.to_string(), "disk on fire");
        }
        other => panic!("{other}"),
    }
}
