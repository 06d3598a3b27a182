//! A package's further signatures: by other people, with other keys, on other machines.
//!
//! Whether a package is to be co-signed is said when it is made, because its header says so, and that is signed first
//! ([`crate::pack::Options::cosigned`]). What is added here goes between table and blocks and changes nothing that is signed.

use otaria_wire::package::{COSIGNATURE_LEN, HeaderError, KeyId, SignedHeader, blocks_offset};

use crate::read::{self, Contents, ReadError, Trust};
use crate::signer::{SignError, Signer, sign};

/// Why a package is not co-signed.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// It is not one that a device would take with another signature.
    #[error(transparent)]
    Read(#[from] ReadError),
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

impl From<HeaderError> for CosignError {
    fn from(error: HeaderError) -> Self {
        Self::Read(error.into())
    }
}

/// A package of which everything was checked, and that is meant to be co-signed. There is no other way to [`Checked::cosign`], so
/// nobody is asked for a signature, a passphrase or a PIN for what no device would take.
#[derive(Debug)]
pub struct Checked<'p> {
    package: &'p [u8],
    signed: SignedHeader,
    contents: Contents,
}

impl<'p> Checked<'p> {
    /// Reads all of a package, as a device does.
    ///
    /// # Errors
    /// What is wrong with it, or [`CosignError::NotMeant`].
    pub fn read(package: &'p [u8], trust: Trust<'_>) -> Result<Self, CosignError> {
        let contents = read::read_for_cosigner(package, trust)?;
        if !contents.header.flags.cosigned {
            return Err(CosignError::NotMeant);
        }
        Ok(Self {
            package,
            signed: SignedHeader::parse(package)?,
            contents,
        })
    }

    /// The package with one more co-signature.
    ///
    /// # Errors
    /// The key has signed it before, or does not sign.
    pub fn cosign(&self, signer: &dyn Signer) -> Result<Vec<u8>, CosignError> {
        let Contents {
            header, cosigners, ..
        } = &self.contents;
        let key_id = signer.public_key().key_id();
        if header.key_id == key_id || cosigners.contains(&key_id) {
            return Err(CosignError::SignedBefore(key_id));
        }
        let count = u8::try_from(cosigners.len() + 1).map_err(|_| CosignError::TooMany)?;
        let signature = sign(signer, &self.signed.signed_message())?;
        // All of it was read, so these offsets are inside of it.
        let start = usize::try_from(blocks_offset(header, 0)).unwrap_or(usize::MAX);
        let (before, rest) = self.package.split_at(start - 1);
        let (cosignatures, blocks) = rest[1..].split_at(cosigners.len() * COSIGNATURE_LEN);
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
}

/// Reads a package and gives it one more co-signature.
///
/// # Errors
/// See [`CosignError`].
pub fn cosign(
    package: &[u8],
    trust: Trust<'_>,
    signer: &dyn Signer,
) -> Result<Vec<u8>, CosignError> {
    Checked::read(package, trust)?.cosign(signer)
}
