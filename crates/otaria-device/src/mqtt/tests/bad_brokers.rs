//! What the session does with brokers that do not do as they should: a named error, and another attempt.

use std::string::String;
use std::vec::Vec;
use std::{assert_eq, format, vec};

use super::super::*;
use super::broker::*;
use crate::board::Duration;
use crate::net::testing::{Dial, Wire};
use crate::net::{ConnectError, LinkError};

/// Whether the broker is told why: the reason in DISCONNECT.
type Told = Option<u8>;

/// Runs against a broker with `script`, then against a good one. The session has to end with `error`, and to recover.
fn ends_in(
    name: &str,
    script: impl FnMut(&FromDevice, &mut Wire) -> bool + 'static,
    error: MqttError,
    told: Told,
) {
    let mut bench = Bench::new().broker(script).good_broker();
    let lines = bench.run(120);
    let end = format!("disconnected {error:?}");
    let Some(at) = lines.iter().position(|line| *line == end) else {
        panic!("{name}: no {end} in {lines:#?}");
    };
    let disconnect = lines
        .iter()
        .find_map(|line| line.strip_prefix("> DISCONNECT "));
    assert_eq!(
        disconnect.map(String::from),
        told.map(|reason| format!("{reason:#x}")),
        "{name}"
    );
    assert!(
        lines[at..].contains(&"connected new".into()),
        "{name}: it did not recover: {lines:#?}"
    );
    let errors = lines
        .iter()
        .filter(|line| line.starts_with("disconnected"))
        .count();
    assert_eq!(errors, 1, "{name}: {lines:#?}");
}

/// Answers the device's packet of type `kind` with `answer`.
fn answer(kind: u8, answer: &[u8]) -> impl FnMut(&FromDevice, &mut Wire) -> bool + 'static {
    let answer = answer.to_vec();
    move |packet, wire| {
        if packet.kind() == kind {
            wire.send(&answer);
        }
        packet.kind() == kind
    }
}

#[test]
fn every_wrong_answer_to_connect_has_its_name() {
    let refused = |code| MqttError::Refused(ReasonCode(code));
    let cases: Vec<(&str, &[u8], MqttError, Told)> = vec![
        ("3.1.1, version", &[0x20, 2, 0, 1], MqttError::NotV5, None),
        ("3.1.1, accepted", &[0x20, 2, 0, 0], MqttError::NotV5, None),
        ("3.1.1, id", &[0x20, 2, 0, 2], refused(0x85), None),
        ("3.1.1, down", &[0x20, 2, 0, 3], refused(0x88), None),
        ("3.1.1, password", &[0x20, 2, 0, 4], refused(0x86), None),
        ("3.1.1, rights", &[0x20, 2, 0, 5], refused(0x87), None),
        ("version", &[0x20, 3, 0, 0x84, 0], MqttError::NotV5, None),
        ("password", &[0x20, 3, 0, 0x86, 0], refused(0x86), None),
        ("rights, short", &[0x20, 2, 0, 0x87], refused(0x87), None),
        (
            "moved",
            &[0x20, 9, 0, 0x9D, 6, 0x1C, 0, 3, b'x', b':', b'1'],
            refused(0x9D),
            None,
        ),
        ("unknown", &[0x20, 3, 0, 0xFE, 0], refused(0xFE), None),
        (
            "bad flags",
            &[0x20, 3, 2, 0, 0],
            MqttError::Malformed,
            Some(0x81),
        ),
        ("empty", &[0x20, 0], MqttError::Malformed, Some(0x81)),
        (
            "twice the same",
            &[0x20, 7, 0, 0, 4, 0x24, 1, 0x24, 1],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "of http",
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "of ssh",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "of tls",
            &[0x15, 3, 1, 0, 2, 2, 70],
            MqttError::Malformed,
            Some(0x81),
        ),
        ("zeros", &[0; 64], MqttError::Malformed, Some(0x81)),
        (
            "long varint",
            &[0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "huge",
            &[0x20, 0xFF, 0xFF, 0xFF, 0x7F],
            MqttError::TooLarge,
            Some(0x95),
        ),
        (
            "a message",
            &[0x30, 4, 0, 1, b'a', 0],
            MqttError::Unexpected(3),
            Some(0x82),
        ),
        (
            "a huge message",
            &[0x30, 0xFF, 0x7F, 0, 1, b'a'],
            MqttError::Unexpected(3),
            Some(0x82),
        ),
        (
            "suback",
            &[0x90, 4, 0, 1, 0, 1],
            MqttError::Unexpected(9),
            Some(0x82),
        ),
        (
            "pingresp",
            &[0xD0, 0],
            MqttError::Unexpected(13),
            Some(0x82),
        ),
        ("auth", &[0xF0, 0], MqttError::Unexpected(15), Some(0x82)),
        ("connect", &[0x10, 0], MqttError::Unexpected(1), Some(0x82)),
        (
            "disconnect",
            &[0xE0, 1, 0x89],
            MqttError::Disconnected(ReasonCode(0x89)),
            None,
        ),
    ];
    for (name, bytes, error, told) in cases {
        ends_in(name, answer(1, bytes), error, told);
    }
}

#[test]
fn a_broker_that_does_not_take_the_connection_has_its_name() {
    for (name, dial, error) in [
        (
            "refused",
            Dial::Fail(ConnectError::Refused),
            MqttError::Connect(ConnectError::Refused),
        ),
        (
            "no name",
            Dial::Fail(ConnectError::NameNotFound),
            MqttError::Connect(ConnectError::NameNotFound),
        ),
        (
            "no answer",
            Dial::Hang,
            MqttError::Connect(ConnectError::Timeout),
        ),
    ] {
        let mut bench = Bench::new().dial(dial).good_broker();
        let lines = bench.run(60);
        assert_eq!(lines[0], format!("disconnected {error:?}"), "{name}");
        assert!(lines.contains(&"connected new".into()), "{name}");
    }
}

#[test]
fn silence_and_closing_at_every_moment_has_its_name() {
    type Act = fn(&mut Wire);
    let closed = MqttError::Link(LinkError::Closed);
    let reset = MqttError::Link(LinkError::Broken(
        embedded_io_async::ErrorKind::ConnectionReset,
    ));
    for (kind, silent, closes, resets) in [
        (
            1,
            Awaited::Connect,
            MqttError::ClosedBeforeConnack,
            MqttError::ClosedBeforeConnack,
        ),
        (8, Awaited::Subscribe, closed, reset),
        (3, Awaited::Publish, closed, reset),
        (12, Awaited::Ping, closed, reset),
    ] {
        let acts: [(Act, MqttError); 3] = [
            (|_| {}, MqttError::NoAnswer(silent)),
            (Wire::close, closes),
            (Wire::reset, resets),
        ];
        for (act, error) in acts {
            let script = move |packet: &FromDevice, wire: &mut Wire| {
                if packet.kind() == kind {
                    act(wire);
                }
                packet.kind() == kind
            };
            ends_in(&format!("at packet {kind}"), script, error, None);
        }
    }
}

#[test]
fn half_a_packet_is_silence() {
    for (kind, half, error) in [
        (1, &[0x20, 3, 0][..], MqttError::NoAnswer(Awaited::Connect)),
        (8, &[0x90], MqttError::NoAnswer(Awaited::Subscribe)),
        (3, &[0x30, 0x80], MqttError::NoAnswer(Awaited::Publish)),
        (12, &[0x30, 9, 0, 3], MqttError::NoAnswer(Awaited::Ping)),
    ] {
        ends_in("half a packet", answer(kind, half), error, None);
    }
}

#[test]
fn a_broker_that_drips_bytes_is_silent_too() {
    // One byte every five seconds: never a whole packet.
    let drip = |packet: &FromDevice, wire: &mut Wire| {
        if packet.kind() == 12 {
            for byte in message("cmd", 3, 0, &[b' '; 1000]) {
                wire.send(&[byte]);
                wire.pause(Duration::from_secs(5));
            }
        }
        packet.kind() == 12
    };
    ends_in("drip", drip, MqttError::NoAnswer(Awaited::Ping), None);
}

#[test]
fn a_broker_that_stops_reading_is_given_up() {
    let deaf = |packet: &FromDevice, wire: &mut Wire| {
        if packet.kind() == 3 {
            polite(packet, wire);
            wire.deaf = true;
        }
        packet.kind() == 3
    };
    ends_in("deaf", deaf, MqttError::Link(LinkError::Timeout), None);
}

#[test]
fn every_wrong_packet_later_on_has_its_name() {
    let refused = |topic, code| MqttError::SubscribeRefused(topic, ReasonCode(code));
    let suback: &[(&str, &[u8], MqttError, Told)] = &[
        (
            "refused",
            &[0x90, 6, 0, 1, 0, 1, 0x87, 1],
            refused(Inbound::Desired, 0x87),
            None,
        ),
        (
            "refused first",
            &[0x90, 6, 0, 1, 0, 0x9E, 0x87, 1],
            refused(Inbound::Keys, 0x9E),
            None,
        ),
        (
            "too few",
            &[0x90, 5, 0, 1, 0, 1, 1],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "too many",
            &[0x90, 7, 0, 1, 0, 1, 1, 1, 1],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "QoS 2",
            &[0x90, 6, 0, 1, 0, 1, 2, 1],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "other id",
            &[0x90, 6, 0, 9, 0, 1, 1, 1],
            MqttError::UnknownPacketId(9),
            Some(0x82),
        ),
        (
            "id 0",
            &[0x90, 6, 0, 0, 0, 1, 1, 1],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "puback",
            &[0x40, 2, 0, 1],
            MqttError::UnknownPacketId(1),
            Some(0x82),
        ),
        ("connack", CONNACK, MqttError::Unexpected(2), Some(0x82)),
        (
            "disconnect",
            &[0xE0, 0],
            MqttError::Disconnected(ReasonCode(0)),
            None,
        ),
        (
            "taken over",
            &[0xE0, 2, 0x8E, 0],
            MqttError::TakenOver,
            None,
        ),
    ];
    for (name, bytes, error, told) in suback {
        if *error == MqttError::TakenOver {
            continue;
        }
        ends_in(&format!("suback: {name}"), answer(8, bytes), *error, *told);
    }
    let qos2 = message("cmd", 77, 4, b"{}");
    // The flags of QoS 1 are there already; QoS 2 has the other bit.
    let qos2 = [&[qos2[0] & !2], &qos2[1..]].concat();
    let later: &[(&str, &[u8], MqttError, Told)] = &[
        (
            "unknown puback",
            &[0x40, 2, 0x12, 0x34],
            MqttError::UnknownPacketId(0x1234),
            Some(0x82),
        ),
        (
            "second suback",
            &[0x90, 6, 0, 1, 0, 1, 1, 1],
            MqttError::UnknownPacketId(1),
            Some(0x82),
        ),
        (
            "second connack",
            CONNACK,
            MqttError::Unexpected(2),
            Some(0x82),
        ),
        (
            "pubrec",
            &[0x50, 2, 0, 2],
            MqttError::Unexpected(5),
            Some(0x82),
        ),
        (
            "pubrel",
            &[0x62, 2, 0, 2],
            MqttError::Unexpected(6),
            Some(0x82),
        ),
        (
            "pubcomp",
            &[0x70, 2, 0, 2],
            MqttError::Unexpected(7),
            Some(0x82),
        ),
        (
            "unsuback",
            &[0xB0, 4, 0, 2, 0, 0],
            MqttError::Unexpected(11),
            Some(0x82),
        ),
        (
            "auth",
            &[0xF0, 2, 0x18, 0],
            MqttError::Unexpected(15),
            Some(0x82),
        ),
        ("pingreq", &[0xC0, 0], MqttError::Unexpected(12), Some(0x82)),
        ("reserved", &[0x00, 0], MqttError::Malformed, Some(0x81)),
        (
            "QoS 3",
            &[0x36, 7, 0, 1, b'a', 0, 1, 0, 0],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "topic beyond the packet",
            &[0x30, 4, 0xFF, 0xFF, b'a', 0],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "topic beyond a large packet",
            &[0x30, 0x80, 0x20, 0xFF, 0xFF],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "properties beyond the packet",
            &[0x30, 5, 0, 1, b'a', 0x7F, 0],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "user property beyond the packet",
            &[0x30, 10, 0, 1, b'a', 6, 0x26, 0xFF, 0xFF, 0, 0, 0],
            MqttError::Malformed,
            Some(0x81),
        ),
        (
            "topic alias",
            &[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 1],
            MqttError::TopicAlias,
            Some(0x94),
        ),
        (
            "large suback",
            &[0x90, 0x80, 0x20],
            MqttError::TooLarge,
            Some(0x95),
        ),
        ("QoS 2", &qos2, MqttError::Qos2, Some(0x82)),
        (
            "shutting down",
            &[0xE0, 1, 0x8B],
            MqttError::Disconnected(ReasonCode(0x8B)),
            None,
        ),
        (
            "keep alive",
            &[0xE0, 2, 0x8D, 0],
            MqttError::Disconnected(ReasonCode(0x8D)),
            None,
        ),
    ];
    for (name, bytes, error, told) in later {
        ends_in(name, answer(12, bytes), *error, *told);
    }
}

#[test]
fn a_qos_2_message_is_refused_so_that_it_does_not_come_again() {
    let qos2 = message("cmd", 77, 4, b"{}");
    let qos2 = [&[qos2[0] & !2], &qos2[1..]].concat();
    let mut bench = Bench::new().broker(answer(12, &qos2)).good_broker();
    let lines = bench.run(60);
    assert!(lines.contains(&"> PUBREC 77 0x83".into()));
    assert!(!lines.iter().any(|line| line.starts_with("received")));
}

#[test]
fn settings_that_fit_no_packet_have_their_name() {
    let mut bench = Bench::new().good_broker();
    let topics = bench.topics.clone();
    let long = "x".repeat(3_000);
    let config = MqttConfig {
        user_name: Some(&long),
        ..MqttConfig::new("broker", 1883, &topics)
    };
    let lines = bench.run_session(&mut MqttSession::new(config, 1), 3);
    assert_eq!(lines[0], "disconnected Settings");

    let small = [0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 40];
    ends_in(
        "a broker that takes 40 bytes",
        answer(1, &small),
        MqttError::Settings,
        None,
    );
}
