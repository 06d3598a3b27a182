//! What whoever has joined the set-up access point sends to its name server.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use otaria_settings::dns::{MAX_REPLY_LEN, answer};

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (is_query, mut query) = input;
    if is_query && query.len() >= 12 {
        query[2..8].copy_from_slice(&[1, 0, 0, 1, 0, 0]);
    }
    let mut reply = [0; MAX_REPLY_LEN];
    if let Some(reply) = answer(&query, Ipv4Addr::new(192, 168, 4, 1), &mut reply) {
        assert_eq!(reply[..2], query[..2]);
        assert_eq!(reply[2] & 0x80, 0x80);
        let (answers, question) = (usize::from(reply[7]), &reply[12..]);
        let question = &question[..question.len() - 16 * answers];
        assert_eq!(query[12..][..question.len()], *question);
    }
});
