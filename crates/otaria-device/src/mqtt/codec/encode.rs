//! The packets that a device sends, written into buffers.

use otaria_wire::topics::{MAX_TOPIC_LEN, Topic, Topics};

use super::super::mailbox::Inbound;
use super::super::{MqttConfig, ReasonCode, WillForm};
use super::{PACKET_MAX, packet, properties};

/// Seconds that the broker keeps the session after the connection is gone.
const SESSION_EXPIRY: u32 = 3_600;
/// How many messages the broker may send before it has to wait for acknowledgements.
const RECEIVE_MAXIMUM: u16 = 4;

/// The payloads of `presence`; the second one is the Last Will.
pub(in super::super) const ONLINE: &[u8] = br#"{"online":true}"#;
const OFFLINE: &[u8] = br#"{"online":false}"#;

/// Bytes of a fixed header: the first byte, and the remaining length.
const FIXED_HEADER_MAX: usize = 5;
/// Bytes of a PUBLISH packet's start: fixed header, topic, packet identifier, no properties.
pub(in super::super) const PUBLISH_HEAD_MAX: usize = FIXED_HEADER_MAX + 2 + MAX_TOPIC_LEN + 2 + 1;
/// Room for any packet without a payload, CONNECT excepted. The largest is SUBSCRIBE, with three topics.
pub(in super::super) const SHORT_MAX: usize =
    FIXED_HEADER_MAX + 2 + 1 + Inbound::ALL.len() * (2 + MAX_TOPIC_LEN + 1);

/// Writes a CONNECT packet (3.1); `None` if it does not fit into `buf`.
pub(in super::super) fn connect<'b>(
    buf: &'b mut [u8],
    config: &MqttConfig<'_>,
    will: WillForm,
) -> Option<&'b [u8]> {
    let flags = 1 << 2
        | u8::from(will.qos1) << 3
        | u8::from(will.retain) << 5
        | u8::from(config.password.is_some()) << 6
        | u8::from(config.user_name.is_some()) << 7;
    let mut packet = Writer::new(buf);
    packet.prefixed(b"MQTT");
    packet.put(&[5, flags]);
    packet.u16(config.keep_alive());
    packet.put(&[5 + 3 + 5 + 2, properties::SESSION_EXPIRY]);
    packet.put(&SESSION_EXPIRY.to_be_bytes());
    packet.put(&[properties::RECEIVE_MAXIMUM]);
    packet.u16(RECEIVE_MAXIMUM);
    packet.put(&[properties::MAXIMUM_PACKET_SIZE]);
    packet.put(&(PACKET_MAX as u32).to_be_bytes());
    // No reason strings and user properties: nothing here reads them.
    packet.put(&[properties::REQUEST_PROBLEM_INFORMATION, 0]);
    packet.prefixed(config.topics.device().as_bytes());
    // The will has no properties.
    packet.put(&[0]);
    packet.topic(config.topics, Topic::Presence);
    packet.prefixed(OFFLINE);
    if let Some(name) = config.user_name {
        packet.prefixed(name.as_bytes());
    }
    if let Some(password) = config.password {
        packet.prefixed(password);
    }
    packet.finish(packet::CONNECT << 4)
}

/// Writes a SUBSCRIBE packet for all [`Inbound`] topics, with QoS 1 (3.8).
pub(in super::super) fn subscribe<'b>(
    buf: &'b mut [u8],
    topics: &Topics,
    id: u16,
) -> Option<&'b [u8]> {
    let mut packet = Writer::new(buf);
    packet.u16(id);
    packet.put(&[0]);
    for inbound in Inbound::ALL {
        packet.topic(topics, inbound.topic());
        // Retain As Published (3.8.3.1). Without it, the retain flag of what arrives says that the broker had stored it; with
        // it, it is as the sender set it.
        let as_published = inbound == Inbound::Command;
        packet.put(&[1 | u8::from(as_published) << 3]);
    }
    packet.finish(packet::SUBSCRIBE << 4 | 2)
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct PublishHead {
    pub(in super::super) topic: Topic,
    pub(in super::super) retain: bool,
    /// QoS 1 with this packet identifier, or QoS 0.
    pub(in super::super) id: Option<u16>,
    /// Whether it has been sent before, in this session.
    pub(in super::super) dup: bool,
}

/// Writes the start of a PUBLISH packet (3.3) in front of its payload, the `payload_len` bytes at [`PUBLISH_HEAD_MAX`].
pub(in super::super) fn publish<'b>(
    buf: &'b mut [u8],
    topics: &Topics,
    head: &PublishHead,
    payload_len: usize,
) -> Option<&'b [u8]> {
    let topic = topics.name(head.topic);
    let mut first = packet::PUBLISH << 4 | u8::from(head.retain);
    let mut head_len = 2 + topic.len() + 1;
    if head.id.is_some() {
        first |= 1 << 1 | u8::from(head.dup) << 3;
        head_len += 2;
    }
    let mut packet = Writer::at(buf, PUBLISH_HEAD_MAX.checked_sub(head_len)?);
    packet.prefixed(topic.as_bytes());
    if let Some(id) = head.id {
        packet.u16(id);
    }
    packet.put(&[0]);
    packet.skip(payload_len);
    packet.finish(first)
}

/// Writes PUBACK (3.4): success, no properties.
pub(in super::super) fn puback(buf: &mut [u8], id: u16) -> Option<&[u8]> {
    let mut packet = Writer::new(buf);
    packet.u16(id);
    packet.finish(packet::PUBACK << 4)
}

/// Writes PUBREC (3.5) with a reason of 0x80 or more: it ends the delivery of a QoS 2 message.
pub(in super::super) fn pubrec(buf: &mut [u8], id: u16, reason: ReasonCode) -> Option<&[u8]> {
    let mut packet = Writer::new(buf);
    packet.u16(id);
    packet.put(&[reason.0]);
    packet.finish(packet::PUBREC << 4)
}

/// PINGREQ (3.12).
pub(in super::super) const PINGREQ: [u8; 2] = [packet::PINGREQ << 4, 0];

/// DISCONNECT (3.14), with a reason that makes the broker publish the will.
pub(in super::super) const fn disconnect(reason: ReasonCode) -> [u8; 3] {
    [packet::DISCONNECT << 4, 1, reason.0]
}

/// Writes a packet whose length is known only when its body is written: before the body there is room for the largest header.
///
/// What does not fit is not written, and nothing after it; then there is no packet.
struct Writer<'b> {
    buf: &'b mut [u8],
    start: usize,
    /// Where the body ends; `usize::MAX` if it did not fit.
    end: usize,
}

impl<'b> Writer<'b> {
    fn new(buf: &'b mut [u8]) -> Self {
        Self::at(buf, FIXED_HEADER_MAX)
    }

    /// A packet whose body starts at `start`.
    fn at(buf: &'b mut [u8], start: usize) -> Self {
        Self {
            buf,
            start,
            end: start,
        }
    }

    /// The next `len` bytes, which may be written or left as they are.
    fn skip(&mut self, len: usize) -> &mut [u8] {
        let room = self.buf.get_mut(self.end..);
        let room = room.and_then(|room| room.get_mut(..len));
        self.end = match room {
            Some(_) => self.end.saturating_add(len),
            None => usize::MAX,
        };
        room.unwrap_or_default()
    }

    fn put(&mut self, bytes: &[u8]) {
        for (to, from) in self.skip(bytes.len()).iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    fn u16(&mut self, number: u16) {
        self.put(&number.to_be_bytes());
    }

    /// Two bytes of length, then the bytes.
    fn prefixed(&mut self, bytes: &[u8]) {
        match u16::try_from(bytes.len()) {
            Ok(len) => self.u16(len),
            Err(_) => self.end = usize::MAX,
        }
        self.put(bytes);
    }

    fn topic(&mut self, topics: &Topics, topic: Topic) {
        self.prefixed(topics.name(topic).as_bytes());
    }

    /// Puts the fixed header before the body: the first byte and the remaining length (2.1). The whole packet.
    fn finish(self, first: u8) -> Option<&'b [u8]> {
        let body_len = self.buf.get(self.start..self.end)?.len();
        let mut header = [first, 0, 0, 0, 0];
        let mut header_len = 1;
        let mut rest = body_len;
        for byte in header.iter_mut().skip(1) {
            *byte = (rest & 0x7F) as u8;
            header_len += 1;
            rest >>= 7;
            if rest == 0 {
                break;
            }
            *byte |= 0x80;
        }
        // The buffers here are far smaller than the largest packet, 256 MiB.
        let start = self.start.checked_sub(header_len)?;
        let packet = self.buf.get_mut(start..self.end)?;
        for (to, from) in packet.iter_mut().zip(header.into_iter().take(header_len)) {
            *to = from;
        }
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn topics() -> Topics {
        Topics::new("o", "d1").unwrap()
    }

    const WILL: WillForm = WillForm {
        qos1: true,
        retain: true,
    };

    #[test]
    fn connect_has_the_bytes_of_the_standard() {
        let topics = topics();
        let config = MqttConfig::new("h", 1883, &topics);
        let mut buf = [0; 128];
        let packet = [
            &[0x10, 67, 0, 4][..],
            b"MQTT",
            &[5, 0b0010_1100, 0, 60, 15],
            &[0x11, 0, 0, 0x0E, 0x10, 0x21, 0, 4],
            &[0x27, 0, 0, 8, 0, 0x17, 0],
            &[0, 2, b'd', b'1', 0, 0, 16],
            b"o/v1/d1/presence",
            &[0, 16],
            br#"{"online":false}"#,
        ]
        .concat();
        assert_eq!(connect(&mut buf, &config, WILL).unwrap(), packet);

        let full = MqttConfig {
            user_name: Some("u"),
            password: Some(b"p"),
            ..config
        };
        let simple = WillForm {
            qos1: false,
            retain: false,
        };
        let packet = connect(&mut buf, &full, simple).unwrap();
        assert_eq!(packet[9], 0b1100_0100);
        assert_eq!(packet[packet.len() - 6..], [0, 1, b'u', 0, 1, b'p']);
    }

    #[test]
    fn subscribe_has_the_bytes_of_the_standard() {
        let mut buf = [0; SHORT_MAX];
        let packet = [
            &[0x82, 50, 1, 2, 0, 0, 12][..],
            b"o/v1/d1/keys",
            &[1, 0, 15],
            b"o/v1/d1/desired",
            &[1, 0, 11],
            b"o/v1/d1/cmd",
            &[0b1001],
        ]
        .concat();
        assert_eq!(subscribe(&mut buf, &topics(), 0x0102).unwrap(), packet);
    }

    #[test]
    fn packets_for_the_longest_names_fit() {
        let name = "n".repeat(40);
        let topics = Topics::new(&name, &name).unwrap();
        assert!(subscribe(&mut [0; SHORT_MAX], &topics, 1).is_some());
        let mut buf = [0; PUBLISH_HEAD_MAX];
        let head = PublishHead {
            topic: Topic::Progress,
            retain: false,
            id: Some(1),
            dup: false,
        };
        assert!(publish(&mut buf, &topics, &head, 0).is_some());
    }

    #[test]
    fn the_start_of_a_message_ends_where_its_payload_begins() {
        let head = PublishHead {
            topic: Topic::Log,
            retain: true,
            id: Some(7),
            dup: true,
        };
        let mut buf = [0xEE; PUBLISH_HEAD_MAX + 200];
        let packet = publish(&mut buf, &topics(), &head, 200).unwrap();
        let start = [
            &[0b0011_1011, 0x80 | 88, 1, 0, 11][..],
            b"o/v1/d1/log",
            &[0, 7, 0],
        ]
        .concat();
        assert_eq!(packet, [start, [0xEE; 200].to_vec()].concat());
        assert!(publish(&mut buf, &topics(), &head, 201).is_none());

        let head = PublishHead {
            retain: false,
            id: None,
            ..head
        };
        let packet = publish(&mut buf, &topics(), &head, 0).unwrap();
        let start = [&[0x30, 14, 0, 11][..], b"o/v1/d1/log", &[0]].concat();
        assert_eq!(packet, start);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let topics = topics();
        let config = MqttConfig::new("h", 1883, &topics);
        let mut buf = [0; 128];
        // The room for the header is larger than this header.
        let len = connect(&mut buf, &config, WILL).unwrap().len() + 3;
        for room in 0..len {
            assert!(
                connect(&mut buf[..room], &config, WILL).is_none(),
                "{room} bytes"
            );
        }
        assert!(connect(&mut buf[..len], &config, WILL).is_some());
        let long = "x".repeat(70_000);
        let config = MqttConfig {
            user_name: Some(&long),
            ..config
        };
        let mut large = std::vec![0; 80_000];
        assert!(connect(&mut large, &config, WILL).is_none());
    }

    #[test]
    fn remaining_lengths_have_the_bytes_of_the_standard() {
        for (remaining, bytes) in [
            (0, &[0][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
        ] {
            let mut buf: Vec<u8> = std::vec![0; FIXED_HEADER_MAX + remaining];
            let mut packet = Writer::new(&mut buf);
            packet.skip(remaining);
            let packet = packet.finish(0x30).unwrap();
            assert_eq!(packet.len(), 1 + bytes.len() + remaining);
            assert_eq!(packet[..=bytes.len()], [&[0x30], bytes].concat());
        }
    }

    #[test]
    fn short_packets_have_the_bytes_of_the_standard() {
        let mut buf = [0; 16];
        assert_eq!(puback(&mut buf, 0x0203).unwrap(), [0x40, 2, 2, 3]);
        let reason = ReasonCode::IMPLEMENTATION_SPECIFIC;
        assert_eq!(pubrec(&mut buf, 1, reason).unwrap(), [0x50, 3, 0, 1, 0x83]);
        assert_eq!(
            disconnect(ReasonCode::PROTOCOL_ERROR),
            [0xE0, 1, 0x82],
            "{:?}",
            ReasonCode::PROTOCOL_ERROR
        );
    }
}
