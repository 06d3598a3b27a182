//! CRC-32 as in zlib (ISO-HDLC), over one shared table of 1 KiB.

use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};

static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// A CRC-32 over pieces.
pub(crate) struct Crc32(Digest<'static, u32, Table<1>>);

impl Crc32 {
    pub(crate) fn new() -> Self {
        Self(CRC.digest())
    }

    /// As the ESP ROM's `esp_rom_crc32_le(UINT32_MAX, ..)` and zlib's
    /// `crc32(0xFFFFFFFF, ..)`: both invert the initial value that they are
    /// given, so the register starts at 0.
    pub(crate) fn rom_all_ones() -> Self {
        Self(CRC.digest_with_initial(0))
    }

    pub(crate) fn with(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    pub(crate) fn finish(self) -> u32 {
        self.0.finalize()
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
