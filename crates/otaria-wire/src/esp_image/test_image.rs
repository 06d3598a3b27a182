//! Makes images for tests.

use std::vec::Vec;

use super::{APP_DESCRIPTOR_LEN, APP_DESCRIPTOR_MAGIC, CHECKSUM_SEED, ChipId, MAGIC};
use crate::Sha256Digest;

/// An image to be made; every field can be made wrong.
#[derive(Clone, Debug)]
pub(crate) struct TestImage {
    pub(crate) magic: u8,
    pub(crate) chip: ChipId,
    pub(crate) entry: u32,
    pub(crate) min_rev: u16,
    pub(crate) max_rev: u16,
    pub(crate) hash_appended: u8,
    pub(crate) segment_count: Option<u8>,
    pub(crate) segments: Vec<(u32, Vec<u8>)>,
    pub(crate) padding: u8,
    pub(crate) checksum_mask: u8,
    pub(crate) hash_mask: u8,
}

/// An app descriptor.
pub(crate) fn descriptor(project: &str, version: &str, secure_version: u32) -> Vec<u8> {
    let mut bytes = std::vec![0; APP_DESCRIPTOR_LEN];
    bytes[..4].copy_from_slice(&APP_DESCRIPTOR_MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&secure_version.to_le_bytes());
    bytes[16..16 + version.len()].copy_from_slice(version.as_bytes());
    bytes[48..48 + project.len()].copy_from_slice(project.as_bytes());
    bytes[144..176].fill(0xE1);
    bytes
}

impl TestImage {
    /// A good image for an ESP32-C3: a flash segment with the descriptor, then RAM.
    pub(crate) fn good() -> Self {
        let mut rodata = descriptor("pump", "1.2.3", 7);
        rodata.extend(b"rodata..");
        Self {
            magic: MAGIC,
            chip: ChipId::ESP32C3,
            entry: 0x4038_0004,
            min_rev: 3,
            max_rev: 199,
            hash_appended: 1,
            segment_count: None,
            segments: std::vec![(0x3C00_0020, rodata), (0x4038_0000, std::vec![0x13; 24])],
            padding: 0,
            checksum_mask: 0,
            hash_mask: 0,
        }
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut bytes = std::vec![
            self.magic,
            self.segment_count.unwrap_or(self.segments.len() as u8),
            2,
            0x20
        ];
        bytes.extend(self.entry.to_le_bytes());
        bytes.extend([0xEE, 0, 0, 0]);
        bytes.extend(self.chip.0.to_le_bytes());
        bytes.push(0);
        bytes.extend(self.min_rev.to_le_bytes());
        bytes.extend(self.max_rev.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.push(self.hash_appended);
        let mut checksum = CHECKSUM_SEED;
        for (load, data) in &self.segments {
            bytes.extend(load.to_le_bytes());
            bytes.extend((data.len() as u32).to_le_bytes());
            bytes.extend(data);
            checksum = data.iter().fold(checksum, |checksum, byte| checksum ^ byte);
        }
        while bytes.len() % 16 != 15 {
            bytes.push(self.padding);
        }
        bytes.push(checksum ^ self.checksum_mask);
        let mut hash = Sha256Digest::of(&bytes).0;
        hash[0] ^= self.hash_mask;
        bytes.extend(hash);
        bytes
    }
}
