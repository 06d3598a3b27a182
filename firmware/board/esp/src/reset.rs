//! Why the chip started, and the last panic.
//!
//! A panic resets the chip by software, as the application does when it wants to. What tells the two apart is a record that the
//! panic handler leaves in memory that a reset by software does not clear:
//!
//! ```text
//!  0   magic        4   "OTPR"
//!  4   CRC-32       4   over all that follows
//!  8   text length  4   bytes
//! 12   addresses    4   how many
//! 16   backtrace   64   return addresses, innermost first
//! 80   text       200   message and place, UTF-8, cut where it does not fit
//! ```
//!
//! The record is in RTC fast memory; on ESP32-C2, which has none, in RAM that neither ROM nor bootloader writes to. Whatever lies
//! there after a power-on, or after a write that was cut, has the wrong checksum.

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::sync::atomic::{Ordering, compiler_fence};

use esp_hal::rtc_cntl::reset_reason as of_core;
use esp_hal::system::Cpu;
use otaria_device::board::ResetReason;
use otaria_wire::Crc32;

/// Most return addresses that are kept.
pub const MAX_BACKTRACE: usize = 16;
/// Most bytes of text that are kept: what fits a line of the log.
pub const MAX_TEXT: usize = 200;

const MAGIC: u32 = u32::from_le_bytes(*b"OTPR");
const BACKTRACE: usize = 4;
const TEXT: usize = BACKTRACE + MAX_BACKTRACE;
const WORDS: usize = TEXT + MAX_TEXT / 4;

/// Memory that outlives a reset by software.
struct Kept(UnsafeCell<[u32; WORDS]>);

// SAFETY: written by the panic handler, which interrupts nothing that goes on afterwards, and by `take`, at the start of `main`.
#[allow(unsafe_code, reason = "memory that outlives the program")]
unsafe impl Sync for Kept {}

// SAFETY: an array of numbers behind a transparent cell: any bits are a value (esp-hal 1.2, `Persistable`).
#[cfg(not(feature = "esp32c2"))]
#[allow(unsafe_code, reason = "memory that outlives the program")]
unsafe impl esp_hal::Persistable for Kept {}

#[cfg(not(feature = "esp32c2"))]
#[esp_hal::ram(unstable(rtc_fast, persistent))]
static KEPT: Kept = Kept(UnsafeCell::new([0; WORDS]));

#[cfg(feature = "esp32c2")]
#[allow(unsafe_code, reason = "memory that outlives the program")]
#[unsafe(link_section = ".noinit")]
static KEPT: Kept = Kept(UnsafeCell::new([0; WORDS]));

#[allow(unsafe_code, reason = "memory that outlives the program")]
fn read() -> [u32; WORDS] {
    // SAFETY: see `Sync` above. Volatile, because it was written by another run of the program.
    unsafe { KEPT.0.get().read_volatile() }
}

#[allow(unsafe_code, reason = "memory that outlives the program")]
fn write(words: [u32; WORDS]) {
    // SAFETY: see `Sync` above. Volatile, because it is read by another run of the program.
    unsafe { KEPT.0.get().write_volatile(words) };
    compiler_fence(Ordering::SeqCst);
}

/// The last panic.
#[derive(Clone, Debug)]
pub struct PanicRecord {
    words: [u32; WORDS],
}

impl PanicRecord {
    /// Takes the record that the boot before has left, if it has: whoever calls next finds none.
    #[must_use]
    pub fn take() -> Option<Self> {
        let record = Self { words: read() };
        write([0; WORDS]);
        record.is_whole().then_some(record)
    }

    /// Keeps a panic for the next boot.
    pub(crate) fn keep(text: fmt::Arguments<'_>, backtrace: impl Iterator<Item = u32>) {
        let mut record = Self { words: [0; WORDS] };
        let mut count = 0;
        let places = record.words.iter_mut().skip(BACKTRACE).take(MAX_BACKTRACE);
        for (place, address) in places.zip(backtrace) {
            *place = address;
            count += 1;
        }
        let mut clipped = Clipped {
            words: record.words.get_mut(TEXT..).unwrap_or_default(),
            len: 0,
        };
        // What does not fit is cut.
        let _ = clipped.write_fmt(text);
        let len = clipped.len;
        let [magic, crc, text_len, addresses, ..] = &mut record.words;
        *magic = MAGIC;
        *text_len = len as u32;
        *addresses = count;
        *crc = 0;
        let sum = record.checksum();
        let [_, crc, ..] = &mut record.words;
        *crc = sum;
        write(record.words);
    }

    fn is_whole(&self) -> bool {
        let [magic, crc, ..] = self.words;
        magic == MAGIC && crc == self.checksum()
    }

    fn checksum(&self) -> u32 {
        let summed = self.words.iter().skip(2);
        summed
            .fold(Crc32::new(), |crc, word| crc.with(&word.to_le_bytes()))
            .finish()
    }

    /// What was said, and where.
    pub fn text(&self) -> impl fmt::Display + '_ {
        Text(self)
    }

    /// The return addresses as a line of the log.
    pub fn addresses(&self) -> impl fmt::Display + '_ {
        Addresses(self)
    }

    /// Return addresses, innermost first: `addr2line -e <ELF> <addresses>` names the lines.
    pub fn backtrace(&self) -> impl Iterator<Item = u32> + '_ {
        let [_, _, _, count, ..] = self.words;
        let count = (count as usize).min(MAX_BACKTRACE);
        self.words.iter().skip(BACKTRACE).take(count).copied()
    }
}

struct Text<'a>(&'a PanicRecord);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, len, ..] = self.0.words;
        let mut bytes = [0; MAX_TEXT];
        let words = self.0.words.iter().skip(TEXT);
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let bytes = bytes
            .get(..(len as usize).min(MAX_TEXT))
            .unwrap_or_default();
        for chunk in bytes.utf8_chunks() {
            f.write_str(chunk.valid())?;
        }
        Ok(())
    }
}

struct Addresses<'a>(&'a PanicRecord);

impl fmt::Display for Addresses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("backtrace")?;
        for address in self.0.backtrace() {
            write!(f, " {address:#010x}")?;
        }
        Ok(())
    }
}

/// Takes as much text as fits.
struct Clipped<'a> {
    words: &'a mut [u32],
    len: usize,
}

impl Write for Clipped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.len == MAX_TEXT {
                break;
            }
            if let Some(word) = self.words.get_mut(self.len / 4) {
                *word |= u32::from(byte) << (self.len % 4 * 8);
            }
            self.len += 1;
        }
        Ok(())
    }
}

/// Why the chip started. `panicked`: whether the boot before has left a record of a panic.
#[must_use]
pub fn reset_reason(panicked: bool) -> ResetReason {
    let Some(reason) = of_core(Cpu::ProCpu) else {
        return ResetReason::Unknown;
    };
    // The numbers are the same on all chips as far as they have them: ESP-IDF 5.5, `soc/<chip>/include/soc/reset_reasons.h`.
    match reason as u32 {
        // Brown-out and super watchdog may hide behind 1 on early chips; they say so elsewhere, and it is no crash of ours.
        0x01 => ResetReason::PowerOn,
        0x03 | 0x0C if panicked => ResetReason::Panic,
        0x03 | 0x0C => ResetReason::Software,
        0x05 => ResetReason::DeepSleep,
        0x04 | 0x07..=0x09 | 0x0B | 0x0D | 0x10..=0x12 => ResetReason::Watchdog,
        // The voltage, and glitches of the supply.
        0x0F | 0x17 => ResetReason::BrownOut,
        0x0E | 0x15 | 0x16 | 0x18 => ResetReason::External,
        _ => ResetReason::Unknown,
    }
}
