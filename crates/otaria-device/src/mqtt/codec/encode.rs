//! The packets that a device sends, written into buffers.

use core::ops::Range;

use super::super::ReasonCode;
use super::{PACKET_MAX, packet, properties};

/// Bytes of a PUBLISH packet's start: fixed header, a topic of 128 bytes, packet identifier, no properties.
pub(in super::super) const PUBLISH_HEAD_MAX: usize = 5 + 2 + 128 + 2 + 1;

/// The Last Will: the message that the broker publishes for a device whose connection is gone.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Will<'a> {
    pub(in super::super) topic: &'a str,
    pub(in super::super) payload: &'a [u8],
    pub(in super::super) qos1: bool,
    pub(in super::super) retain: bool,
}

/// What a CONNECT packet says (3.1).
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Connect<'a> {
    pub(in super::super) client_id: &'a str,
    /// Seconds.
    pub(in super::super) keep_alive: u16,
    /// Seconds that the broker keeps the session after the connection is gone.
    pub(in super::super) session_expiry: u32,
    pub(in super::super) receive_maximum: u16,
    pub(in super::super) user_name: Option<&'a str>,
    pub(in super::super) password: Option<&'a [u8]>,
    pub(in super::super) will: Will<'a>,
}

/// Writes a CONNECT packet; `None` if it does not fit into `buf`.
pub(in super::super) fn connect<'b>(buf: &'b mut [u8], connect: &Connect<'_>) -> Option<&'b [u8]> {
    let will = &connect.will;
    let flags = 1 << 2
        | u8::from(will.qos1) << 3
        | u8::from(will.retain) << 5
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.user_name.is_some()) << 7;
    framed(buf, packet::CONNECT << 4, |body| {
        body.prefixed(b"MQTT")?;
        body.put(&[5, flags])?;
        body.put(&connect.keep_alive.to_be_bytes())?;
        body.put(&[5 + 3 + 5 + 2])?;
        body.put(&[properties::SESSION_EXPIRY])?;
        body.put(&connect.session_expiry.to_be_bytes())?;
        body.put(&[properties::RECEIVE_MAXIMUM])?;
        body.put(&connect.receive_maximum.to_be_bytes())?;
        body.put(&[properties::MAXIMUM_PACKET_SIZE])?;
        body.put(&(PACKET_MAX as u32).to_be_bytes())?;
        // No reason strings and user properties: nothing here reads them.
        body.put(&[properties::REQUEST_PROBLEM_INFORMATION, 0])?;
        body.prefixed(connect.client_id.as_bytes())?;
        // The will has no properties.
        body.put(&[0])?;
        body.prefixed(will.topic.as_bytes())?;
        body.prefixed(will.payload)?;
        if let Some(name) = connect.user_name {
            body.prefixed(name.as_bytes())?;
        }
        if let Some(password) = connect.password {
            body.prefixed(password)?;
        }
        Some(())
    })
}

/// A topic to subscribe to, with QoS 1 (3.8.3.1).
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Filter<'a> {
    pub(in super::super) topic: &'a str,
    /// `false`: the retain flag of what arrives says that the broker had stored it. `true`: it is as the sender set it.
    pub(in super::super) retain_as_published: bool,
}

/// Writes a SUBSCRIBE packet; `None` if it does not fit into `buf`.
pub(in super::super) fn subscribe<'b>(
    buf: &'b mut [u8],
    id: u16,
    filters: &[Filter<'_>],
) -> Option<&'b [u8]> {
    framed(buf, packet::SUBSCRIBE << 4 | 2, |body| {
        body.put(&id.to_be_bytes())?;
        body.put(&[0])?;
        for filter in filters {
            body.prefixed(filter.topic.as_bytes())?;
            body.put(&[1 | u8::from(filter.retain_as_published) << 3])?;
        }
        Some(())
    })
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct PublishHead<'a> {
    pub(in super::super) topic: &'a str,
    pub(in super::super) retain: bool,
    /// QoS 1 with this packet identifier, or QoS 0.
    pub(in super::super) id: Option<u16>,
    /// Whether it has been sent before, in this session.
    pub(in super::super) dup: bool,
}

/// Writes the start of a PUBLISH packet so that it ends at the end of `buf`, where a payload of `payload_len` bytes follows.
/// Returns how many bytes it took; `None` if they do not fit.
pub(in super::super) fn publish_head(
    buf: &mut [u8],
    head: &PublishHead<'_>,
    payload_len: usize,
) -> Option<usize> {
    let body_len = 2 + head.topic.len() + head.id.map_or(0, |_| 2) + 1;
    let mut first = packet::PUBLISH << 4 | u8::from(head.retain);
    if head.id.is_some() {
        first |= 1 << 1 | u8::from(head.dup) << 3;
    }
    let (header, header_len) = fixed_header(first, body_len.checked_add(payload_len)?)?;
    let len = header_len + body_len;
    let start = buf.len().checked_sub(len)?;
    let mut out = Writer::new(buf.get_mut(start..)?);
    out.put(header.get(..header_len)?)?;
    out.prefixed(head.topic.as_bytes())?;
    if let Some(id) = head.id {
        out.put(&id.to_be_bytes())?;
    }
    out.put(&[0])?;
    Some(len)
}

/// PUBACK: success, no properties.
pub(in super::super) const fn puback(id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [packet::PUBACK << 4, 2, high, low]
}

/// PUBREC with a reason of 0x80 or more: it ends the delivery of a QoS 2 message.
pub(in super::super) const fn pubrec(id: u16, reason: ReasonCode) -> [u8; 5] {
    let [high, low] = id.to_be_bytes();
    [packet::PUBREC << 4, 3, high, low, reason.0]
}

/// PINGREQ.
pub(in super::super) const PINGREQ: [u8; 2] = [packet::PINGREQ << 4, 0];

/// DISCONNECT, with a reason that makes the broker publish the will.
pub(in super::super) const fn disconnect(reason: ReasonCode) -> [u8; 3] {
    [packet::DISCONNECT << 4, 1, reason.0]
}

/// The first byte and the remaining length; `None` beyond 256 MiB.
fn fixed_header(first: u8, remaining: usize) -> Option<([u8; 5], usize)> {
    let mut header = [first, 0, 0, 0, 0];
    let mut rest = remaining;
    for (i, byte) in header.iter_mut().enumerate().skip(1) {
        *byte = (rest & 0x7F) as u8;
        rest >>= 7;
        if rest == 0 {
            return Some((header, i + 1));
        }
        *byte |= 0x80;
    }
    None
}

/// Writes a packet whose length is known only when its body is written: the body goes behind room for the largest header.
fn framed(
    buf: &mut [u8],
    first: u8,
    body: impl FnOnce(&mut Writer<'_>) -> Option<()>,
) -> Option<&[u8]> {
    let mut out = Writer::new(buf.get_mut(5..)?);
    body(&mut out)?;
    let body_len = out.len;
    let (header, header_len) = fixed_header(first, body_len)?;
    let packet: Range<usize> = (5 - header_len)..(5 + body_len);
    buf.get_mut(packet.start..5)?
        .copy_from_slice(header.get(..header_len)?);
    buf.get(packet)
}

struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len.checked_add(bytes.len())?;
        self.buf.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    /// Two bytes of length, then the bytes.
    fn prefixed(&mut self, bytes: &[u8]) -> Option<()> {
        self.put(&u16::try_from(bytes.len()).ok()?.to_be_bytes())?;
        self.put(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECT: Connect<'_> = Connect {
        client_id: "d1",
        keep_alive: 60,
        session_expiry: 3600,
        receive_maximum: 4,
        user_name: None,
        password: None,
        will: Will {
            topic: "t",
            payload: b"{}",
            qos1: true,
            retain: true,
        },
    };

    #[test]
    fn connect_has_the_bytes_of_the_standard() {
        let mut buf = [0; 128];
        assert_eq!(
            connect(&mut buf, &CONNECT).unwrap(),
            [
                0x10,
                38,
                0,
                4,
                b'M',
                b'Q',
                b'T',
                b'T',
                5,
                0b0010_1100,
                0,
                60,
                15,
                0x11,
                0,
                0,
                0x0E,
                0x10,
                0x21,
                0,
                4,
                0x27,
                0,
                0,
                8,
                0,
                0x17,
                0,
                0,
                2,
                b'd',
                b'1',
                0,
                0,
                1,
                b't',
                0,
                2,
                b'{',
                b'}'
            ]
        );
        let full = Connect {
            user_name: Some("u"),
            password: Some(b"p"),
            will: Will {
                qos1: false,
                retain: false,
                ..CONNECT.will
            },
            ..CONNECT
        };
        let packet = connect(&mut buf, &full).unwrap();
        assert_eq!(packet[9], 0b1100_0100);
        assert_eq!(packet[packet.len() - 6..], [0, 1, b'u', 0, 1, b'p']);
    }

    #[test]
    fn subscribe_has_the_bytes_of_the_standard() {
        let mut buf = [0; 128];
        let filters = [filter("a", false), filter("bc", true)];
        assert_eq!(
            subscribe(&mut buf, 0x0102, &filters).unwrap(),
            [0x82, 12, 1, 2, 0, 0, 1, b'a', 1, 0, 2, b'b', b'c', 0b1001]
        );
    }

    fn filter(topic: &str, retain_as_published: bool) -> Filter<'_> {
        Filter {
            topic,
            retain_as_published,
        }
    }

    #[test]
    fn the_start_of_a_message_ends_where_its_payload_begins() {
        let head = PublishHead {
            topic: "a/b",
            retain: true,
            id: Some(7),
            dup: true,
        };
        let mut buf = [0xEE; 16];
        let len = publish_head(&mut buf, &head, 200).unwrap();
        assert_eq!(
            buf[16 - len..],
            [0b0011_1011, 0x80 | 80, 1, 0, 3, b'a', b'/', b'b', 0, 7, 0]
        );
        assert_eq!(buf[0], 0xEE);

        let head = PublishHead {
            retain: false,
            id: None,
            ..head
        };
        let len = publish_head(&mut buf, &head, 0).unwrap();
        assert_eq!(buf[16 - len..], [0x30, 6, 0, 3, b'a', b'/', b'b', 0]);
        assert_eq!(publish_head(&mut buf[..7], &head, 0), None);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut buf = [0; 128];
        let len = connect(&mut buf, &CONNECT).unwrap().len();
        for room in 0..len {
            assert!(connect(&mut buf[..room], &CONNECT).is_none(), "{room}");
        }
        let long: std::string::String = "x".repeat(70_000);
        let mut large = std::vec![0; 80_000];
        assert!(subscribe(&mut large, 1, &[filter(&long, false)]).is_none());
    }

    #[test]
    fn remaining_lengths_have_the_bytes_of_the_standard() {
        for (remaining, bytes) in [
            (0, &[0][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let (header, len) = fixed_header(0x30, remaining).unwrap();
            assert_eq!(&header[1..len], bytes);
        }
        assert_eq!(fixed_header(0x30, 268_435_456), None);
    }

    #[test]
    fn short_packets_have_the_bytes_of_the_standard() {
        assert_eq!(puback(0x0203), [0x40, 2, 2, 3]);
        assert_eq!(
            pubrec(1, ReasonCode::IMPLEMENTATION_SPECIFIC),
            [0x50, 3, 0, 1, 0x83]
        );
        assert_eq!(
            disconnect(ReasonCode::PROTOCOL_ERROR),
            [0xE0, 1, 0x82],
            "{:?}",
            ReasonCode::PROTOCOL_ERROR
        );
    }
}
