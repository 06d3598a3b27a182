//! The segments of an image, checked one by one as their headers come.

use super::chip::Memory;
use super::{ChipId, ImageError, MAX_SEGMENT_LEN, MAX_SEGMENTS};

/// Load addresses below this are not loaded: 0 stands for padding
/// (`should_load` in ESP-IDF's `esp_image_format.c`).
const FIRST_LOADED: u32 = 0x1000_0000;

/// The addresses of the segments so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Segments {
    loaded: heapless::Vec<Range, MAX_SEGMENTS>,
    count: u8,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    start: u32,
    end: u32,
}

impl Segments {
    pub(super) fn count(&self) -> u8 {
        self.count
    }

    /// Checks the next segment, whose data starts at `file_offset`.
    pub(super) fn add(
        &mut self,
        chip: ChipId,
        load: u32,
        len: u32,
        file_offset: u32,
    ) -> Result<(), ImageError> {
        let segment = self.count;
        self.count = self.count.saturating_add(1);
        if !len.is_multiple_of(4) || len >= MAX_SEGMENT_LEN {
            return Err(ImageError::SegmentLen { segment });
        }
        if load < FIRST_LOADED {
            return Ok(());
        }
        let end = load
            .checked_add(len)
            .ok_or(ImageError::LoadAddress { segment })?;
        if let Some(windows) = chip.windows() {
            let window = windows.iter().find(|window| window.holds(load, end));
            match window.ok_or(ImageError::LoadAddress { segment })?.memory {
                Memory::Ram => {}
                // Slots start on a 64 KiB boundary, so the place in the file decides.
                Memory::Flash { page } if load % page == file_offset % page => {}
                Memory::Flash { .. } => return Err(ImageError::Misaligned { segment }),
            }
        }
        if self
            .loaded
            .iter()
            .any(|earlier| load < earlier.end && earlier.start < end)
        {
            return Err(ImageError::Overlap { segment });
        }
        self.loaded
            .push(Range { start: load, end })
            .map_err(|_| ImageError::SegmentCount(self.count))
    }

    /// Whether an address is in one of the segments.
    pub(super) fn contain(&self, address: u32) -> bool {
        self.loaded
            .iter()
            .any(|range| (range.start..range.end).contains(&address))
    }
}
