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

/// What a signature is made over: the domain, then the 256 bytes.
pub(super) fn message_of(signed: &[u8]) -> [u8; SIGNED_MESSAGE_LEN] {
    Writer::new().put(SIGNATURE_DOMAIN).put(signed).finish()
}

fn signed_part(bytes: &[u8; HEADER_LEN]) -> &[u8] {
    bytes.get(..SIGNED_LEN).unwrap_or_default()
}

/// A well-formed header with a signature that nobody has checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeader {
    header: Header,
    /// What the fields encode to, and the signature.
    bytes: [u8; HEADER_LEN],
}

impl SignedHeader {
    /// Reads the first 320 bytes of a package. Nothing in it is trusted yet.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        Ok(Self {
            header: Header::parse(bytes)?,
            // `Header::parse` takes nothing that it would not encode the same way.
            bytes: *bytes.first_chunk().ok_or(HeaderError::Truncated)?,
        })
    }

    /// Joins a header with a signature made over [`Header::signed_message`].
    ///
    /// # Errors
    /// The header's fields do not fit each other.
    pub fn new(header: Header, signature: [u8; SIGNATURE_LEN]) -> Result<Self, HeaderError> {
        header.check()?;
        let signed = header.encode();
        let bytes = Writer::new().put(&signed).put(&signature).finish();
        Ok(Self { header, bytes })
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
        Sha256Digest::of(signed_part(&self.bytes))
    }

    /// What the signature has to be over.
    #[must_use]
    pub fn signed_message(&self) -> [u8; SIGNED_MESSAGE_LEN] {
        message_of(signed_part(&self.bytes))
    }

    /// The signature, r || s.
    #[must_use]
    pub fn signature(&self) -> &[u8; SIGNATURE_LEN] {
        // There is always one: a header is longer.
        self.bytes.last_chunk().unwrap_or(&[0; SIGNATURE_LEN])
    }

    /// The 320 bytes at the start of a package.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        self.bytes
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// See [`SignatureError`].
    pub fn verify(self, keys: &impl VerifySignature) -> Result<VerifiedHeader, SignatureError> {
        keys.verify(self.key_id(), &self.signed_message(), self.signature())?;
        let identity = self.identity();
        let Self { header, bytes } = self;
        Ok(VerifiedHeader {
            header,
            bytes,
            identity,
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

    /// The part of them that is signed.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8; SIGNED_LEN] {
        // There is always one: a header is longer.
        self.bytes.first_chunk().unwrap_or(&[0; SIGNED_LEN])
    }

    /// The package's identity, computed once.
    #[must_use]
    pub fn identity(&self) -> Sha256Digest {
        self.identity
    }

    /// What co-signatures are made over as well.
    #[must_use]
    pub fn signed_message(&self) -> [u8; SIGNED_MESSAGE_LEN] {
        message_of(signed_part(&self.bytes))
    }
}

impl Deref for VerifiedHeader {
    type Target = Header;

    fn deref(&self) -> &Header {
        &self.header
    }
}
