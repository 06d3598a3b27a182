//! Any bytes from a server: no panic, no endless loop, no byte more than was announced.

use std::format;

use proptest::collection::vec as vec_of;
use proptest::prelude::*;

use super::*;

/// Lines that are nearly right.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(
        &[
            "Content-Length: 5",
            "Content-Length: 4294967301",
            "Transfer-Encoding: chunked",
            "Content-Range: bytes 5-9/10",
            "Content-Range: bytes 5-4294967301/*",
            "Content-Type: multipart/byteranges; boundary=x",
            "Content-Encoding: gzip",
            "ETag: \"e\"",
            "Location: /x",
            "Location: http://other/",
            "X: y",
            " folded",
            "",
        ][..],
    );
    prop_oneof![
        6 => known.prop_map(|line: &str| line.as_bytes().to_vec()),
        1 => vec_of(any::<u8>(), 0..60),
        1 => (1usize..3_000).prop_map(|n| [b"X: ".to_vec(), std::vec![b'x'; n]].concat()),
    ]
}

fn answer() -> impl Strategy<Value = Vec<u8>> {
    let status = prop_oneof![
        6 => prop::sample::select(&["HTTP/1.1 200 OK", "HTTP/1.1 206 x", "HTTP/1.0 200 x", "HTTP/1.1 100 x", "HTTP/1.1 302 x", "HTTP/1.1 416 x"][..])
            .prop_map(|line: &str| line.as_bytes().to_vec()),
        1 => vec_of(any::<u8>(), 0..30),
    ];
    let end = prop::sample::select(&["\r\n", "\r\n", "\r\n", "\n", "\r"][..]);
    let body = prop_oneof![
        Just(b"5\r\nabcde\r\n0\r\n\r\n".to_vec()),
        Just(b"abcde".to_vec()),
        vec_of(any::<u8>(), 0..100),
        vec_of(prop::sample::select(&b"015afF;\r\n x"[..]), 0..60),
    ];
    (status, vec_of((line(), end), 0..6), body).prop_map(|(status, lines, body)| {
        let mut answer = status;
        answer.extend(b"\r\n");
        for (line, end) in lines {
            answer.extend(line);
            answer.extend(end.as_bytes());
        }
        answer.extend(b"\r\n");
        answer.extend(body);
        answer
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn any_bytes_from_a_server_do_no_harm(
        answers in vec_of(answer(), 1..3),
        segment in 0usize..4,
        piece in 1usize..50,
        resume: bool,
        close: bool,
    ) {
        let mut bench = Bench::new();
        for answer in answers {
            bench = bench.server(move |wire| {
                wire.segment = segment;
                wire.send(&answer);
                if close {
                    wire.close();
                }
            });
        }
        let request = if resume { REST } else { GetRequest::whole("http://h/f") };
        let got = bench.get_in_pieces(&request, piece);
        if let Ok(got) = got {
            prop_assert!(got.status == 200 || (got.status == 206 && resume));
            prop_assert_eq!(got.start, if got.status == 206 { 5 } else { 0 });
        }
        // Two hops at most, each with its head, and one stall.
        prop_assert!(bench.clock.now() <= Instant::from_secs(3 * 20), "{}", bench.clock.now());
    }

    #[test]
    fn a_good_answer_survives_any_segmentation(
        body in vec_of(any::<u8>(), 0..3_000),
        sizes in vec_of(1usize..700, 1..20),
        segment in 0usize..40,
        piece in 1usize..600,
        style in 0..3,
    ) {
        let mut answer = match style {
            0 => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()),
            1 => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            _ => "HTTP/1.0 200 OK\r\n\r\n".into(),
        }
        .into_bytes();
        if style == 1 {
            let mut rest = &body[..];
            for size in sizes.into_iter().cycle() {
                let (chunk, tail) = rest.split_at(size.min(rest.len()));
                answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                answer.extend(chunk);
                answer.extend(b"\r\n");
                rest = tail;
                if chunk.is_empty() {
                    break;
                }
            }
        } else {
            answer.extend(&body);
        }
        let mut bench = Bench::new().server(move |wire| {
            wire.segment = segment;
            wire.send(&answer);
            wire.close();
        });
        let got = bench.get_in_pieces(&GetRequest::whole("http://h/f"), piece).unwrap();
        prop_assert_eq!(got.end, Ok(()));
        prop_assert_eq!(got.body, body);
    }
}
