//! Raw deflate (RFC 1951), a whole stream at once: all of the output is there to copy from, so there is no window to keep.
//!
//! Codes are decoded bit by bit from the number of codes of each length, as in zlib's `contrib/puff`. That is slower than with
//! tables for eight or ten bits at a time, and still much faster than flash takes what it makes; in return the state is 700 bytes
//! where miniz_oxide's is 10.5 KiB, and the code is a third as long.

use super::DecodeError;

/// Longest code in bits.
const MAX_CODE_LEN: usize = 15;
/// Literals, lengths and the end of a block, two that mean nothing included.
const SYMBOLS: usize = 288;
/// Distances, two that mean nothing included.
const DISTANCES: usize = 32;
/// Codes for the lengths of codes.
const CODE_LENS: usize = 19;
const END_OF_BLOCK: u16 = 256;

/// For the symbols behind [`END_OF_BLOCK`]: the shortest length, and how many more bits say how much longer it is (3.2.5).
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];
/// The order in which the lengths of the codes for lengths are sent (3.2.7).
const CODE_LEN_ORDER: [u8; CODE_LENS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// What is needed while a stream is decoded. Nothing of it outlives the stream.
pub(super) struct Inflater {
    symbols: Code<[u16; SYMBOLS]>,
    distances: Code<[u16; DISTANCES]>,
}

/// A canonical Huffman code: how many codes of each length there are, and the symbols in the order of their codes.
struct Code<S: ?Sized = [u16]> {
    counts: [u16; MAX_CODE_LEN + 1],
    symbols: S,
}

impl Inflater {
    pub(super) const fn new() -> Self {
        Self {
            symbols: Code {
                counts: [0; MAX_CODE_LEN + 1],
                symbols: [0; SYMBOLS],
            },
            distances: Code {
                counts: [0; MAX_CODE_LEN + 1],
                symbols: [0; DISTANCES],
            },
        }
    }

    /// Decodes all of `stored`, which must fill all of `plain`.
    pub(super) fn inflate(&mut self, stored: &[u8], plain: &mut [u8]) -> Result<(), DecodeError> {
        let mut bits = Bits {
            bytes: stored,
            held: 0,
            count: 0,
        };
        let mut out = Output { plain, made: 0 };
        loop {
            let is_last = bits.take(1)? == 1;
            match bits.take(2)? {
                0 => copy_stored(&mut bits, &mut out)?,
                1 => {
                    self.read_fixed()?;
                    self.block(&mut bits, &mut out)?;
                }
                2 => {
                    self.read_codes(&mut bits)?;
                    self.block(&mut bits, &mut out)?;
                }
                _ => return Err(DecodeError::Malformed),
            }
            if is_last {
                break;
            }
        }
        if !bits.bytes.is_empty() {
            return Err(DecodeError::Malformed);
        }
        if out.made < out.plain.len() {
            return Err(DecodeError::Length);
        }
        Ok(())
    }

    /// The code of the symbols, and that of the distances.
    fn codes(&mut self) -> (&mut Code, &mut Code) {
        (&mut self.symbols, &mut self.distances)
    }

    /// The codes that need not be sent (3.2.6).
    fn read_fixed(&mut self) -> Result<(), DecodeError> {
        let mut lens = [8; SYMBOLS];
        for (symbol, len) in lens.iter_mut().enumerate() {
            match symbol {
                144..256 => *len = 9,
                256..280 => *len = 7,
                _ => {}
            }
        }
        let (of_symbols, of_distances) = self.codes();
        of_symbols.assign(&lens)?;
        of_distances.assign(&[5; DISTANCES])
    }

    /// The codes at the start of a block that brings its own (3.2.7).
    fn read_codes(&mut self, bits: &mut Bits<'_>) -> Result<(), DecodeError> {
        let symbols = bits.take(5)? as usize + 257;
        let distances = bits.take(5)? as usize + 1;
        let sent = bits.take(4)? as usize + 4;

        let mut lens = [0; SYMBOLS + DISTANCES];
        for at in CODE_LEN_ORDER.iter().take(sent) {
            if let Some(len) = lens.get_mut(usize::from(*at)) {
                *len = bits.take(3)? as u8;
            }
        }
        // Until the symbols' own code is known, its place is free.
        let (of_symbols, of_distances) = self.codes();
        of_symbols.assign(lens.get(..CODE_LENS).unwrap_or_default())?;

        let total = symbols + distances;
        let mut at = 0;
        let mut previous = None;
        while at < total {
            let (len, times) = match of_symbols.decode(bits)? {
                len @ 0..16 => (len as u8, 1),
                16 => (
                    previous.ok_or(DecodeError::Malformed)?,
                    3 + bits.take(2)? as usize,
                ),
                17 => (0, 3 + bits.take(3)? as usize),
                _ => (0, 11 + bits.take(7)? as usize),
            };
            lens.get_mut(at..total)
                .and_then(|rest| rest.get_mut(..times))
                .ok_or(DecodeError::Malformed)?
                .fill(len);
            at += times;
            previous = Some(len);
        }
        let lens = lens.get(..total).unwrap_or_default();
        let (symbols, distances) = lens.split_at_checked(symbols).unwrap_or_default();
        of_symbols.assign(symbols)?;
        of_distances.assign(distances)
    }

    /// A block's symbols, until the one that ends it.
    fn block(&self, bits: &mut Bits<'_>, out: &mut Output<'_>) -> Result<(), DecodeError> {
        let (symbols, distances): (&Code, &Code) = (&self.symbols, &self.distances);
        loop {
            let symbol = symbols.decode(bits)?;
            let Some(length) = symbol.checked_sub(END_OF_BLOCK) else {
                out.put(symbol as u8)?;
                continue;
            };
            let Some(length) = length.checked_sub(1) else {
                return Ok(());
            };
            let (base, extra) = *LENGTHS
                .get(usize::from(length))
                .ok_or(DecodeError::Malformed)?;
            let length = usize::from(base) + bits.take(extra.into())? as usize;
            let distance = distance(distances.decode(bits)?, bits)?;
            let from = out
                .made
                .checked_sub(distance)
                .ok_or(DecodeError::Malformed)?;
            for at in from..from + length {
                let byte = *out.plain.get(at).ok_or(DecodeError::Length)?;
                out.put(byte)?;
            }
        }
    }
}

/// How far back to copy from: the first four symbols say it alone, of the others each pair has one more bit behind it (3.2.5).
fn distance(symbol: u16, bits: &mut Bits<'_>) -> Result<usize, DecodeError> {
    match symbol {
        0..4 => Ok(usize::from(symbol) + 1),
        4..30 => {
            let extra = u32::from(symbol / 2 - 1);
            let base = usize::from(2 + symbol % 2) << extra;
            Ok(base + bits.take(extra)? as usize + 1)
        }
        _ => Err(DecodeError::Malformed),
    }
}

/// A block that is stored as it is (3.2.4).
fn copy_stored(bits: &mut Bits<'_>, out: &mut Output<'_>) -> Result<(), DecodeError> {
    bits.align();
    let (len, complement) = (bits.take(16)?, bits.take(16)?);
    if len ^ complement != 0xFFFF {
        return Err(DecodeError::Malformed);
    }
    for _ in 0..len {
        out.put(bits.take(8)? as u8)?;
    }
    Ok(())
}

impl Code {
    /// Makes the code in which the nth symbol has the nth of these lengths, or none if that is 0.
    fn assign(&mut self, lens: &[u8]) -> Result<(), DecodeError> {
        let mut starts = [0; MAX_CODE_LEN + 1];
        self.counts = starts;
        for len in lens {
            if let Some(count) = self.counts.get_mut(usize::from(*len)) {
                *count += 1;
            }
        }
        let [unused, counts @ ..] = &self.counts;
        let mut start = 0;
        let mut free = 1_i32;
        for (place, count) in starts.iter_mut().skip(1).zip(counts) {
            *place = start;
            start += count;
            free = free * 2 - i32::from(*count);
            if free < 0 {
                return Err(DecodeError::Malformed);
            }
        }
        // A code with room left is taken only if it has one symbol or none. The one ought to be one bit long (3.2.7); a longer one
        // is taken as well, since whatever the code does not use is refused where it is read.
        if free > 0 && lens.len() > usize::from(*unused) + 1 {
            return Err(DecodeError::Malformed);
        }
        for (symbol, len) in lens.iter().enumerate().filter(|(_, len)| **len > 0) {
            if let Some(start) = starts.get_mut(usize::from(*len)) {
                if let Some(place) = self.symbols.get_mut(usize::from(*start)) {
                    *place = symbol as u16;
                }
                *start += 1;
            }
        }
        Ok(())
    }

    /// The next symbol. Codes of a length follow each other, the first one behind all shorter ones.
    fn decode(&self, bits: &mut Bits<'_>) -> Result<u16, DecodeError> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in self.counts.iter().skip(1) {
            code = code << 1 | bits.take(1)?;
            first <<= 1;
            let count = u32::from(*count);
            let offset = code - first;
            if offset < count {
                let symbol = self.symbols.get((index + offset) as usize);
                return symbol.copied().ok_or(DecodeError::Malformed);
            }
            first += count;
            index += count;
        }
        Err(DecodeError::Malformed)
    }
}

/// The stream, from the lowest bit of its first byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    /// Bits of bytes that were taken, the next one lowest.
    held: u32,
    count: u32,
}

impl Bits<'_> {
    /// Takes at most 16 bits, the first one lowest.
    fn take(&mut self, count: u32) -> Result<u32, DecodeError> {
        while self.count < count {
            let (byte, rest) = self.bytes.split_first().ok_or(DecodeError::Malformed)?;
            self.bytes = rest;
            self.held |= u32::from(*byte) << self.count;
            self.count += 8;
        }
        let taken = self.held & ((1 << count) - 1);
        self.held >>= count;
        self.count -= count;
        Ok(taken)
    }

    /// Passes over what is left of a byte.
    fn align(&mut self) {
        (self.held, self.count) = (0, 0);
    }
}

/// What was decoded.
struct Output<'a> {
    plain: &'a mut [u8],
    made: usize,
}

impl Output<'_> {
    fn put(&mut self, byte: u8) -> Result<(), DecodeError> {
        *self.plain.get_mut(self.made).ok_or(DecodeError::Length)? = byte;
        self.made += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use miniz_oxide::deflate::compress_to_vec;
    use miniz_oxide::inflate::TINFLStatus;
    use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
    use proptest::prelude::*;

    use super::*;

    fn ours(stored: &[u8], plain_len: usize) -> Result<Vec<u8>, DecodeError> {
        let mut plain = vec![0x55; plain_len];
        Inflater::new().inflate(stored, &mut plain).map(|()| plain)
    }

    /// `None`: refused. Which of its faults a bad stream is refused for is up to the reader.
    fn theirs(stored: &[u8], plain_len: usize) -> Option<Vec<u8>> {
        let mut plain = vec![0x55; plain_len];
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, taken, made) =
            decompress(&mut DecompressorOxide::new(), stored, &mut plain, 0, flags);
        let is_whole = status == TINFLStatus::Done && (taken, made) == (stored.len(), plain_len);
        is_whole.then_some(plain)
    }

    /// Bytes that compress as code does: runs, repeats from near and far, and noise.
    fn plain() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            (any::<u8>(), 0..400usize).prop_map(|(byte, count)| vec![byte; count]),
            proptest::collection::vec(0..4u8, 0..200),
        ];
        (proptest::collection::vec(piece, 0..12), 1..4usize).prop_map(|(pieces, times)| {
            let once = pieces.concat();
            once.repeat(times)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_was_deflated_is_inflated(plain in plain(), level in 0..=10u8) {
            let stored = compress_to_vec(&plain, level);
            prop_assert_eq!(ours(&stored, plain.len()), Ok(plain));
        }

        #[test]
        fn a_damaged_stream_gives_the_same_as_with_miniz_oxide(
            plain in plain(), level in 0..=10u8, flips in proptest::collection::vec(any::<proptest::sample::Index>(), 1..4),
            cut in any::<proptest::sample::Index>(), longer in 0..3usize,
        ) {
            let mut stored = compress_to_vec(&plain, level);
            for flip in flips {
                let bit = flip.index(stored.len() * 8);
                stored[bit / 8] ^= 1 << (bit % 8);
            }
            prop_assert_eq!(ours(&stored, plain.len()).ok(), theirs(&stored, plain.len()));
            stored.truncate(cut.index(stored.len()));
            prop_assert_eq!(ours(&stored, plain.len() + longer).ok(), theirs(&stored, plain.len() + longer));
        }

        #[test]
        fn any_bytes_give_the_same_as_with_miniz_oxide(
            kind in 0..8u8, bytes in proptest::collection::vec(any::<u8>(), 0..80), plain_len in 0..600usize,
        ) {
            let mut stored = bytes;
            if let Some(first) = stored.first_mut() {
                *first = *first & !7 | kind;
            }
            prop_assert_eq!(ours(&stored, plain_len).ok(), theirs(&stored, plain_len));
        }
    }

    #[test]
    fn every_length_and_distance_is_copied() {
        // A noise of 33 KiB, then pieces of it from as far back as can be.
        let mut state = 1_u32;
        let mut plain: Vec<u8> = (0..33_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        for length in 3..=258 {
            for distance in [length, 300 + length, 32_768 - length] {
                let from = plain.len() - distance;
                plain.extend_from_within(from..from + length);
            }
        }
        for level in [1, 6, 9] {
            let stored = compress_to_vec(&plain, level);
            assert_eq!(ours(&stored, plain.len()), Ok(plain.clone()));
        }
    }
}
