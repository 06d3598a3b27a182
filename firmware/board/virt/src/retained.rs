//! What outlives a reset: why it happened, and the last words of a panic.
//!
//! QEMU keeps RAM over `qemu_system_reset` and writes anew only what it loaded at start (the loader's ELF, the device tree:
//! `hw/core/loader.c`, `rom_reset`). This page lies beside those. After a power cut (a new QEMU process) it is zeros: then there
//! is no record, which means power-on.
//!
//! ```text
//!   0  4  magic "OTRR"
//!   4  4  reason
//!   8  4  length of the text, at most 500
//!  12  .  text, UTF-8
//!   .  4  CRC-32 over everything before, in the last word of the 512 bytes
//! ```

use core::fmt;
use core::ptr::{read_volatile, write_volatile};

use otaria_wire::Crc32;
use otaria_wire::messages::ResetReason;

use crate::map;

const MAGIC: u32 = u32::from_le_bytes(*b"OTRR");
const RECORD_LEN: usize = 512;
const CRC_AT: usize = RECORD_LEN - 4;
const TEXT_AT: usize = 12;
/// Longest text.
pub const TEXT_LEN: usize = CRC_AT - TEXT_AT;

const _: () = assert!(map::RETAINED + RECORD_LEN <= map::STRAPS);

/// Reasons that software can give. What is not here is a power-on.
const REASONS: [(u32, ResetReason); 3] = [
    (1, ResetReason::Software),
    (2, ResetReason::Panic),
    (3, ResetReason::Watchdog),
];

/// The record of one reset.
#[derive(Clone, Debug)]
pub struct Record {
    bytes: [u8; RECORD_LEN],
    reason: ResetReason,
    text_len: usize,
}

impl Record {
    /// A record without text; write to it to add some. What is too long is cut off.
    #[must_use]
    pub fn new(reason: ResetReason) -> Self {
        Self {
            bytes: [0; RECORD_LEN],
            reason,
            text_len: 0,
        }
    }

    /// Takes the record out of RAM: a second call finds none.
    #[must_use]
    pub fn take() -> Option<Self> {
        let mut bytes = [0; RECORD_LEN];
        for (word, piece) in bytes.chunks_exact_mut(4).enumerate() {
            piece.copy_from_slice(&load(word).to_le_bytes());
        }
        store(0, 0);
        Self::parse(bytes)
    }

    /// Puts the record into RAM for the next boot.
    pub fn keep(mut self) {
        let number = REASONS
            .iter()
            .find(|(_, reason)| *reason == self.reason)
            .map_or(0, |(number, _)| *number);
        let text_len = self.text_len as u32;
        for (at, word) in [(0, MAGIC), (4, number), (8, text_len)] {
            put(&mut self.bytes, at, word);
        }
        let crc = checksum(&self.bytes);
        put(&mut self.bytes, CRC_AT, crc);
        for (word, piece) in self.bytes.chunks_exact(4).enumerate() {
            store(word, get(piece, 0));
        }
    }

    /// Why the chip was reset.
    #[must_use]
    pub fn reason(&self) -> ResetReason {
        self.reason
    }

    /// What was said about it.
    #[must_use]
    pub fn text(&self) -> &str {
        let text = self.bytes.get(TEXT_AT..TEXT_AT + self.text_len);
        core::str::from_utf8(text.unwrap_or_default()).unwrap_or("(not readable)")
    }

    fn parse(bytes: [u8; RECORD_LEN]) -> Option<Self> {
        let number = get(&bytes, 4);
        let reason = REASONS.iter().find(|(known, _)| *known == number)?.1;
        let text_len = usize::try_from(get(&bytes, 8)).ok()?;
        let whole = get(&bytes, 0) == MAGIC
            && text_len <= TEXT_LEN
            && get(&bytes, CRC_AT) == checksum(&bytes);
        whole.then_some(Self {
            bytes,
            reason,
            text_len,
        })
    }
}

impl fmt::Write for Record {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for char in text.chars() {
            let mut utf8 = [0; 4];
            let piece = char.encode_utf8(&mut utf8).as_bytes();
            let at = TEXT_AT + self.text_len;
            let end = at + piece.len();
            if end > CRC_AT {
                return Ok(());
            }
            if let Some(room) = self.bytes.get_mut(at..end) {
                room.copy_from_slice(piece);
                self.text_len += piece.len();
            }
        }
        Ok(())
    }
}

fn checksum(bytes: &[u8; RECORD_LEN]) -> u32 {
    Crc32::new()
        .with(bytes.get(..CRC_AT).unwrap_or_default())
        .finish()
}

fn get(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |word| u32::from_le_bytes(*word))
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

fn load(word: usize) -> u32 {
    debug_assert!(word * 4 < RECORD_LEN);
    // SAFETY: RAM of the machine (`virt_memmap[VIRT_DRAM]` of hw/riscv/virt.c) that no linker script of this board hands out
    // (see `map`): nothing else refers to it. Volatile, because it comes from before this program.
    unsafe { read_volatile((map::RETAINED as *const u32).add(word)) }
}

fn store(word: usize, value: u32) {
    debug_assert!(word * 4 < RECORD_LEN);
    // SAFETY: as in `load`; nobody holds a reference. Volatile, because it is read after this program.
    unsafe { write_volatile((map::RETAINED as *mut u32).add(word), value) }
}
