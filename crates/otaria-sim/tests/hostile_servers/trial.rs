//! Servers that answer the download, but not the image on trial that asks whether anybody is there.

use crate::row::*;
use crate::stage::MINUTE;
use crate::stage::bad_web::{Act, present};
use otaria_wire::messages::FailureCode;

fn says(bytes: &[u8]) -> Vec<Act> {
    vec![Act::Send(bytes.to_vec())]
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row(
            "404",
            Head(|_| says(b"HTTP/1.1 404 Not Found\r\n\r\n")),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "500",
            Head(|_| says(b"HTTP/1.1 500 Oops\r\n\r\n")),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "a redirect to where the device does not go",
            Head(|_| says(b"HTTP/1.1 302 Found\r\nLocation: http://broker/\r\n\r\n")),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "a status line, and then headers that break every rule",
            Head(|_| says(b"HTTP/1.1 200 OK\r\n: \0\r\n")),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "the file, although only its head was asked for",
            Head(|_| says(&[b"HTTP/1.1 200 OK\r\n\r\n", &[0; 50_000][..]].concat())),
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "garbage for the first quarter of an hour",
            Head(|now| match now < 15 * MINUTE {
                true => says(&[0xFF; 100]),
                false => present(now),
            }),
            // Rolled back without blame, and activated again without a download.
            Confirmed,
            1,
            ONCE,
        ),
        row(
            "nothing but garbage",
            Head(|_| says(&[0xFF; 100])),
            // The old image gets no other answer, so it does not blame the new one.
            Waits(FailureCode::TrialNoNetwork),
            1,
            ONCE,
        ),
        row(
            "no answer",
            Head(|_| vec![Act::Hang]),
            Waits(FailureCode::TrialNoNetwork),
            1,
            ONCE,
        ),
    ]
}
