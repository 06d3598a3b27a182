//! Brokers that take the device in, and then misbehave a few times.

use crate::packets::{DESIRED, connack, publish};
use crate::row::*;
use crate::stage::meddler::{
    CONNACK, CONNECT, Deed, PINGRESP, PUBACK, PUBLISH, Packet, SUBACK, SUBSCRIBE,
};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        meddled(
            "hangs up behind CONNECT, five times",
            |packet| match packet.is_devices(CONNECT) && packet.before < 5 {
                true => vec![Deed::Close],
                false => vec![Deed::Pass],
            },
            6..=7,
        ),
        meddled(
            "hangs up behind CONNACK, five times",
            |packet| match packet.is_brokers(CONNACK) && packet.before < 5 {
                true => vec![Deed::Pass, Deed::Close],
                false => vec![Deed::Pass],
            },
            6..=7,
        ),
        meddled(
            "hangs up behind SUBSCRIBE, five times",
            |packet| match packet.is_devices(SUBSCRIBE) && packet.before < 5 {
                true => vec![Deed::Pass, Deed::Close],
                false => vec![Deed::Pass],
            },
            6..=7,
        ),
        meddled(
            "hangs up behind SUBACK, five times",
            |packet| match packet.is_brokers(SUBACK) && packet.before < 5 {
                true => vec![Deed::Pass, Deed::Close],
                false => vec![Deed::Pass],
            },
            6..=7,
        ),
        meddled(
            "hangs up instead of taking a message, five times",
            |packet| match packet.is_devices(PUBLISH) && packet.before < 5 {
                true => vec![Deed::Close],
                false => vec![Deed::Pass],
            },
            6..=7,
        ),
        meddled(
            "hangs up behind a message that it has taken, five times",
            |packet| match packet.is_devices(PUBLISH) && packet.before < 5 {
                true => vec![Deed::Pass, Deed::Close],
                false => vec![Deed::Pass],
            },
            6..=7,
        ),
        meddled(
            "hangs up instead of PUBACK, five times",
            |packet| match packet.is_brokers(PUBACK) && packet.before < 5 {
                true => vec![Deed::Close],
                false => vec![Deed::Pass],
            },
            6..=7,
        ),
        meddled(
            "hangs up behind PUBACK, five times",
            |packet| match packet.is_brokers(PUBACK) && packet.before < 5 {
                true => vec![Deed::Pass, Deed::Close],
                false => vec![Deed::Pass],
            },
            6..=7,
        ),
        meddled(
            "hangs up behind a message to the device, five times",
            |packet| match packet.is_brokers(PUBLISH) && packet.before < 5 {
                true => vec![Deed::Pass, Deed::Close],
                false => vec![Deed::Pass],
            },
            1..=7,
        ),
        meddled(
            "hangs up instead of taking the device's PUBACK, five times",
            |packet| match packet.is_devices(PUBACK) && packet.before < 5 {
                true => vec![Deed::Close],
                false => vec![Deed::Pass],
            },
            2..=7,
        ),
        meddled(
            "hangs up at every thirtieth packet",
            |packet| match packet.before % 30 == 29 {
                true => vec![Deed::Pass, Deed::Close],
                false => vec![Deed::Pass],
            },
            1..=12,
        ),
        meddled(
            "falls silent behind CONNACK, three times",
            |packet| match packet.is_brokers(CONNACK) && packet.before < 3 {
                true => vec![Deed::Pass, Deed::Silence],
                false => vec![Deed::Pass],
            },
            4..=5,
        ),
        Row {
            // The wish is delivered once more, for its acknowledgement got lost: the header is looked at, and runs already.
            downloads: 1..=2,
            ..meddled(
                "falls silent behind SUBACK, three times",
                |packet| match packet.is_brokers(SUBACK) && packet.before < 3 {
                    true => vec![Deed::Pass, Deed::Silence],
                    false => vec![Deed::Pass],
                },
                4..=5,
            )
        },
        meddled(
            "loses five PUBACKs",
            |packet| match packet.is_brokers(PUBACK) && packet.before < 5 {
                true => vec![],
                false => vec![Deed::Pass],
            },
            2..=7,
        ),
        meddled(
            "loses all PUBACKs of the device",
            |packet| match packet.is_devices(PUBACK) {
                true => vec![],
                false => vec![Deed::Pass],
            },
            1..=3,
        ),
        meddled(
            "loses three SUBACKs",
            |packet| match packet.is_brokers(SUBACK) && packet.before < 3 {
                true => vec![],
                false => vec![Deed::Pass],
            },
            4..=5,
        ),
        meddled(
            "answers no ping",
            |packet| match packet.is_brokers(PINGRESP) {
                true => vec![],
                false => vec![Deed::Pass],
            },
            5..=15,
        ),
        meddled(
            "acknowledges another message than it got, three times",
            |packet| {
                instead(packet, PUBACK, |high, low| {
                    vec![0x40, 2, high, low.wrapping_add(7)]
                })
            },
            4..=5,
        ),
        meddled(
            "acknowledges every message twice",
            |packet| match packet.is_brokers(PUBACK) {
                true if packet.before < 3 => vec![Deed::Pass, Deed::Pass],
                _ => vec![Deed::Pass],
            },
            3..=5,
        ),
        meddled(
            "refuses three messages for lack of quota",
            |packet| {
                instead(packet, PUBACK, |high, low| {
                    vec![0x40, 4, high, low, 0x97, 0]
                })
            },
            1..=2,
        ),
        meddled(
            "takes packets of 300 bytes at most",
            |packet| match packet.is_brokers(CONNACK) {
                true => vec![Deed::ToDevice(connack(0, &[0x27, 0, 0, 1, 0x2C]))],
                false => vec![Deed::Pass],
            },
            1..=2,
        ),
        meddled(
            "takes QoS 0 only, and keeps nothing",
            |packet| match packet.is_brokers(CONNACK) {
                true => vec![Deed::ToDevice(connack(0, &[0x24, 0, 0x25, 0]))],
                false => vec![Deed::Pass],
            },
            1..=2,
        ),
        meddled(
            "wants a sign of life every two seconds",
            |packet| match packet.is_brokers(CONNACK) {
                true => vec![Deed::ToDevice(connack(0, &[0x13, 0, 2]))],
                false => vec![Deed::Pass],
            },
            1..=2,
        ),
        meddled(
            "SUBACK for another subscription, three times",
            |packet| instead(packet, SUBACK, |_, _| vec![0x90, 6, 0x7F, 0x7F, 0, 1, 1, 1]),
            4..=5,
        ),
        meddled(
            "SUBACK for two of three topics, three times",
            |packet| {
                instead(packet, SUBACK, |high, low| {
                    vec![0x90, 5, high, low, 0, 1, 1]
                })
            },
            4..=5,
        ),
        meddled(
            "SUBACK that refuses one topic, three times",
            |packet| {
                instead(packet, SUBACK, |high, low| {
                    vec![0x90, 6, high, low, 0, 1, 0x87, 1]
                })
            },
            4..=5,
        ),
        meddled(
            "SUBACK that grants QoS 2, three times",
            |packet| {
                instead(packet, SUBACK, |high, low| {
                    vec![0x90, 6, high, low, 0, 2, 2, 2]
                })
            },
            4..=5,
        ),
        meddled(
            "SUBACK twice",
            |packet| behind_suback(packet, packet.bytes.to_vec()),
            4..=5,
        ),
        meddled(
            "delivers every message three times",
            |packet| match packet.is_brokers(PUBLISH) {
                true => vec![Deed::Pass, Deed::Pass, Deed::Pass],
                false => vec![Deed::Pass],
            },
            1..=2,
        ),
        meddled(
            "delivers every message as a repetition",
            |packet| match packet.is_brokers(PUBLISH) {
                true => {
                    let mut again = packet.bytes.to_vec();
                    again[0] |= 8;
                    vec![Deed::ToDevice(again)]
                }
                false => vec![Deed::Pass],
            },
            1..=2,
        ),
        meddled(
            "sends messages in single bytes",
            |packet| match packet.from_device {
                true => vec![Deed::Pass],
                false => packet
                    .bytes
                    .iter()
                    .map(|byte| Deed::ToDevice(vec![*byte]))
                    .collect(),
            },
            1..=2,
        ),
        meddled(
            "sends a wish with QoS 2",
            |packet| {
                behind_suback(
                    packet,
                    publish(4, DESIRED.as_bytes(), Some(9), b"", b"http://files/2"),
                )
            },
            4..=5,
        ),
        meddled(
            "sends a message with QoS 3",
            |packet| behind_suback(packet, publish(6, DESIRED.as_bytes(), Some(9), b"", b"x")),
            4..=5,
        ),
        meddled(
            "sends messages on topics that nobody subscribed to",
            |packet| {
                let topics: [&[u8]; 5] = [
                    b"otaria/v1/d2/desired",
                    b"otaria/v1/d1/state",
                    b"otaria/v1/d1/desired/more",
                    b"otaria/v2/d1/cmd",
                    b"$SYS/broker",
                ];
                let wish = br#"{"url":"http://files/other"}"#;
                let all = topics
                    .map(|topic| publish(2, topic, Some(9), b"", wish))
                    .concat();
                behind_suback(packet, all)
            },
            1..=2,
        ),
        meddled(
            "sends a message on no topic",
            |packet| behind_suback(packet, publish(2, b"", Some(9), b"", b"x")),
            1..=2,
        ),
        meddled(
            "sends a message on a topic with a wildcard",
            |packet| {
                behind_suback(
                    packet,
                    publish(2, b"otaria/v1/+/desired", Some(9), b"", b"x"),
                )
            },
            1..=5,
        ),
        meddled(
            "sends a message on a topic that is not UTF-8",
            |packet| behind_suback(packet, publish(2, b"otaria/\xFF", Some(9), b"", b"x")),
            1..=5,
        ),
        meddled(
            "sends a topic that is longer than its packet",
            |packet| behind_suback(packet, vec![0x32, 4, 0xFF, 0xFF, b'a', b'b']),
            4..=5,
        ),
        meddled(
            "sends a message with packet id 0",
            |packet| behind_suback(packet, publish(2, DESIRED.as_bytes(), Some(0), b"", b"x")),
            4..=5,
        ),
        meddled(
            "uses a topic alias",
            |packet| behind_suback(packet, publish(2, b"", Some(9), &[0x23, 0, 1], b"x")),
            4..=5,
        ),
        meddled(
            "sends a message of 256 MB, of which a little comes",
            |packet| {
                let mut start = publish(0, DESIRED.as_bytes(), None, b"", b"{");
                start.splice(1..2, [0xFF, 0xFF, 0xFF, 0x7F]);
                behind_suback(packet, start)
            },
            4..=5,
        ),
        meddled(
            "CONNACK later on",
            |packet| behind_suback(packet, connack(0, b"")),
            4..=5,
        ),
        meddled(
            "CONNECT",
            |packet| behind_suback(packet, vec![0x10, 2, 0, 0]),
            4..=5,
        ),
        meddled(
            "SUBSCRIBE",
            |packet| behind_suback(packet, vec![0x82, 2, 0, 1]),
            4..=5,
        ),
        meddled(
            "PINGREQ",
            |packet| behind_suback(packet, vec![0xC0, 0]),
            4..=5,
        ),
        meddled(
            "PUBREC",
            |packet| behind_suback(packet, vec![0x50, 2, 0, 1]),
            4..=5,
        ),
        meddled(
            "PUBREL",
            |packet| behind_suback(packet, vec![0x62, 2, 0, 1]),
            4..=5,
        ),
        meddled(
            "PUBCOMP",
            |packet| behind_suback(packet, vec![0x70, 2, 0, 1]),
            4..=5,
        ),
        meddled(
            "UNSUBACK",
            |packet| behind_suback(packet, vec![0xB0, 4, 0, 1, 0, 0]),
            4..=5,
        ),
        meddled("AUTH", |packet| behind_suback(packet, vec![0xF0, 0]), 4..=5),
        meddled(
            "PUBACK of three bytes with flags",
            |packet| behind_suback(packet, vec![0x4F, 3, 0, 1, 0]),
            4..=5,
        ),
        meddled(
            "DISCONNECT: shutting down",
            |packet| behind_suback(packet, vec![0xE0, 2, 0x8B, 0]),
            4..=5,
        ),
        meddled(
            "DISCONNECT: administrative action",
            |packet| behind_suback(packet, vec![0xE0, 2, 0x98, 0]),
            4..=5,
        ),
        meddled(
            "DISCONNECT: use another server, with its name",
            |packet| {
                behind_suback(
                    packet,
                    vec![0xE0, 9, 0x9C, 7, 0x1C, 0, 4, b'e', b'v', b'i', b'l'],
                )
            },
            4..=5,
        ),
        meddled(
            "garbage behind a good message",
            |packet| behind_suback(packet, vec![0xFF; 3000]),
            4..=5,
        ),
    ]
}

/// What is put behind SUBACK of the first three connections.
fn behind_suback(packet: &Packet<'_>, bytes: Vec<u8>) -> Vec<Deed> {
    if packet.is_brokers(SUBACK) && packet.before < 3 {
        vec![Deed::Pass, Deed::ToDevice(bytes)]
    } else {
        vec![Deed::Pass]
    }
}

/// Replaces the first three packets of this kind from the broker by what is made of their packet id.
fn instead(packet: &Packet<'_>, kind: u8, with: fn(u8, u8) -> Vec<u8>) -> Vec<Deed> {
    match packet.bytes {
        [_, _, high, low, ..] if packet.is_brokers(kind) && packet.before < 3 => {
            vec![Deed::ToDevice(with(*high, *low))]
        }
        _ => vec![Deed::Pass],
    }
}
