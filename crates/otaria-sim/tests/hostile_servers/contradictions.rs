//! Answers that contradict themselves, or HTTP.

use crate::answers::*;
use crate::row::*;
use crate::stage::bad_web::Act;
use otaria_wire::messages::FailureCode;

pub(crate) fn rows() -> Vec<Row> {
    use FailureCode::{
        EarlyClose, HeadTooLarge, HttpMalformed, HttpStatus, LengthMismatch, RangeMismatch,
    };
    vec![
        row(
            "a length that is too short, and all bytes",
            Web(|_, files| answer("200 OK", &["Content-Length: 50000"], &files.good)),
            Final(LengthMismatch),
            3,
            Untouched,
        ),
        row(
            "a length that is too long",
            Web(|_, files| answer("200 OK", &["Content-Length: 5000000"], &files.good)),
            Final(LengthMismatch),
            3,
            Untouched,
        ),
        row(
            "two lengths",
            Web(|_, files| {
                answer(
                    "200 OK",
                    &["Content-Length: 102972", "Content-Length: 102973"],
                    &files.good,
                )
            }),
            Final(LengthMismatch),
            3,
            Untouched,
        ),
        row(
            "206 although no range was asked for",
            Web(|_, files| {
                let range = format!(
                    "Content-Range: bytes 0-{}/{}",
                    files.good.len() - 1,
                    files.good.len()
                );
                answer("206 Partial Content", &[&range], &files.good)
            }),
            Final(RangeMismatch),
            3,
            Untouched,
        ),
        row(
            "416 although no range was asked for",
            Web(|_, _| status("416 Range Not Satisfiable")),
            Final(RangeMismatch),
            3,
            Untouched,
        ),
        row(
            "a negative length",
            Web(|_, files| answer("200 OK", &["Content-Length: -1"], &files.good)),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a length of 2^64",
            Web(|_, files| {
                answer(
                    "200 OK",
                    &["Content-Length: 18446744073709551616"],
                    &files.good,
                )
            }),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "chunks and a length",
            Web(|_, _| {
                answer(
                    "200 OK",
                    &["Transfer-Encoding: chunked", "Content-Length: 5"],
                    b"5\r\nhello\r\n0\r\n\r\n",
                )
            }),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "compressed chunks",
            Web(|_, _| answer("200 OK", &["Transfer-Encoding: gzip, chunked"], b"")),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a compressed file",
            Web(|_, files| answer("200 OK", &["Content-Encoding: gzip"], &files.good)),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a chunk size that is no number",
            Web(|_, _| answer("200 OK", &["Transfer-Encoding: chunked"], b"many\r\n")),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a chunk of 2^64 bytes",
            Web(|_, _| {
                answer(
                    "200 OK",
                    &["Transfer-Encoding: chunked"],
                    b"10000000000000000\r\n",
                )
            }),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a chunk that does not end where it should",
            Web(|_, files| {
                answer(
                    "200 OK",
                    &["Transfer-Encoding: chunked"],
                    &[b"4\r\n", &files.good[..]].concat(),
                )
            }),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a chunk extension without end",
            Web(|_, _| {
                let start = head("200 OK", &lines(&["Transfer-Encoding: chunked"]));
                vec![
                    Act::Send(start),
                    Act::Send(b"4;".to_vec()),
                    Act::Endless(vec![b'x'; 1000]),
                ]
            }),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "chunks that stop early and trailers without end",
            Web(|_, files| {
                let mut acts = chunked(&files.good[..CUT], 1000, b"0\r\n");
                acts.push(Act::Endless(b"Trailer: x\r\n".repeat(50)));
                acts
            }),
            KeepsTrying(HttpMalformed),
            TRIES,
            Filled {
                interruptions: TRIES,
            },
        ),
        row(
            "an empty file",
            Web(|_, _| answer("200 OK", &["Content-Length: 0"], b"")),
            Final(FailureCode::NotAPackage),
            1,
            Untouched,
        ),
        row(
            "headers without end",
            Web(|_, _| {
                vec![
                    Act::Send(b"HTTP/1.1 200 OK\r\n".to_vec()),
                    Act::Endless(b"X-Header: again\r\n".repeat(50)),
                ]
            }),
            KeepsTrying(HeadTooLarge),
            TRIES,
            Untouched,
        ),
        row(
            "one header line without end",
            Web(|_, _| {
                vec![
                    Act::Send(b"HTTP/1.1 200 OK\r\nX-Header: ".to_vec()),
                    Act::Endless(vec![b'x'; 1000]),
                ]
            }),
            KeepsTrying(HeadTooLarge),
            TRIES,
            Untouched,
        ),
        row(
            "interim answers without end",
            Web(|_, _| vec![Act::Endless(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec())]),
            KeepsTrying(HeadTooLarge),
            TRIES,
            Untouched,
        ),
        row(
            "a NUL in a header",
            Web(|_, files| answer("200 OK", &["X: \0"], &files.good)),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a folded header line",
            Web(|_, files| answer("200 OK", &["X: a", " b"], &files.good)),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a status of four digits",
            Web(|_, files| answer("2000 OK", &[], &files.good)),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "the file without any head",
            Web(|_, files| vec![Act::Send(files.good.to_vec())]),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "HTTP/2",
            Web(|_, _| vec![Act::Send(vec![0, 0, 0, 4, 0, 0, 0, 0, 0])]),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "TLS",
            Web(|_, _| vec![Act::Send(vec![21, 3, 3, 0, 2, 2, 22])]),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "an SSH server",
            Greet(|| vec![Act::Send(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()), Act::Hang]),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "half a status line",
            Web(|_, _| vec![Act::Send(b"HTTP/1.".to_vec())]),
            KeepsTrying(EarlyClose),
            TRIES,
            Untouched,
        ),
        row(
            "nothing",
            Web(|_, _| vec![]),
            KeepsTrying(EarlyClose),
            TRIES,
            Untouched,
        ),
        row(
            "closed before the request",
            Greet(Vec::new),
            KeepsTrying(EarlyClose),
            TRIES,
            Untouched,
        ),
        row(
            "204",
            Web(|_, _| status("204 No Content")),
            KeepsTrying(HttpStatus),
            TRIES,
            Untouched,
        ),
        row(
            "304",
            Web(|_, _| status("304 Not Modified")),
            KeepsTrying(HttpStatus),
            TRIES,
            Untouched,
        ),
        row(
            "401",
            Web(|_, _| status("401 Unauthorized")),
            KeepsTrying(HttpStatus),
            TRIES,
            Untouched,
        ),
        row(
            "403",
            Web(|_, _| status("403 Forbidden")),
            KeepsTrying(HttpStatus),
            TRIES,
            Untouched,
        ),
        row(
            "404",
            Web(|_, _| status("404 Not Found")),
            KeepsTrying(HttpStatus),
            TRIES,
            Untouched,
        ),
        row(
            "410",
            Web(|_, _| status("410 Gone")),
            KeepsTrying(HttpStatus),
            TRIES,
            Untouched,
        ),
        row(
            "500",
            Web(|_, _| status("500 Internal")),
            KeepsTrying(HttpStatus),
            TRIES,
            Untouched,
        ),
        row(
            "503, and another try is wanted in two hours",
            Web(|_, _| answer("503 Busy", &["Retry-After: 7200"], b"")),
            KeepsTrying(HttpStatus),
            TRIES,
            Untouched,
        ),
    ]
}
