//! CRC-32 as in zlib (ISO-HDLC), four bits at a time: a table of 64 bytes, where the usual one takes 1 KiB of flash.

/// The reflected polynomial.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// What four bits at the end of the register do to the rest of it.
static TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut nibble = 0;
    while nibble < 16 {
        let mut register = nibble as u32;
        let mut bit = 0;
        while bit < 4 {
            register = register >> 1 ^ if register & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        #[allow(clippy::indexing_slicing, reason = "checked when this is compiled")]
        {
            table[nibble] = register;
        }
        nibble += 1;
    }
    table
};

/// A CRC-32 over pieces.
#[derive(Clone, Copy, Debug)]
pub struct Crc32(u32);

impl Crc32 {
    /// A CRC that has seen nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(u32::MAX)
    }

    /// As the ESP ROM's `esp_rom_crc32_le(UINT32_MAX, ..)` and zlib's
    /// `crc32(0xFFFFFFFF, ..)`: both invert the initial value that they are
    /// given, so the register starts at 0.
    #[must_use]
    pub const fn rom_all_ones() -> Self {
        Self(0)
    }

    /// Adds the next bytes.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        let mut register = self.0;
        for byte in bytes {
            register ^= u32::from(*byte);
            for _ in 0..2 {
                let nibble = (register & 15) as usize;
                register = register >> 4 ^ TABLE.get(nibble).copied().unwrap_or_default();
            }
        }
        Self(register)
    }

    /// The CRC of everything added.
    #[must_use]
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_is_the_catalogue_s() {
        assert_eq!(
            Crc32::new().with(b"12345").with(b"6789").finish(),
            0xCBF4_3926
        );
    }

    #[test]
    fn all_ones_start_gives_the_otadata_values_of_the_design() {
        for (seq, crc) in [(1u32, 0x4743_989A), (2, 0x55F6_3774), (3, 0xED4A_5011)] {
            assert_eq!(Crc32::rom_all_ones().with(&seq.to_le_bytes()).finish(), crc);
        }
    }
}
