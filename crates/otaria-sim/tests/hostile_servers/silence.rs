//! Nothing gets through, or it stops.

use crate::answers::*;
use crate::row::*;
use crate::stage::SECOND;
use crate::stage::bad_web::Act;
use otaria_wire::messages::FailureCode;

pub(crate) fn rows() -> Vec<Row> {
    use FailureCode::{
        Connect, Dns, EarlyClose, Stalled, TimeoutConnect, TimeoutHead, TlsUnknownAuthority,
        UrlRefused,
    };
    vec![
        row(
            "no answer",
            Web(|_, _| vec![Act::Hang]),
            KeepsTrying(TimeoutHead),
            TRIES,
            Untouched,
        ),
        row(
            "half a head",
            Web(|_, _| vec![Act::Send(b"HTTP/1.1 200 OK\r\nServer:".to_vec()), Act::Hang]),
            KeepsTrying(TimeoutHead),
            TRIES,
            Untouched,
        ),
        row(
            "a head of one byte a second",
            Web(|ask, files| {
                let (head, body) = right(ask, &files.good, ETAG);
                vec![Act::Drip(head, 1, SECOND), Act::Send(body)]
            }),
            KeepsTrying(TimeoutHead),
            TRIES,
            Untouched,
        ),
        row(
            "a head and no body",
            Web(|ask, files| cut_with(ask, &files.good, ETAG, 0, vec![Act::Hang])),
            KeepsTrying(Stalled),
            TRIES,
            Untouched,
        ),
        row(
            "half a table",
            Web(|ask, files| cut_with(ask, &files.good, ETAG, 400, vec![Act::Hang])),
            KeepsTrying(Stalled),
            TRIES,
            Untouched,
        ),
        row(
            "half a block",
            Web(|ask, files| cut_with(ask, &files.good, ETAG, 8000, vec![Act::Hang])),
            KeepsTrying(Stalled),
            TRIES,
            Filled {
                interruptions: TRIES - 1,
            },
        ),
        row(
            "a body of one byte every fifteen seconds",
            Web(|ask, files| {
                let (head, body) = right(ask, &files.good, ETAG);
                vec![Act::Send(head), Act::Drip(body, 1, 15 * SECOND)]
            }),
            KeepsTrying(Stalled),
            TRIES,
            Untouched,
        ),
        row(
            "a body of chunk sizes only",
            Web(|_, _| {
                let start = head("200 OK", &lines(&["Transfer-Encoding: chunked"]));
                vec![
                    Act::Send(start),
                    Act::Drip(b"0".repeat(4000), 1, SECOND / 4),
                ]
            }),
            KeepsTrying(Stalled),
            TRIES,
            Untouched,
        ),
        row(
            "reset instead of an answer",
            Web(|_, _| vec![Act::Reset]),
            KeepsTrying(EarlyClose),
            TRIES,
            Untouched,
        ),
        row(
            "reset in the head",
            Web(|_, _| vec![Act::Send(b"HTTP/1.1 200".to_vec()), Act::Reset]),
            KeepsTrying(EarlyClose),
            TRIES,
            Untouched,
        ),
        row(
            "reset behind the head",
            Web(|ask, files| cut_with(ask, &files.good, ETAG, 0, vec![Act::Reset])),
            KeepsTrying(EarlyClose),
            TRIES,
            Untouched,
        ),
        row(
            "reset before the request",
            Greet(|| vec![Act::Reset]),
            KeepsTrying(EarlyClose),
            TRIES,
            Untouched,
        ),
        row(
            "a name that is not known",
            Net(|stage| stage.net.forget_name("files")),
            KeepsTrying(Dns),
            0,
            Untouched,
        ),
        row(
            "a port where nobody listens",
            Url("http://files:81/app.otaria"),
            KeepsTrying(Connect),
            0,
            Untouched,
        ),
        row(
            "a host that is not there",
            Net(|stage| stage.net.name("files", [10, 0, 0, 77].into())),
            KeepsTrying(TimeoutConnect),
            0,
            Untouched,
        ),
        row(
            "a host behind a wall",
            Net(|stage| stage.web_host.set_black_hole(true)),
            KeepsTrying(TimeoutConnect),
            0,
            Untouched,
        ),
        row(
            "an address that needs TLS, and no authority in the settings",
            Url("https://files/app.otaria"),
            KeepsTrying(TlsUnknownAuthority),
            0,
            Untouched,
        ),
        row(
            "an address that the settings do not allow",
            Url("http://broker/app.otaria"),
            Final(UrlRefused),
            0,
            Untouched,
        ),
    ]
}
