//! Tests of the recipients, and of what ciphertexts are bound to.

use std::vec::Vec;

use super::*;
use crate::golden::hex;
use crate::package::tests::golden;
use crate::package::{BlockEntry, Cipher, Codec, HeaderError, KEM_NONE};

/// The golden header with a cipher and so many recipients, which are all alike.
fn encrypted(recipients: u16) -> (Header, Vec<u8>) {
    let bytes: Vec<u8> = (0..recipients)
        .flat_map(|n| {
            Recipient {
                key_id: KeyId([n as u8; 8]),
                encapsulated: [4; ENCAPSULATED_LEN],
                sealed_key: [!(n as u8); SEALED_KEY_LEN],
            }
            .encode()
        })
        .collect();
    let header = Header {
        cipher: Cipher::ChaCha20Poly1305,
        recipients,
        recipients_len: bytes.len() as u32,
        kem: KEM_DHKEM_P256,
        recipients_digest: recipients_digest(&bytes),
        ..golden()
    };
    (header, bytes)
}

#[test]
fn recipient_bytes_are_fixed() {
    let recipient = Recipient {
        key_id: KeyId([0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6, 0xA7]),
        encapsulated: [4; ENCAPSULATED_LEN],
        sealed_key: [0x5E; SEALED_KEY_LEN],
    };
    let mut bytes = hex("a0a1a2a3a4a5a6a7");
    bytes.extend([4; 65]);
    bytes.extend([0x5E; 48]);
    assert_eq!(recipient.encode().to_vec(), bytes);
    assert_eq!(Recipient::parse(&recipient.encode()), recipient);
    assert_eq!(encrypted(1).0.encode()[224..232], hex("79000000 0100 1000"));
}

#[test]
fn ciphertexts_are_bound_to_all_of_the_header_but_what_is_known_after_them() {
    let signed: [u8; SIGNED_LEN] = core::array::from_fn(|n| n as u8);
    let of_block: Vec<u8> = (0..96).chain(128..=255).collect();
    assert_eq!(block_associated_data(&signed).to_vec(), of_block);
    let of_key: Vec<u8> = (0..96).chain(128..232).collect();
    assert_eq!(key_associated_data(&signed).to_vec(), of_key);
    assert_eq!(block_nonce(0), [0; 12]);
    let nonce = hex("04030201 00000000 00000000");
    assert_eq!(block_nonce(0x0102_0304).to_vec(), nonce);
}

#[test]
fn recipients_that_do_not_fit_the_header_are_refused() {
    let (good, _) = encrypted(2);
    assert_eq!(good.check(), Ok(()));
    let changes: &[fn(&mut Header)] = &[
        |header| header.recipients = 0,
        |header| header.recipients = 1,
        |header| header.recipients_len -= 1,
        |header| header.recipients_len = u32::MAX,
        |header| header.kem = KEM_NONE,
        |header| header.kem = 0x0020,
        |header| header.cipher = Cipher::None,
        |header| {
            header.recipients = MAX_RECIPIENTS + 1;
            header.recipients_len = u32::from(header.recipients) * RECIPIENT_LEN as u32;
        },
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut header = good.clone();
        change(&mut header);
        assert_eq!(header.check(), Err(HeaderError::Recipients), "{n}");
    }
}

#[test]
fn the_first_wanted_recipient_is_found_in_any_pieces() {
    let (header, bytes) = encrypted(5);
    let (entries, _) = bytes.as_chunks::<RECIPIENT_LEN>();
    let find = |piece: usize, wanted: &dyn Fn(&KeyId) -> bool| {
        let mut search = RecipientSearch::new();
        for piece in entries.chunks(piece) {
            search.look(piece, wanted);
        }
        search.finish(&header)
    };
    for piece in 1..=5 {
        let found = find(piece, &|id| id.0[0] >= 3).unwrap();
        assert_eq!(found, Some(Recipient::parse(&entries[3])));
        assert_eq!(find(piece, &|_| false), Ok(None));
    }
}

#[test]
fn no_recipient_is_found_among_damaged_ones() {
    let (header, good) = encrypted(2);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        let mut search = RecipientSearch::new();
        search.look(bytes.as_chunks().0, |_| true);
        assert_eq!(search.finish(&header), Err(RecipientsError), "{at}");
    }
    let mut search = RecipientSearch::new();
    search.look(&good.as_chunks().0[..1], |_| true);
    assert_eq!(search.finish(&header), Err(RecipientsError));
}

#[test]
fn encrypted_blocks_are_longer_by_their_tag() {
    let (stored, _) = encrypted(1);
    let stored = Header {
        codec: Codec::Stored,
        ..stored
    };
    let (deflate, _) = encrypted(1);
    let fits = |header: &Header, stored_len, block| {
        BlockEntry {
            stored_len,
            sha256: Sha256Digest::ZERO,
        }
        .fits(header, block)
    };
    assert_eq!(
        [4111, 4112, 4113].map(|len| fits(&stored, len, 0)),
        [false, true, false]
    );
    assert_eq!([1808, 1824].map(|len| fits(&stored, len, 2)), [false, true]);
    assert_eq!(
        [0, 15, 16, 17, 4160, 4161].map(|len| fits(&deflate, len, 0)),
        [false, false, false, true, true, false]
    );
}
