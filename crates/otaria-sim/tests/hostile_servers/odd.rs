//! Servers that are odd, and good enough.

use crate::answers::*;
use crate::row::*;
use crate::stage::SECOND;
use crate::stage::bad_web::Act;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("as it should be", Web(good), Confirmed, 1, ONCE),
        row(
            "no Content-Length, the end is the end of the connection",
            Web(|_, files| answer("200 OK", &[], &files.good)),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "the connection stays open after the body",
            Web(|ask, files| {
                let mut acts = good(ask, files);
                acts.push(Act::Hang);
                acts
            }),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "reset behind the last byte",
            Web(|ask, files| cut_with(ask, &files.good, ETAG, usize::MAX, vec![Act::Reset])),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "chunks of 1000 bytes",
            Web(|_, files| chunked(&files.good, 1000, b"0\r\n\r\n")),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "chunks of 1 byte",
            Web(|_, files| chunked(&files.good, 1, b"0\r\n\r\n")),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "chunks without a last one",
            Web(|_, files| chunked(&files.good, 5000, b"")),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "HTTP/1.0",
            Web(|_, files| {
                vec![Act::Send(
                    [b"HTTP/1.0 200 OK\r\n\r\n", &files.good[..]].concat(),
                )]
            }),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "line ends without CR",
            Web(|_, files| {
                vec![Act::Send(
                    [b"HTTP/1.1 200 OK\nServer: odd\n\n", &files.good[..]].concat(),
                )]
            }),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "100 and 103 before the answer",
            Web(|ask, files| {
                let early =
                    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
                let mut acts = vec![Act::Send(early.to_vec())];
                acts.extend(good(ask, files));
                acts
            }),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "a header line of 8000 bytes",
            Web(|_, files| {
                let long = format!("X-Long: {}", "x".repeat(8000));
                answer("200 OK", &[&long], &files.good)
            }),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "five redirects",
            Web(|ask, files| match ask.number {
                0..5 => redirect(&format!("/{}", ask.number)),
                _ => good(ask, files),
            }),
            Confirmed,
            6,
            ONCE,
        ),
        row(
            "a redirect to another host",
            Web(|_, _| redirect("http://elsewhere/app.otaria")),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "1460 bytes every tenth of a second",
            Web(|ask, files| {
                let (head, body) = right(ask, &files.good, ETAG);
                vec![Act::Send(head), Act::Drip(body, 1460, SECOND / 10)]
            }),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "a pause of 19 s in the head and another in the body",
            Web(|ask, files| {
                let (head, body) = right(ask, &files.good, ETAG);
                vec![
                    Act::Wait(19 * SECOND),
                    Act::Send(head),
                    Act::Send(body[..CUT].to_vec()),
                    Act::Wait(19 * SECOND),
                    Act::Send(body[CUT..].to_vec()),
                ]
            }),
            Confirmed,
            1,
            ONCE,
        ),
    ]
}
