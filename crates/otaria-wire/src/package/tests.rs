//! Tests of the package's header, table and co-signatures.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::golden::hex;
use crate::{FixedText, Sha256Digest};

/// What makes a header bad.
type Break = fn(&mut Header);

const GOLDEN_IDENTITY: &str = "2a88c58273b5221539520d266ed6278edc0d66eb553c2ad9c4f1c9459665bf55";

fn golden_bytes() -> Vec<u8> {
    hex("4f54415249415031 4001 0200 01 00 01 00 ; magic, header_len, flags, codec, cipher, signature, 0
         0500 0300 c700 0000                    ; chip, revisions, 0
         07000000 10270000 00100000 6c000000    ; security_version, image_len, block_len, table_len
         12f0debc9a010000 0081246900000000      ; sequence, created
         a0a1a2a3a4a5a6a7                       ; key_id
         000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f ; image_sha256
         202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f ; table_sha256
         0000000000000000000000000000000000000000000000000000000000000000 ; base_sha256
         70756d7000000000000000000000000000000000000000000000000000000000 ; product
         312e322e33000000000000000000000000000000000000000000000000000000 ; version
         00000000 0000 0000 000000000000000000000000000000000000000000000000 ; recipients")
}

pub(super) fn golden() -> Header {
    Header {
        flags: Flags {
            cosigned: false,
            unguarded: true,
        },
        codec: Codec::Deflate,
        cipher: Cipher::None,
        chip_id: 5,
        min_chip_rev: 3,
        max_chip_rev: 199,
        security_version: 7,
        image_len: 10_000,
        block_len: 4096,
        table_len: 108,
        sequence: 0x019A_BCDE_F012,
        created: 1_764_000_000,
        key_id: KeyId([0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7]),
        image_sha256: Sha256Digest(core::array::from_fn(|n| n as u8)),
        table_sha256: Sha256Digest(core::array::from_fn(|n| n as u8 + 32)),
        base_sha256: Sha256Digest::ZERO,
        product: "pump".parse().unwrap(),
        version: "1.2.3".parse().unwrap(),
        recipients_len: 0,
        recipients: 0,
        kem: KEM_NONE,
        recipients_digest: [0; 24],
    }
}

fn signed_bytes(header: &Header) -> Vec<u8> {
    let mut bytes = header.encode().to_vec();
    bytes.extend([0x5A; SIGNATURE_LEN]);
    bytes
}

#[test]
fn header_bytes_are_fixed() {
    assert_eq!(golden().encode().to_vec(), golden_bytes());
    let mut bytes = golden_bytes();
    bytes.extend([0x5A; SIGNATURE_LEN]);
    let signed = SignedHeader::parse(&bytes).unwrap();
    assert_eq!(*signed.untrusted(), golden());
    assert_eq!(signed.to_bytes().to_vec(), bytes);
    assert_eq!(signed.identity(), GOLDEN_IDENTITY.parse().unwrap());
}

#[test]
fn the_signed_message_is_domain_and_header() {
    let message = golden().signed_message();
    assert_eq!(message[..18], *b"otaria package v1\0");
    assert_eq!(message[18..], golden_bytes());
}

#[test]
fn a_key_id_is_the_start_of_the_points_digest() {
    let mut point = [0x33; 65];
    point[0] = 4;
    let id = KeyId::of_public_point(&point);
    assert_eq!(id.0, Sha256Digest::of(&point).0[..8]);
    assert_eq!(std::format!("{id}").parse(), Ok(id));
}

#[test]
fn every_raw_field_out_of_place_has_its_own_refusal() {
    let table: &[(usize, &[u8], HeaderError)] = &[
        (0, b"OTARIAP2", HeaderError::NotAPackage(Lookalike::Unknown)),
        (
            0,
            &[0xE9, 0x04],
            HeaderError::NotAPackage(Lookalike::EspImage),
        ),
        (0, b"\x7fELF", HeaderError::NotAPackage(Lookalike::Elf)),
        (
            0,
            b"\r\n <!DOCTYPE",
            HeaderError::NotAPackage(Lookalike::WebPage),
        ),
        (8, &[0x44, 0x01], HeaderError::UnknownLength(324)),
        (10, &[0x04], HeaderError::UnknownFlags(4)),
        (11, &[0x80], HeaderError::UnknownFlags(0x8002)),
        (12, &[3], HeaderError::UnknownCodec(3)),
        (13, &[2], HeaderError::UnknownCipher(2)),
        (14, &[0], HeaderError::UnknownSignatureAlgorithm(0)),
        (15, &[1], HeaderError::NotZero),
        (22, &[1], HeaderError::NotZero),
        (23, &[1], HeaderError::NotZero),
        (160, &[0], HeaderError::Product),
        (165, &[1], HeaderError::Product),
        (160, &[0xFF], HeaderError::Product),
        (192, &[0; 32], HeaderError::Version),
        (223, &[1], HeaderError::Version),
        (224, &[1], HeaderError::Recipients),
        (228, &[1], HeaderError::Recipients),
        (230, &[0x10], HeaderError::Recipients),
        (232, &[1], HeaderError::Recipients),
        (255, &[1], HeaderError::Recipients),
    ];
    for (at, bytes, error) in table {
        let mut spoilt = signed_bytes(&golden());
        spoilt[*at..*at + bytes.len()].copy_from_slice(bytes);
        assert_eq!(
            SignedHeader::parse(&spoilt),
            Err(*error),
            "{bytes:x?} at {at}"
        );
    }
}

#[test]
fn fields_that_do_not_fit_each_other_are_refused() {
    let table: &[(&str, Break, HeaderError)] = &[
        (
            "revisions",
            |header| header.min_chip_rev = 200,
            HeaderError::ChipRevisions,
        ),
        (
            "no image",
            |header| header.image_len = 0,
            HeaderError::EmptyImage,
        ),
        (
            "no block",
            |header| header.block_len = 0,
            HeaderError::BlockLen(0),
        ),
        (
            "odd block",
            |header| header.block_len = 4097,
            HeaderError::BlockLen(4097),
        ),
        (
            "long block",
            |header| header.block_len = 20480,
            HeaderError::BlockLen(20480),
        ),
        (
            "wrapping block",
            |header| header.block_len = 0xFFFF_F000,
            HeaderError::BlockLen(0xFFFF_F000),
        ),
        (
            "no table",
            |header| header.table_len = 0,
            HeaderError::TableLen(0),
        ),
        (
            "short table",
            |header| header.table_len = 72,
            HeaderError::TableLen(72),
        ),
        (
            "wrapping table",
            |header| header.table_len = 0xFFFF_FFFC,
            HeaderError::TableLen(0xFFFF_FFFC),
        ),
        (
            "table longer than a block",
            |header| {
                header.image_len = 4096 * 114;
                header.table_len = 36 * 114;
            },
            HeaderError::TableLen(36 * 114),
        ),
        (
            "longest image",
            |header| header.image_len = u32::MAX,
            HeaderError::TableLen(108),
        ),
        (
            "delta without a base",
            |header| header.codec = Codec::Delta,
            HeaderError::Base,
        ),
        (
            "base without a delta",
            |header| header.base_sha256.0[31] = 1,
            HeaderError::Base,
        ),
        (
            "no recipients",
            |header| header.cipher = Cipher::ChaCha20Poly1305,
            HeaderError::Recipients,
        ),
    ];
    for (name, spoil, error) in table {
        let mut header = golden();
        spoil(&mut header);
        assert_eq!(header.check(), Err(*error), "{name}");
        assert_eq!(
            SignedHeader::parse(&signed_bytes(&header)),
            Err(*error),
            "{name}"
        );
        assert_eq!(SignedHeader::new(header, [0; 64]), Err(*error), "{name}");
    }
}

#[test]
fn a_short_answer_is_named_for_what_it_is() {
    let bytes = signed_bytes(&golden());
    assert_eq!(
        SignedHeader::parse(&[]),
        Err(HeaderError::NotAPackage(Lookalike::Unknown))
    );
    for len in 1..HEADER_LEN {
        assert_eq!(
            SignedHeader::parse(&bytes[..len]),
            Err(HeaderError::Truncated),
            "{len}"
        );
    }
    assert_eq!(
        SignedHeader::parse(&[0xE9]),
        Err(HeaderError::NotAPackage(Lookalike::EspImage))
    );
    assert_eq!(
        SignedHeader::parse(b"<html>"),
        Err(HeaderError::NotAPackage(Lookalike::WebPage))
    );
}

#[test]
fn an_encrypted_delta_with_co_signatures_is_taken() {
    let header = Header {
        flags: Flags {
            cosigned: true,
            unguarded: false,
        },
        codec: Codec::Delta,
        base_sha256: Sha256Digest::of(b"base"),
        cipher: Cipher::ChaCha20Poly1305,
        recipients: 2,
        recipients_len: 242,
        kem: KEM_DHKEM_P256,
        recipients_digest: [9; 24],
        ..golden()
    };
    assert_eq!(
        SignedHeader::parse(&signed_bytes(&header)).map(|signed| signed.untrusted().clone()),
        Ok(header.clone())
    );
    assert_eq!(blocks_offset(&header, 3), 320 + 108 + 242 + 1 + 3 * 72);
    assert_eq!(blocks_offset(&golden(), 3), 320 + 108);
}

/// Trusts one key, and takes one signature as its own.
struct OneKey(KeyId, [u8; SIGNATURE_LEN]);

impl VerifySignature for OneKey {
    fn verify(
        &self,
        key_id: &KeyId,
        message: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        assert_eq!(message, golden().signed_message());
        if *key_id != self.0 {
            return Err(SignatureError::UnknownKey);
        }
        if *signature == self.1 {
            Ok(())
        } else {
            Err(SignatureError::BadSignature)
        }
    }
}

#[test]
fn only_a_good_signature_of_a_known_key_makes_a_verified_header() {
    let signed = SignedHeader::new(golden(), [7; 64]).unwrap();
    let key = golden().key_id;
    assert_eq!(
        signed.clone().verify(&OneKey(KeyId([0; 8]), [7; 64])),
        Err(SignatureError::UnknownKey)
    );
    assert_eq!(
        signed.clone().verify(&OneKey(key, [8; 64])),
        Err(SignatureError::BadSignature)
    );
    let verified = signed.clone().verify(&OneKey(key, [7; 64])).unwrap();
    assert_eq!(*verified, golden());
    assert_eq!(verified.as_bytes(), &signed.to_bytes());
    assert_eq!(verified.identity(), signed.identity());
}

#[test]
fn blocks_cover_the_image_exactly() {
    let mut header = golden();
    assert_eq!(header.block_count(), 3);
    assert_eq!(
        [0, 1, 2, 3].map(|block| header.plain_len(block)),
        [Some(4096), Some(4096), Some(1808), None]
    );
    assert_eq!(header.plain_len(u32::MAX), None);
    header.image_len = 8192;
    assert_eq!(header.block_count(), 2);
    assert_eq!(
        [1, 2].map(|block| header.plain_len(block)),
        [Some(4096), None]
    );
}

#[test]
fn unset_revision_bounds_take_any_chip() {
    let mut header = golden();
    assert_eq!(
        [2, 3, 199, 200].map(|rev| header.accepts_chip_rev(rev)),
        [false, true, true, false]
    );
    for unset in [0, u16::MAX] {
        header.max_chip_rev = unset;
        assert_eq!(header.check(), Ok(()));
        assert!(header.accepts_chip_rev(u16::MAX));
    }
}

fn table_of(lens: &[u32]) -> Vec<u8> {
    let entry = |len: &u32| {
        BlockEntry {
            stored_len: *len,
            sha256: Sha256Digest::of(&len.to_le_bytes()),
        }
        .encode()
    };
    lens.iter().flat_map(entry).collect()
}

fn header_for(table: &[u8], codec: Codec) -> Header {
    Header {
        codec,
        table_sha256: Sha256Digest::of(table),
        ..golden()
    }
}

#[test]
fn table_bytes_are_fixed() {
    let entry = BlockEntry {
        stored_len: 0x1234,
        sha256: Sha256Digest([0xCD; 32]),
    };
    let mut bytes = hex("34120000");
    bytes.extend([0xCD; 32]);
    assert_eq!(entry.encode().to_vec(), bytes);
    assert_eq!(BlockEntry::parse(&entry.encode()), entry);
}

#[test]
fn a_table_finds_every_block() {
    let bytes = table_of(&[100, 4160, 1]);
    let header = header_for(&bytes, Codec::Deflate);
    let table = BlockTable::check(&header, &bytes).unwrap();
    let start = 320 + 108;
    let offsets = [0, 1, 2, 3, 4].map(|block| table.offset_of(block, 0));
    assert_eq!(
        offsets,
        [
            Some(start),
            Some(start + 100),
            Some(start + 4260),
            Some(start + 4261),
            None
        ]
    );
    assert_eq!(table.package_len(0), start + 4261);
    assert_eq!(table.entry(1).unwrap().stored_len, 4160);
    assert_eq!(table.entry(3), None);
    assert_eq!(table.entry(u32::MAX), None);
    assert_eq!(table.iter().count(), 3);
}

#[test]
fn a_table_that_does_not_fit_its_header_is_refused() {
    let good = table_of(&[100, 4160, 1]);
    let header = header_for(&good, Codec::Deflate);
    assert_eq!(
        BlockTable::check(&header, &good[..107]).err(),
        Some(TableError::Len)
    );
    assert_eq!(BlockTable::check(&header, &[]).err(), Some(TableError::Len));
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        assert_eq!(
            BlockTable::check(&header, &flipped).err(),
            Some(TableError::Hash),
            "{at}"
        );
    }
    for (lens, block) in [([0, 1, 1], 0), ([1, 4161, 1], 1), ([1, 1, u32::MAX], 2)] {
        let bytes = table_of(&lens);
        let header = header_for(&bytes, Codec::Deflate);
        assert_eq!(
            BlockTable::check(&header, &bytes).err(),
            Some(TableError::StoredLen { block }),
            "{lens:?}"
        );
    }
}

#[test]
fn stored_blocks_have_exactly_their_plain_length() {
    let bytes = table_of(&[4096, 4096, 1808]);
    assert!(BlockTable::check(&header_for(&bytes, Codec::Stored), &bytes).is_ok());
    let bytes = table_of(&[4096, 4096, 1807]);
    let header = header_for(&bytes, Codec::Stored);
    assert_eq!(
        BlockTable::check(&header, &bytes).err(),
        Some(TableError::StoredLen { block: 2 })
    );
}

fn cosignatures(keys: &[u8]) -> Vec<u8> {
    let mut bytes = std::vec![keys.len() as u8];
    for key in keys {
        bytes.extend([*key; 8]);
        bytes.extend([!*key; SIGNATURE_LEN]);
    }
    bytes
}

#[test]
fn co_signatures_are_by_distinct_keys() {
    let signer = KeyId([1; 8]);
    let bytes = cosignatures(&[2, 3]);
    let parsed = CoSignatures::parse(&signer, &bytes).unwrap();
    assert_eq!((parsed.count(), parsed.encoded_len()), (2, bytes.len()));
    let all: Vec<_> = parsed.iter().collect();
    assert_eq!(
        all[0],
        CoSignature {
            key_id: KeyId([2; 8]),
            signature: &[!2; 64]
        }
    );
    assert_eq!(
        all[1],
        CoSignature {
            key_id: KeyId([3; 8]),
            signature: &[!3; 64]
        }
    );

    let refused = |bytes: &[u8]| CoSignatures::parse(&signer, bytes).err();
    assert_eq!(refused(&[]), Some(CoSignatureError::Truncated));
    assert_eq!(refused(&[0]), Some(CoSignatureError::None));
    assert_eq!(
        refused(&bytes[..bytes.len() - 1]),
        Some(CoSignatureError::Truncated)
    );
    assert_eq!(
        refused(&cosignatures(&[2, 2])),
        Some(CoSignatureError::DuplicateKey(KeyId([2; 8])))
    );
    assert_eq!(
        refused(&cosignatures(&[2, 1])),
        Some(CoSignatureError::DuplicateKey(signer))
    );
    let all_keys: Vec<u8> = (1..=255).collect();
    assert_eq!(
        CoSignatures::parse(&KeyId([0; 8]), &cosignatures(&all_keys)).map(|all| all.count()),
        Ok(255)
    );
}

prop_compose! {
    fn any_header()(
        (cosigned, unguarded, codec, encrypted) in (any::<bool>(), any::<bool>(), 0..3usize, any::<bool>()),
        (chip_id, min_chip_rev, above) in (any::<u16>(), 0..1000u16, 0..1000u16),
        (security_version, sequence, created) in (any::<u32>(), any::<u64>(), any::<u64>()),
        (block_units, blocks, short_by) in (1..=4u32, 1..=113u32, 0..4096u32),
        (key_id, image, table, base) in (any::<[u8; 8]>(), any::<[u8; 32]>(), any::<[u8; 32]>(), any::<[u8; 32]>()),
        (product, version) in ("[ -~]{1,32}", "[ -~]{1,32}"),
        (recipients, recipients_digest) in (1..=MAX_RECIPIENTS, any::<[u8; 24]>()),
    ) -> Header {
        let codec = [Codec::Stored, Codec::Deflate, Codec::Delta][codec];
        let block_len = block_units * 4096;
        Header {
            flags: Flags { cosigned, unguarded },
            codec,
            cipher: if encrypted { Cipher::ChaCha20Poly1305 } else { Cipher::None },
            chip_id,
            min_chip_rev,
            max_chip_rev: min_chip_rev + above,
            security_version,
            image_len: block_len * blocks - short_by,
            block_len,
            table_len: 36 * blocks,
            sequence,
            created,
            key_id: KeyId(key_id),
            image_sha256: Sha256Digest(image),
            table_sha256: Sha256Digest(table),
            base_sha256: if codec == Codec::Delta { Sha256Digest(base) } else { Sha256Digest::ZERO },
            product: FixedText::try_from(product.as_str()).unwrap(),
            version: FixedText::try_from(version.as_str()).unwrap(),
            recipients_len: if encrypted { u32::from(recipients) * RECIPIENT_LEN as u32 } else { 0 },
            recipients: if encrypted { recipients } else { 0 },
            kem: if encrypted { KEM_DHKEM_P256 } else { KEM_NONE },
            recipients_digest: if encrypted { recipients_digest } else { [0; 24] },
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(header in any_header(), signature in any::<[u8; 32]>()) {
        let mut both_halves = [0; SIGNATURE_LEN];
        both_halves[..32].copy_from_slice(&signature);
        let signed = SignedHeader::new(header, both_halves).unwrap();
        prop_assert_eq!(SignedHeader::parse(&signed.to_bytes()), Ok(signed));
    }

    #[test]
    fn what_decodes_encodes_to_the_same(
        header in any_header(),
        changes in proptest::collection::vec((0..HEADER_LEN, any::<u8>()), 0..4),
    ) {
        let mut bytes = signed_bytes(&header);
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(signed) = SignedHeader::parse(&bytes) {
            prop_assert_eq!(signed.to_bytes().to_vec(), bytes);
        }
    }
}
