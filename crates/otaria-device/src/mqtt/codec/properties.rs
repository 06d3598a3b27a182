//! Properties: optional values in a packet (2.2.2).

use super::fields::Fields;
use super::{Limits, MqttError};

pub(super) const SESSION_EXPIRY: u8 = 0x11;
const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
const TOPIC_ALIAS: u8 = 0x23;
const MAXIMUM_QOS: u8 = 0x24;
const RETAIN_AVAILABLE: u8 = 0x25;
const USER_PROPERTY: u8 = 0x26;
pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;

/// The form of a property's value.
#[derive(Clone, Copy)]
enum Form {
    One,
    Two,
    Four,
    VarInt,
    /// A string or binary data: only checked for its length, because nothing here depends on it.
    Data,
    /// Two strings.
    Pair,
}

// The packets of a broker that have properties.
pub(super) const CONNACK: u8 = 1;
pub(super) const PUBLISH: u8 = 2;
/// PUBACK and SUBACK.
pub(super) const ACK: u8 = 4;
pub(super) const DISCONNECT: u8 = 8;

/// What a broker may send (2.2.2.2, table 2-4): identifier, form, packets.
#[rustfmt::skip]
const PROPERTIES: [(u8, Form, u8); 24] = [
    (0x01, Form::One, PUBLISH),
    (0x02, Form::Four, PUBLISH),
    (0x03, Form::Data, PUBLISH),
    (0x08, Form::Data, PUBLISH),
    (0x09, Form::Data, PUBLISH),
    (SUBSCRIPTION_IDENTIFIER, Form::VarInt, PUBLISH),
    (SESSION_EXPIRY, Form::Four, CONNACK | DISCONNECT),
    (0x12, Form::Data, CONNACK),
    (SERVER_KEEP_ALIVE, Form::Two, CONNACK),
    (0x15, Form::Data, CONNACK),
    (0x16, Form::Data, CONNACK),
    (0x1A, Form::Data, CONNACK),
    (0x1C, Form::Data, CONNACK | DISCONNECT),
    (0x1F, Form::Data, CONNACK | ACK | DISCONNECT),
    (RECEIVE_MAXIMUM, Form::Two, CONNACK),
    (0x22, Form::Two, CONNACK),
    (TOPIC_ALIAS, Form::Two, PUBLISH),
    (MAXIMUM_QOS, Form::One, CONNACK),
    (RETAIN_AVAILABLE, Form::One, CONNACK),
    (USER_PROPERTY, Form::Pair, CONNACK | PUBLISH | ACK | DISCONNECT),
    (MAXIMUM_PACKET_SIZE, Form::Four, CONNACK),
    (0x28, Form::One, CONNACK),
    (0x29, Form::One, CONNACK),
    (0x2A, Form::One, CONNACK),
];

/// What of all properties matters to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) limits: Limits,
    pub(super) topic_alias: bool,
}

impl Values {
    fn set(&mut self, id: u8, value: u32) -> Result<(), MqttError> {
        match (id, value) {
            (RECEIVE_MAXIMUM | MAXIMUM_PACKET_SIZE, 0) | (MAXIMUM_QOS | RETAIN_AVAILABLE, 2..) => {
                return Err(MqttError::Malformed);
            }
            (MAXIMUM_QOS, qos) => self.limits.qos1 = qos > 0,
            (RETAIN_AVAILABLE, available) => self.limits.retain = available > 0,
            (MAXIMUM_PACKET_SIZE, size) => self.limits.packet_max = size,
            (SERVER_KEEP_ALIVE, secs) => self.limits.keep_alive = secs as u16,
            (TOPIC_ALIAS, _) => self.topic_alias = true,
            _ => {}
        }
        Ok(())
    }
}

/// Reads the properties of one of the packets in `packet`.
///
/// Malformed are: lengths beyond the packet, unknown identifiers, those of other packets, and repeated ones (save those that
/// may be repeated).
pub(super) fn read(fields: &mut Fields<'_>, packet: u8) -> Result<Values, MqttError> {
    let mut values = Values {
        limits: Limits::NONE,
        topic_alias: false,
    };
    let len = fields.varint();
    let mut list = Fields::new(fields.take(len as usize));
    let mut seen = 0u32;
    while !list.is_empty() {
        // Identifiers are variable byte integers; all that are defined take one byte.
        let id = list.u8();
        let (index, (_, form, _)) = PROPERTIES
            .iter()
            .enumerate()
            .find(|(_, (known, _, packets))| *known == id && packets & packet != 0)
            .ok_or(MqttError::Malformed)?;
        let bit = 1 << index;
        if seen & bit != 0 && id != USER_PROPERTY && id != SUBSCRIPTION_IDENTIFIER {
            return Err(MqttError::Malformed);
        }
        seen |= bit;
        let value = match form {
            Form::One => list.number(1),
            Form::Two => list.number(2),
            Form::Four => list.number(4),
            Form::VarInt => list.varint(),
            Form::Data => {
                list.prefixed();
                0
            }
            Form::Pair => {
                list.prefixed();
                list.prefixed();
                0
            }
        };
        values.set(id, value)?;
    }
    list.whole()?;
    fields.whole()?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes: &[u8], packet: u8) -> Result<Limits, MqttError> {
        read(&mut Fields::new(bytes), packet).map(|values| values.limits)
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        let list = [
            13, 0x24, 1, 0x21, 0, 20, 0x27, 0, 1, 0, 0, 0x13, 1, 2, 0x25, 0,
        ];
        assert_eq!(
            limits(&list, CONNACK),
            Ok(Limits {
                qos1: true,
                packet_max: 65_536,
                keep_alive: 0x0102,
                ..Limits::NONE
            }),
            "the last one is not in the list any more"
        );
        assert_eq!(
            limits(&[&[14], &list[1..]].concat(), CONNACK),
            Err(MqttError::Malformed),
            "the last one is cut off by the length"
        );
        assert_eq!(
            limits(&[3, 0x0B, 0x80, 0x01], PUBLISH),
            Ok(Limits::NONE),
            "a variable byte integer"
        );
        assert_eq!(
            limits(&[2, 0x0B, 0x80, 0x01], PUBLISH),
            Err(MqttError::Malformed)
        );
    }

    #[test]
    fn a_value_that_is_cut_off_is_malformed() {
        for (list, packet) in [
            (&[0x24, 1][..], CONNACK),
            (&[0x21, 0, 20], CONNACK),
            (&[0x27, 0, 1, 0, 0], CONNACK),
            (&[0x1F, 0, 2, b'n', b'o'], CONNACK),
            (&[0x0B, 0x80, 0x01], PUBLISH),
            (&[0x26, 0, 1, b'a', 0, 1, b'b'], PUBLISH),
        ] {
            for len in 0..=list.len() {
                let bytes = [&[len as u8], list].concat();
                let good = len == 0 || len == list.len();
                assert_eq!(limits(&bytes, packet).is_ok(), good, "{len} of {list:?}");
                let bytes = [&[list.len() as u8], &list[..len]].concat();
                let good = len == list.len();
                assert_eq!(limits(&bytes, packet).is_ok(), good, "{len} of {list:?}");
            }
        }
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
                limits(bytes, PUBLISH),
                Err(MqttError::Malformed),
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn only_what_may_be_repeated_is_repeated() {
        let twice = [10, 0x26, 0, 0, 0, 0, 0x26, 0, 0, 0, 0];
        assert_eq!(limits(&twice, PUBLISH), Ok(Limits::NONE), "user properties");
        assert_eq!(
            limits(&[4, 0x24, 1, 0x24, 1], CONNACK),
            Err(MqttError::Malformed)
        );
    }

    #[test]
    fn a_property_of_another_packet_or_of_none_is_malformed() {
        assert_eq!(limits(&[2, 0x24, 1], PUBLISH), Err(MqttError::Malformed));
        for id in [0x00, 0x04, 0x3F, 0x40, 0x7F, 0x80, 0xFF] {
            assert_eq!(
                limits(&[2, id, 0], 0xFF),
                Err(MqttError::Malformed),
                "{id:#x}"
            );
        }
    }
}
