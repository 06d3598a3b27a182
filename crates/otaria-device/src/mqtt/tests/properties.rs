//! Any bytes from a broker: no panic, no endless loop, and the session comes back.

use proptest::collection::vec as vec_of;
use proptest::prelude::*;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::broker::*;
use crate::board::Duration;

/// Packets that are nearly right, so that more than the first byte is looked at.
fn nearly_a_packet() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        Just(0x20u8),
        Just(0x30),
        Just(0x31),
        Just(0x32),
        Just(0x34),
        Just(0x3B),
        Just(0x40),
        Just(0x50),
        Just(0x62),
        Just(0x90),
        Just(0xD0),
        Just(0xE0),
        any::<u8>(),
    ];
    let property =
        (any::<prop::sample::Index>(), vec_of(any::<u8>(), 0..6)).prop_map(|(id, value)| {
            const IDS: [u8; 14] = [
                0x01, 0x02, 0x0B, 0x11, 0x13, 0x1F, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x2A,
            ];
            let mut bytes = std::vec![IDS[id.index(IDS.len())]];
            bytes.extend(value);
            bytes
        });
    let body = prop_oneof![
        vec_of(any::<u8>(), 0..40),
        (
            0u8..2,
            prop_oneof![Just(0u8), any::<u8>()],
            vec_of(property, 0..4)
        )
            .prop_map(|(flags, reason, properties)| {
                let properties = properties.concat();
                let mut body = std::vec![flags, reason, properties.len() as u8];
                body.extend(properties);
                body
            }),
        (0u8..4, vec_of(any::<u8>(), 0..30)).prop_map(|(id, rest)| {
            let mut body = message("cmd", id.into(), 0, b"");
            body.drain(..2);
            body.extend(rest);
            body
        }),
    ];
    let lie = prop_oneof![8 => Just(None), 1 => any::<u16>().prop_map(Some)];
    (first, body, lie).prop_map(|(first, body, lie)| match lie {
        None => packet(first, &body),
        Some(len) => {
            let mut lying = packet(first, &std::vec![0; usize::from(len)]);
            lying.truncate(lying.len() - usize::from(len));
            lying.extend(body);
            lying
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 3_000 }))]

    #[test]
    fn any_bytes_from_a_broker_do_no_harm(
        moment in prop_oneof![Just(1u8), Just(3), Just(8), Just(12)],
        packets in vec_of(nearly_a_packet(), 0..6),
        segment in 0usize..5,
        pause in 0u64..40,
        close: bool,
    ) {
        let mut bench = Bench::new()
            .broker(move |from, wire| {
                wire.segment = segment;
                if from.kind() != moment {
                    return false;
                }
                for packet in &packets {
                    wire.send(packet);
                    wire.pause(Duration::from_secs(pause));
                }
                if close {
                    wire.close();
                }
                true
            })
            .good_broker();
        bench.mailbox.put(super::super::Outbound::Event, true, 1, b"e");
        // Long enough for every pause, also the one after "taken over".
        let lines = bench.run(1_000);
        let up = lines.iter().rposition(|line| line.starts_with("connected"));
        let down = lines.iter().rposition(|line| line.starts_with("disconnected"));
        prop_assert!(up > down, "{:#?}", lines);
        let delivered = |line: &&String| *line == "delivered 1" || line.starts_with("refused 1");
        prop_assert_eq!(lines.iter().filter(delivered).count(), 1, "{:#?}", lines);
    }
}
