//! Encrypted packages (cipher 1): who can read one, and what ciphertexts are bound to.
//!
//! Each package has a content key of its own, 32 random bytes. Each block is sealed with it by ChaCha20-Poly1305 (RFC 8439), the
//! tag behind the ciphertext; the content key itself is sealed once for each recipient by HPKE (RFC 9180), base mode, single
//! shot, with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305.
//!
//! ```text
//! recipients, 121 bytes each, recipients_len bytes in all
//!   0   8  key id of the recipient: first 8 bytes of SHA-256 of its public point
//!   8  65  enc: the encapsulated key, an uncompressed point
//!  73  48  the sealed content key, its tag behind it
//! ```
//!
//! | what is sealed | associated data | nonce |
//! |---|---|---|
//! | the content key; HPKE's `info` is [`HPKE_INFO`] | header bytes 0..96 and 128..232 | HPKE's own |
//! | a block | header bytes 0..96 and 128..256 | the block's index as u32, then zeros |
//!
//! Left out is what is known only afterwards: the table's digest, since the table holds digests of sealed blocks, and for the
//! content key the digest of the recipients. So neither a content key nor a block can be moved to another package. A content key
//! seals the blocks of one package, so a nonce never comes twice under it.

#[cfg(test)]
mod tests;

use core::fmt;

use super::{Header, KEM_DHKEM_P256, KeyId, SIGNED_LEN};
use crate::bytes::{Reader, Writer};
use crate::{Sha256Digest, Sha256Hasher};

/// Length of a content key.
pub const CONTENT_KEY_LEN: usize = 32;
/// How much longer than what was sealed a sealed thing is: the tag.
pub const TAG_LEN: usize = 16;
/// Length of a sealed content key.
pub const SEALED_KEY_LEN: usize = CONTENT_KEY_LEN + TAG_LEN;
/// Length of an encapsulated key: an uncompressed point.
pub const ENCAPSULATED_LEN: usize = 65;
/// Length of one recipient.
pub const RECIPIENT_LEN: usize = 8 + ENCAPSULATED_LEN + SEALED_KEY_LEN;
/// Most recipients of a package: 121 KiB, which each device reads past. More devices share a product key.
pub const MAX_RECIPIENTS: u16 = 1024;
/// HPKE's `info`: no content key of something else can pass for a package's.
pub const HPKE_INFO: &[u8] = b"otaria content key v1";
/// Length of a block's nonce.
pub const NONCE_LEN: usize = 12;

/// Header bytes that blocks are bound to.
const BLOCK_DATA_LEN: usize = 96 + 128;
/// Header bytes that a sealed content key is bound to.
const KEY_DATA_LEN: usize = 96 + 104;

/// What a block's ciphertext is bound to: the header without the table's digest.
#[must_use]
pub fn block_associated_data(signed: &[u8; SIGNED_LEN]) -> [u8; BLOCK_DATA_LEN] {
    around_the_table::<128, _>(signed)
}

/// What a sealed content key is bound to: the header without the digests of table and recipients.
#[must_use]
pub fn key_associated_data(signed: &[u8; SIGNED_LEN]) -> [u8; KEY_DATA_LEN] {
    around_the_table::<104, _>(signed)
}

/// The header's bytes 0..96, and `BEHIND` bytes from 128 on.
fn around_the_table<const BEHIND: usize, const N: usize>(signed: &[u8; SIGNED_LEN]) -> [u8; N] {
    let mut reader = Reader::new(signed);
    let before: [u8; 96] = reader.array();
    let _table_sha256: [u8; 32] = reader.array();
    let behind: [u8; BEHIND] = reader.array();
    Writer::new().put(&before).put(&behind).finish()
}

/// The nonce of a block.
#[must_use]
pub fn block_nonce(block: u32) -> [u8; NONCE_LEN] {
    Writer::new().u32(block).finish()
}

/// One recipient: the content key, sealed to its public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// Whose it is.
    pub key_id: KeyId,
    /// The encapsulated key.
    pub encapsulated: [u8; ENCAPSULATED_LEN],
    /// The sealed content key.
    pub sealed_key: [u8; SEALED_KEY_LEN],
}

impl Recipient {
    /// Reads one entry. Only who opens it knows whether it is good.
    #[must_use]
    pub fn parse(bytes: &[u8; RECIPIENT_LEN]) -> Self {
        let mut reader = Reader::new(bytes);
        Self {
            key_id: KeyId(reader.array()),
            encapsulated: reader.array(),
            sealed_key: reader.array(),
        }
    }

    /// The entry's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; RECIPIENT_LEN] {
        Writer::new()
            .put(&self.key_id.0)
            .put(&self.encapsulated)
            .put(&self.sealed_key)
            .finish()
    }
}

/// Whether a header's fields on recipients fit each other.
pub(super) fn fits(header: &Header) -> bool {
    let len = u32::from(header.recipients) * RECIPIENT_LEN as u32;
    (1..=MAX_RECIPIENTS).contains(&header.recipients)
        && header.recipients_len == len
        && header.kem == KEM_DHKEM_P256
}

/// The recipients are not those that the header was signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecipientsError;

impl fmt::Display for RecipientsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the package's recipients do not match their digest")
    }
}

impl core::error::Error for RecipientsError {}

/// First 24 bytes of SHA-256 over all recipients, as the header has it.
#[must_use]
pub fn recipients_digest(recipients: &[u8]) -> [u8; 24] {
    first24(Sha256Digest::of(recipients))
}

fn first24(digest: Sha256Digest) -> [u8; 24] {
    Reader::new(&digest.0).array()
}

/// Looks through the recipients as they come in, and keeps one of them.
///
/// ```
/// # use otaria_wire::package::{Header, KeyId, RECIPIENT_LEN, Recipient, RecipientSearch, RecipientsError};
/// fn own(header: &Header, id: KeyId, entries: &[[u8; RECIPIENT_LEN]]) -> Result<Option<Recipient>, RecipientsError> {
///     let mut search = RecipientSearch::new();
///     for piece in entries.chunks(7) {
///         search.look(piece, |known| *known == id);
///     }
///     search.finish(header)
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct RecipientSearch {
    hasher: Sha256Hasher,
    found: Option<Recipient>,
}

impl RecipientSearch {
    /// A search that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next entries; the first one whose key id is `wanted` is kept.
    pub fn look(
        &mut self,
        entries: &[[u8; RECIPIENT_LEN]],
        mut wanted: impl FnMut(&KeyId) -> bool,
    ) {
        self.hasher.update(entries.as_flattened());
        for entry in entries {
            if self.found.is_none() && wanted(&KeyId(Reader::new(entry).array())) {
                self.found = Some(Recipient::parse(entry));
            }
        }
    }

    /// The entry that was found, now that all of them were seen.
    ///
    /// # Errors
    /// [`RecipientsError`]: nothing that was seen may be used.
    pub fn finish(self, header: &Header) -> Result<Option<Recipient>, RecipientsError> {
        if first24(self.hasher.finish()) == header.recipients_digest {
            Ok(self.found)
        } else {
            Err(RecipientsError)
        }
    }
}
