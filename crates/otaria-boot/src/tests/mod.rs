//! A flash with a bootloader's eye on it.

mod apps;
mod images;
mod selection;

use std::vec;
use std::vec::Vec;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use otaria_wire::Sha256Digest;
use otaria_wire::otadata::{Entry, OtaState};
use otaria_wire::partitions::{
    APP_OTA_0, DATA_OTADATA, PARTITION_TABLE_OFFSET, Partition, Region, TYPE_APP, TYPE_DATA,
};

use super::*;

const OTADATA: u32 = 0xD000;
const SLOT_LEN: u32 = 0x10000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    NoPower,
    Worn,
    Rule,
}

impl NorFlashError for Fault {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// A flash in RAM that counts its commands and can lose its power after some of them.
struct Ram {
    cells: Vec<u8>,
    commands: u32,
    /// Commands until the power goes.
    power: u32,
    worn: bool,
}

impl ErrorType for Ram {
    type Error = Fault;
}

impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Fault> {
        assert!(offset.is_multiple_of(4) && bytes.len().is_multiple_of(4));
        if self.commands > self.power {
            return Err(Fault::NoPower);
        }
        bytes.copy_from_slice(&self.cells[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.cells.len()
    }
}

impl Ram {
    fn command(&mut self) -> Result<(), Fault> {
        self.commands += 1;
        if self.commands > self.power {
            Err(Fault::NoPower)
        } else if self.worn {
            Err(Fault::Worn)
        } else {
            Ok(())
        }
    }
}

impl NorFlash for Ram {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Fault> {
        self.command()?;
        assert!(from.is_multiple_of(4096) && to.is_multiple_of(4096));
        self.cells[from as usize..to as usize].fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Fault> {
        self.command()?;
        let cells = &mut self.cells[offset as usize..][..bytes.len()];
        if bytes
            .iter()
            .zip(cells.iter())
            .any(|(new, old)| new & !old != 0)
        {
            return Err(Fault::Rule);
        }
        cells.copy_from_slice(bytes);
        Ok(())
    }
}

/// What lies in an otadata sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sector {
    Blank,
    Good(u32, OtaState),
    BadCrc(u32, OtaState),
}

impl Sector {
    fn bytes(self) -> [u8; 32] {
        match self {
            Sector::Blank => [0xFF; 32],
            Sector::Good(seq, state) => Entry::new(seq, state).encode(),
            Sector::BadCrc(seq, state) => {
                let mut bytes = Entry::new(seq, state).encode();
                bytes[28] ^= 0x10;
                bytes
            }
        }
    }
}

fn partition(name: &str, kind: u8, subtype: u8, offset: u32, len: u32) -> Partition {
    let name = name.try_into().unwrap();
    Partition {
        kind,
        subtype,
        region: Region { offset, len },
        name,
        flags: 0,
    }
}

fn otadata_partition() -> Partition {
    partition("otadata", TYPE_DATA, DATA_OTADATA, OTADATA, 0x2000)
}

fn slot_partition(slot: u8) -> Partition {
    let offset = 0x10000 + u32::from(slot) * SLOT_LEN;
    partition(
        &std::format!("ota_{slot}"),
        TYPE_APP,
        APP_OTA_0 + slot,
        offset,
        SLOT_LEN,
    )
}

/// A flash with these partitions and nothing else.
fn flash_with(partitions: &[Partition]) -> Ram {
    let mut flash = Ram {
        cells: vec![0xFF; 0x60000],
        commands: 0,
        power: u32::MAX,
        worn: false,
    };
    let table = otaria_wire::partitions::encode(partitions).unwrap();
    load(&mut flash, PARTITION_TABLE_OFFSET, &table);
    flash
}

/// A flash with two slots, a good image in both, and this otadata.
fn flash(first: Sector, second: Sector) -> Ram {
    let mut flash = flash_with(&[otadata_partition(), slot_partition(0), slot_partition(1)]);
    load(&mut flash, OTADATA, &first.bytes());
    load(&mut flash, OTADATA + 0x1000, &second.bytes());
    load(&mut flash, 0x10000, &image());
    load(&mut flash, 0x20000, &image());
    flash
}

fn load(flash: &mut Ram, at: u32, bytes: &[u8]) {
    flash.cells[at as usize..][..bytes.len()].copy_from_slice(bytes);
}

/// A good image for an ESP32-C3 of revision 0.3 to 1.99.
fn image() -> Vec<u8> {
    let mut descriptor = vec![0; 256];
    descriptor[..4].copy_from_slice(&0xABCD_5432u32.to_le_bytes());
    descriptor[16..21].copy_from_slice(b"1.2.3");
    descriptor[48..52].copy_from_slice(b"pump");
    let mut image = vec![0xE9, 2, 2, 0x20];
    image.extend(0x4038_0004u32.to_le_bytes());
    image.extend([0xEE, 0, 0, 0, 5, 0, 0, 3, 0, 199, 0, 0, 0, 0, 0, 1]);
    let mut checksum = 0xEF;
    for (address, data) in [
        (0x3C00_0020u32, descriptor),
        (0x4038_0000, vec![0x13; 5000]),
    ] {
        image.extend(address.to_le_bytes());
        image.extend((data.len() as u32).to_le_bytes());
        checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
        image.extend(data);
    }
    image.resize(image.len() / 16 * 16 + 15, 0);
    image.push(checksum);
    let hash = Sha256Digest::of(&image).0;
    image.extend(hash);
    image
}
