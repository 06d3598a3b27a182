//! Whatever a web server answers, a GET ends with a result in bounded time and hands out no more than was sent.
#![no_main]

use core::time::Duration;

use libfuzzer_sys::fuzz_target;
use otaria_device::http::{GetRequest, HttpClient, HttpError, UrlPolicy};
use otaria_device::net::PlainTcp;
use otaria_fuzz::{PATIENCE, Scene};

/// What the header, a table and the largest image take, and then some: the installer never reads further.
const ENOUGH: usize = 4 << 20;

fuzz_target!(|input: (u8, Option<u16>, &[u8])| {
    let (piece, range_from, bytes) = input;
    let scene = Scene::new(80, b"", piece, bytes);
    let net = PlainTcp::new(&scene.device);
    let policy = UrlPolicy {
        allow_http: true,
        allow_https: true,
        hosts: &["server"],
    };
    let mut client = HttpClient::new(&net, &scene.clock, policy);
    let fetched = scene
        .world
        .block_on_until(PATIENCE + Duration::from_secs(60), async {
            let request = GetRequest {
                url: "http://server/f",
                range_from: range_from.map(u64::from),
                if_range: range_from.map(|_| "\"tag\""),
            };
            let mut response = client.get(&request).await?;
            let mut buffer = [0; 777];
            let mut total = 0;
            while total < ENOUGH {
                let count = response.read(&mut buffer).await?;
                if count == 0 {
                    break;
                }
                total += count;
            }
            Ok::<usize, HttpError>(total)
        });
    match fetched {
        Some(Ok(total)) => assert!(total <= bytes.len(), "{total} bytes out of {}", bytes.len()),
        Some(Err(_)) => {}
        None => panic!("the client waits for ever"),
    }
});
