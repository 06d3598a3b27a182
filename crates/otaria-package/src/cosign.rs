//! A package's further signatures: by other people, with other keys, on other machines.
//!
//! Whether a package is to be co-signed is said when it is made, because its header says so, and that is signed first
//! ([`crate::pack::Options::cosigned`]). What is added here goes between table and blocks and changes nothing that is signed.

use otaria_wire::package::{
    COSIGNATURE_LEN, HEADER_LEN, HeaderError, KeyId, SignedHeader, blocks_offset,
};

use crate::signer::{SignError, Signer, sign};

/// Why a package is not co-signed.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// It is no package.
    #[error("the header is refused")]
    Header(#[from] HeaderError),
    /// It ends before its blocks.
    #[error("the package is truncated; copy or download it again")]
    Truncated,
    /// Its header says that nobody else signs it.
    #[error("the package was not made to be co-signed; make it with `otaria package --cosigned`")]
    NotMeant,
    /// This key has signed it already, and counts once.
    #[error("key {0} has signed the package already, and counts once")]
    SignedBefore(KeyId),
    /// Nobody reads so many.
    #[error("the package has as many co-signatures as there can be")]
    TooMany,
    /// There is no signature.
    #[error("the package is not signed")]
    Sign(#[from] SignError),
}

/// The package with one more co-signature. What is in it is not checked: read it first.
///
/// # Errors
/// See [`CosignError`].
pub fn cosign(package: &[u8], signer: &dyn Signer) -> Result<Vec<u8>, CosignError> {
    let signed = SignedHeader::parse(package)?;
    let header = signed.untrusted();
    if !header.flags.cosigned {
        return Err(CosignError::NotMeant);
    }
    let at = usize::try_from(blocks_offset(header, 0)).unwrap_or(usize::MAX) - 1;
    debug_assert!(at >= HEADER_LEN);
    let (before, rest) = package.split_at_checked(at).ok_or(CosignError::Truncated)?;
    let (count, rest) = rest.split_first().ok_or(CosignError::Truncated)?;
    let (cosignatures, blocks) = rest
        .split_at_checked(usize::from(*count) * COSIGNATURE_LEN)
        .ok_or(CosignError::Truncated)?;
    let key_id = signer.public_key().key_id();
    let is_in = cosignatures
        .chunks(COSIGNATURE_LEN)
        .any(|entry| entry.starts_with(&key_id.0));
    if is_in || header.key_id == key_id {
        return Err(CosignError::SignedBefore(key_id));
    }
    let count = count.checked_add(1).ok_or(CosignError::TooMany)?;
    let signature = sign(signer, &signed.signed_message())?;
    Ok([
        before,
        &[count],
        cosignatures,
        &key_id.0,
        &signature,
        blocks,
    ]
    .concat())
}
