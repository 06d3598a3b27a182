//! An app's ELF to the ESP image that the virtual board's loader takes.
//!
//! espflash does this for chips; it knows no virtual board. The image is the one that `otaria_wire::esp_image` draws: all
//! segments in RAM, [`ChipId::VIRT`] in the header, checksum and SHA-256 at the end.

use otaria_wire::esp_image::{
    APP_DESCRIPTOR_LEN, APP_DESCRIPTOR_OFFSET, CHECKSUM_SEED, ChipId, HEADER_LEN, ImageError,
    MAGIC, MAX_SEGMENTS, SEGMENT_HEADER_LEN, check,
};
use sha2::{Digest as _, Sha256};

/// `PT_LOAD` and `EM_RISCV` of the ELF specification.
const PT_LOAD: u32 = 1;
const EM_RISCV: u16 = 243;
const ELF_HEADER_LEN: usize = 52;
const PROGRAM_HEADER_LEN: usize = 32;
/// Where `esp_app_desc_t` holds the digest of the ELF.
const ELF_DIGEST_AT: usize = 144;

/// Why an ELF does not become an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not a 32-bit little-endian ELF for RISC-V.
    #[error(
        "this is no ELF for 32-bit RISC-V; build the app with --target riscv32imc-unknown-none-elf"
    )]
    NotForThisMachine,
    /// A header or segment lies behind the end of the file.
    #[error("the ELF ends early")]
    Truncated,
    /// Too many segments, or none.
    #[error("the ELF has {0} segments to load; 1 to {MAX_SEGMENTS} are allowed")]
    Segments(usize),
    /// What was made is no good image.
    #[error("the ELF makes no image for the virtual board: {0}; check its linker script")]
    Image(#[from] ImageError),
}

struct Segment<'a> {
    load: u32,
    data: &'a [u8],
}

/// Makes the image.
///
/// # Errors
/// See [`ElfError`]. What it returns is an image that the loader takes.
pub fn from_elf(elf: &[u8]) -> Result<Vec<u8>, ElfError> {
    let is_ours = elf.starts_with(b"\x7fELF\x01\x01") && half(elf, 18) == Some(EM_RISCV);
    if !is_ours || elf.len() < ELF_HEADER_LEN {
        return Err(ElfError::NotForThisMachine);
    }
    let entry = word(elf, 24).ok_or(ElfError::Truncated)?;
    let segments = segments(elf)?;
    let mut image = vec![0; HEADER_LEN];
    let mut checksum = CHECKSUM_SEED;
    for Segment { load, data } in &segments {
        let padded = data.len().next_multiple_of(4);
        image.extend_from_slice(&load.to_le_bytes());
        image.extend_from_slice(&(padded as u32).to_le_bytes());
        image.extend_from_slice(data);
        image.resize(image.len() + padded - data.len(), 0);
    }
    // `esp_image_header_t`: DIO, 40 MHz, 4 MB, as a bootloader would want it of a chip.
    image[..4].copy_from_slice(&[MAGIC, segments.len() as u8, 2, 0x20]);
    image[4..8].copy_from_slice(&entry.to_le_bytes());
    image[8] = 0xEE;
    image[12..14].copy_from_slice(&ChipId::VIRT.0.to_le_bytes());
    image[17..19].copy_from_slice(&u16::MAX.to_le_bytes());
    image[HEADER_LEN - 1] = 1;
    let descriptor = APP_DESCRIPTOR_OFFSET as usize;
    if image.len() < descriptor + APP_DESCRIPTOR_LEN {
        return Err(ElfError::Image(ImageError::NoDescriptor));
    }
    let digest = descriptor + ELF_DIGEST_AT;
    image[digest..digest + 32].copy_from_slice(&Sha256::digest(elf));
    let mut at = HEADER_LEN;
    for Segment { data, .. } in &segments {
        let start = at + SEGMENT_HEADER_LEN;
        at = start + data.len().next_multiple_of(4);
        checksum = image[start..at]
            .iter()
            .fold(checksum, |sum, byte| sum ^ byte);
    }
    image.resize(image.len() + 15 - image.len() % 16, 0);
    image.push(checksum);
    let digest = Sha256::digest(&image);
    image.extend_from_slice(&digest);
    check(&image)?;
    Ok(image)
}

/// What is to be loaded, in the order of addresses: the app descriptor is linked first.
fn segments(elf: &[u8]) -> Result<Vec<Segment<'_>>, ElfError> {
    let table = word(elf, 28).ok_or(ElfError::Truncated)? as usize;
    let entry_len = usize::from(half(elf, 42).ok_or(ElfError::Truncated)?);
    let count = usize::from(half(elf, 44).ok_or(ElfError::Truncated)?);
    if entry_len < PROGRAM_HEADER_LEN {
        return Err(ElfError::NotForThisMachine);
    }
    let mut segments = Vec::new();
    for index in 0..count {
        let header = table + index * entry_len;
        let field = |at: usize| word(elf, header + at).ok_or(ElfError::Truncated);
        let (kind, offset, load, len) = (field(0)?, field(4)?, field(12)?, field(16)?);
        if kind != PT_LOAD || len == 0 {
            continue;
        }
        let start = offset as usize;
        let data = elf.get(start..).and_then(|rest| rest.get(..len as usize));
        segments.push(Segment {
            load,
            data: data.ok_or(ElfError::Truncated)?,
        });
    }
    segments.sort_by_key(|segment| segment.load);
    if segments.is_empty() || segments.len() > MAX_SEGMENTS {
        return Err(ElfError::Segments(segments.len()));
    }
    Ok(segments)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*word))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let half = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF with one segment at the start of the virtual board's app RAM.
    fn elf(data: &[u8]) -> Vec<u8> {
        let mut elf = vec![0; ELF_HEADER_LEN + PROGRAM_HEADER_LEN];
        elf[..6].copy_from_slice(b"\x7fELF\x01\x01");
        elf[18..20].copy_from_slice(&EM_RISCV.to_le_bytes());
        let put = |elf: &mut Vec<u8>, at: usize, value: u32| {
            elf[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(&mut elf, 24, 0x8010_0100);
        put(&mut elf, 28, ELF_HEADER_LEN as u32);
        elf[42] = PROGRAM_HEADER_LEN as u8;
        elf[44] = 1;
        let header = ELF_HEADER_LEN;
        let start = elf.len() as u32;
        for (at, value) in [
            (0, PT_LOAD),
            (4, start),
            (12, 0x8010_0000),
            (16, data.len() as u32),
        ] {
            put(&mut elf, header + at, value);
        }
        elf.extend_from_slice(data);
        elf
    }

    fn app() -> Vec<u8> {
        let mut data = vec![0; 0x201];
        data[..4].copy_from_slice(&0xABCD_5432_u32.to_le_bytes());
        data[16..21].copy_from_slice(b"1.0.0");
        data[48..52].copy_from_slice(b"pump");
        data
    }

    #[test]
    fn an_elf_becomes_an_image_that_the_checker_takes_for_the_virtual_board() {
        let image = from_elf(&elf(&app())).unwrap();
        let info = check(&image).unwrap();
        assert_eq!(info.chip, ChipId::VIRT);
        assert_eq!(info.entry, 0x8010_0100);
        assert_eq!(info.desc.version.as_str(), "1.0.0");
        assert_eq!(info.desc.project.as_str(), "pump");
        assert_eq!(info.len as usize, image.len());
    }

    #[test]
    fn what_is_no_elf_for_this_machine_is_refused_by_name() {
        let good = elf(&app());
        let mut for_pc = good.clone();
        for_pc[18..20].copy_from_slice(&62_u16.to_le_bytes());
        assert_eq!(from_elf(&for_pc), Err(ElfError::NotForThisMachine));
        assert_eq!(from_elf(b"#!/bin/sh\n"), Err(ElfError::NotForThisMachine));
        assert_eq!(from_elf(&[]), Err(ElfError::NotForThisMachine));
        for len in ELF_HEADER_LEN..good.len() {
            assert_eq!(from_elf(&good[..len]), Err(ElfError::Truncated), "{len}");
        }
    }

    #[test]
    fn an_app_without_descriptor_or_outside_of_ram_is_refused() {
        assert_eq!(
            from_elf(&elf(&[0; 0x201])),
            Err(ElfError::Image(ImageError::NoDescriptor))
        );
        let mut elsewhere = elf(&app());
        elsewhere[ELF_HEADER_LEN + 12..][..4].copy_from_slice(&0x4200_0000_u32.to_le_bytes());
        assert_eq!(
            from_elf(&elsewhere),
            Err(ElfError::Image(ImageError::LoadAddress { segment: 0 }))
        );
    }
}
