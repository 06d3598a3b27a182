//! A table: what is wrong with the package, and what the device says to it.

use otaria_wire::package::{
    Flags, Header, KEM_DHKEM_P256, KEM_NONE, KeyId, SignatureError, SignedHeader, VerifySignature,
};

use super::*;

const RUNNING: Sha256Digest = Sha256Digest([1; 32]);
const WANTED: Sha256Digest = Sha256Digest([2; 32]);
const FLOOR: u64 = 1_000;

struct AnySignature;

impl VerifySignature for AnySignature {
    fn verify(&self, _: &KeyId, _: &[u8], _: &[u8; 64]) -> Result<(), SignatureError> {
        Ok(())
    }
}

fn header() -> Header {
    Header {
        flags: Flags::default(),
        codec: Codec::Stored,
        cipher: Cipher::None,
        chip_id: 5,
        min_chip_rev: 3,
        max_chip_rev: 99,
        security_version: 2,
        image_len: 60_000,
        block_len: 16_384,
        table_len: 4 * 36,
        sequence: FLOOR + 1,
        created: 0,
        key_id: KeyId([0; 8]),
        image_sha256: WANTED,
        table_sha256: Sha256Digest::ZERO,
        base_sha256: Sha256Digest::ZERO,
        product: "pump".try_into().unwrap(),
        version: "1.2.0".try_into().unwrap(),
        recipients_len: 0,
        recipients: 0,
        kem: KEM_NONE,
        recipients_digest: [0; 24],
    }
}

fn facts() -> DeviceFacts<'static> {
    DeviceFacts {
        product: "pump",
        chip_id: 5,
        chip_revision: 4,
        slot_len: 60_000,
        running_image: Some(RUNNING),
        allow_unguarded: false,
        require_encryption: false,
        codecs: &[Codec::Stored, Codec::Deflate],
        ciphers: &[Cipher::None],
    }
}

const FLOORS: Floors = Floors {
    sequence: FLOOR,
    image_sha256: RUNNING,
    security_version: 2,
};

fn verified(header: Header) -> VerifiedHeader {
    SignedHeader::new(header, [0; 64])
        .unwrap()
        .verify(&AnySignature)
        .unwrap()
}

fn ask(
    header: Header,
    floors: Option<&Floors>,
    quarantine: &[Quarantined],
    wish: &Desired,
) -> Result<(), Refusal> {
    admit(&verified(header), &facts(), floors, quarantine, wish)
}

fn bare() -> Desired {
    Desired {
        url: "http://h/p".try_into().unwrap(),
        ..Desired::default()
    }
}

#[test]
fn a_package_for_this_device_is_taken() {
    assert_eq!(ask(header(), Some(&FLOORS), &[], &bare()), Ok(()));
    assert_eq!(ask(header(), None, &[], &bare()), Ok(()));
}

#[test]
#[rustfmt::skip]
fn what_is_wrong_with_a_package_is_named() {
    use FailureCode as C;
    type Change = fn(&mut Header);
    let rows: [(Change, FailureCode); 12] = [
        (|h| h.product = "valve".try_into().unwrap(), C::WrongProduct),
        (|h| h.product = "pum".try_into().unwrap(), C::WrongProduct),
        (|h| h.chip_id = 9, C::WrongChip),
        (|h| h.min_chip_rev = 5, C::WrongChipRevision),
        (|h| h.max_chip_rev = 3, C::WrongChipRevision),
        (|h| { h.image_len = 60_001; }, C::ImageTooLarge),
        (|h| h.sequence = FLOOR, C::SequenceNotHigher),
        (|h| h.sequence = 0, C::SequenceNotHigher),
        (|h| h.security_version = 1, C::SecurityVersionTooLow),
        (|h| h.flags.unguarded = true, C::UnguardedRefused),
        (|h| { h.codec = Codec::Delta; h.base_sha256 = RUNNING; }, C::UnsupportedCodec),
        (|h| { h.cipher = Cipher::ChaCha20Poly1305; h.kem = 0x10; h.recipients = 1; h.recipients_len = 121; }, C::UnsupportedCipher),
    ];
    for (change, code) in rows {
        let mut header = header();
        change(&mut header);
        assert_eq!(ask(header, Some(&FLOORS), &[], &bare()), Err(Refusal::Code(code)), "{code}");
    }
}

#[test]
fn the_first_reason_in_the_order_of_the_format_is_the_one_that_is_told() {
    let mut everything_wrong = Header {
        image_sha256: RUNNING,
        product: "valve".try_into().unwrap(),
        chip_id: 9,
        min_chip_rev: 50,
        image_len: 61_000,
        sequence: 0,
        security_version: 0,
        flags: Flags {
            unguarded: true,
            cosigned: false,
        },
        ..header()
    };
    let wish = Desired {
        version: Some("9".try_into().unwrap()),
        image_sha256: Some(Sha256Digest::ZERO),
        ..bare()
    };
    type Repair = fn(&mut Header);
    let repairs: [(Refusal, Repair); 8] = [
        (Refusal::AlreadyRunning, |h| h.image_sha256 = WANTED),
        (Refusal::Code(FailureCode::WrongProduct), |h| {
            h.product = "pump".try_into().unwrap();
        }),
        (Refusal::Code(FailureCode::WrongChip), |h| h.chip_id = 5),
        (Refusal::Code(FailureCode::WrongChipRevision), |h| {
            h.min_chip_rev = 0;
        }),
        (Refusal::Code(FailureCode::ImageTooLarge), |h| {
            h.image_len = 60_000;
        }),
        (Refusal::Code(FailureCode::SequenceNotHigher), |h| {
            h.sequence = FLOOR + 1;
        }),
        (Refusal::Code(FailureCode::SecurityVersionTooLow), |h| {
            h.security_version = 2;
        }),
        (Refusal::Code(FailureCode::UnguardedRefused), |h| {
            h.flags.unguarded = false;
        }),
    ];
    for (refusal, repair) in repairs {
        assert_eq!(
            ask(everything_wrong.clone(), Some(&FLOORS), &[], &wish),
            Err(refusal)
        );
        repair(&mut everything_wrong);
    }
    assert_eq!(
        ask(everything_wrong, Some(&FLOORS), &[], &wish),
        Err(Refusal::Code(FailureCode::DeclaredVersionDiffers))
    );
}

#[test]
fn the_image_that_set_the_floor_may_come_again() {
    let floors = Floors {
        sequence: FLOOR + 1,
        image_sha256: WANTED,
        security_version: 2,
    };
    assert_eq!(ask(header(), Some(&floors), &[], &bare()), Ok(()));
    let other = Floors {
        image_sha256: RUNNING,
        ..floors
    };
    assert_eq!(
        ask(header(), Some(&other), &[], &bare()),
        Err(Refusal::Code(FailureCode::SequenceNotHigher))
    );
}

#[test]
fn what_the_wish_declares_has_to_be_so() {
    let good = Desired {
        version: Some("1.2.0".try_into().unwrap()),
        image_sha256: Some(WANTED),
        ..bare()
    };
    assert_eq!(ask(header(), None, &[], &good), Ok(()));
    let version = Desired {
        version: Some("1.2".try_into().unwrap()),
        ..good.clone()
    };
    assert_eq!(
        ask(header(), None, &[], &version),
        Err(Refusal::Code(FailureCode::DeclaredVersionDiffers))
    );
    let image = Desired {
        image_sha256: Some(RUNNING),
        ..good
    };
    assert_eq!(
        ask(header(), None, &[], &image),
        Err(Refusal::Code(FailureCode::DeclaredImageDiffers))
    );
}

#[test]
fn a_package_that_failed_is_tried_again_only_for_another_job() {
    let identity = header().identity();
    let named = |job: &str| Desired {
        job: Some(job.try_into().unwrap()),
        ..bare()
    };
    let quarantine = [
        Quarantined {
            identity,
            job_hash8: job_hash8("rollout-1"),
        },
        Quarantined {
            identity,
            job_hash8: job_hash8(&identity.to_hex()),
        },
    ];
    let refused = Err(Refusal::Code(FailureCode::Quarantined));
    assert_eq!(
        ask(header(), None, &quarantine, &named("rollout-1")),
        refused
    );
    assert_eq!(ask(header(), None, &quarantine, &bare()), refused);
    assert_eq!(
        ask(header(), None, &quarantine, &named("rollout-2")),
        Ok(())
    );
    let other = Header {
        sequence: FLOOR + 2,
        ..header()
    };
    assert_eq!(ask(other, None, &quarantine, &named("rollout-1")), Ok(()));
}

#[test]
fn an_image_without_a_guard_is_taken_if_the_settings_say_so() {
    let unguarded = Header {
        flags: Flags {
            unguarded: true,
            cosigned: false,
        },
        ..header()
    };
    let facts = DeviceFacts {
        allow_unguarded: true,
        ..facts()
    };
    assert_eq!(
        admit(&verified(unguarded), &facts, None, &[], &bare()),
        Ok(())
    );
}

#[test]
fn a_delta_needs_the_image_that_it_was_made_from() {
    let delta = |base| Header {
        codec: Codec::Delta,
        base_sha256: base,
        ..header()
    };
    let facts = DeviceFacts {
        codecs: &[Codec::Delta],
        ..facts()
    };
    assert_eq!(
        admit(&verified(delta(RUNNING)), &facts, None, &[], &bare()),
        Ok(())
    );
    assert_eq!(
        admit(&verified(delta(WANTED)), &facts, None, &[], &bare()),
        Err(Refusal::Code(FailureCode::BaseMismatch))
    );
}

#[test]
fn a_device_that_demands_encryption_refuses_plain_packages() {
    let encrypted = Header {
        cipher: Cipher::ChaCha20Poly1305,
        kem: KEM_DHKEM_P256,
        recipients: 1,
        recipients_len: 121,
        ..header()
    };
    let facts = DeviceFacts {
        ciphers: &[Cipher::None, Cipher::ChaCha20Poly1305],
        require_encryption: true,
        ..facts()
    };
    let asked = |header| admit(&verified(header), &facts, None, &[], &bare());
    assert_eq!(asked(encrypted), Ok(()));
    assert_eq!(
        asked(header()),
        Err(Refusal::Code(FailureCode::EncryptionRequired))
    );
}
