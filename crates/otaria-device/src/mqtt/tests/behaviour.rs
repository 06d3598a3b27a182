//! What the session does with brokers that do as they should.

use std::rc::Rc;
use std::string::String;
use std::vec::Vec;
use std::{assert_eq, format, vec};

use super::super::*;
use super::broker::*;
use crate::board::{Duration, Instant};
use crate::net::testing::Dial;
use crate::net::{ConnectError, LinkError};

const HELLO: [&str; 5] = [
    "> CONNECT",
    "> SUBSCRIBE",
    "connected new",
    "> PUBLISH presence qos1 retain {\"online\":true}",
    "",
];

fn hello() -> Vec<String> {
    HELLO[..4].iter().map(|line| String::from(*line)).collect()
}

#[test]
fn it_connects_subscribes_and_says_that_it_is_online() {
    let mut bench = Bench::new().broker(|packet, _| {
        if packet.kind() == 1 {
            let body = &packet.body;
            assert_eq!(body[..8], *b"\0\x04MQTT\x05\x2C", "will, QoS 1, retained");
            assert_eq!(body[8..10], [0, 60], "keep alive");
            let text = String::from_utf8_lossy(body).into_owned();
            assert!(text.contains("d1"));
            assert!(text.contains("otaria/v1/d1/presence"));
            assert!(text.ends_with("{\"online\":false}"));
        }
        if packet.kind() == 8 {
            let text = String::from_utf8_lossy(&packet.body).into_owned();
            for (leaf, options) in [("desired", '\x01'), ("cmd", '\x09'), ("keys", '\x01')] {
                assert!(
                    text.contains(&format!("otaria/v1/d1/{leaf}{options}")),
                    "QoS 1; the retain flag of commands as published"
                );
            }
        }
        false
    });
    assert_eq!(bench.run(30), hello());
}

#[test]
fn user_name_and_password_are_sent_if_they_are_set() {
    let mut bench = Bench::new().broker(|packet, _| {
        if packet.kind() == 1 {
            assert_eq!(packet.body[7] & 0xC0, 0xC0);
            assert!(packet.body.ends_with(b"\0\x01u\0\x02pw"));
        }
        false
    });
    let topics = bench.topics.clone();
    let config = MqttConfig {
        user_name: Some("u"),
        password: Some(b"pw"),
        ..MqttConfig::new("broker", 1883, &topics)
    };
    assert_eq!(
        bench.run_session(&mut MqttSession::new(config, 1), 5),
        hello()
    );
}

#[test]
fn a_message_is_received_then_acknowledged_to_the_broker_then_to_the_device() {
    let mut bench = Bench::new().broker(|packet, wire| {
        if packet.kind() == 8 {
            polite(packet, wire);
            wire.send(&message("desired", 5, 1, b"http://h/a"));
            wire.send(&message("cmd", 6, 0, b"{}"));
            wire.send(&message("keys", 0, 0, b"qos 0"));
            wire.send(&message("event", 7, 0, b"not subscribed"));
            return true;
        }
        false
    });
    let mut lines = bench.run(5);
    lines.retain(|line| !line.contains("CONNECT") && !line.contains("presence"));
    assert_eq!(
        lines,
        [
            "> SUBSCRIBE",
            "connected new",
            "received desired retained http://h/a",
            "> PUBACK 5",
            "acknowledged desired",
            "received cmd {}",
            "> PUBACK 6",
            "acknowledged cmd",
            "received keys qos 0",
            "acknowledged keys",
            "> PUBACK 7",
        ]
    );
}

#[test]
fn a_command_is_not_acknowledged_to_the_device_if_its_puback_cannot_be_sent() {
    let mut bench = Bench::new().broker(|packet, wire| {
        if packet.kind() == 3 {
            polite(packet, wire);
            wire.send(&message("cmd", 6, 0, b"reboot"));
            wire.deaf = true;
            return true;
        }
        false
    });
    let lines = bench.run(60);
    assert!(lines.contains(&"received cmd reboot".into()));
    assert!(!lines.iter().any(|line| line.starts_with("acknowledged")));
    assert!(lines.contains(&format!(
        "disconnected {:?}",
        MqttError::Link(LinkError::Timeout)
    )));
}

#[test]
fn messages_go_out_one_after_the_other_each_after_the_others_puback() {
    let mut bench = Bench::new().good_broker();
    bench.mailbox.put(Outbound::State, true, 1, b"s");
    bench.mailbox.put(Outbound::Progress, false, 2, b"p");
    bench.mailbox.put(Outbound::Event, true, 3, b"e");
    bench.mailbox.put(Outbound::Log, true, 4, b"l");
    let mut expected = hello();
    expected.extend(
        [
            "> PUBLISH state qos1 retain s",
            "delivered 1",
            "> PUBLISH progress p",
            "> PUBLISH event qos1 e",
            "delivered 3",
            "> PUBLISH log qos1 l",
            "delivered 4",
        ]
        .map(String::from),
    );
    assert_eq!(bench.run(5), expected);
}

#[test]
fn an_unacknowledged_message_is_sent_again_as_a_duplicate_when_the_session_goes_on() {
    let swallow = |packet: &FromDevice, wire: &mut crate::net::testing::Wire| {
        if packet.kind() == 3 && packet.publish().0.ends_with("event") {
            wire.close();
            return true;
        }
        false
    };
    for (connack, expected) in [
        (CONNACK_PRESENT, "> PUBLISH event qos1 dup e"),
        (CONNACK, "> PUBLISH event qos1 e"),
    ] {
        let ids = Rc::new(core::cell::RefCell::new(Vec::new()));
        let (first, second) = (ids.clone(), ids.clone());
        let mut bench = Bench::new()
            .broker(move |packet, wire| {
                if packet.kind() == 3 {
                    first.borrow_mut().push(packet.publish().1);
                }
                swallow(packet, wire)
            })
            .broker(move |packet, wire| {
                if packet.kind() == 1 {
                    wire.send(connack);
                    return true;
                }
                if packet.kind() == 3 {
                    second.borrow_mut().push(packet.publish().1);
                }
                false
            });
        bench.mailbox.put(Outbound::Event, true, 9, b"e");
        let lines = bench.run(20);
        let again = lines
            .iter()
            .rposition(|line| line.contains("event"))
            .unwrap();
        assert_eq!(lines[again], expected);
        assert_eq!(lines[again + 1], "delivered 9");
        assert!(
            lines[again + 2].contains("presence"),
            "what is older goes first"
        );
        let ids = ids.borrow();
        assert_eq!(ids[1] == ids[2], connack == CONNACK_PRESENT, "{ids:?}");
    }
}

#[test]
fn a_session_that_is_dropped_and_run_again_sends_what_was_not_acknowledged() {
    let swallow = |packet: &FromDevice, _: &mut crate::net::testing::Wire| {
        packet.kind() == 3 && packet.publish().0.ends_with("event")
    };
    let mut bench = Bench::new().broker(swallow);
    bench.mailbox.put(Outbound::Event, true, 9, b"e");
    let topics = bench.topics.clone();
    let mut session = MqttSession::new(MqttConfig::new("broker", 1883, &topics), 7);
    let lines = bench.run_session(&mut session, 5);
    assert!(!lines.iter().any(|line| line.contains("disconnected")));
    let mut bench = bench.good_broker();
    let lines = bench.run_session(&mut session, 5);
    assert!(
        lines.contains(&"> PUBLISH event qos1 e".into()),
        "{lines:?}"
    );
    assert!(lines.contains(&"delivered 9".into()));
}

#[test]
fn the_session_can_be_dropped_after_any_number_of_polls() {
    // Dropped at each point of a conversation, it goes on with the next connection as if the link had failed.
    for polls in 0..60 {
        let mut bench = Bench::new();
        for _ in 0..2 {
            bench = bench.broker(|packet, wire| {
                wire.segment = 3;
                if packet.kind() == 8 {
                    polite(packet, wire);
                    wire.send(&message("desired", 5, 1, b"http://h/a"));
                    return true;
                }
                false
            });
        }
        bench.mailbox.put(Outbound::Event, true, 9, b"e");
        bench.mailbox.put(Outbound::Log, true, 10, b"l");
        let topics = bench.topics.clone();
        let mut session = MqttSession::new(MqttConfig::new("broker", 1883, &topics), 7);
        bench.run_polls(&mut session, polls);
        let before = bench.lines();
        let lines = bench.run_session(&mut session, 30);
        for token in [9, 10] {
            let delivered = format!("delivered {token}");
            let count = before
                .iter()
                .chain(&lines)
                .filter(|line| **line == delivered);
            assert_eq!(
                count.count(),
                1,
                "after {polls} polls: {before:?} {lines:?}"
            );
        }
    }
}

#[test]
fn an_idle_connection_is_kept_alive_by_pings() {
    let mut bench = Bench::new().good_broker();
    let lines = bench.run(600);
    let pings = lines.iter().filter(|line| *line == "> PINGREQ").count();
    assert_eq!(pings, 13, "every 45 s");
    assert!(!lines.iter().any(|line| line.contains("disconnected")));
}

#[test]
fn the_brokers_keep_alive_is_obeyed_if_it_is_shorter() {
    for (prescribed, pings) in [(10, 80), (0, 13), (3_600, 13)] {
        let mut bench = Bench::new().broker(move |packet, wire| {
            if packet.kind() == 1 {
                let [high, low] = u16::to_be_bytes(prescribed);
                wire.send(&packet_with_properties(&[0x13, high, low]));
                return true;
            }
            false
        });
        let lines = bench.run(600);
        let sent = lines.iter().filter(|line| *line == "> PINGREQ").count();
        assert_eq!(sent, pings, "prescribed {prescribed} s");
    }
}

fn packet_with_properties(properties: &[u8]) -> Vec<u8> {
    let body = [&[0, 0, properties.len() as u8], properties].concat();
    packet(0x20, &body)
}

#[test]
fn a_broker_without_qos_1_gets_qos_0_and_one_without_retain_gets_none() {
    let mut bench = Bench::new().broker(|packet, wire| {
        match packet.kind() {
            1 => wire.send(&packet_with_properties(&[0x24, 0, 0x25, 0])),
            8 => wire.send(&[0x90, 6, packet.body[0], packet.body[1], 0, 0, 0, 0]),
            _ => return false,
        }
        true
    });
    bench.mailbox.put(Outbound::State, true, 1, b"s");
    assert_eq!(
        bench.run(5),
        [
            "> CONNECT",
            "> SUBSCRIBE",
            "connected new",
            "> PUBLISH presence {\"online\":true}",
            "> PUBLISH state s",
            "delivered 1",
        ]
    );
}

#[test]
fn a_will_that_the_broker_refuses_is_made_simpler() {
    let mut bench = Bench::new();
    for (reason, flags) in [(0x9A, 0x2C), (0x9B, 0x0C), (0, 0x04)] {
        bench = bench.broker(move |packet, wire| {
            if packet.kind() == 1 {
                assert_eq!(packet.body[7], flags);
                wire.send(&[0x20, 3, 0, reason, 0]);
                return true;
            }
            false
        });
    }
    let lines = bench.run(60);
    assert!(lines.contains(&"connected new".into()), "{lines:?}");
}

#[test]
fn what_a_broker_has_said_about_itself_shapes_the_next_will() {
    let connack = packet_with_properties(&[0x24, 0, 0x25, 0]);
    let mut bench = Bench::new()
        .broker(move |packet, wire| {
            if packet.kind() == 1 {
                wire.send(&connack);
                wire.close_after(Duration::from_secs(1));
            }
            packet.kind() == 1
        })
        .broker(|packet, wire| {
            if packet.kind() == 1 {
                assert_eq!(packet.body[7], 0x04, "a will with QoS 0, not retained");
                polite(packet, wire);
                wire.close_after(Duration::from_secs(1));
            }
            packet.kind() == 1
        })
        .broker(|packet, _| {
            if packet.kind() == 1 {
                assert_eq!(packet.body[7], 0x2C, "this broker takes everything again");
            }
            false
        });
    bench.run(60);
    assert_eq!(bench.dialed.len(), 3);
}

#[test]
fn a_message_larger_than_the_broker_takes_is_reported_and_the_next_one_goes_out() {
    let mut bench = Bench::new().broker(|packet, wire| {
        if packet.kind() == 1 {
            wire.send(&packet_with_properties(&[0x27, 0, 0, 0, 128]));
            return true;
        }
        false
    });
    bench.mailbox.put(Outbound::Log, true, 1, &[b'x'; 200]);
    bench.mailbox.put(Outbound::Log, true, 2, &[b'x'; 2000]);
    bench.mailbox.put(Outbound::Log, true, 3, b"short");
    let lines = bench.run(5);
    assert_eq!(
        lines[4..],
        [
            "refused 1: larger than the 128 bytes that the broker takes in a packet",
            "refused 2: its length is larger than the buffer",
            "> PUBLISH log qos1 short",
            "delivered 3",
        ]
    );
}

#[test]
fn a_message_that_the_broker_refuses_is_reported_and_dropped() {
    let mut bench = Bench::new().broker(|packet, wire| {
        if packet.kind() == 3 {
            let (topic, id, _) = packet.publish();
            let reason = if topic.ends_with("log") { 0x87 } else { 0x10 };
            let id = id.unwrap();
            wire.send(&[0x40, 3, (id >> 8) as u8, id as u8, reason]);
            return true;
        }
        false
    });
    bench.mailbox.put(Outbound::Log, true, 1, b"l");
    bench.mailbox.put(Outbound::Event, true, 2, b"e");
    let lines = bench.run(5);
    assert!(lines.contains(&"refused 1: the broker refused it: not authorized (0x87)".into()));
    assert!(lines.contains(&"delivered 2".into()), "no subscribers");
}

#[test]
fn an_oversized_message_is_acknowledged_reported_and_dropped() {
    let mut bench = Bench::new().broker(|packet, wire| {
        if packet.kind() == 8 {
            polite(packet, wire);
            wire.send(&message("desired", 5, 1, &[b'x'; 300_000]));
            wire.send(&message("cmd", 6, 0, b"{}"));
            return true;
        }
        false
    });
    let mut lines = bench.run(5);
    lines
        .retain(|line| line.contains("desired") || line.contains("cmd") || line.contains("PUBACK"));
    assert_eq!(
        lines,
        [
            "oversized desired retained 300001",
            "> PUBACK 5",
            "received cmd {}",
            "> PUBACK 6",
            "acknowledged cmd",
        ]
    );
}

#[test]
fn an_oversized_message_may_arrive_slowly() {
    // For two minutes no packet gets whole, but bytes come: the broker lives.
    let mut bench = Bench::new().broker(|packet, wire| {
        if packet.kind() == 8 {
            polite(packet, wire);
            for piece in message("desired", 5, 1, &[b'x'; 12_000]).chunks(1_000) {
                wire.send(piece);
                wire.pause(Duration::from_secs(10));
            }
            return true;
        }
        false
    });
    let lines = bench.run(150);
    assert!(!lines.iter().any(|line| line.contains("disconnected")));
    assert!(lines.contains(&"> PINGREQ".into()), "{lines:?}");
}

#[test]
fn a_flood_of_messages_keeps_neither_messages_out_nor_pings_waiting() {
    let mut bench = Bench::new().broker(|packet, wire| {
        if packet.kind() == 8 {
            polite(packet, wire);
            let burst = message("cmd", 0, 0, b"{}").repeat(20);
            wire.flood(burst, Duration::from_millis(5));
            return true;
        }
        false
    });
    bench.mailbox.put(Outbound::Event, true, 1, b"e");
    let lines = bench.run(60);
    let out = lines
        .iter()
        .position(|line| line.contains("event"))
        .unwrap();
    assert!(out < 50, "the message waited for {out} others");
    assert!(lines.contains(&"> PINGREQ".into()));
}

#[test]
fn attempts_become_rarer_and_after_a_good_connection_soon_again() {
    let mut bench = Bench::new();
    for _ in 0..6 {
        bench = bench.dial(Dial::Fail(ConnectError::Refused));
    }
    bench = bench.broker(|packet, wire| {
        if packet.kind() == 8 {
            polite(packet, wire);
            wire.close_after(Duration::from_secs(70));
            return true;
        }
        false
    });
    bench.run(600);
    let dialed = &bench.dialed;
    let pauses: Vec<_> = dialed.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (i, longest) in [2, 4, 8, 16, 32, 60].into_iter().enumerate() {
        let longest = Duration::from_secs(longest);
        assert!(
            pauses[i] >= longest / 2 && pauses[i] <= longest,
            "{pauses:?}"
        );
    }
    assert!(pauses[6] <= Duration::from_secs(72), "{pauses:?}");
    assert!(pauses[7] <= Duration::from_secs(4), "{pauses:?}");
}

#[test]
fn after_losing_the_session_to_another_client_it_waits_for_minutes() {
    let mut bench = Bench::new()
        .broker(|packet, wire| {
            if packet.kind() == 8 {
                polite(packet, wire);
                wire.send(&[0xE0, 1, 0x8E]);
                return true;
            }
            false
        })
        .good_broker();
    let lines = bench.run(400);
    assert!(lines.contains(&"disconnected TakenOver".into()));
    let [first, second] = bench.dialed[..] else {
        panic!("{:?}", bench.dialed);
    };
    assert_eq!(first, Instant::ZERO);
    assert!(second >= Instant::from_secs(150) && second <= Instant::from_secs(300));
}

#[test]
fn the_sizes_of_session_and_future_are_bounded() {
    let bench = Bench::new();
    let topics = bench.topics.clone();
    let mut session = MqttSession::new(MqttConfig::new("broker", 1883, &topics), 7);
    let own = size_of_val(&session);
    let net = crate::net::testing::FakeNet::new(&bench.clock, vec![]);
    let future = size_of_val(&session.run(&net, &*bench.clock, &*bench.mailbox));
    std::println!("MqttSession: {own} bytes, its future: {future} bytes");
    assert!(own + future <= 8 * 1024, "{own} + {future}");
}
