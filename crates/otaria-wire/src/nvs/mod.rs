//! ESP-IDF's NVS partitions, version 2, read only.
//!
//! ```text
//! page, 4096 bytes                              entry, 32 bytes
//!   0    4  state: bits are cleared as it goes   0   1  namespace; 0: this entry names one
//!           FFFFFFFE active, FFFFFFFC full,      1   1  type, see [`Kind`]
//!           FFFFFFF8 freeing                     2   1  span: entries with those of the payload
//!   4    4  sequence: higher is newer            3   1  chunk index of a blob's part, else 0xFF
//!   8    1  version: 0xFE                        4   4  CRC-32 of the other 28 bytes
//!   9   19  0xFF                                 8  16  name, zero-padded
//!  28    4  CRC-32 of bytes 4..28               24   8  value, padded with 0xFF; or for a payload:
//!  32   32  two bits for each entry: 11 empty,            24  2  length   26  2  0xFFFF
//!           10 written, 00 erased, lowest first           28  4  CRC-32 of the payload
//!  64       126 entries                                   or for a blob's index:
//!                                                         24  4  length of the whole blob
//! Both CRCs start with a register of 0.                   28  1  number of parts
//!                                                         29  1  chunk index of the first part
//! ```
//!
//! Of two items with the same namespace, name and chunk index the newer one counts: the one on the page with the higher
//! sequence, or further behind on the same page. After `nvs_page.hpp`, `nvs_types.hpp` and `nvs_page.cpp` (ESP-IDF,
//! `components/nvs_flash/src`) and `nvs_partition_gen.py`.
//!
//! | a cut here | leaves |
//! |---|---|
//! | within an item, before all its entries are marked written | an item that is passed over; its payload may be overwritten |
//! | while an old item is marked erased | the same; the new item is complete by then |
//! | within a page's header | a page that is passed over |
//! | while items are copied to another page | the same items twice |

mod entry;
mod page;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use tests::golden_page;

pub use entry::{EntryHeader, Kind, Name};
pub use page::{Damaged, Item, Items, Page, PageError, PageHeader, PageState, ValueError};

/// Length of a page, which is a flash sector.
pub const PAGE_LEN: usize = 4096;
/// Length of an entry.
pub const ENTRY_LEN: usize = 32;
/// Entries in a page.
pub const ENTRIES: usize = 126;
/// Chunk index of an item that is not part of a blob.
pub const NO_CHUNK: u8 = 0xFF;
/// Longest text with its zero byte, and longest part of a blob.
pub const MAX_PAYLOAD_LEN: usize = (ENTRIES - 1) * ENTRY_LEN;

/// The CRC-32 that NVS uses, of a payload for instance.
#[must_use]
pub fn crc(bytes: &[u8]) -> u32 {
    crate::crc32::Crc32::rom_all_ones().with(bytes).finish()
}
