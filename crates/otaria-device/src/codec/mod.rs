//! From the stored bytes of a block to its plain bytes.
//!
//! Whoever calls this has checked the stored bytes against the signed block table: no decoder ever sees bytes that the signer
//! did not make. It is safe against any bytes all the same.

mod inflate;

use core::fmt;

use otaria_wire::messages::FailureCode;
use otaria_wire::package::Codec;

use inflate::Inflater;

/// Why a block does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// This firmware has no decoder for the codec.
    Unsupported(Codec),
    /// The stored bytes are not of the codec's form.
    Malformed,
    /// They decode to another number of bytes than the block has.
    Length,
}

impl DecodeError {
    /// The number under which this is reported.
    #[must_use]
    pub const fn code(&self) -> FailureCode {
        match self {
            Self::Unsupported(_) => FailureCode::UnsupportedCodec,
            Self::Malformed => FailureCode::Decode,
            Self::Length => FailureCode::BlockLength,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(codec) => {
                write!(f, "this firmware cannot decode codec {}", codec.name())
            }
            Self::Malformed => f.write_str("a block's stored bytes do not decode"),
            Self::Length => f.write_str("a block decodes to another length than it has"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Whether [`Decoder::decode`] knows the codec.
#[must_use]
pub const fn supported(codec: Codec) -> bool {
    match codec {
        Codec::Stored | Codec::Deflate => true,
        Codec::Delta => false,
    }
}

/// The decoder's state: 704 bytes, of which nothing outlives a block.
pub struct Decoder {
    inflater: Inflater,
}

impl Decoder {
    /// A decoder.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            inflater: Inflater::new(),
        }
    }

    /// Decodes a whole block: `stored` are all of its stored bytes, `plain` is exactly as long as its plain bytes are.
    ///
    /// # Errors
    /// See [`DecodeError`]. What `plain` then holds is of no use.
    pub fn decode(
        &mut self,
        codec: Codec,
        stored: &[u8],
        plain: &mut [u8],
    ) -> Result<(), DecodeError> {
        match codec {
            Codec::Stored => {
                if stored.len() != plain.len() {
                    return Err(DecodeError::Length);
                }
                plain.copy_from_slice(stored);
                Ok(())
            }
            // A block stands for itself: its own output is all that it can refer to.
            Codec::Deflate => self.inflater.inflate(stored, plain),
            Codec::Delta => Err(DecodeError::Unsupported(codec)),
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A stored deflate block (RFC 1951, 3.2.4), which needs no compressor: final bit, type 0, LEN, NLEN, the bytes.
    fn deflate_stored(plain: &[u8]) -> Vec<u8> {
        let len = u16::try_from(plain.len()).unwrap();
        let mut out = Vec::from([1]);
        out.extend(len.to_le_bytes());
        out.extend((!len).to_le_bytes());
        out.extend(plain);
        out
    }

    /// `b"aaaaaaaaaaaaaaaa"` with fixed Huffman codes, as zlib makes it.
    const SIXTEEN_A: [u8; 5] = [0x4B, 0x4C, 0x44, 0x05, 0x00];

    fn inflate(stored: &[u8], plain_len: usize) -> Result<Vec<u8>, DecodeError> {
        let mut plain = std::vec![0x55; plain_len];
        Decoder::new()
            .decode(Codec::Deflate, stored, &mut plain)
            .map(|()| plain)
    }

    #[test]
    fn stored_bytes_are_taken_as_they_are_and_only_in_full() {
        let mut plain = [0; 3];
        assert_eq!(
            Decoder::new().decode(Codec::Stored, b"abc", &mut plain),
            Ok(())
        );
        assert_eq!(&plain, b"abc");
        assert_eq!(
            Decoder::new().decode(Codec::Stored, b"ab", &mut plain),
            Err(DecodeError::Length)
        );
        assert_eq!(
            Decoder::new().decode(Codec::Stored, b"abcd", &mut plain),
            Err(DecodeError::Length)
        );
    }

    #[test]
    fn a_deflated_block_has_exactly_its_plain_length() {
        let stored = deflate_stored(b"plain bytes");
        assert_eq!(inflate(&stored, 11).unwrap(), b"plain bytes");
        assert_eq!(inflate(&stored, 10), Err(DecodeError::Length));
        assert_eq!(inflate(&stored, 12), Err(DecodeError::Length));
        assert_eq!(
            inflate(&stored[..stored.len() - 1], 11),
            Err(DecodeError::Malformed)
        );
        assert_eq!(inflate(&[], 11), Err(DecodeError::Malformed));
    }

    #[test]
    fn bytes_behind_the_end_of_the_stream_are_refused() {
        let mut stored = deflate_stored(b"plain bytes");
        stored.push(0);
        assert_eq!(inflate(&stored, 11), Err(DecodeError::Malformed));
    }

    #[test]
    fn a_block_does_not_see_the_one_before_it() {
        let mut decoder = Decoder::new();
        let mut plain = [0; 16];
        decoder
            .decode(Codec::Deflate, &SIXTEEN_A, &mut plain)
            .unwrap();
        assert_eq!(&plain, b"aaaaaaaaaaaaaaaa");
        // A match at the very start refers to nothing: fixed codes, length 258 at distance 1.
        let mut other = [0; 258];
        assert_eq!(
            decoder.decode(Codec::Deflate, &[0x1B, 0x05, 0x00], &mut other),
            Err(DecodeError::Malformed)
        );
        // And a broken block leaves the decoder good for the next one.
        decoder
            .decode(Codec::Deflate, &SIXTEEN_A, &mut plain)
            .unwrap();
    }

    #[test]
    fn a_codec_without_a_decoder_is_named() {
        assert!(!supported(Codec::Delta));
        assert_eq!(
            Decoder::new().decode(Codec::Delta, b"", &mut []),
            Err(DecodeError::Unsupported(Codec::Delta))
        );
    }

    #[test]
    fn no_bytes_make_it_panic_or_write_too_much() {
        let mut state = 0x1234_5678_u32;
        let mut decoder = Decoder::new();
        for round in 0..20_000 {
            let mut stored = [0; 40];
            for byte in &mut stored {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                *byte = state as u8;
            }
            let mut plain = [0; 64];
            let _ = decoder.decode(
                Codec::Deflate,
                &stored[..round % 40],
                &mut plain[..round % 64],
            );
        }
    }
}
