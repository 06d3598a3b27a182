//! Reading a package from a stream, in the order in which a device does, and with the same refusals. Nothing is
//! handed out before it is verified; memory stays at one table and one block.

use std::io::{self, Read};

use otaria_wire::esp_image::{ImageChecker, ImageError, ImageInfo};
use otaria_wire::messages::FailureCode;
use otaria_wire::package::{
    BlockTable, COSIGNATURE_LEN, Cipher, CoSignatureError, CoSignatures, Codec, HEADER_LEN, Header,
    HeaderError, KeyId, RECIPIENT_LEN, Recipient, RecipientSearch, RecipientsError, SignatureError,
    SignedHeader, TableError, VerifySignature,
};
use otaria_wire::{Sha256Digest, Sha256Hasher};

use crate::codec::{self, DecodeError};
use crate::encrypt::ContentKey;
use crate::keys::{DecryptionKey, Keyring};
use crate::pack::has_guard;

/// Whose packages are read.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Those that one of these keys has signed.
    Keys(&'a Keyring),
    /// Anybody's: everything but the signatures is checked. The result says nothing about who made the package.
    Anyone,
}

/// What a package holds, after every byte of it was checked.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The header's fields.
    pub header: Header,
    /// The package's identity.
    pub identity: Sha256Digest,
    /// Whether the header's signature was checked against a trusted key ([`Trust::Keys`]).
    pub signature_verified: bool,
    /// Keys that signed as well. Their signatures are checked when the key is trusted, and ignored when it is not.
    pub cosigners: Vec<KeyId>,
    /// Length of the file.
    pub package_len: u64,
    /// Length of all blocks as stored.
    pub stored_len: u64,
    /// Keys that it is encrypted to; empty: it is not encrypted.
    pub recipients: Vec<KeyId>,
    /// What the image in it says of itself. `None` if it is encrypted and no key was given: then all is checked that can be
    /// without looking inside.
    pub image: Option<ImageInfo>,
}

/// A part of a package, for saying where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first 320 bytes.
    Header,
    /// The block table.
    Table,
    /// The recipients of an encrypted package.
    Recipients,
    /// The co-signatures.
    CoSignatures,
    /// A block, counted from 0.
    Block(u32),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header => f.write_str("its header"),
            Self::Table => f.write_str("its block table"),
            Self::Recipients => f.write_str("its recipients"),
            Self::CoSignatures => f.write_str("its co-signatures"),
            Self::Block(block) => write!(f, "block {block}"),
        }
    }
}

/// What later versions can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Differences against an older image.
    Delta,
}

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Delta => "a delta",
        })
    }
}

/// Why a package is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream itself failed.
    #[error("cannot read at byte {offset}")]
    Io {
        /// How many bytes came before.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The file ends too early.
    #[error(
        "the package is truncated: the file ends at byte {at}, inside {part}, which reaches to byte {until}; copy or download it again"
    )]
    Truncated {
        /// Length of the file.
        at: u64,
        /// Where in the package that is.
        part: Part,
        /// Where this part would end.
        until: u64,
    },
    /// The header is not one that a device takes.
    #[error("the header is refused")]
    Header(#[from] HeaderError),
    /// The signer is not trusted.
    #[error("the package is signed by key {signer}, not by {}; give the public key of whoever released it", list(.trusted))]
    UnknownKey {
        /// Whose signature it is said to be.
        signer: KeyId,
        /// The keys that would be trusted.
        trusted: Vec<KeyId>,
    },
    /// The signature is not that of the key it names.
    #[error(
        "the signature is not that of key {0}: the header was changed after signing, or the signature was forged"
    )]
    BadSignature(KeyId),
    /// Well-formed, but this version cannot read it.
    #[error("the package is {0}, which this version cannot read")]
    Unsupported(Unsupported),
    /// The table is not the signed one.
    #[error("the block table (byte 320 on) is refused")]
    Table(#[from] TableError),
    /// The recipients are not the signed ones.
    #[error("the recipients (behind the block table) are refused")]
    Recipients(#[from] RecipientsError),
    /// None of the given keys is among the recipients.
    #[error("the package is encrypted to {}, and to none of the given keys", list(.0))]
    NotARecipient(Vec<KeyId>),
    /// The content key was sealed to a given key, and that does not open it.
    #[error(
        "the content key does not open with key {0}: it was sealed for another package, or wrongly"
    )]
    ContentKey(KeyId),
    /// The co-signatures are not well-formed.
    #[error("the co-signatures are refused")]
    CoSignatures(#[from] CoSignatureError),
    /// A block is not the signed one.
    #[error("block {block} (bytes {offset} to {}) is damaged: its SHA-256 is not the one in the table", offset + u64::from(*len))]
    BlockHash {
        /// Which block, from 0.
        block: u32,
        /// Where it starts in the file.
        offset: u64,
        /// Its stored length.
        len: u32,
    },
    /// A block is the signed one but was sealed with another key or for another package.
    #[error("block {block} (at byte {offset}) does not decrypt")]
    Decrypt {
        /// Which block, from 0.
        block: u32,
        /// Where it starts in the file.
        offset: u64,
    },
    /// A block is the signed one but cannot be decoded.
    #[error("block {block} (at byte {offset}) does not decode")]
    Decode {
        /// Which block, from 0.
        block: u32,
        /// Where it starts in the file.
        offset: u64,
        /// What is wrong.
        source: DecodeError,
    },
    /// The blocks are good but make another image.
    #[error(
        "the image in it is not the one that the header names: its SHA-256 is {found}, not {expected}"
    )]
    ImageHash {
        /// Of the decoded image.
        found: Sha256Digest,
        /// In the header.
        expected: Sha256Digest,
    },
    /// No chip would boot the image.
    #[error("the image in it would not boot")]
    Image(#[from] ImageError),
    /// Header and image contradict each other.
    #[error(
        "header and image contradict each other: {field} is \"{header}\" in the header, \"{image}\" in the image"
    )]
    Disagrees {
        /// Which field.
        field: &'static str,
        /// In the header.
        header: String,
        /// In the image.
        image: String,
    },
    /// The image has no boot guard, or none that works with this version's journal, and the header does not say so.
    #[error("the image has no boot guard that fits this version, and the header does not say so")]
    GuardMissing,
    /// Bytes follow the last block.
    #[error(
        "the package ends at byte {end}, and the file goes on for {trailing} more: it is not what was packaged"
    )]
    Trailing {
        /// Where the package ends.
        end: u64,
        /// How many bytes follow.
        trailing: u64,
    },
}

impl ReadError {
    /// The code with which a device refuses the same package, when the server that it comes from announces its length.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Io { .. } => FailureCode::EarlyClose,
            // Once a device knows header and table, it compares the announced length with theirs.
            Self::Truncated {
                part: Part::Block(_),
                ..
            }
            | Self::Trailing { .. } => FailureCode::LengthMismatch,
            Self::Truncated { .. } => FailureCode::EarlyClose,
            Self::Header(error) => (*error).into(),
            Self::UnknownKey { .. } => SignatureError::UnknownKey.into(),
            Self::BadSignature(_) => SignatureError::BadSignature.into(),
            Self::Unsupported(Unsupported::Delta) => FailureCode::UnsupportedCodec,
            Self::Table(error) => (*error).into(),
            Self::CoSignatures(error) => (*error).into(),
            Self::Recipients(error) => (*error).into(),
            Self::NotARecipient(_) => FailureCode::NotARecipient,
            Self::ContentKey(_) => FailureCode::ContentKey,
            Self::BlockHash { .. } => FailureCode::BlockHash,
            Self::Decrypt { .. } => FailureCode::Decrypt,
            Self::Decode {
                source: DecodeError::Length { .. },
                ..
            } => FailureCode::BlockLength,
            Self::Decode { .. } => FailureCode::Decode,
            Self::ImageHash { .. } => FailureCode::ImageHash,
            Self::Image(error) => (*error).into(),
            Self::Disagrees { .. } => FailureCode::DescriptorMismatch,
            Self::GuardMissing => FailureCode::GuardMissing,
        }
    }
}

/// Reads and checks a whole package, without looking into an encrypted one.
///
/// # Errors
/// The first thing that is wrong, in the order in which a device checks; see [`ReadError`].
pub fn read(source: impl Read, trust: Trust<'_>) -> Result<Contents, ReadError> {
    read_into(source, trust, &[], |_| Ok(()))
}

/// The same for whoever is to co-sign it: it may have no co-signature yet.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_for_cosigner(
    source: impl Read,
    trust: Trust<'_>,
) -> Result<Contents, ReadError> {
    read_from(source, trust, CoSigned::PerhapsNotYet, &[], |_| Ok(()))
}

/// Reads and checks a whole package, and hands out the plain image piece by piece. Each piece is verified on its own;
/// whether together they are the image is known only when this returns `Ok`. An encrypted package is opened with one of `keys`;
/// without any, nothing of it is handed out.
///
/// # Errors
/// As [`read`], and what `image` returns, as [`ReadError::Io`].
pub fn read_into(
    source: impl Read,
    trust: Trust<'_>,
    keys: &[DecryptionKey],
    image: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<Contents, ReadError> {
    read_from(source, trust, CoSigned::AtLeastOnce, keys, image)
}

/// How often a package has been co-signed whose header says that it is to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CoSigned {
    AtLeastOnce,
    PerhapsNotYet,
}

fn read_from(
    source: impl Read,
    trust: Trust<'_>,
    cosigned: CoSigned,
    keys: &[DecryptionKey],
    image: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<Contents, ReadError> {
    let mut input = Input { source, offset: 0 };
    let mut bytes = [0; HEADER_LEN];
    let got = input.fill(&mut bytes)?;
    let signed = match SignedHeader::parse(&bytes[..got]) {
        Err(HeaderError::Truncated) => return Err(input.truncated(Part::Header, HEADER_LEN as u64)),
        other => other?,
    };
    let identity = signed.identity();
    let message = signed.signed_message();
    let signature_verified = check_signature(&signed, trust)?;
    let header = signed.untrusted().clone();
    if header.codec == Codec::Delta {
        return Err(ReadError::Unsupported(Unsupported::Delta));
    }

    let table_bytes = input.take(Part::Table, header.table_len as usize)?;
    let table = BlockTable::check(&header, &table_bytes)?;
    let (recipients, content_key) = read_recipients(&mut input, &header, keys)?;
    let cosigners = if header.flags.cosigned {
        read_cosigners(&mut input, &header, &message, trust, cosigned)?
    } else {
        Vec::new()
    };
    let blocks = Blocks {
        header: &header,
        table,
        content_key,
    };
    let image = blocks.read(&mut input, image)?;
    let package_len = input.offset;
    match input.count_rest()? {
        0 => Ok(Contents {
            identity,
            signature_verified,
            cosigners,
            package_len,
            stored_len: table.iter().map(|entry| u64::from(entry.stored_len)).sum(),
            recipients,
            image,
            header,
        }),
        trailing => Err(ReadError::Trailing {
            end: package_len,
            trailing,
        }),
    }
}

/// The blocks of a package, and what they are opened with.
struct Blocks<'a> {
    header: &'a Header,
    table: BlockTable<'a>,
    content_key: Option<ContentKey>,
}

impl Blocks<'_> {
    /// Reads all blocks, and the image in them if they can be opened.
    fn read<R: Read>(
        &self,
        input: &mut Input<R>,
        mut image: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Option<ImageInfo>, ReadError> {
        let header = self.header;
        let closed = header.cipher != Cipher::None && self.content_key.is_none();
        let mut hasher = Sha256Hasher::new();
        let mut checker = ImageChecker::new();
        for (block, entry) in (0..).zip(self.table.iter()) {
            let offset = input.offset;
            let stored = input.take(Part::Block(block), entry.stored_len as usize)?;
            if Sha256Digest::of(&stored) != entry.sha256 {
                return Err(ReadError::BlockHash {
                    block,
                    offset,
                    len: entry.stored_len,
                });
            }
            if closed {
                continue;
            }
            let plain = self.open(block, offset, stored)?;
            hasher.update(&plain);
            // An error is kept until the image's digest was compared: damage comes before malformation.
            let _ = checker.update(&plain);
            image(&plain).map_err(|source| ReadError::Io { offset, source })?;
        }
        if closed {
            return Ok(None);
        }
        let found = hasher.finish();
        if found != header.image_sha256 {
            return Err(ReadError::ImageHash {
                found,
                expected: header.image_sha256,
            });
        }
        let info = checker.finish()?;
        check_agreement(header, &info)?;
        Ok(Some(info))
    }

    /// The plain bytes of a block.
    fn open(&self, block: u32, offset: u64, stored: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let header = self.header;
        let encoded = match &self.content_key {
            Some(key) => key
                .unseal(&header.encode(), block, stored)
                .ok_or(ReadError::Decrypt { block, offset })?,
            None => stored,
        };
        let plain_len = header.plain_len(block).unwrap_or(0) as usize;
        match header.codec {
            Codec::Stored => Ok(encoded),
            Codec::Deflate | Codec::Delta => {
                codec::inflate(&encoded, plain_len).map_err(|source| ReadError::Decode {
                    block,
                    offset,
                    source,
                })
            }
        }
    }
}

/// The recipients' ids, and the content key if one of `keys` is among them.
fn read_recipients<R: Read>(
    input: &mut Input<R>,
    header: &Header,
    keys: &[DecryptionKey],
) -> Result<(Vec<KeyId>, Option<ContentKey>), ReadError> {
    if header.cipher == Cipher::None {
        return Ok((Vec::new(), None));
    }
    let bytes = input.take(Part::Recipients, header.recipients_len as usize)?;
    let (entries, _) = bytes.as_chunks::<RECIPIENT_LEN>();
    let mut search = RecipientSearch::new();
    search.look(entries, |id| keys.iter().any(|key| key.key_id() == *id));
    let own = search.finish(header)?;
    let ids = entries
        .iter()
        .map(|entry| Recipient::parse(entry).key_id)
        .collect();
    let opened = own.and_then(|own| {
        let key = keys.iter().find(|key| key.key_id() == own.key_id)?;
        let opened = ContentKey::open(key, &own, &header.encode());
        Some(opened.ok_or(ReadError::ContentKey(own.key_id)))
    });
    match opened {
        Some(content_key) => Ok((ids, Some(content_key?))),
        None if keys.is_empty() => Ok((ids, None)),
        None => Err(ReadError::NotARecipient(ids)),
    }
}

/// Whether the signature was checked and is good; an error if it is not.
fn check_signature(signed: &SignedHeader, trust: Trust<'_>) -> Result<bool, ReadError> {
    let Trust::Keys(keys) = trust else {
        return Ok(false);
    };
    let signer = *signed.key_id();
    match keys.verify(&signer, &signed.signed_message(), signed.signature()) {
        Ok(()) => Ok(true),
        Err(SignatureError::UnknownKey) => Err(ReadError::UnknownKey {
            signer,
            trusted: keys.key_ids().collect(),
        }),
        Err(SignatureError::BadSignature) => Err(ReadError::BadSignature(signer)),
    }
}

fn read_cosigners<R: Read>(
    input: &mut Input<R>,
    header: &Header,
    message: &[u8],
    trust: Trust<'_>,
    cosigned: CoSigned,
) -> Result<Vec<KeyId>, ReadError> {
    let mut bytes = input.take(Part::CoSignatures, 1)?;
    let count = usize::from(bytes[0]);
    if count == 0 && cosigned == CoSigned::PerhapsNotYet {
        return Ok(Vec::new());
    }
    bytes.extend(input.take(Part::CoSignatures, count * COSIGNATURE_LEN)?);
    let cosignatures = CoSignatures::parse(&header.key_id, &bytes)?;
    if let Trust::Keys(keys) = trust {
        for cosignature in cosignatures.iter() {
            match keys.verify(&cosignature.key_id, message, cosignature.signature) {
                Ok(()) | Err(SignatureError::UnknownKey) => {}
                Err(SignatureError::BadSignature) => {
                    return Err(ReadError::BadSignature(cosignature.key_id));
                }
            }
        }
    }
    Ok(cosignatures
        .iter()
        .map(|cosignature| cosignature.key_id)
        .collect())
}

/// What the header promises must be what the image says.
fn check_agreement(header: &Header, image: &ImageInfo) -> Result<(), ReadError> {
    let fields = [
        (
            "length",
            header.image_len.to_string(),
            image.len.to_string(),
        ),
        ("chip", header.chip_id.to_string(), image.chip.0.to_string()),
        (
            "product",
            header.product.to_string(),
            image.desc.project.to_string(),
        ),
        (
            "version",
            header.version.to_string(),
            image.desc.version.to_string(),
        ),
        (
            "security version",
            header.security_version.to_string(),
            image.desc.secure_version.to_string(),
        ),
    ];
    for (field, header, image) in fields {
        if header != image {
            return Err(ReadError::Disagrees {
                field,
                header,
                image,
            });
        }
    }
    if !has_guard(image) && !header.flags.unguarded {
        return Err(ReadError::GuardMissing);
    }
    Ok(())
}

/// A stream that knows where it is.
struct Input<R> {
    source: R,
    offset: u64,
}

impl<R: Read> Input<R> {
    /// Fills as much of `buffer` as the stream has.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut got = 0;
        while got < buffer.len() {
            match self.source.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(n) => {
                    got += n;
                    self.offset += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ReadError::Io {
                        offset: self.offset,
                        source,
                    });
                }
            }
        }
        Ok(got)
    }

    /// Reads exactly `len` bytes of a part.
    fn take(&mut self, part: Part, len: usize) -> Result<Vec<u8>, ReadError> {
        let until = self.offset + len as u64;
        let mut bytes = vec![0; len];
        if self.fill(&mut bytes)? < len {
            return Err(self.truncated(part, until));
        }
        Ok(bytes)
    }

    fn truncated(&self, part: Part, until: u64) -> ReadError {
        ReadError::Truncated {
            at: self.offset,
            part,
            until,
        }
    }

    fn count_rest(&mut self) -> Result<u64, ReadError> {
        let start = self.offset;
        let mut buffer = [0; 4096];
        while self.fill(&mut buffer)? == buffer.len() {}
        Ok(self.offset - start)
    }
}

fn list(keys: &[KeyId]) -> String {
    keys.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}
