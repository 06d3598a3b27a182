//! The packets that a broker sends.

use super::super::ReasonCode;
use super::MqttError;
use super::fields::Fields;
use super::properties;

/// MQTT's packet types (2.1.2), where this code names them.
pub(super) const CONNECT: u8 = 1;
pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const SUBSCRIBE: u8 = 8;
pub(super) const SUBACK: u8 = 9;
pub(super) const PINGREQ: u8 = 12;
pub(super) const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;

/// A whole packet, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Packet<'a> {
    ConnAck(ConnAck),
    Publish(Publish<'a>),
    PubAck {
        id: u16,
        reason: ReasonCode,
    },
    SubAck {
        id: u16,
        /// One for each subscription, in the order of the SUBSCRIBE packet.
        codes: &'a [u8],
    },
    PingResp,
    Disconnect(ReasonCode),
}

/// The broker's answer to CONNECT (3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct ConnAck {
    pub(in super::super) session_present: bool,
    pub(in super::super) reason: ReasonCode,
    pub(in super::super) limits: Limits,
}

/// What a broker takes (3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Limits {
    /// The largest packet. Never 0.
    pub(in super::super) packet_max: u32,
    /// Whether it takes QoS 1.
    pub(in super::super) qos1: bool,
    /// Whether it keeps retained messages.
    pub(in super::super) retain: bool,
    /// The keep alive that it prescribes, in seconds; 0 if it does not.
    pub(in super::super) keep_alive: u16,
}

impl Limits {
    /// Those of a broker that names none.
    pub(in super::super) const NONE: Self = Self {
        packet_max: u32::MAX,
        qos1: true,
        retain: true,
        keep_alive: 0,
    };
}

/// A message (3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Publish<'a> {
    pub(in super::super) topic: &'a [u8],
    pub(in super::super) qos: u8,
    pub(in super::super) retain: bool,
    /// 0 with QoS 0, else never 0.
    pub(in super::super) id: u16,
    pub(in super::super) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// MQTT's number for this kind of packet.
    pub(in super::super) fn kind(&self) -> u8 {
        match self {
            Self::ConnAck(_) => CONNACK,
            Self::Publish(_) => PUBLISH,
            Self::PubAck { .. } => PUBACK,
            Self::SubAck { .. } => SUBACK,
            Self::PingResp => PINGRESP,
            Self::Disconnect(_) => DISCONNECT,
        }
    }

    /// Reads the packet with the first byte `first`, which [`check_flags`] has seen, and `body` after the remaining length.
    pub(super) fn parse(first: u8, body: &'a [u8]) -> Result<Self, MqttError> {
        let kind = first >> 4;
        let mut fields = Fields::new(body);
        Ok(match kind {
            CONNACK => Self::ConnAck(connack(body)?),
            PUBLISH => {
                let mut publish = Publish::parse_start(first, &mut fields)?;
                if properties::read(&mut fields, properties::PUBLISH)?.topic_alias {
                    return Err(MqttError::TopicAlias);
                }
                publish.payload = fields.rest();
                Self::Publish(publish)
            }
            PUBACK => Self::PubAck {
                id: packet_id(&mut fields)?,
                reason: reason_and_properties(fields, properties::ACK)?,
            },
            SUBACK => {
                let id = packet_id(&mut fields)?;
                properties::read(&mut fields, properties::ACK)?;
                Self::SubAck {
                    id,
                    codes: fields.rest(),
                }
            }
            PINGRESP if body.is_empty() => Self::PingResp,
            PINGRESP => return Err(MqttError::Malformed),
            DISCONNECT => Self::Disconnect(reason_and_properties(fields, properties::DISCONNECT)?),
            // QoS 2 flows, UNSUBACK and AUTH answer what this device never sends; the rest only clients send.
            _ => return Err(MqttError::Unexpected(kind)),
        })
    }
}

impl<'a> Publish<'a> {
    /// Reads what comes before the properties. The payload stays empty.
    pub(super) fn parse_start(first: u8, fields: &mut Fields<'a>) -> Result<Self, MqttError> {
        let qos = (first >> 1) & 3;
        Ok(Self {
            topic: fields.prefixed(),
            qos,
            retain: first & 1 != 0,
            id: if qos == 0 { 0 } else { packet_id(fields)? },
            payload: &[],
        })
    }
}

/// The low four bits of the first byte are fixed for all packets but PUBLISH (2.1.3), and type 0 is reserved.
///
/// Checked as soon as the byte is there: nothing is collected for a packet that cannot be one.
pub(super) fn check_flags(first: u8) -> Result<(), MqttError> {
    let (kind, flags) = (first >> 4, first & 0x0F);
    let good = match kind {
        0 => false,
        // QoS 3 does not exist, and a message with QoS 0 has no duplicates.
        PUBLISH => flags & 6 != 6 && (flags & 8 == 0 || flags & 6 != 0),
        PUBREL | SUBSCRIBE | 10 => flags == 2,
        _ => flags == 0,
    };
    if good {
        Ok(())
    } else {
        Err(MqttError::Malformed)
    }
}

/// Packet identifiers are never 0 (2.2.1).
fn packet_id(fields: &mut Fields<'_>) -> Result<u16, MqttError> {
    match fields.u16() {
        0 => Err(MqttError::Malformed),
        id => Ok(id),
    }
}

/// The end of PUBACK and DISCONNECT, where reason code and properties may be left out (3.4.2.1, 3.14.2.1).
fn reason_and_properties(mut fields: Fields<'_>, packet: u8) -> Result<ReasonCode, MqttError> {
    if fields.is_empty() {
        return Ok(ReasonCode(0));
    }
    let reason = ReasonCode(fields.u8());
    if !fields.is_empty() {
        properties::read(&mut fields, packet)?;
    }
    if !fields.is_empty() {
        return Err(MqttError::Malformed);
    }
    Ok(reason)
}

/// What a CONNACK of MQTT 3.1.1 says (there 3.2.2.3). A broker that says 0 in it has accepted a session of that version, which
/// nobody asked for.
const fn refused_in_v3(code: u8) -> MqttError {
    match code {
        2 => MqttError::Refused(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID),
        3 => MqttError::Refused(ReasonCode::SERVER_UNAVAILABLE),
        4 => MqttError::Refused(ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        5 => MqttError::Refused(ReasonCode::NOT_AUTHORIZED),
        _ => MqttError::NotV5,
    }
}

fn connack(body: &[u8]) -> Result<ConnAck, MqttError> {
    // MQTT 3.1 and 3.1.1 have no properties: their CONNACK is two bytes long, and their return codes are below 6. A broker
    // that says a code of MQTT 5 in that form is wrong, yet understood: the connection is refused either way.
    let body = match body {
        [_, code] if *code < 0x80 => return Err(refused_in_v3(*code)),
        [flags, code] => &[*flags, *code, 0],
        _ => body,
    };
    let mut fields = Fields::new(body);
    let flags = fields.u8();
    let connack = ConnAck {
        session_present: flags == 1,
        reason: ReasonCode(fields.u8()),
        limits: properties::read(&mut fields, properties::CONNACK)?.limits,
    };
    // A refusal has no session (3.2.2.1.1).
    let contradictory = connack.session_present && connack.reason.is_error();
    if flags > 1 || contradictory || !fields.is_empty() {
        return Err(MqttError::Malformed);
    }
    Ok(connack)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(first: u8, body: &[u8]) -> Result<Packet<'_>, MqttError> {
        check_flags(first)?;
        Packet::parse(first, body)
    }

    #[test]
    fn a_connack_says_what_the_broker_allows() {
        let body = [
            1, 0, 17, 0x21, 0, 5, 0x24, 0, 0x25, 0, 0x27, 0, 0, 4, 0, 0x13, 0, 30, 0x2A, 1,
        ];
        assert_eq!(
            parse(0x20, &body),
            Ok(Packet::ConnAck(ConnAck {
                session_present: true,
                reason: ReasonCode(0),
                limits: Limits {
                    packet_max: 1024,
                    qos1: false,
                    retain: false,
                    keep_alive: 30,
                },
            }))
        );
    }

    #[test]
    fn a_connack_of_mqtt_3_is_told_from_one_of_mqtt_5() {
        for (code, error) in [
            (0, MqttError::NotV5),
            (1, MqttError::NotV5),
            (5, MqttError::Refused(ReasonCode::NOT_AUTHORIZED)),
        ] {
            assert_eq!(parse(0x20, &[0, code]), Err(error));
        }
        for body in [&[0, 0x84, 0][..], &[0, 0x84]] {
            assert!(matches!(
                parse(0x20, body),
                Ok(Packet::ConnAck(ConnAck { reason, .. })) if reason == ReasonCode::UNSUPPORTED_PROTOCOL_VERSION
            ));
        }
    }

    #[test]
    fn impossible_connacks_are_malformed() {
        for body in [
            &[][..],
            &[0],
            &[2, 0, 0],
            &[0, 0, 1],
            &[0, 0, 0, 0],
            &[1, 0x87, 0],
            &[0, 0, 3, 0x21, 0, 0],
            &[0, 0, 2, 0x24, 2],
            &[0, 0, 5, 0x27, 0, 0, 0, 0],
        ] {
            assert_eq!(parse(0x20, body), Err(MqttError::Malformed), "{body:?}");
        }
    }

    #[test]
    fn a_message_is_read_with_all_its_parts() {
        let body = [0, 3, b'a', b'/', b'b', 0x12, 0x34, 2, 0x01, 1, b'h', b'i'];
        assert_eq!(
            parse(0x33, &body),
            Ok(Packet::Publish(Publish {
                topic: b"a/b",
                qos: 1,
                retain: true,
                id: 0x1234,
                payload: b"hi",
            }))
        );
    }

    #[test]
    fn impossible_messages_are_malformed() {
        for (first, body) in [
            (0x30, &[][..]),
            (0x30, &[0, 9, b'a']),
            (0x30, &[0, 1, b'a']),
            (0x32, &[0, 1, b'a', 0, 0, 0]),
            (0x32, &[0, 1, b'a', 0]),
            (0x30, &[0, 1, b'a', 9, 0]),
            (0x36, &[0, 1, b'a', 0, 1, 0]),
            (0x38, &[0, 1, b'a', 0]),
        ] {
            assert_eq!(
                parse(first, body),
                Err(MqttError::Malformed),
                "{first:#x} {body:?}"
            );
        }
        assert_eq!(
            parse(0x30, &[0, 0, 3, 0x23, 0, 1]),
            Err(MqttError::TopicAlias)
        );
    }

    #[test]
    fn acknowledgements_may_be_short_or_long() {
        for (body, reason) in [
            (&[0, 7][..], 0),
            (&[0, 7, 0x10], 0x10),
            (&[0, 7, 0x87, 0], 0x87),
            (&[0, 7, 0x97, 5, 0x1F, 0, 2, b'n', b'o'], 0x97),
        ] {
            let reason = ReasonCode(reason);
            assert_eq!(
                parse(0x40, body),
                Ok(Packet::PubAck { id: 7, reason }),
                "{body:?}"
            );
        }
        assert_eq!(
            parse(0x90, &[0, 1, 0, 1, 1, 0x87]),
            Ok(Packet::SubAck {
                id: 1,
                codes: &[1, 1, 0x87]
            })
        );
        assert_eq!(parse(0xE0, &[]), Ok(Packet::Disconnect(ReasonCode(0))));
        for (first, body) in [
            (0x40, &[0, 0][..]),
            (0x40, &[0]),
            (0x40, &[0, 1, 0, 0, 0]),
            (0xE0, &[0, 0, 0]),
            (0xD0, &[0]),
        ] {
            assert_eq!(parse(first, body), Err(MqttError::Malformed));
        }
    }

    #[test]
    fn wrong_flags_and_packets_of_clients_are_refused() {
        for first in [0x00, 0x0F, 0x21, 0x41, 0x60, 0x80, 0xD1, 0xE8] {
            assert_eq!(
                parse(first, &[0, 1]),
                Err(MqttError::Malformed),
                "{first:#x}"
            );
        }
        for first in [0x10, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xB0, 0xC0, 0xF0] {
            assert_eq!(
                parse(first, &[0, 1]),
                Err(MqttError::Unexpected(first >> 4)),
                "{first:#x}"
            );
        }
    }
}
