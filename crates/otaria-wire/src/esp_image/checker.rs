//! The check of an image that comes in pieces, in constant memory.

use super::segments::Segments;
use super::{
    APP_DESCRIPTOR_LEN, APP_DESCRIPTOR_OFFSET, AppDescriptor, CHECKSUM_SEED, ChipId, HEADER_LEN,
    ImageError, ImageInfo, MAGIC, MAX_SEGMENTS, SEGMENT_HEADER_LEN,
};
use crate::bytes::Reader;
use crate::guard::MarkerSearch;
use crate::{Sha256Digest, Sha256Hasher};

const HASH_LEN: usize = 32;

// The first segment's data starts where the descriptor does.
const _: () = assert!(APP_DESCRIPTOR_OFFSET as usize == HEADER_LEN + SEGMENT_HEADER_LEN);

/// Reads an image in pieces of any length.
#[derive(Clone, Debug)]
pub struct ImageChecker {
    state: State,
    /// Bytes read.
    len: u32,
    header: ImageHeader,
    segments: Segments,
    checksum: u8,
    hasher: Sha256Hasher,
    marker: MarkerSearch,
    /// The first 256 bytes of the first segment.
    descriptor: Gather<APP_DESCRIPTOR_LEN>,
}

/// What the next byte belongs to.
#[derive(Clone, Debug)]
enum State {
    Header(Gather<HEADER_LEN>),
    SegmentHeader(Gather<SEGMENT_HEADER_LEN>),
    SegmentData { left: u32 },
    Padding { left: u32 },
    Checksum,
    Hash(Gather<HASH_LEN>),
    Done,
    Failed(ImageError),
}

#[derive(Clone, Copy, Debug)]
struct ImageHeader {
    segments: u8,
    entry: u32,
    chip: ChipId,
    min_rev_full: u16,
    max_rev_full: u16,
}

/// A field that is gathered over pieces.
#[derive(Clone, Debug)]
struct Gather<const N: usize> {
    bytes: [u8; N],
    have: usize,
}

impl<const N: usize> Gather<N> {
    const fn new() -> Self {
        Self {
            bytes: [0; N],
            have: 0,
        }
    }

    /// Takes what is missing from the front of `input`; returns how much it took.
    fn take(&mut self, input: &[u8]) -> usize {
        let room = self.bytes.get_mut(self.have..).unwrap_or_default();
        let taken = room.len().min(input.len());
        for (place, byte) in room.iter_mut().zip(input) {
            *place = *byte;
        }
        self.have += taken;
        taken
    }

    fn whole(&self) -> Option<&[u8; N]> {
        (self.have == N).then_some(&self.bytes)
    }
}

impl Default for ImageChecker {
    fn default() -> Self {
        Self::new()
    }
}

impl ImageChecker {
    /// A checker that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Header(Gather::new()),
            len: 0,
            header: ImageHeader {
                segments: 0,
                entry: 0,
                chip: ChipId(0),
                min_rev_full: 0,
                max_rev_full: 0,
            },
            segments: Segments::default(),
            checksum: CHECKSUM_SEED,
            hasher: Sha256Hasher::new(),
            marker: MarkerSearch::new(),
            descriptor: Gather::new(),
        }
    }

    /// Reads the next bytes. After an error every call gives the same error.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.step(rest) {
                Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Err(error) => {
                    self.state = State::Failed(error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The result, once all bytes have been read.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn finish(&self) -> Result<ImageInfo, ImageError> {
        match self.state {
            State::Done => {}
            State::Failed(error) => return Err(error),
            State::Header(_)
            | State::SegmentHeader(_)
            | State::SegmentData { .. }
            | State::Padding { .. }
            | State::Checksum
            | State::Hash(_) => return Err(ImageError::Truncated),
        }
        let descriptor = self.descriptor.whole().ok_or(ImageError::NoDescriptor)?;
        Ok(ImageInfo {
            chip: self.header.chip,
            min_rev_full: self.header.min_rev_full,
            max_rev_full: self.header.max_rev_full,
            entry: self.header.entry,
            segments: self.segments.count(),
            len: self.len,
            desc: AppDescriptor::parse(descriptor)?,
            guard: self.marker.found(),
        })
    }

    /// Reads at least one byte of `input`, which is not empty; returns how many.
    fn step(&mut self, input: &[u8]) -> Result<usize, ImageError> {
        let taken = match &mut self.state {
            State::Header(gather) => {
                let taken = gather.take(input);
                let whole = gather.whole().copied();
                if self.len == 0 && input.first() != Some(&MAGIC) {
                    return Err(ImageError::Magic);
                }
                self.read(input, taken);
                if let Some(header) = whole {
                    self.header = ImageHeader::parse(&header)?;
                    self.state = State::SegmentHeader(Gather::new());
                }
                taken
            }
            State::SegmentHeader(gather) => {
                let taken = gather.take(input);
                let whole = gather.whole().copied();
                self.read(input, taken);
                if let Some(header) = whole {
                    self.start_segment(&header)?;
                }
                taken
            }
            State::SegmentData { left } => {
                let taken = clamp(*left, input);
                let left = left.saturating_sub(taken as u32);
                let data = input.get(..taken).unwrap_or_default();
                self.checksum = data
                    .iter()
                    .fold(self.checksum, |checksum, byte| checksum ^ byte);
                self.gather_descriptor(data)?;
                self.read(input, taken);
                self.state = if left > 0 {
                    State::SegmentData { left }
                } else {
                    self.end_segment()?
                };
                taken
            }
            State::Padding { left } => {
                let taken = clamp(*left, input);
                let left = left.saturating_sub(taken as u32);
                if !input.get(..taken).is_some_and(crate::bytes::all_zero) {
                    return Err(ImageError::Padding);
                }
                self.read(input, taken);
                self.state = if left > 0 {
                    State::Padding { left }
                } else {
                    State::Checksum
                };
                taken
            }
            State::Checksum => {
                if input.first() != Some(&self.checksum) {
                    return Err(ImageError::Checksum);
                }
                self.read(input, 1);
                self.state = State::Hash(Gather::new());
                1
            }
            State::Hash(gather) => {
                let taken = gather.take(input);
                let whole = gather.whole().copied();
                self.pass(input, taken);
                if let Some(hash) = whole {
                    if core::mem::take(&mut self.hasher).finish() != Sha256Digest(hash) {
                        return Err(ImageError::Hash);
                    }
                    self.state = State::Done;
                }
                taken
            }
            State::Done => return Err(ImageError::TrailingBytes),
            State::Failed(error) => return Err(*error),
        };
        Ok(taken)
    }

    /// Counts and hashes the first `taken` bytes of `input`.
    fn read(&mut self, input: &[u8], taken: usize) {
        self.hasher.update(input.get(..taken).unwrap_or_default());
        self.pass(input, taken);
    }

    /// Counts the first `taken` bytes of `input` and looks for the marker in them.
    fn pass(&mut self, input: &[u8], taken: usize) {
        self.marker.update(input.get(..taken).unwrap_or_default());
        // 16 segments of less than 16 MB are far below 4 GB.
        self.len = self.len.saturating_add(taken as u32);
    }

    fn start_segment(&mut self, header: &[u8; SEGMENT_HEADER_LEN]) -> Result<(), ImageError> {
        let mut reader = Reader::new(header);
        let (load, len) = (reader.u32(), reader.u32());
        self.segments.add(self.header.chip, load, len, self.len)?;
        if self.segments.count() == 1 && (len as usize) < APP_DESCRIPTOR_LEN {
            return Err(ImageError::NoDescriptor);
        }
        self.state = if len > 0 {
            State::SegmentData { left: len }
        } else {
            self.end_segment()?
        };
        Ok(())
    }

    /// What follows a segment.
    fn end_segment(&self) -> Result<State, ImageError> {
        if self.segments.count() < self.header.segments {
            return Ok(State::SegmentHeader(Gather::new()));
        }
        if !self.segments.contain(self.header.entry) {
            return Err(ImageError::EntryPoint);
        }
        // The checksum is the last byte of a block of 16.
        let padding = 15 - self.len % 16;
        Ok(if padding > 0 {
            State::Padding { left: padding }
        } else {
            State::Checksum
        })
    }

    fn gather_descriptor(&mut self, data: &[u8]) -> Result<(), ImageError> {
        if self.descriptor.whole().is_some() {
            return Ok(());
        }
        self.descriptor.take(data);
        match self.descriptor.whole() {
            Some(descriptor) => AppDescriptor::parse(descriptor).map(|_| ()),
            None => Ok(()),
        }
    }
}

/// How many of the bytes belong to something that has so many left.
fn clamp(left: u32, input: &[u8]) -> usize {
    usize::try_from(left).map_or(input.len(), |left| left.min(input.len()))
}

impl ImageHeader {
    fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, ImageError> {
        let mut reader = Reader::new(bytes);
        let _magic = reader.u8();
        let segments = reader.u8();
        let _spi = reader.u16();
        let entry = reader.u32();
        let _pins = reader.u32();
        let chip = ChipId(reader.u16());
        let _old_revision = reader.u8();
        let header = Self {
            segments,
            entry,
            chip,
            min_rev_full: reader.u16(),
            max_rev_full: reader.u16(),
        };
        let _reserved = reader.u32();
        let hash_appended = reader.u8();
        if header.segments == 0 || usize::from(header.segments) > MAX_SEGMENTS {
            return Err(ImageError::SegmentCount(header.segments));
        }
        if hash_appended != 1 {
            return Err(ImageError::NoHash);
        }
        Ok(header)
    }
}
