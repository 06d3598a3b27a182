//! Properties: optional values in a packet (2.2.2).

use super::CodecError;
use super::fields::Fields;

pub(super) const SESSION_EXPIRY: u8 = 0x11;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(super) const TOPIC_ALIAS: u8 = 0x23;
pub(super) const MAXIMUM_QOS: u8 = 0x24;
pub(super) const RETAIN_AVAILABLE: u8 = 0x25;
const USER_PROPERTY: u8 = 0x26;
pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;

/// A property's value. Text and binary data are only checked for their length: nothing here depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// One, two or four bytes, or a variable byte integer.
    Number(u32),
    /// A string, binary data, or a pair of strings.
    Data,
}

/// A set of property identifiers, for "may occur in this packet" and "has occurred".
#[derive(Clone, Copy)]
pub(super) struct Set(u64);

impl Set {
    /// All identifiers of the standard are below 64.
    pub(super) const fn of(ids: &[u8]) -> Self {
        let mut bits = 0;
        let mut rest = ids;
        while let [id, tail @ ..] = rest {
            bits |= 1u64 << (*id & 63);
            rest = tail;
        }
        Self(bits)
    }

    const fn has(self, id: u8) -> bool {
        id < 64 && self.0 & (1 << id) != 0
    }
}

/// What a CONNACK may carry (3.2.2.3).
pub(super) const IN_CONNACK: Set = Set::of(&[
    0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29,
    0x2A,
]);
/// What a PUBLISH may carry (3.3.2.3).
pub(super) const IN_PUBLISH: Set = Set::of(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26]);
/// What PUBACK and SUBACK may carry (3.4.2.2, 3.9.2.1).
pub(super) const IN_ACK: Set = Set::of(&[0x1F, 0x26]);
/// What a DISCONNECT from a server may carry (3.14.2.2).
pub(super) const IN_DISCONNECT: Set = Set::of(&[0x11, 0x1C, 0x1F, 0x26]);

/// Reads a packet's properties and calls `each` with every one.
///
/// Malformed are: lengths beyond the packet, unknown identifiers, identifiers that are not in `allowed`, and repeated ones
/// (save those that may be repeated).
pub(super) fn read(
    fields: &mut Fields<'_>,
    allowed: Set,
    mut each: impl FnMut(u8, Value) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let len = fields.varint()?;
    let len = usize::try_from(len).map_err(|_| CodecError::Malformed)?;
    let mut list = Fields::new(fields.take(len)?);
    let mut seen = 0u64;
    while !list.is_empty() {
        // Identifiers are variable byte integers; all that are defined take one byte.
        let id = list.u8()?;
        if !allowed.has(id) {
            return Err(CodecError::Malformed);
        }
        let bit = 1u64 << (id & 63);
        if seen & bit != 0 && id != USER_PROPERTY && id != SUBSCRIPTION_IDENTIFIER {
            return Err(CodecError::Malformed);
        }
        seen |= bit;
        let value = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => {
                Value::Number(list.u8()?.into())
            }
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(list.u16()?.into()),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(list.u32()?),
            0x0B => Value::Number(list.varint()?),
            0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => {
                list.prefixed()?;
                Value::Data
            }
            USER_PROPERTY => {
                list.prefixed()?;
                list.prefixed()?;
                Value::Data
            }
            _ => return Err(CodecError::Malformed),
        };
        each(id, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn ids(bytes: &[u8], allowed: Set) -> Result<Vec<(u8, Value)>, CodecError> {
        let mut found = Vec::new();
        let mut fields = Fields::new(bytes);
        read(&mut fields, allowed, |id, value| {
            found.push((id, value));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        assert_eq!(
            ids(
                &[11, 0x24, 1, 0x21, 0, 20, 0x27, 0, 1, 0, 0, 0x25, 0],
                IN_CONNACK
            ),
            Err(CodecError::Malformed),
            "the last one is cut off by the length"
        );
        assert_eq!(
            ids(&[10, 0x24, 1, 0x21, 0, 20, 0x27, 0, 1, 0, 0], IN_CONNACK),
            Ok(std::vec![
                (0x24, Value::Number(1)),
                (0x21, Value::Number(20)),
                (0x27, Value::Number(65_536)),
            ])
        );
        assert_eq!(
            ids(&[3, 0x0B, 0x80, 0x01], IN_PUBLISH),
            Ok(std::vec![(0x0B, Value::Number(128))])
        );
    }

    #[test]
    fn a_user_property_longer_than_the_packet_is_malformed() {
        // One of these makes rust-mqtt 0.6 panic.
        for bytes in [
            &[6, 0x26, 0xFF, 0xFF, 0, 0, 0][..],
            &[5, 0x26, 0, 0, 0, 1],
            &[4, 0x26, 0, 1, b'a'],
        ] {
            assert_eq!(
                ids(bytes, IN_PUBLISH),
                Err(CodecError::Malformed),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn only_what_may_be_repeated_is_repeated() {
        let twice = [10, 0x26, 0, 0, 0, 0, 0x26, 0, 0, 0, 0];
        assert_eq!(
            ids(&twice, IN_PUBLISH).map(|found| found.len()),
            Ok(2),
            "user properties"
        );
        assert_eq!(
            ids(&[4, 0x24, 1, 0x24, 1], IN_CONNACK),
            Err(CodecError::Malformed)
        );
    }

    #[test]
    fn a_property_of_another_packet_or_of_none_is_malformed() {
        assert_eq!(ids(&[2, 0x24, 1], IN_PUBLISH), Err(CodecError::Malformed));
        for id in [0x00, 0x04, 0x3F, 0x40, 0x7F, 0x80, 0xFF] {
            let all = Set(u64::MAX);
            assert_eq!(ids(&[2, id, 0], all), Err(CodecError::Malformed), "{id:#x}");
        }
    }
}
