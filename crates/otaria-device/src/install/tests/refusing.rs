//! What is not taken, and that flash does not know of it.

use std::vec::Vec;

use otaria_wire::journal::Confirmed;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::Header;
use otaria_wire::{FixedText, Sha256Digest};

use super::bench::{Bench, File, Serving};
use crate::storage::test_package::image;

/// Serves `bytes` to a fresh device: the code, after checking that no flash command was given.
fn refused(bytes: Vec<u8>) -> FailureCode {
    let bench = Bench::new(&File::new(1, 4_096));
    bench.stores();
    let ops = bench.ops();
    bench.serve().serving.bytes = bytes;
    let code = bench.code();
    assert_eq!(bench.ops(), ops, "flash was changed before {code}");
    code
}

fn changed(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    File::with(image(1, 50_000, true), 1, change).bytes
}

#[test]
fn what_is_no_package_is_named() {
    assert_eq!(refused(image(1, 50_000, true)), FailureCode::NotAPackage);
    assert_eq!(refused(b"<html>".to_vec()), FailureCode::NotAPackage);
    assert_eq!(refused(Vec::new()), FailureCode::NotAPackage);
    assert_eq!(
        refused(File::new(1, 4_096).bytes[..200].to_vec()),
        FailureCode::EarlyClose
    );

    let bench = Bench::new(&File::new(1, 4_096));
    bench.serve().serving.bytes = image(1, 50_000, true);
    assert_eq!(bench.code(), FailureCode::NotAPackage);
    let text = bench.words.take().text;
    assert!(text.contains("otaria package"), "{text}");
}

#[test]
fn a_flip_of_any_bit_of_header_and_table_is_found_before_flash_is_touched() {
    let file = File::new(1, 50_000);
    for at in (0..file.blocks_at).step_by(7) {
        let mut bytes = file.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let code = refused(bytes);
        if at >= 320 {
            assert_eq!(code, FailureCode::TableHash, "byte {at}");
        }
    }
}

#[test]
fn a_package_for_something_else_is_refused_by_its_header_alone() {
    let rows: [(Vec<u8>, FailureCode); 4] = [
        (
            changed(|header| header.product = FixedText::try_from("valve").unwrap()),
            FailureCode::WrongProduct,
        ),
        (changed(|header| header.chip_id = 9), FailureCode::WrongChip),
        (
            changed(|header| header.min_chip_rev = 100),
            FailureCode::WrongChipRevision,
        ),
        (
            changed(|header| header.flags.unguarded = true),
            FailureCode::UnguardedRefused,
        ),
    ];
    for (bytes, code) in rows {
        // All that is ever sent is the header: nothing behind it is needed for the refusal.
        assert_eq!(refused(bytes[..320].to_vec()), code);
    }
}

#[test]
fn a_signature_by_a_stranger_is_refused() {
    let mut bytes = File::new(1, 4_096).bytes;
    bytes[56] ^= 1;
    assert_eq!(refused(bytes), FailureCode::UnknownKey);
    let mut bytes = File::new(1, 4_096).bytes;
    bytes[300] ^= 1;
    assert_eq!(refused(bytes), FailureCode::BadSignature);
}

#[test]
fn a_length_that_is_not_the_packages_is_refused_before_flash_is_touched() {
    let file = File::new(1, 50_000);
    let mut longer = file.bytes.clone();
    longer.push(0);
    assert_eq!(refused(longer), FailureCode::LengthMismatch);
    let mut shorter = file.bytes;
    shorter.pop();
    assert_eq!(refused(shorter), FailureCode::LengthMismatch);
}

#[test]
fn what_is_below_the_floors_is_refused() {
    let file = File::new(5, 50_000);
    let bench = Bench::new(&file);
    let floor = |sequence, image_sha256| Confirmed {
        slot: 0,
        image_sha256,
        identity: Sha256Digest::ZERO,
        sequence,
        security_version: 0,
    };
    bench
        .stores()
        .journal
        .borrow_mut()
        .append(0, &floor(6, Sha256Digest::ZERO))
        .unwrap();
    assert_eq!(bench.code(), FailureCode::SequenceNotHigher);
    bench
        .stores()
        .journal
        .borrow_mut()
        .append(0, &floor(5, Sha256Digest::of(&file.image)))
        .unwrap();
    assert_eq!(bench.fetch(), Ok(()));
}

#[test]
fn a_resumed_download_is_judged_anew() {
    let file = File::new(5, 100_000);
    let bench = Bench::new(&file);
    bench.serve().cuts.push(file.starts[3]);
    assert_eq!(bench.code(), FailureCode::EarlyClose);
    // Meanwhile something newer was confirmed.
    let confirmed = Confirmed {
        slot: 0,
        image_sha256: Sha256Digest::ZERO,
        identity: Sha256Digest::ZERO,
        sequence: 6,
        security_version: 0,
    };
    bench
        .stores()
        .journal
        .borrow_mut()
        .append(0, &confirmed)
        .unwrap();
    assert_eq!(bench.code(), FailureCode::SequenceNotHigher);
    assert_eq!(bench.asked().len(), 1, "nothing was asked for");
}

#[test]
fn blocks_from_a_server_that_lies_are_never_written() {
    let (file, other) = (File::new(1, 100_000), File::new(2, 100_000));
    let bench = Bench::new(&file);
    // Header and table of one package, blocks of another.
    let mut bytes = file.bytes[..file.blocks_at].to_vec();
    bytes.extend(&other.bytes[other.blocks_at..]);
    bench.serve().serving = Serving {
        bytes,
        ..Serving::new(&file)
    };
    assert_eq!(bench.code(), FailureCode::BlockHash);
    assert!(bench.slot(100_000).iter().all(|byte| *byte == 0xFF));
}
