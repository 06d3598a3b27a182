//! Reading MQTT's data types out of a slice (1.5).

use super::MqttError;

/// The part of a packet that has not been read yet.
///
/// Reading beyond its end gives zeros and empty slices. That is found out once, by [`whole`](Self::whole), and not after each
/// field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    cut_off: bool,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            cut_off: false,
        }
    }

    pub(super) const fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    /// Everything that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything that has been read was there.
    pub(super) const fn whole(self) -> Result<(), MqttError> {
        if self.cut_off {
            Err(MqttError::Malformed)
        } else {
            Ok(())
        }
    }

    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (head, tail) = self.rest.split_at_checked(len).unwrap_or_else(|| {
            self.cut_off = true;
            (&[], &[])
        });
        self.rest = tail;
        head
    }

    /// A number of `len` bytes, at most four.
    pub(super) fn number(&mut self, len: usize) -> u32 {
        let bytes = self.take(len).iter();
        bytes.fold(0, |number, byte| number << 8 | u32::from(*byte))
    }

    pub(super) fn u8(&mut self) -> u8 {
        self.number(1) as u8
    }

    pub(super) fn u16(&mut self) -> u16 {
        self.number(2) as u16
    }

    /// Binary data or a string: two bytes of length, then the bytes (1.5.4, 1.5.6).
    pub(super) fn prefixed(&mut self) -> &'a [u8] {
        let len = self.u16();
        self.take(len.into())
    }

    pub(super) fn varint(&mut self) -> u32 {
        let Ok(Some((value, len))) = varint(self.rest) else {
            self.cut_off = true;
            return 0;
        };
        self.take(len);
        value
    }
}

/// A variable byte integer at the start of `bytes` and the bytes that it takes; `None` if it is not whole yet (1.5.5).
///
/// More than four bytes, or more than needed, are malformed.
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, MqttError> {
    let mut value = 0u32;
    for (i, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * i);
        if byte & 0x80 == 0 {
            // A last byte of zero says nothing, so the number would have been shorter without it.
            if i > 0 && *byte == 0 {
                return Err(MqttError::Malformed);
            }
            return Ok(Some((value, i + 1)));
        }
    }
    if bytes.len() >= 4 {
        return Err(MqttError::Malformed);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_have_the_values_of_the_standard() {
        // Table 1-1 of the standard: the bounds of each length.
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7F], 127),
            (&[0x80, 0x01], 128),
            (&[0xFF, 0x7F], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xFF, 0xFF, 0x7F], 2_097_151),
            (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
        ] {
            assert_eq!(varint(bytes), Ok(Some((value, bytes.len()))));
            assert_eq!(varint(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn variable_byte_integers_longer_than_needed_are_malformed() {
        for bytes in [
            &[0x80, 0x00][..],
            &[0xFF, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x80],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
        ] {
            assert_eq!(varint(bytes), Err(MqttError::Malformed), "{bytes:?}");
        }
    }
}
