//! The signed package (`.otaria`), version 1.
//!
//! Everything that a device trusts is in here: the URL, the broker and the
//! HTTP server are only couriers. Little-endian.
//!
//! ```text
//! +-------------------+ 0
//! | header, 256 bytes |   what is signed, see [`Header`]
//! | signature, 64     |   ECDSA P-256 with SHA-256, r || s, over "otaria package v1\0" || header
//! +-------------------+ 320
//! | block table       |   per block: stored_len u32, SHA-256 of the stored bytes; see [`BlockTable`]
//! +-------------------+ 320 + table_len
//! | recipients        |   recipients_len bytes, only with a cipher, see [`Recipient`]
//! +-------------------+
//! | co-signatures     |   only with flag bit 0, see [`CoSignatures`]
//! +-------------------+ blocks_offset
//! | blocks            |   back to back, stored_len bytes each
//! +-------------------+
//! ```

mod cosign;
mod encryption;
mod error;
mod header;
mod signed;
mod table;
#[cfg(test)]
mod tests;

pub use cosign::{COSIGNATURE_LEN, CoSignature, CoSignatureError, CoSignatures};
pub use encryption::{
    CONTENT_KEY_LEN, ENCAPSULATED_LEN, HPKE_INFO, MAX_RECIPIENTS, NONCE_LEN, RECIPIENT_LEN,
    Recipient, RecipientSearch, RecipientsError, SEALED_KEY_LEN, TAG_LEN, block_associated_data,
    block_nonce, key_associated_data, recipients_digest,
};
pub use error::{HeaderError, Lookalike};
pub use header::{Cipher, Codec, Flags, Header, KEM_DHKEM_P256, KEM_NONE, KeyId};
pub use signed::{
    SIGNED_MESSAGE_LEN, SignatureError, SignedHeader, VerifiedHeader, VerifySignature,
};
pub use table::{BlockEntry, BlockTable, TableError};

/// Magic bytes at the start of a package.
pub const MAGIC: [u8; 8] = *b"OTARIAP1";
/// Length of the header with its signature.
pub const HEADER_LEN: usize = 320;
/// Length of the part of the header that is signed.
pub const SIGNED_LEN: usize = 256;
/// Length of a signature.
pub const SIGNATURE_LEN: usize = 64;
/// What is signed before the header's bytes, so that no other signed thing can pass for a package.
pub const SIGNATURE_DOMAIN: &[u8; 18] = b"otaria package v1\0";
/// Length of one entry of the block table.
pub const TABLE_ENTRY_LEN: usize = 36;
/// Block lengths are a multiple of this: a flash sector.
pub const BLOCK_LEN_UNIT: u32 = 4096;
/// Longest block (plain bytes).
pub const MAX_BLOCK_LEN: usize = 16384;
/// How much longer than a plain block its stored form may be.
pub const STORED_SLACK: usize = 64;
/// Longest stored block.
pub const MAX_STORED_LEN: usize = MAX_BLOCK_LEN + STORED_SLACK;

/// Where the blocks start in a package with this header and so many
/// co-signatures (ignored without the flag).
#[must_use]
pub fn blocks_offset(header: &Header, cosigners: u8) -> u64 {
    let cosignatures = if header.flags.cosigned {
        1 + u64::from(cosigners) * COSIGNATURE_LEN as u64
    } else {
        0
    };
    HEADER_LEN as u64
        + u64::from(header.table_len)
        + u64::from(header.recipients_len)
        + cosignatures
}
