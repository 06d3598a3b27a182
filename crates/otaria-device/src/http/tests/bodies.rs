//! From the first byte of the body to its end.

use std::format;
use std::vec;

use super::*;

fn chunked(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[test]
fn bodies_come_out_the_same_however_they_arrive_and_are_read() {
    let file: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
    let mut chunks = Vec::new();
    for (i, chunk) in file.chunks(777).enumerate() {
        chunks.extend(format!("{:X};n={i}\r\n", chunk.len()).into_bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\nX-Trailer: y\r\n\r\n");
    let heads: [(&str, &[u8]); 3] = [
        ("Content-Length: 10000\r\n", &file),
        ("", &file),
        ("Transfer-Encoding: chunked\r\n", &chunks),
    ];
    for (headers, body) in heads {
        for segment in [1, 3, 500, 0] {
            for piece in [1, 64, 4096, 20_000] {
                let mut answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes();
                answer.extend(body);
                let mut bench = Bench::new().server(move |wire| {
                    wire.segment = segment;
                    wire.send(&answer);
                    wire.close();
                });
                let request = GetRequest::whole("http://h/f");
                let got = bench.get_in_pieces(&request, piece).unwrap();
                assert!(got.body == file, "{headers:?}, {segment}, {piece}");
                assert_eq!(got.end, Ok(()));
            }
        }
    }
}

#[test]
fn a_body_without_length_ends_with_the_connection() {
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        let got = Bench::new()
            .answer(format!("{version} 200 OK\r\n\r\nfile"))
            .whole();
        let got = got.unwrap();
        assert_eq!(
            (got.total_len, &got.body[..], got.end),
            (None, &b"file"[..], Ok(()))
        );
    }
}

#[test]
fn nothing_is_read_beyond_the_announced_length() {
    // A proxy may keep the connection open, or send another answer at once.
    let mut bench = Bench::new().server(|wire| {
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfileHTTP/1.1 200 OK\r\n");
    });
    let got = bench.whole().unwrap();
    assert_eq!((&got.body[..], got.end), (&b"file"[..], Ok(())));

    let mut bench = Bench::new()
        .server(|wire| wire.send(b"HTTP/1.1 206 x\r\nContent-Range: bytes 5-8/9\r\n\r\nfilemore"));
    let got = bench.get(&REST).unwrap();
    assert_eq!((&got.body[..], got.end), (&b"file"[..], Ok(())));
}

#[test]
fn an_empty_body_ends_at_once() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let got = Bench::new().answer(answer).whole().unwrap();
        assert_eq!((got.body, got.end), (vec![], Ok(())), "{answer}");
    }
}

#[test]
fn a_body_that_is_cut_anywhere_is_an_early_close() {
    let range = "HTTP/1.1 206 x\r\nContent-Range: bytes 5-8/9\r\n\r\nfile";
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfile";
    let chunks = &*chunked("3;x\r\nfil\r\n1\r\ne\r\n0\r\nT: t\r\n\r\n");
    for whole in [range, length, chunks] {
        for cut in 0..whole.len() {
            let mut bench = Bench::new().answer(&whole[..cut]);
            let end = match bench.get(&REST) {
                Ok(got) => {
                    assert!(b"file".starts_with(&got.body));
                    got.end
                }
                Err(error) => Err(error),
            };
            assert_eq!(end, Err(HttpError::EarlyClose), "{whole:?} cut at {cut}");
        }
        let got = Bench::new().answer(whole).get(&REST).unwrap();
        assert_eq!((&got.body[..], got.end), (&b"file"[..], Ok(())));
    }
}

#[test]
fn wrong_chunks_are_malformed() {
    let long = format!("4;{}\r\nfile\r\n0\r\n\r\n", "x".repeat(300));
    let trailers = format!("4\r\nfile\r\n0\r\n{}\r\n", "T: t\r\n".repeat(1_000));
    let trailer = format!("4\r\nfile\r\n0\r\nT: {}\r\n\r\n", "t".repeat(3_000));
    for body in [
        "\r\nfile",
        "x\r\nfile",
        "-4\r\nfile",
        "4 4\r\nfile",
        "10000000000000000\r\nfile",
        "4\r\nfilex\r\n0\r\n\r\n",
        "3\r\nfile\r\n0\r\n\r\n",
        "4\rfile\n",
        "4\r\nfile\r\n\r\n0\r\n\r\n",
        &long,
        &trailers,
        &trailer,
    ] {
        let got = Bench::new().answer(chunked(body)).whole().unwrap();
        assert_eq!(got.end, Err(HttpError::Malformed), "{body:.40?}");
    }
    // Sizes that reach beyond everything are not added up anywhere.
    let got = Bench::new()
        .answer(chunked("ffffffffffffffff\r\nfile"))
        .whole();
    assert_eq!(got.unwrap().end, Err(HttpError::EarlyClose));
}

#[test]
fn endless_chunk_lines_and_trailers_end() {
    for endless in ["4;", "0\r\nT: "] {
        let mut bench = Bench::new().server(move |wire| {
            wire.send(chunked(endless).as_bytes());
            wire.flood(vec![b'x'; 1000], Duration::from_millis(1));
        });
        assert_eq!(
            bench.whole().unwrap().end,
            Err(HttpError::Malformed),
            "{endless:?}"
        );
    }
}

#[test]
fn chunks_of_a_range_add_up_to_it() {
    let partial = |chunks: &str| {
        let head = "HTTP/1.1 206 x\r\nContent-Range: bytes 5-8/9\r\nTransfer-Encoding: chunked\r\n";
        Bench::new()
            .answer(format!("{head}\r\n{chunks}"))
            .get(&REST)
            .unwrap()
    };
    assert_eq!(partial("4\r\nfile\r\n0\r\n\r\n").end, Ok(()));
    assert_eq!(
        partial("3\r\nfil\r\n0\r\n\r\n").end,
        Err(HttpError::LengthMismatch)
    );
}

#[test]
fn more_chunks_than_the_range_are_refused() {
    let answer = "HTTP/1.1 206 x\r\nContent-Range: bytes 5-8/9\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfile\r\n1\r\nx\r\n0\r\n\r\n";
    let mut bench = Bench::new().answer(answer);
    let net = FakeNet::new(&bench.clock, bench.dials.drain(..));
    let mut client = HttpClient::new(&net, &*bench.clock, UrlPolicy::ANY);
    let mut buf = [0; 100];
    let reads = run(&bench.clock, Instant::MAX, async {
        let mut response = client.get(&REST).await.unwrap();
        [response.read(&mut buf).await, response.read(&mut buf).await]
    });
    assert_eq!(reads, Some([Ok(4), Err(HttpError::LengthMismatch)]));
}

#[test]
fn a_stalled_body_is_given_up_and_a_slow_one_is_not() {
    type Act = fn(&mut Wire);
    let stalls: [(&str, Act); 3] = [
        ("nothing at all", |wire| {
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        }),
        ("after some bytes", |wire| {
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi");
        }),
        ("bytes, but none of the body", |wire| {
            wire.send(chunked("2\r\nfi\r\n2;").as_bytes());
            for _ in 0..200 {
                wire.pause(Duration::from_secs(1));
                wire.send(b"x");
            }
        }),
    ];
    for (name, act) in stalls {
        let mut bench = Bench::new().server(act);
        assert_eq!(
            bench.whole().unwrap().end,
            Err(HttpError::Stalled),
            "{name}"
        );
        assert_eq!(bench.clock.now(), Instant::from_secs(20), "{name}");
    }
    // Slow, but never silent: whether that is too slow is for the caller to say.
    let mut bench = Bench::new().server(|wire| {
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        for byte in b"file" {
            wire.pause(Duration::from_secs(19));
            wire.send(&[*byte]);
        }
    });
    assert_eq!(bench.whole().unwrap().end, Ok(()));
}

#[test]
fn a_read_that_is_dropped_has_taken_nothing() {
    for answer in [
        chunked("2\r\nfi\r\n2\r\nle\r\n0\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfile".into(),
    ] {
        let mut bench = Bench::new().server(move |wire| {
            for byte in answer.as_bytes() {
                wire.send(&[*byte]);
                wire.pause(Duration::from_millis(300));
            }
        });
        let net = FakeNet::new(&bench.clock, bench.dials.drain(..));
        let clock = bench.clock.clone();
        let mut client = HttpClient::new(&net, &*clock, UrlPolicy::ANY);
        let request = GetRequest::whole("http://h/f");
        let body = run(&clock, Instant::MAX, async {
            let mut response = client.get(&request).await.unwrap();
            let mut body = Vec::new();
            loop {
                let mut buf = [0; 8];
                // Dropped and begun again all the time.
                let soon = clock.now() + Duration::from_millis(70);
                match crate::net::until(&*clock, soon, response.read(&mut buf)).await {
                    Ok(Ok(0)) => return body,
                    Ok(read) => body.extend_from_slice(&buf[..read.unwrap()]),
                    Err(_) => {}
                }
            }
        });
        assert_eq!(body.unwrap(), b"file");
    }
}
