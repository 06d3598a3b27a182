//! What browsers and others send to the set-up page.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_settings::WifiNetwork;
use otaria_settings::portal::{Answer, MAX_REQUEST_LEN, Portal};

fuzz_target!(|input: (Option<Vec<u8>>, String)| {
    let (request, text) = input;
    let networks = [text.as_str()];
    let portal = Portal {
        address: "192.168.4.1",
        device: &text,
        networks: &networks,
        broker: None,
        problem: Some(&text),
    };
    let request = request.unwrap_or_else(|| {
        let len = text.len();
        format!("POST /save HTTP/1.1\r\nContent-Length: {len}\r\n\r\n{text}").into_bytes()
    });
    let reply = match portal.answer(&request) {
        Answer::More => {
            assert!(request.len() < MAX_REQUEST_LEN);
            return;
        }
        Answer::Reply(reply) => reply,
        Answer::Try { entered, reply } => {
            let network = &entered.network;
            assert!(WifiNetwork::new(&network.ssid, &network.password).is_ok());
            reply
        }
    };
    let reply = String::from_utf8(reply).expect("replies are text");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a whole head");
    assert!(
        head.starts_with("HTTP/1.1 ") && head.contains(&format!("Content-Length: {}", body.len()))
    );
    assert_eq!(body.matches("<script").count(), 0);
});
