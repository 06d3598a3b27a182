//! From bytes of unknown origin to a header that a known key has signed.

use core::fmt;
use core::ops::Deref;

use super::{HEADER_LEN, Header, HeaderError, KeyId, SIGNATURE_DOMAIN, SIGNATURE_LEN, SIGNED_LEN};
use crate::Sha256Digest;
use crate::bytes::Writer;

/// Length of what a signature is made over.
pub const SIGNED_MESSAGE_LEN: usize = SIGNATURE_DOMAIN.len() + SIGNED_LEN;

/// Why a signature is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureError {
    /// No key of this id is trusted.
    UnknownKey,
    /// The key is known, and this is not its signature.
    BadSignature,
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownKey => "the package is signed by a key that is not trusted",
            Self::BadSignature => "the package's signature is wrong",
        })
    }
}

impl core::error::Error for SignatureError {}

/// The keys that somebody trusts.
pub trait VerifySignature {
    /// Checks `signature` (ECDSA P-256 with SHA-256, r || s) over `message` by
    /// the trusted key `key_id`.
    ///
    /// # Errors
    /// The key is not trusted, or the signature is not its own.
    fn verify(
        &self,
        key_id: &KeyId,
        message: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError>;
}

/// A well-formed header with a signature that nobody has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeader {
    header: Header,
    signature: [u8; SIGNATURE_LEN],
}

impl SignedHeader {
    /// Reads the first 320 bytes of a package. Nothing in it is trusted yet.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = Header::parse(bytes)?;
        let signature = bytes
            .get(SIGNED_LEN..HEADER_LEN)
            .and_then(|signature| signature.try_into().ok())
            .ok_or(HeaderError::Truncated)?;
        Ok(Self { header, signature })
    }

    /// Joins a header with a signature made over [`Header::signed_message`].
    ///
    /// # Errors
    /// The header's fields do not fit each other.
    pub fn new(header: Header, signature: [u8; SIGNATURE_LEN]) -> Result<Self, HeaderError> {
        header.check()?;
        Ok(Self { header, signature })
    }

    /// The fields, which anybody may have written.
    #[must_use]
    pub fn untrusted(&self) -> &Header {
        &self.header
    }

    /// Who is said to have signed.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.header.key_id
    }

    /// The package's identity.
    #[must_use]
    pub fn identity(&self) -> Sha256Digest {
        self.header.identity()
    }

    /// What the signature has to be over.
    #[must_use]
    pub fn signed_message(&self) -> [u8; SIGNED_MESSAGE_LEN] {
        self.header.signed_message()
    }

    /// The signature, r || s.
    #[must_use]
    pub fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        &self.signature
    }

    /// The 320 bytes at the start of a package.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        Writer::new()
            .put(&self.header.encode())
            .put(&self.signature)
            .finish()
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(self, keys: &impl VerifySignature) -> Result<VerifiedHeader, SignatureError> {
        keys.verify(self.key_id(), &self.signed_message(), &self.signature)?;
        let identity = self.identity();
        Ok(VerifiedHeader {
            bytes: self.to_bytes(),
            identity,
            header: self.header,
        })
    }
}

/// A header whose signature was checked: what a flash writer is made from.
///
/// It comes from [`SignedHeader::verify`] and nowhere else:
///
/// ```compile_fail
/// use otaria_wire::Sha256Digest;
/// use otaria_wire::package::{Header, VerifiedHeader};
///
/// fn forge(header: Header) -> VerifiedHeader {
///     VerifiedHeader { header, bytes: [0; 320], identity: Sha256Digest::ZERO }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedHeader {
    header: Header,
    bytes: [u8; HEADER_LEN],
    identity: Sha256Digest,
}

impl VerifiedHeader {
    /// The 320 bytes that were verified, signature included.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; HEADER_LEN] {
        &self.bytes
    }

    /// The package's identity, computed once.
    #[must_use]
    pub fn identity(&self) -> Sha256Digest {
        self.identity
    }

    /// What co-signatures are made over as well.
    #[must_use]
    pub fn signed_message(&self) -> [u8; SIGNED_MESSAGE_LEN] {
        self.header.signed_message()
    }
}

impl Deref for VerifiedHeader {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}
