//! Packages with a header that any key has signed: the stores are made from verified headers and look at no signature.

use otaria_wire::guard::MARKER;
use otaria_wire::package::{
    BlockEntry, BlockTable, Cipher, Codec, Flags, Header, KEM_NONE, KeyId, SIGNATURE_LEN,
    SignatureError, SignedHeader, VerifiedHeader, VerifySignature,
};
use otaria_wire::{FixedText, Sha256Digest, esp_image};

struct AnyKey;

impl VerifySignature for AnyKey {
    fn verify(&self, _: &KeyId, _: &[u8], _: &[u8; SIGNATURE_LEN]) -> Result<(), SignatureError> {
        Ok(())
    }
}

pub(crate) struct Package {
    pub(crate) image: Vec<u8>,
    pub(crate) header: VerifiedHeader,
    table: Vec<u8>,
}

impl Package {
    /// `image`, stored, in blocks.
    pub(crate) fn new(image: &[u8], version: &str, block_len: u32) -> Self {
        let info = esp_image::check(image).unwrap();
        let guarded = image.windows(MARKER.len()).any(|bytes| bytes == MARKER);
        let entries = image.chunks(block_len as usize).map(|block| {
            let stored_len = block.len() as u32;
            BlockEntry {
                stored_len,
                sha256: Sha256Digest::of(block),
            }
            .encode()
        });
        let table: Vec<u8> = entries.flatten().collect();
        let header = Header {
            flags: Flags {
                cosigned: false,
                unguarded: !guarded,
            },
            codec: Codec::Stored,
            cipher: Cipher::None,
            chip_id: info.chip.0,
            min_chip_rev: 0,
            max_chip_rev: 0,
            security_version: info.desc.secure_version,
            image_len: image.len() as u32,
            block_len,
            table_len: table.len() as u32,
            sequence: 1,
            created: 0,
            key_id: KeyId([1; 8]),
            image_sha256: Sha256Digest::of(image),
            table_sha256: Sha256Digest::of(&table),
            base_sha256: Sha256Digest::ZERO,
            product: info.desc.project,
            version: FixedText::try_from(version).unwrap(),
            recipients_len: 0,
            recipients: 0,
            kem: KEM_NONE,
            recipients_digest: [0; 24],
        };
        let header = SignedHeader::new(header, [0; SIGNATURE_LEN]).unwrap();
        Self {
            image: image.to_vec(),
            header: header.verify(&AnyKey).unwrap(),
            table,
        }
    }

    pub(crate) fn identity8(&self) -> [u8; 8] {
        self.header.identity().first8()
    }

    pub(crate) fn table(&self) -> BlockTable<'_> {
        BlockTable::check(&self.header, &self.table).unwrap()
    }

    /// The plain bytes of a block.
    pub(crate) fn block(&self, index: u32) -> &[u8] {
        self.image
            .chunks(self.header.block_len as usize)
            .nth(index as usize)
            .unwrap()
    }
}
