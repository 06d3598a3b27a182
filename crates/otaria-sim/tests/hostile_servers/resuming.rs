//! Servers that fail on the way, and what a resumed download meets.

use crate::answers::*;
use crate::row::*;
use crate::stage::MINUTE;
use crate::stage::bad_web::{Act, Ask, Files};
use otaria_wire::messages::FailureCode;

pub(crate) fn rows() -> Vec<Row> {
    const TWICE: Slot = Filled { interruptions: 1 };
    vec![
        row(
            "closed early, then the range",
            Web(|ask, files| resumed(ask, files, good)),
            Confirmed,
            2,
            TWICE,
        ),
        row(
            "closed early, and ranges are ignored",
            Web(|ask, files| resumed(ask, files, |_, files| whole(files))),
            Confirmed,
            2,
            TWICE,
        ),
        row(
            "closed after every 20000 bytes",
            Web(|ask, files| cut(ask, files, CUT)),
            Confirmed,
            7,
            Filled { interruptions: 6 },
        ),
        row(
            "reset after every 30000 bytes",
            Web(|ask, files| cut_with(ask, &files.good, ETAG, 30_000, vec![Act::Reset])),
            Confirmed,
            6,
            Filled { interruptions: 5 },
        ),
        row(
            "silent after every 30000 bytes",
            Web(|ask, files| cut_with(ask, &files.good, ETAG, 30_000, vec![Act::Hang])),
            Confirmed,
            6,
            Filled { interruptions: 5 },
        ),
        row(
            "closed in the header, in the table, in the first block, then good",
            Web(|ask, files| match ask.number {
                0 => cut(ask, files, 100),
                1 => cut(ask, files, 400),
                2 => cut(ask, files, 5000),
                _ => good(ask, files),
            }),
            Confirmed,
            4,
            Filled { interruptions: 3 },
        ),
        row(
            "416 for the rest",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| match ask.range_from {
                    Some(_) => status("416 Range Not Satisfiable"),
                    None => whole(files),
                })
            }),
            Confirmed,
            3,
            TWICE,
        ),
        row(
            "another range than asked for",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| match ask.range_from {
                    Some(from) => right_but(ask, files, from + 1),
                    None => whole(files),
                })
            }),
            Confirmed,
            3,
            TWICE,
        ),
        row(
            "206 that does not say which range",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| match ask.range_from {
                    Some(from) => answer("206 Partial Content", &[], &files.good[from as usize..]),
                    None => whole(files),
                })
            }),
            Confirmed,
            3,
            TWICE,
        ),
        row(
            "several ranges in one body",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| match ask.range_from {
                    Some(_) => answer(
                        "206 Partial Content",
                        &["Content-Type: multipart/byteranges; boundary=x"],
                        b"--x\r\n",
                    ),
                    None => whole(files),
                })
            }),
            Confirmed,
            3,
            TWICE,
        ),
        row(
            "a range without the file's length",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| {
                    let from = ask.range_from.unwrap_or(0) as usize;
                    let range = format!("Content-Range: bytes {from}-{}/*", files.good.len() - 1);
                    answer("206 Partial Content", &[&range], &files.good[from..])
                })
            }),
            Confirmed,
            2,
            TWICE,
        ),
        row(
            "the right range of a file that is said to be longer",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| match ask.range_from {
                    Some(from) => {
                        let (from, last) = (from as usize, files.good.len() - 1);
                        let range = format!("Content-Range: bytes {from}-{last}/{}", last + 2);
                        answer("206 Partial Content", &[&range], &files.good[from..])
                    }
                    None => whole(files),
                })
            }),
            Confirmed,
            3,
            TWICE,
        ),
        row(
            "200 and the rest as if it were the whole",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| {
                    let from = ask.range_from.unwrap_or(0) as usize;
                    answer("200 OK", &[], &files.good[from..])
                })
            }),
            Final(FailureCode::NotAPackage),
            2,
            TWICE,
        ),
        row(
            "only weak entity tags",
            Web(|ask, files| match ask.number {
                0 => cut_with(ask, &files.good, "W/\"one\"", CUT, vec![]),
                _ => {
                    assert_eq!(ask.if_range, None);
                    let (head, body) = right(ask, &files.good, "W/\"one\"");
                    vec![Act::Send(head), Act::Send(body)]
                }
            }),
            Confirmed,
            2,
            TWICE,
        ),
        row(
            "an entity tag of 2000 bytes",
            Web(|ask, files| {
                let etag = format!("\"{}\"", "e".repeat(2000));
                match ask.number {
                    0 => cut_with(ask, &files.good, &etag, CUT, vec![]),
                    _ => good(ask, files),
                }
            }),
            Confirmed,
            2,
            TWICE,
        ),
        row(
            "another package by now, and If-Range is obeyed",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| {
                    assert_eq!(ask.if_range.as_deref(), Some(ETAG));
                    answer("200 OK", &["ETag: \"two\""], &files.other)
                })
            }),
            ConfirmedOther,
            2,
            FilledTwice,
        ),
        row(
            "another package by now, and If-Range is ignored",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| {
                    let (head, body) = right(ask, &files.other, "\"two\"");
                    vec![Act::Send(head), Act::Send(body)]
                })
            }),
            ConfirmedOther,
            3,
            FilledTwice,
        ),
        row(
            "another package by now, and no entity tags",
            Web(|ask, files| match ask.number {
                0 => cut_with(ask, &files.good, "", CUT, vec![]),
                _ => {
                    let (head, body) = right(ask, &files.other, "");
                    vec![Act::Send(head), Act::Send(body)]
                }
            }),
            ConfirmedOther,
            4,
            FilledTwice,
        ),
        row(
            "another package by now under the same entity tag",
            Web(|ask, files| {
                resumed(ask, files, |ask, files| {
                    let (head, body) = right(ask, &files.other, ETAG);
                    vec![Act::Send(head), Act::Send(body)]
                })
            }),
            Final(FailureCode::BlockHash),
            3,
            Filled { interruptions: 2 },
        ),
        row(
            "a web page instead of the rest",
            Web(|ask, files| {
                resumed(ask, files, |_, _| {
                    answer("200 OK", &[], "<!doctype html>".repeat(500).as_bytes())
                })
            }),
            Final(FailureCode::NotAPackage),
            2,
            TWICE,
        ),
        row(
            "a block that is damaged the first time",
            Web(|ask, files| match ask.number {
                0 => {
                    let (head, mut body) = right(ask, &files.good, ETAG);
                    body[2 * CUT] ^= 1;
                    vec![Act::Send(head), Act::Send(body)]
                }
                _ => good(ask, files),
            }),
            Confirmed,
            2,
            TWICE,
        ),
        row(
            "two packages in turn, each cut off",
            Web(|ask, files| {
                let (file, etag) = match ask.number % 2 {
                    0 => (&files.good, "\"one\""),
                    _ => (&files.other, "\"two\""),
                };
                let anew = Ask {
                    range_from: None,
                    ..ask.clone()
                };
                cut_with(&anew, file, etag, CUT, vec![])
            }),
            // Neither gets further than the other did, so that the tries count, and the slot's wear ends.
            KeepsTrying(FailureCode::EarlyClose),
            TRIES,
            BlockATry,
        ),
        row(
            "503 three times, then good",
            Web(|ask, files| match ask.number {
                0..3 => status("503 Service Unavailable"),
                _ => good(ask, files),
            }),
            Confirmed,
            4,
            ONCE,
        ),
        row(
            "404 for an hour and a half, then good",
            Web(|ask, files| {
                if ask.at < 90 * MINUTE {
                    status("404 Not Found")
                } else {
                    good(ask, files)
                }
            }),
            Confirmed,
            TRIES + 2,
            ONCE,
        ),
    ]
}

/// A range that begins somewhere else.
pub(crate) fn right_but(ask: &Ask, files: &Files, from: u64) -> Vec<Act> {
    let other = Ask {
        range_from: Some(from),
        ..ask.clone()
    };
    let (head, body) = right(&other, &files.good, ETAG);
    vec![Act::Send(head), Act::Send(body)]
}
