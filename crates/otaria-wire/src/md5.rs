//! MD5 (RFC 1321), for the sum at the end of a partition table: against bits that flip, not against anybody.
//!
//! As a loop over the 64 steps. Libraries unroll them, into 3 KB of flash for what happens once at each boot.

/// Shifts of the four rounds; each is repeated four times.
const SHIFTS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// The integer parts of 2^32 times the sine of 1 to 64.
#[rustfmt::skip]
const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// The MD5 sum of `bytes`.
pub(crate) fn md5(bytes: &[u8]) -> [u8; 16] {
    let mut sum = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let (blocks, rest) = bytes.as_chunks::<64>();
    for block in blocks {
        add(&mut sum, block);
    }
    // A one, zeros, and the length in bits: in one more block, or if they do not fit behind the rest, in two.
    let mut tail = [0; 128];
    let tail_len = if rest.len() < 56 { 64 } else { 128 };
    let end = [0x80].into_iter();
    let zeros = core::iter::repeat_n(0, tail_len - 9 - rest.len());
    let bits = (bytes.len() as u64).wrapping_mul(8).to_le_bytes();
    let padded = rest.iter().copied().chain(end).chain(zeros).chain(bits);
    for (place, byte) in tail.iter_mut().zip(padded) {
        *place = byte;
    }
    for block in tail.as_chunks().0.iter().take(tail_len / 64) {
        add(&mut sum, block);
    }
    let mut bytes = [0; 16];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(sum) {
        *place = word.to_le_bytes();
    }
    bytes
}

fn add(sum: &mut [u32; 4], block: &[u8; 64]) {
    let (words, _) = block.as_chunks::<4>();
    let [mut a, mut b, mut c, mut d] = *sum;
    for (step, sine) in SINES.iter().enumerate() {
        let round = step / 16;
        let (mixed, word) = match round {
            0 => (b & c | !b & d, step),
            1 => (b & d | c & !d, 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        let word = words
            .get(word % 16)
            .map_or(0, |word| u32::from_le_bytes(*word));
        let shift = SHIFTS
            .get(round)
            .and_then(|shifts| shifts.get(step % 4))
            .copied()
            .unwrap_or_default();
        let turned = a
            .wrapping_add(mixed)
            .wrapping_add(*sine)
            .wrapping_add(word)
            .rotate_left(shift);
        (a, b, c, d) = (d, b.wrapping_add(turned), b, c);
    }
    for (word, more) in sum.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(more);
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use md5::Digest;

    #[test]
    fn sums_of_all_lengths_are_those_of_another_implementation() {
        let bytes: Vec<u8> = (0..300_u32).map(|n| ((n * n) >> 3) as u8).collect();
        for len in 0..bytes.len() {
            let expected: [u8; 16] = md5::Md5::digest(&bytes[..len]).into();
            assert_eq!(super::md5(&bytes[..len]), expected, "{len}");
        }
    }
}
