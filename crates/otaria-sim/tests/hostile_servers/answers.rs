//! Answers, right and wrong.

use crate::row::CUT;
use crate::stage::bad_web::{Act, Ask, Files};

pub(crate) fn head(status: &str, headers: &[String]) -> Vec<u8> {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\n{headers}\r\n").into_bytes()
}

pub(crate) fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// An answer in one piece.
pub(crate) fn answer(status: &str, headers: &[&str], body: &[u8]) -> Vec<Act> {
    vec![Act::Send([&head(status, &lines(headers)), body].concat())]
}

/// An answer that has only a head.
pub(crate) fn status(status: &str) -> Vec<Act> {
    answer(status, &["Content-Length: 0"], b"")
}

pub(crate) fn redirect(location: &str) -> Vec<Act> {
    answer("302 Found", &[&format!("Location: {location}")], b"")
}

/// Head and body as they should be: 206 if a range is asked for, else 200.
pub(crate) fn right(ask: &Ask, file: &[u8], etag: &str) -> (Vec<u8>, Vec<u8>) {
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

pub(crate) const ETAG: &str = "\"one\"";

/// As it should be.
pub(crate) fn good(ask: &Ask, files: &Files) -> Vec<Act> {
    let (head, body) = right(ask, &files.good, ETAG);
    vec![Act::Send(head), Act::Send(body)]
}

/// As it should be, but without a range.
pub(crate) fn whole(files: &Files) -> Vec<Act> {
    let length = format!("Content-Length: {}", files.good.len());
    answer("200 OK", &[&length], &files.good)
}

/// The start of the right answer, and then something else.
pub(crate) fn cut_with(ask: &Ask, file: &[u8], etag: &str, at: usize, then: Vec<Act>) -> Vec<Act> {
    let (head, mut body) = right(ask, file, etag);
    body.truncate(at);
    let mut acts = vec![Act::Send(head), Act::Send(body)];
    acts.extend(then);
    acts
}

/// The right answer, cut off.
pub(crate) fn cut(ask: &Ask, files: &Files, at: usize) -> Vec<Act> {
    cut_with(ask, &files.good, ETAG, at, vec![])
}

/// The first request is cut off, so that the next one asks for the rest.
pub(crate) fn resumed(ask: &Ask, files: &Files, rest: fn(&Ask, &Files) -> Vec<Act>) -> Vec<Act> {
    match ask.number {
        0 => cut(ask, files, CUT),
        _ => rest(ask, files),
    }
}

/// A body in chunks of this size, with something instead of the last chunk.
pub(crate) fn chunked(body: &[u8], size: usize, end: &[u8]) -> Vec<Act> {
    let mut bytes = head("200 OK", &lines(&["Transfer-Encoding: chunked"]));
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(end);
    vec![Act::Send(bytes)]
}
