//! Web servers, and what stands between them and a device, that do not do what they should.
//!
//! Each row says what is done, how the job ends, how often the device asks until then, and what it does to the slot. After each
//! row the image that should run runs, the bootloader would start it again, and a good update succeeds.

mod stage;

use otaria_package::pack::CodecChoice;
use otaria_sim::peers::web::File;
use otaria_wire::messages::{EventKind, FailureCode};
use stage::bad_web::{Act, Answer, Ask, Files, answering, greeting};
use stage::{MINUTE, Plan, SECOND, Stage, play, release};

/// Seven blocks of 16 KiB, the last of 4 KiB.
const IMAGE_LEN: usize = 100 * 1024;
/// Bytes that the device has read of the package when it has held the first block, and a bit of the second.
const CUT: usize = 20_000;
/// What filling the slot takes: one block erase for each 64 KiB that are begun.
const ERASES: usize = 2;
/// Erases that an interruption may add.
const MORE_ERASES: usize = 8;

/// What is wrong.
enum How {
    /// The web server's answers.
    Answer(Answer),
    /// What it does before it has read anything.
    Greet(fn() -> Vec<Act>),
    /// Names, links, hosts.
    Net(fn(&Stage)),
    /// The address.
    Url(&'static str),
}
use How::{Answer as Web, Greet, Net, Url};

/// How the job ends.
#[derive(Clone, Copy)]
enum End {
    /// It is confirmed all the same.
    Confirmed,
    /// The file was replaced by another good package, and that one is confirmed.
    ConfirmedOther,
    /// Reported as refused or failed, and not tried again.
    Final(FailureCode),
    /// Reported and tried again: eight times soon, then hourly.
    KeepsTrying(FailureCode),
}
use End::{Confirmed, ConfirmedOther, Final, KeepsTrying};

/// What happens to the slot.
#[derive(Clone, Copy)]
enum Slot {
    /// Nothing.
    Untouched,
    /// No byte is written twice. Each interruption may add some erases.
    Filled { interruptions: usize },
    /// Blocks of one package are written, and then those of another.
    FilledTwice,
}
use Slot::{Filled, FilledTwice, Untouched};

const ONCE: Slot = Filled { interruptions: 0 };

struct Row {
    name: &'static str,
    how: How,
    end: End,
    /// GETs that the server has seen until the end; connections, if it has not read any.
    requests: usize,
    slot: Slot,
}

const fn row(name: &'static str, how: How, end: End, requests: usize, slot: Slot) -> Row {
    Row {
        name,
        how,
        end,
        requests,
        slot,
    }
}

/// Eight quick retries after the first try.
const TRIES: usize = 9;

fn head(status: &str, headers: &[String]) -> Vec<u8> {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{headers}\r\n").into_bytes()
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// An answer in one piece.
fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<Act> {
    vec![Act::Send([&head(status, &lines(headers)), body].concat())]
}

/// An answer that has only a head.
fn status(status: &str) -> Vec<Act> {
    answer(status, &["Content-Length: 0"], b"")
}

fn redirect(location: &str) -> Vec<Act> {
    answer("302 Found", &[&format!("Location: {location}")], b"")
}

/// Head and body as they should be: 206 if a range is asked for, else 200.
fn right(ask: &Ask, file: &[u8], etag: &str) -> (Vec<u8>, Vec<u8>) {
    let from = ask.range_from.unwrap_or(0) as usize;
    let body = file[from..].to_vec();
    let mut headers = vec![format!("Content-Length: {}", body.len())];
    if !etag.is_empty() {
        headers.push(format!("ETag: {etag}"));
    }
    let status = if ask.range_from.is_some() {
        let (last, total) = (file.len() - 1, file.len());
        headers.push(format!("Content-Range: bytes {from}-{last}/{total}"));
        "206 Partial Content"
    } else {
        "200 OK"
    };
    (head(status, &headers), body)
}

const ETAG: &str = "\"one\"";

/// As it should be.
fn good(ask: &Ask, files: &Files) -> Vec<Act> {
    let (head, body) = right(ask, &files.good, ETAG);
    vec![Act::Send(head), Act::Send(body)]
}

/// As it should be, but without a range.
fn whole(files: &Files) -> Vec<Act> {
    let length = format!("Content-Length: {}", files.good.len());
    answer("200 OK", &[&length], &files.good)
}

/// The start of the right answer, and then something else.
fn cut_with(ask: &Ask, file: &[u8], etag: &str, at: usize, then: Vec<Act>) -> Vec<Act> {
    let (head, mut body) = right(ask, file, etag);
    body.truncate(at);
    let mut acts = vec![Act::Send(head), Act::Send(body)];
    acts.extend(then);
    acts
}

/// The right answer, cut off.
fn cut(ask: &Ask, files: &Files, at: usize) -> Vec<Act> {
    cut_with(ask, &files.good, ETAG, at, vec![])
}

/// The first request is cut off, so that the next one asks for the rest.
fn resumed(ask: &Ask, files: &Files, rest: fn(&Ask, &Files) -> Vec<Act>) -> Vec<Act> {
    match ask.number {
        0 => cut(ask, files, CUT),
        _ => rest(ask, files),
    }
}

/// A body in chunks of this size, with something instead of the last chunk.
fn chunked(body: &[u8], size: usize, end: &[u8]) -> Vec<Act> {
    let mut bytes = head("200 OK", &lines(&["Transfer-Encoding: chunked"]));
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(end);
    vec![Act::Send(bytes)]
}

/// Servers that are odd, and good enough.
fn odd() -> Vec<Row> {
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

/// Servers that fail on the way, and what a resumed download meets.
fn resuming() -> Vec<Row> {
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
fn right_but(ask: &Ask, files: &Files, from: u64) -> Vec<Act> {
    let other = Ask {
        range_from: Some(from),
        ..ask.clone()
    };
    let (head, body) = right(&other, &files.good, ETAG);
    vec![Act::Send(head), Act::Send(body)]
}

/// Answers that contradict themselves, or HTTP.
fn contradictions() -> Vec<Row> {
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

/// Servers that send a device elsewhere, or something else.
fn misleading() -> Vec<Row> {
    use FailureCode::{
        HeadTooLarge, HttpMalformed, NotAPackage, RedirectRefused, TooManyRedirects,
    };
    vec![
        row(
            "a redirect to itself",
            Web(|_, _| redirect("/app.otaria")),
            KeepsTrying(TooManyRedirects),
            6 * TRIES,
            Untouched,
        ),
        row(
            "six redirects",
            Web(|ask, files| match ask.number % 7 {
                6 => good(ask, files),
                number => redirect(&format!("/{number}")),
            }),
            // Whoever asks again begins where he left off, and so gets there.
            Confirmed,
            7,
            ONCE,
        ),
        row(
            "a redirect to nowhere",
            Web(|_, _| status("302 Found")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect to a host that the settings do not allow",
            Web(|_, _| redirect("http://broker/app.otaria")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect to an address that the settings do not allow",
            Web(|_, _| redirect("http://10.0.0.3/app.otaria")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect to a file",
            Web(|_, _| redirect("file:///etc/passwd")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect with user name and password",
            Web(|_, _| redirect("http://user:secret@elsewhere/app.otaria")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect to a host that only looks like an allowed one",
            Web(|_, _| redirect("http://files@broker/app.otaria")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect that is not ASCII",
            Web(|_, _| redirect("http://elsewhere/\u{e4}")),
            Final(RedirectRefused),
            1,
            Untouched,
        ),
        row(
            "a redirect of 5000 bytes",
            Web(|_, _| redirect(&format!("http://elsewhere/{}", "x".repeat(5000)))),
            KeepsTrying(HeadTooLarge),
            TRIES,
            Untouched,
        ),
        row(
            "a redirect to two places",
            Web(|_, _| {
                answer(
                    "302 Found",
                    &["Location: /a", "Location: http://elsewhere/app.otaria"],
                    b"",
                )
            }),
            KeepsTrying(HttpMalformed),
            TRIES,
            Untouched,
        ),
        row(
            "a redirect to https on a device without TLS",
            Web(|_, _| redirect("https://elsewhere/app.otaria")),
            KeepsTrying(FailureCode::Tls),
            TRIES,
            Untouched,
        ),
        row(
            "a web page",
            Web(|_, _| answer("200 OK", &[], "<!doctype html>".repeat(500).as_bytes())),
            Final(NotAPackage),
            1,
            Untouched,
        ),
        row(
            "the image itself",
            Web(|_, files| answer("200 OK", &[], &files.image)),
            Final(NotAPackage),
            1,
            Untouched,
        ),
    ]
}

/// Nothing gets through, or it stops.
fn silence() -> Vec<Row> {
    use FailureCode::{
        Connect, Dns, EarlyClose, Stalled, TimeoutConnect, TimeoutHead, Tls, UrlRefused,
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
            "an address that needs TLS",
            Url("https://files/app.otaria"),
            KeepsTrying(Tls),
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

fn act(row: &Row) -> Result<(), String> {
    let stage = Stage::set(&Plan {
        image_len: 128 * 1024,
        settings: |settings| {
            settings.allowed_hosts = ["files", "elsewhere"].map(str::to_owned).to_vec();
        },
        ..Plan::default()
    });
    let image = release("1.1.0", IMAGE_LEN);
    let files = Files {
        good: stage.package_of(&image, CodecChoice::Stored).bytes.into(),
        other: stage
            .package("1.2.0", IMAGE_LEN, CodecChoice::Stored)
            .bytes
            .into(),
        image: image.into(),
    };
    stage.put("/app.otaria", files.good.to_vec());
    stage
        .elsewhere
        .put("/app.otaria", File::new(files.good.clone(), "one"));
    let mut url = "http://files/app.otaria";
    let mut log = None;
    match row.how {
        Web(answer) => {
            let (front, seen) = answering(answer, &files);
            stage.web_door.put(front);
            log = Some(seen);
        }
        Greet(acts) => stage.web_door.put(greeting(acts)),
        Net(change) => change(&stage),
        Url(other) => url = other,
    }
    let before = stage.op_count();
    let wish = format!(r#"{{"job":"bad","url":"{url}"}}"#);
    stage.publish("desired", wish, true);

    let retries = |stage: &Stage, code| {
        let events = stage.events_of("bad");
        let retry = events
            .iter()
            .filter(|event| event.event == EventKind::Retrying && event.failure() == Some(code));
        retry.count()
    };
    let exhausted = |stage: &Stage| retries(stage, FailureCode::RetriesExhausted) > 0;
    let is_over = |stage: &Stage| match row.end {
        Confirmed | ConfirmedOther | Final(_) => stage.end_of("bad").is_some(),
        KeepsTrying(_) => stage.end_of("bad").is_some() || exhausted(stage),
    };
    if !stage.run_until(200 * MINUTE, is_over) {
        return Err(format!("no end\n{}", stage.story()));
    }
    let requests = log
        .as_ref()
        .map_or(stage.web_door.visits().len(), |log| log.asks().len());
    let ended = stage
        .end_of("bad")
        .map(|event| (event.event, event.failure()));
    let as_due = match row.end {
        Confirmed | ConfirmedOther => ended == Some((EventKind::Confirmed, None)),
        Final(code) => {
            let kind = match code {
                FailureCode::NotAPackage
                | FailureCode::RedirectRefused
                | FailureCode::UrlRefused => EventKind::Refused,
                _ => EventKind::Failed,
            };
            ended == Some((kind, Some(code)))
        }
        KeepsTrying(code) => ended.is_none() && retries(&stage, code) == TRIES - 1,
    };
    if !as_due {
        return Err(format!(
            "it ended {ended:?} after {requests} requests\n{}",
            stage.story()
        ));
    }
    if requests != row.requests {
        return Err(format!(
            "{requests} requests, {} are due\n{}",
            row.requests,
            stage.story()
        ));
    }
    if let Final(_) = row.end {
        stage.world.run_for(65 * MINUTE);
        let again = log
            .as_ref()
            .map_or(stage.web_door.visits().len(), |log| log.asks().len());
        if again != requests {
            return Err(format!("it is asked for again\n{}", stage.story()));
        }
    }

    let ops = stage.slot_ops(before);
    let len = IMAGE_LEN as u64;
    let (most_erases, written) = match (row.slot, row.end) {
        (Untouched, _) => (0, 0..=0),
        (Filled { interruptions }, Confirmed | ConfirmedOther) => {
            (ERASES + MORE_ERASES * interruptions, len..=len)
        }
        (Filled { interruptions }, Final(_) | KeepsTrying(_)) => {
            (ERASES + MORE_ERASES * interruptions, 0..=len)
        }
        (FilledTwice, _) => (2 * ERASES + 2 * MORE_ERASES, len..=2 * len),
    };
    if ops.erases > most_erases || !written.contains(&ops.written) {
        return Err(format!(
            "{ops:?}, where {most_erases} erases and {written:?} bytes are due"
        ));
    }
    stage.check(match row.end {
        Confirmed => "1.1.0",
        ConfirmedOther => "1.2.0",
        Final(_) | KeepsTrying(_) => "1.0.0",
    })?;
    stage.all_is_well();
    stage.later_update()
}

fn play_all(rows: &[Row]) {
    play(rows, |row| row.name, act);
}

#[test]
fn odd_servers_are_good_enough() {
    play_all(&odd());
}

#[test]
fn a_download_is_resumed_whatever_the_server_makes_of_it() {
    play_all(&resuming());
}

#[test]
fn answers_that_contradict_themselves_are_reported() {
    play_all(&contradictions());
}

#[test]
fn nobody_sends_a_device_where_it_does_not_go() {
    play_all(&misleading());
}

#[test]
fn silence_is_reported_and_ends() {
    play_all(&silence());
}

#[test]
fn an_image_that_is_no_package_is_reported_with_what_to_do() {
    let stage = Stage::new();
    stage.put("/app.bin", release("1.1.0", IMAGE_LEN));
    stage.wish("bad", "/app.bin");
    assert!(stage.run_until(MINUTE, |stage| stage.end_of("bad").is_some()));
    let end = stage.end_of("bad").expect("an end");
    assert_eq!(end.failure(), Some(FailureCode::NotAPackage));
    let text = end.text.unwrap_or_default();
    assert!(text.contains("otaria package"), "{text}");
}

#[test]
fn the_table_is_large() {
    let all = [odd(), resuming(), contradictions(), misleading(), silence()];
    let rows: usize = all.iter().map(Vec::len).sum();
    assert!(rows >= 100, "{rows}");
}
