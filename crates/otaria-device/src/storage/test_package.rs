//! Packages for the unit tests: a good ESP image of any length, stored in blocks, with a header that any key has signed.

use std::vec;
use std::vec::Vec;

use otaria_wire::esp_image::{APP_DESCRIPTOR_LEN, APP_DESCRIPTOR_MAGIC, CHECKSUM_SEED, MAGIC};
use otaria_wire::guard::MARKER;
use otaria_wire::package::{
    BlockEntry, BlockTable, Cipher, Codec, Flags, Header, KEM_NONE, KeyId, SIGNATURE_LEN,
    SignatureError, SignedHeader, VerifiedHeader, VerifySignature,
};
use otaria_wire::{FixedText, Sha256Digest};

/// Trusts everybody.
struct AnyKey;

impl VerifySignature for AnyKey {
    fn verify(&self, _: &KeyId, _: &[u8], _: &[u8; SIGNATURE_LEN]) -> Result<(), SignatureError> {
        Ok(())
    }
}

/// A package and the image in it.
pub(crate) struct TestPackage {
    pub(crate) image: Vec<u8>,
    pub(crate) header: VerifiedHeader,
    pub(crate) table: Vec<u8>,
}

impl TestPackage {
    /// An image of `len` bytes in blocks of `block_len`; `n` makes packages differ everywhere.
    pub(crate) fn new(n: u8, len: usize, block_len: u32) -> Self {
        Self::with(image(n, len, true), n, block_len, |_| {})
    }

    /// Any image, and a header that is changed before it is signed.
    pub(crate) fn with(
        image: Vec<u8>,
        n: u8,
        block_len: u32,
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let blocks = image.chunks(block_len as usize);
        let table: Vec<u8> = blocks
            .flat_map(|block| {
                let stored_len = block.len() as u32;
                BlockEntry {
                    stored_len,
                    sha256: Sha256Digest::of(block),
                }
                .encode()
            })
            .collect();
        let mut header = Header {
            flags: Flags {
                cosigned: false,
                unguarded: false,
            },
            codec: Codec::Stored,
            cipher: Cipher::None,
            chip_id: 5,
            min_chip_rev: 0,
            max_chip_rev: 0,
            security_version: 7,
            image_len: image.len() as u32,
            block_len,
            table_len: table.len() as u32,
            sequence: u64::from(n),
            created: 0,
            key_id: KeyId([1; 8]),
            image_sha256: Sha256Digest::of(&image),
            table_sha256: Sha256Digest::of(&table),
            base_sha256: Sha256Digest::ZERO,
            product: FixedText::try_from("pump").unwrap(),
            version: FixedText::try_from("1.2.3").unwrap(),
            recipients_len: 0,
            recipients: 0,
            kem: KEM_NONE,
            recipients_digest: [0; 24],
        };
        change(&mut header);
        let header = SignedHeader::new(header, [0; SIGNATURE_LEN]).unwrap();
        Self {
            image,
            header: header.verify(&AnyKey).unwrap(),
            table,
        }
    }

    pub(crate) fn table(&self) -> BlockTable<'_> {
        BlockTable::check(&self.header, &self.table).unwrap()
    }

    /// The plain bytes of a block.
    pub(crate) fn block(&self, index: u32) -> &[u8] {
        let len = self.header.block_len as usize;
        self.image.chunks(len).nth(index as usize).unwrap()
    }
}

/// An image for an ESP32-C3: a flash segment that begins with the descriptor, then RAM.
pub(crate) fn image(n: u8, len: usize, guarded: bool) -> Vec<u8> {
    assert!(len.is_multiple_of(16) && len >= 512);
    let mut descriptor = vec![0; APP_DESCRIPTOR_LEN];
    descriptor[..4].copy_from_slice(&APP_DESCRIPTOR_MAGIC.to_le_bytes());
    descriptor[4] = 7;
    descriptor[16..21].copy_from_slice(b"1.2.3");
    descriptor[48..52].copy_from_slice(b"pump");
    let mut rodata = descriptor;
    if guarded {
        rodata.extend(MARKER);
    }
    // Header, two segment headers, 16 bytes of code, the line with the checksum, the hash.
    let filler = len - 24 - 8 - 8 - 16 - 8 - 32 - rodata.len();
    let mut state = u32::from(n) + 1;
    rodata.extend((0..filler).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }));
    let segments = [(0x3C00_0020u32, rodata), (0x4038_0000, vec![n; 16])];
    let mut image = vec![MAGIC, 2, 2, 0x20];
    image.extend(0x4038_0000u32.to_le_bytes());
    image.extend([0xEE, 0, 0, 0, 5, 0, 0]);
    image.extend([0; 8]);
    image.push(1);
    let mut checksum = CHECKSUM_SEED;
    for (load, data) in segments {
        image.extend(load.to_le_bytes());
        image.extend((data.len() as u32).to_le_bytes());
        checksum = data.iter().fold(checksum, |checksum, byte| checksum ^ byte);
        image.extend(data);
    }
    while image.len() % 16 != 15 {
        image.push(0);
    }
    image.push(checksum);
    let hash = Sha256Digest::of(&image);
    image.extend(hash.0);
    assert_eq!(image.len(), len);
    image
}
