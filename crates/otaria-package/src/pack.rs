//! An app image to a signed package.

use std::time::{Duration, SystemTime};

use otaria_wire::esp_image::{self, ImageChecker, ImageError, ImageInfo};
use otaria_wire::journal::JOURNAL_VERSION;
use otaria_wire::package::{
    BLOCK_LEN_UNIT, BlockEntry, Cipher, Codec, Flags, Header, HeaderError, KEM_NONE, MAX_BLOCK_LEN,
    SignedHeader, TABLE_ENTRY_LEN, blocks_offset,
};
use otaria_wire::partitions::DEFAULT_4MB;
use otaria_wire::{FixedText, Sha256Digest};

use crate::codec;
use crate::encrypt::{EncryptError, encrypt};
use crate::keys::{PublicKey, SigningKey};
use crate::kind::FileKind;
use crate::signer::{SignError, Signer, sign};

/// Length of a slot in the default partition layout for 4 MB of flash.
pub const DEFAULT_SLOT_SIZE: u32 = DEFAULT_4MB.slot_len();

/// Compression that saves less than this share of the image costs the device more than it brings.
const WORTHWHILE_PERCENT: usize = 2;

/// Which codec to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodecChoice {
    /// Deflate, unless it saves less than 2 % of the image.
    #[default]
    Auto,
    /// Deflate, whatever it saves.
    Deflate,
    /// The image's bytes as they are.
    Stored,
}

/// What the caller decides about a package; the rest is read from the image.
#[derive(Clone, Debug)]
pub struct Options {
    /// Strictly rising for a product.
    pub sequence: u64,
    /// Unix seconds.
    pub created: u64,
    /// Which codec to use.
    pub codec: CodecChoice,
    /// Plain bytes in a block: 4096, 8192, 12288 or 16384.
    pub block_len: u32,
    /// Length of the device's slots.
    pub slot_size: u32,
    /// Take an image without boot guard, and say so in the package.
    pub allow_unguarded: bool,
    /// Others will sign it too, see [`crate::cosign`]; until then no device takes it.
    pub cosigned: bool,
    /// The image must be for this product.
    pub product: Option<String>,
    /// The image must have this version.
    pub version: Option<String>,
    /// Encrypt to these keys; none: not at all.
    pub encrypt_to: Vec<PublicKey>,
}

impl Options {
    /// The usual options, with a sequence of milliseconds since 1970.
    pub fn new(stamp: TimeStamp) -> Self {
        Self {
            sequence: stamp.sequence,
            created: stamp.created,
            codec: CodecChoice::Auto,
            block_len: MAX_BLOCK_LEN as u32,
            slot_size: DEFAULT_SLOT_SIZE,
            allow_unguarded: false,
            cosigned: false,
            product: None,
            version: None,
            encrypt_to: Vec::new(),
        }
    }
}

/// When a package was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeStamp {
    /// Milliseconds since 1970.
    pub sequence: u64,
    /// Seconds since 1970.
    pub created: u64,
}

impl TimeStamp {
    /// From a clock.
    pub fn at(time: SystemTime) -> Self {
        let since_1970 = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            sequence: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            created: since_1970.as_secs(),
        }
    }

    /// From `SOURCE_DATE_EPOCH` (seconds since 1970), for builds that can be reproduced. `None` if it is no number.
    pub fn from_source_date_epoch(value: &str) -> Option<Self> {
        let created: u64 = value.trim().parse().ok()?;
        Some(Self {
            sequence: created.checked_mul(1000)?,
            created,
        })
    }
}

/// A finished package.
#[derive(Clone, Debug)]
pub struct Package {
    /// The file's bytes.
    pub bytes: Vec<u8>,
    /// What its header says.
    pub header: Header,
    /// What the image in it says.
    pub image: ImageInfo,
}

impl Package {
    /// Length of all blocks as stored.
    pub fn stored_len(&self) -> u64 {
        self.bytes.len() as u64 - blocks_offset(&self.header, 0)
    }
}

/// Why an image is not packaged.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file is a package already.
    #[error(
        "this is a package already; `otaria publish` sends it, `otaria inspect` shows what is in it"
    )]
    IsPackage,
    /// Something else than an image.
    #[error("{}; expected is an ELF as the linker leaves it, or an app image as `espflash save-image` or `idf.py build` writes it", .0.description())]
    NotAnImage(FileKind),
    /// The image is damaged or incomplete.
    #[error("no device would take this image ({file_len} bytes): {problem}; {}", advice(*problem))]
    Image {
        /// What is wrong.
        problem: ImageError,
        /// Length of the file.
        file_len: usize,
    },
    /// Bytes follow the image.
    #[error(
        "the image ends at byte {image_len}, and {trailing} more bytes follow; for a flash dump or a merged image, cut the app out first"
    )]
    TrailingBytes {
        /// Length of the image.
        image_len: usize,
        /// How many bytes follow it.
        trailing: usize,
    },
    /// It does not fit a slot.
    #[error("the image is {image_len} bytes, and a slot holds {slot_size}: {} too many; make it smaller (opt-level = \"s\", lto), or use larger slots with --slot-size as in the devices' partition table", image_len - slot_size)]
    TooBig {
        /// Length of the image.
        image_len: u32,
        /// Length of a slot.
        slot_size: u32,
    },
    /// Without the guard a crash at start would not roll back.
    #[error(
        "the image has no boot guard, so a release that crashes early would not roll back; call the guard first in `main`, or take the risk with --unguarded (devices refuse that unless their settings allow it)"
    )]
    NoBootGuard,
    /// Neither slot's firmware could read the other's journal.
    #[error(
        "the image's boot guard works with version {found} of the journal, this program with version {JOURNAL_VERSION}; package the image with the `otaria` of the release that its otaria-device is from"
    )]
    OtherBootGuard {
        /// Journal version of the image's guard.
        found: u8,
    },
    /// The app descriptor does not say what the package must.
    #[error("the image's app descriptor has no {field}; set {hint}")]
    EmptyField {
        /// "project name" or "version".
        field: &'static str,
        /// Where it is set.
        hint: &'static str,
    },
    /// The caller and the image disagree.
    #[error(
        "the image says {field} \"{found}\", not \"{wanted}\"; devices compare both, so build the image with the right one"
    )]
    Disagrees {
        /// "product" or "version".
        field: &'static str,
        /// In the image's app descriptor.
        found: String,
        /// As the caller said.
        wanted: String,
    },
    /// Not a multiple of 4096 up to 16384.
    #[error("the block length {0} is not 4096, 8192, 12288 or 16384")]
    BlockLen(u32),
    /// The table of so many blocks would not fit into one block.
    #[error(
        "an image of {image_len} bytes needs blocks of at least {needed} bytes; leave out --block-len {block_len}"
    )]
    BlockLenTooSmall {
        /// As asked for.
        block_len: u32,
        /// Length of the image.
        image_len: u32,
        /// The smallest that does.
        needed: u32,
    },
    /// No block length makes the table of this image fit.
    #[error("an image of {0} bytes is too long for this version of the format")]
    TooManyBlocks(u32),
    /// There is no signature.
    #[error("the package is not signed")]
    Sign(#[from] SignError),
    /// It cannot be encrypted to these keys.
    #[error(transparent)]
    Encrypt(#[from] EncryptError),
    /// The header would not be taken by a reader.
    #[error("the image's own header does not make a valid package")]
    Header(#[from] HeaderError),
}

/// Makes a signed package of an app image. The same image, key and options make the same bytes, unless they are encrypted: then
/// the content key is another each time.
///
/// # Errors
/// Whatever a device would refuse is refused here, with what to do about it; see [`PackError`].
pub fn pack(image: &[u8], key: &SigningKey, options: &Options) -> Result<Package, PackError> {
    pack_by(image, key, options)
}

/// The same, signed by whoever does.
///
/// # Errors
/// See [`PackError`].
pub fn pack_by(image: &[u8], signer: &dyn Signer, options: &Options) -> Result<Package, PackError> {
    let info = check_image(image, options)?;
    let image_len = info.len;
    check_block_len(options.block_len, image_len)?;
    let (codec, mut blocks) = encode_blocks(image, options);
    let mut header = Header {
        flags: Flags {
            cosigned: options.cosigned,
            unguarded: !has_guard(&info),
        },
        codec,
        cipher: Cipher::None,
        chip_id: info.chip.0,
        min_chip_rev: info.min_rev_full,
        max_chip_rev: info.max_rev_full,
        security_version: info.desc.secure_version,
        image_len,
        block_len: options.block_len,
        table_len: (blocks.len() * TABLE_ENTRY_LEN) as u32,
        sequence: options.sequence,
        created: options.created,
        key_id: signer.public_key().key_id(),
        image_sha256: Sha256Digest::of(image),
        table_sha256: Sha256Digest::ZERO,
        base_sha256: Sha256Digest::ZERO,
        product: info.desc.project,
        version: info.desc.version,
        recipients_len: 0,
        recipients: 0,
        kem: KEM_NONE,
        recipients_digest: [0; 24],
    };
    let mut recipients = Vec::new();
    if !options.encrypt_to.is_empty() {
        (recipients, blocks) = encrypt(&mut header, &options.encrypt_to, blocks)?;
    }
    let table: Vec<u8> = blocks
        .iter()
        .flat_map(|block| entry_of(block).encode())
        .collect();
    header.table_sha256 = Sha256Digest::of(&table);
    let signature = sign(signer, &header.signed_message())?;
    let signed = SignedHeader::new(header, signature)?;
    // None yet.
    let cosignatures: &[u8] = if options.cosigned { &[0] } else { &[] };
    let bytes = [
        &signed.to_bytes()[..],
        &table,
        &recipients,
        cosignatures,
        &blocks.concat(),
    ]
    .concat();
    Ok(Package {
        bytes,
        header: signed.untrusted().clone(),
        image: info,
    })
}

/// Checks an image without signing anything: what [`pack`] would refuse, this refuses.
///
/// # Errors
/// See [`PackError`].
pub fn check_image(image: &[u8], options: &Options) -> Result<ImageInfo, PackError> {
    match FileKind::of(image) {
        FileKind::EspImage => {}
        FileKind::Package => return Err(PackError::IsPackage),
        other => return Err(PackError::NotAnImage(other)),
    }
    let info = esp_image::check(image).map_err(|source| match source {
        ImageError::TrailingBytes => trailing_bytes(image),
        problem => PackError::Image {
            problem,
            file_len: image.len(),
        },
    })?;
    if info.len > options.slot_size {
        return Err(PackError::TooBig {
            image_len: info.len,
            slot_size: options.slot_size,
        });
    }
    if !has_guard(&info) && !options.allow_unguarded {
        return Err(match info.guard {
            None => PackError::NoBootGuard,
            Some(guard) => PackError::OtherBootGuard {
                found: guard.journal_version,
            },
        });
    }
    agrees(
        "project name",
        "`esp_app_desc!` or CMake's `project()`",
        "product",
        &info.desc.project,
        options.product.as_ref(),
    )?;
    agrees(
        "version",
        "the crate's version, `esp_app_desc!` or PROJECT_VER",
        "version",
        &info.desc.version,
        options.version.as_ref(),
    )?;
    Ok(info)
}

/// Whether the image has a boot guard that works with the journal of this version.
pub(crate) fn has_guard(image: &ImageInfo) -> bool {
    image
        .guard
        .is_some_and(|guard| guard.journal_version == JOURNAL_VERSION)
}

fn agrees(
    name: &'static str,
    hint: &'static str,
    field: &'static str,
    found: &FixedText<32>,
    wanted: Option<&String>,
) -> Result<(), PackError> {
    if found.is_empty() {
        return Err(PackError::EmptyField { field: name, hint });
    }
    match wanted {
        Some(wanted) if found.as_str() != wanted => Err(PackError::Disagrees {
            field,
            found: found.as_str().to_owned(),
            wanted: wanted.clone(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn check_block_len(block_len: u32, image_len: u32) -> Result<(), PackError> {
    let table_fits =
        |block_len: u32| image_len.div_ceil(block_len) * TABLE_ENTRY_LEN as u32 <= block_len;
    let lengths =
        || (1..=MAX_BLOCK_LEN as u32 / BLOCK_LEN_UNIT).map(|units| units * BLOCK_LEN_UNIT);
    if !lengths().any(|len| len == block_len) {
        return Err(PackError::BlockLen(block_len));
    }
    if table_fits(block_len) {
        return Ok(());
    }
    match lengths().find(|len| table_fits(*len)) {
        Some(needed) => Err(PackError::BlockLenTooSmall {
            block_len,
            image_len,
            needed,
        }),
        None => Err(PackError::TooManyBlocks(image_len)),
    }
}

fn encode_blocks(image: &[u8], options: &Options) -> (Codec, Vec<Vec<u8>>) {
    let plain = image.chunks(options.block_len as usize);
    let stored = || plain.clone().map(<[u8]>::to_vec).collect();
    if options.codec == CodecChoice::Stored {
        return (Codec::Stored, stored());
    }
    let deflated: Vec<Vec<u8>> = plain.clone().map(codec::deflate).collect();
    let len: usize = deflated.iter().map(Vec::len).sum();
    let worthwhile = len * 100 <= image.len() * (100 - WORTHWHILE_PERCENT);
    if worthwhile || options.codec == CodecChoice::Deflate {
        (Codec::Deflate, deflated)
    } else {
        (Codec::Stored, stored())
    }
}

fn entry_of(stored: &[u8]) -> BlockEntry {
    BlockEntry {
        stored_len: stored.len() as u32,
        sha256: Sha256Digest::of(stored),
    }
}

/// Finds where the image ends: at a multiple of 16, behind its SHA-256.
fn trailing_bytes(file: &[u8]) -> PackError {
    let mut checker = ImageChecker::new();
    let image_len: usize = file
        .chunks(16)
        .take_while(|line| checker.update(line).is_ok())
        .map(<[u8]>::len)
        .sum();
    PackError::TrailingBytes {
        image_len,
        trailing: file.len() - image_len,
    }
}

/// What to do about a bad image.
fn advice(error: ImageError) -> &'static str {
    match error {
        ImageError::Truncated => "copy it again, or build it again",
        ImageError::Checksum | ImageError::Hash | ImageError::Padding => {
            "it was changed after it was built: build it again, or copy it again"
        }
        ImageError::NoHash => {
            "build it with an appended SHA-256, as espflash and ESP-IDF do unless told otherwise"
        }
        ImageError::NoDescriptor => {
            "add `esp_bootloader_esp_idf::esp_app_desc!()` to the program (with ESP-IDF it is always there); if this is \
             a bootloader, package the app instead"
        }
        ImageError::DescriptorText => "set the project's name and version to printable ASCII",
        ImageError::TrailingBytes => "cut off what follows it",
        ImageError::Magic
        | ImageError::SegmentCount(_)
        | ImageError::SegmentLen { .. }
        | ImageError::LoadAddress { .. }
        | ImageError::Overlap { .. }
        | ImageError::Misaligned { .. }
        | ImageError::EntryPoint => "check the linker script and the chip it was built for",
    }
}
