//! How a block's plain bytes are stored: as they are, or as raw deflate (RFC 1951), each block by itself.

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// miniz_oxide's slowest and best level. A package is made once and downloaded by every device.
const LEVEL: u8 = 10;

/// Why stored bytes do not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not deflate.
    #[error("the compressed data is malformed")]
    Malformed,
    /// The compressed data wants more bytes than are stored.
    #[error("the compressed data ends too early")]
    Truncated,
    /// Bytes are left behind the end of the compressed data.
    #[error("the compressed data ends {0} bytes before the block does")]
    Trailing(usize),
    /// It decodes to another length than the block has.
    #[error("it decodes to another length than the block's {expected} bytes")]
    Length {
        /// Plain length of the block.
        expected: usize,
    },
}

/// Compresses one block.
pub fn deflate(plain: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(plain, LEVEL)
}

/// Decodes one block: exactly all of `stored`, to exactly `plain_len` bytes.
pub fn inflate(stored: &[u8], plain_len: usize) -> Result<Vec<u8>, DecodeError> {
    // One byte more than wanted, so that a longer result shows.
    let mut plain = vec![0; plain_len + 1];
    let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, consumed, produced) =
        decompress(&mut DecompressorOxide::new(), stored, &mut plain, 0, flags);
    match status {
        TINFLStatus::Done if produced != plain_len => Err(DecodeError::Length {
            expected: plain_len,
        }),
        TINFLStatus::Done if consumed != stored.len() => {
            Err(DecodeError::Trailing(stored.len() - consumed))
        }
        TINFLStatus::Done => {
            plain.truncate(plain_len);
            Ok(plain)
        }
        TINFLStatus::HasMoreOutput => Err(DecodeError::Length {
            expected: plain_len,
        }),
        TINFLStatus::NeedsMoreInput | TINFLStatus::FailedCannotMakeProgress => {
            Err(DecodeError::Truncated)
        }
        TINFLStatus::BadParam | TINFLStatus::Adler32Mismatch | TINFLStatus::Failed | _ => {
            Err(DecodeError::Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deflated_inflates_to_the_same_bytes() {
        for plain in [
            vec![0; 16_384],
            (0..=255).cycle().take(5000).collect(),
            vec![7],
        ] {
            assert_eq!(inflate(&deflate(&plain), plain.len()).unwrap(), plain);
        }
    }

    #[test]
    fn bytes_that_do_not_compress_grow_by_less_than_the_slack() {
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(16_384)
        .collect();
        let stored = deflate(&noise);
        assert!(stored.len() <= noise.len() + 64, "{} bytes", stored.len());
        assert_eq!(inflate(&stored, noise.len()).unwrap(), noise);
    }

    #[test]
    fn every_other_length_is_refused() {
        let stored = deflate(&[9; 100]);
        assert_eq!(
            inflate(&stored, 99),
            Err(DecodeError::Length { expected: 99 })
        );
        assert_eq!(
            inflate(&stored, 101),
            Err(DecodeError::Length { expected: 101 })
        );
        assert_eq!(
            inflate(&stored[..stored.len() - 1], 100),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            inflate(&[&stored[..], b"x"].concat(), 100),
            Err(DecodeError::Trailing(1))
        );
        assert_eq!(inflate(&[], 100), Err(DecodeError::Truncated));
        assert_eq!(inflate(&[0xFF; 10], 100), Err(DecodeError::Malformed));
    }
}
