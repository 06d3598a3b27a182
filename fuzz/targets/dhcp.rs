//! What whoever has joined the set-up access point sends to its DHCP server.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use otaria_settings::dhcp::{CLIENTS, Server};

fuzz_target!(|requests: Vec<(bool, Vec<u8>)>| {
    let mut server = Server::new(Ipv4Addr::new(192, 168, 4, 1));
    for (is_whole, bytes) in &requests {
        let mut request = bytes.clone();
        if *is_whole && request.len() >= 240 {
            request[..4].copy_from_slice(&[1, 1, 6, 0]);
            request[24..28].fill(0);
            request[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        }
        if let Some(reply) = server.answer(&request) {
            assert_eq!((reply[0], &reply[4..8]), (2, &request[4..8]));
            assert_eq!(reply[28..34], request[28..34]);
            let address = Ipv4Addr::from([reply[16], reply[17], reply[18], reply[19]]);
            let lent = (2..2 + CLIENTS as u8).map(|last| Ipv4Addr::new(192, 168, 4, last));
            assert!(address.is_unspecified() || lent.into_iter().any(|lent| lent == address));
        }
    }
});
