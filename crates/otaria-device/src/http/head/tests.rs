use std::format;
use std::string::{String as Text, ToString};
use std::vec::Vec;

use super::super::window::WINDOW_LEN;
use super::*;

/// Feeds `bytes` in pieces of `step`. The head, what is left in the window behind it, and the address.
fn read(bytes: &[u8], step: usize) -> Result<(Head, Vec<u8>, Text), HttpError> {
    let mut window = Window::new();
    let mut url = String::try_from("http://h/dir/file?q").unwrap();
    let mut reader = HeadReader::new(false);
    let mut head = Head::NONE;
    let mut rest = bytes;
    loop {
        if reader.advance(&mut window, &mut head, &mut url)? {
            let behind = [window.unread(), rest].concat();
            return Ok((head, behind, url.to_string()));
        }
        let space = window.space();
        let n = step.min(space.len()).min(rest.len());
        assert_ne!(n, 0, "asks for more than there is, or has no room");
        space[..n].copy_from_slice(&rest[..n]);
        window.filled(n);
        rest = &rest[n..];
    }
}

fn head(text: &str) -> Result<Head, HttpError> {
    let results: Vec<_> = [1, 7, 100_000]
        .into_iter()
        .map(|step| read(text.as_bytes(), step).map(|(head, ..)| head))
        .collect();
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
    results[0].clone()
}

fn with(headers: &str) -> Result<Head, HttpError> {
    head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n"))
}

#[test]
fn a_head_is_read_however_it_arrives() {
    let text = b"HTTP/1.1 206 Partial Content\r\ncontent-LENGTH:  10 \r\nETag: \"abc\"\r\nContent-Range: bytes 5-14/20\r\nX-Other: y\r\n\r\nBODY";
    for step in 1..text.len() {
        let (head, behind, _) = read(text, step).unwrap();
        assert_eq!(head.status, 206);
        assert_eq!(head.content_length, Some(10));
        assert_eq!(head.etag.as_deref(), Some("\"abc\""));
        let range = ContentRange::Range {
            first: 5,
            last: 14,
            total: Some(20),
        };
        assert_eq!(head.content_range, Some(range));
        assert_eq!(behind, b"BODY");
    }
}

#[test]
fn status_lines_may_vary_only_where_the_standard_says() {
    for (line, status) in [
        ("HTTP/1.1 200 OK", Ok(200)),
        ("HTTP/1.1 200", Ok(200)),
        ("HTTP/1.1 200 ", Ok(200)),
        ("HTTP/1.0 404 Not Found", Ok(404)),
        ("HTTP/1.1 999 \u{e4}", Ok(999)),
        ("HTTP/2 200", Err(HttpError::NotHttp)),
        ("HTTP/1.1 099 x", Err(HttpError::NotHttp)),
        ("HTTP/1.1 20 OK", Err(HttpError::NotHttp)),
        ("HTTP/1.1 2000 OK", Err(HttpError::NotHttp)),
        ("HTTP/1.1 2x0 OK", Err(HttpError::NotHttp)),
        ("HTTP/1.1  200 OK", Err(HttpError::NotHttp)),
        ("HTTP/1.1\t200 OK", Err(HttpError::NotHttp)),
        ("http/1.1 200 OK", Err(HttpError::NotHttp)),
        ("ICY 200 OK", Err(HttpError::NotHttp)),
        (" HTTP/1.1 200 OK", Err(HttpError::NotHttp)),
        ("", Err(HttpError::NotHttp)),
        ("<html>", Err(HttpError::NotHttp)),
    ] {
        let head = head(&format!("{line}\r\n\r\n"));
        assert_eq!(head.map(|head| head.status), status, "{line:?}");
    }
}

#[test]
fn what_is_no_status_line_is_refused_at_its_first_wrong_byte() {
    let mut window = Window::new();
    let mut url = String::new();
    let mut reader = HeadReader::new(false);
    let mut head = Head::NONE;
    window.space()[..4].copy_from_slice(b"SSH-");
    window.filled(4);
    assert_eq!(
        reader.advance(&mut window, &mut head, &mut url),
        Err(HttpError::NotHttp)
    );
    let endless = format!("HTTP/1.1 200 {}", "x".repeat(3_000));
    assert_eq!(read(endless.as_bytes(), 500), Err(HttpError::NotHttp));
}

#[test]
fn lengths_are_digits_and_agree() {
    for (headers, length) in [
        ("Content-Length: 0\r\n", Ok(Some(0))),
        (
            "Content-Length: 18446744073709551615\r\n",
            Ok(Some(u64::MAX)),
        ),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Ok(Some(5))),
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            Err(HttpError::LengthMismatch),
        ),
        (
            "Content-Length: 18446744073709551616\r\n",
            Err(HttpError::Malformed),
        ),
        ("Content-Length: 5, 5\r\n", Err(HttpError::Malformed)),
        ("Content-Length: -5\r\n", Err(HttpError::Malformed)),
        ("Content-Length: +5\r\n", Err(HttpError::Malformed)),
        ("Content-Length: 0x5\r\n", Err(HttpError::Malformed)),
        ("Content-Length: 5 5\r\n", Err(HttpError::Malformed)),
        ("Content-Length:\r\n", Err(HttpError::Malformed)),
        ("", Ok(None)),
    ] {
        assert_eq!(
            with(headers).map(|head| head.content_length),
            length,
            "{headers:?}"
        );
    }
}

#[test]
fn chunks_stand_alone() {
    for (headers, chunked) in [
        ("Transfer-Encoding: chunked\r\n", Ok(true)),
        ("Transfer-Encoding: Chunked\r\n", Ok(true)),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            Err(HttpError::Malformed),
        ),
        ("Transfer-Encoding: identity\r\n", Err(HttpError::Malformed)),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Err(HttpError::Malformed),
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            Err(HttpError::Malformed),
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            Err(HttpError::Malformed),
        ),
    ] {
        assert_eq!(
            with(headers).map(|head| head.chunked),
            chunked,
            "{headers:?}"
        );
    }
    assert_eq!(
        head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Err(HttpError::Malformed)
    );
}

#[test]
fn header_lines_have_no_folds_and_no_strays() {
    for line in [
        " folded",
        "\tfolded",
        "no colon",
        ": no name",
        "Name : value",
        "Na me: value",
        "N\u{e4}me: value",
        "X: a\rb",
        "X: a\0b",
    ] {
        let headers = format!("X-First: 1\r\n{line}\r\n");
        assert_eq!(with(&headers), Err(HttpError::Malformed), "{line:?}");
    }
}

#[test]
fn ranges_are_read_or_refused() {
    let range = |first, last, total| Ok(Some(ContentRange::Range { first, last, total }));
    let refused = Err(HttpError::RangeMismatch);
    for (value, expected) in [
        ("bytes 0-0/1", range(0, 0, Some(1))),
        ("Bytes 5-9/*", range(5, 9, None)),
        ("bytes */77", Ok(Some(ContentRange::Total(77)))),
        ("bytes 0-18446744073709551615/*", range(0, u64::MAX, None)),
        ("bytes */*", refused),
        ("bytes 5-4/10", refused),
        ("bytes 5-10/10", refused),
        ("bytes 5-9", refused),
        ("bytes 5/10", refused),
        ("bytes -9/10", refused),
        ("bytes 5-/10", refused),
        ("bytes=5-9/10", refused),
        ("lines 5-9/10", refused),
        ("bytes 5-9/10, 11-12/20", refused),
        ("bytes 99999999999999999999-1/2", refused),
        ("", refused),
    ] {
        let head = with(&format!("Content-Range: {value}\r\n"));
        assert_eq!(head.map(|head| head.content_range), expected, "{value:?}");
    }
    let twice = "Content-Range: bytes 0-0/1\r\n".repeat(2);
    assert_eq!(with(&twice).map(|head| head.content_range), refused);
}

#[test]
fn only_one_strong_etag_of_a_length_that_fits_is_kept() {
    let longest = format!("\"{}\"", "e".repeat(62));
    let too_long = format!("\"{}\"", "e".repeat(63));
    for (etag, kept) in [
        ("\"\"", true),
        ("\"a-b/c=\"", true),
        (&*longest, true),
        (&*too_long, false),
        ("W/\"a\"", false),
        ("a", false),
        ("\"a", false),
        ("\"a\"b\"", false),
        ("\"a b\"", false),
        ("\"\u{e4}\"", false),
        ("\"", false),
        ("", false),
    ] {
        let head = with(&format!("ETag: {etag}\r\n")).unwrap();
        assert_eq!(head.etag.as_deref(), kept.then_some(etag));
    }
    let twice = with("ETag: \"a\"\r\nETag: \"a\"\r\n").unwrap();
    assert_eq!(twice.etag, None);
}

#[test]
fn encodings_and_multiparts_are_noticed() {
    for (headers, encoded, multipart) in [
        ("Content-Encoding: gzip\r\n", true, false),
        ("Content-Encoding: identity\r\n", false, false),
        ("Content-Encoding:\r\n", false, false),
        (
            "Content-Encoding: identity\r\nContent-Encoding: br\r\n",
            true,
            false,
        ),
        (
            "Content-Type: multipart/byteranges; boundary=x\r\n",
            false,
            true,
        ),
        ("Content-Type: application/octet-stream\r\n", false, false),
    ] {
        let head = with(headers).unwrap();
        assert_eq!(
            (head.encoded, head.multipart),
            (encoded, multipart),
            "{headers:?}"
        );
    }
}

#[test]
fn interim_answers_are_skipped_but_not_without_end() {
    let interim = "HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\nETag: \"x\"\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\n\r\n";
    let head = |n| head(&format!("{}{last}", interim.repeat(n)));
    for n in [0, 1, 8] {
        let head = head(n).unwrap();
        assert_eq!(
            (head.status, head.content_length, head.etag),
            (200, None, None),
            "nothing of an interim answer is kept"
        );
    }
    assert_eq!(head(9), Err(HttpError::HeadTooLarge));
}

#[test]
fn a_head_may_have_lines_longer_than_the_window_but_not_more_than_16_kib() {
    let long = format!("Content-Security-Policy: {}\r\n", "x".repeat(5_000));
    let head = with(&format!("{long}Content-Length: 5\r\n{long}")).unwrap();
    assert_eq!(head.content_length, Some(5));
    assert_eq!(with(&long.repeat(4)), Err(HttpError::HeadTooLarge));
    let short = "X: y\r\n".repeat(16 * 1024 / 6 - 4);
    assert!(with(&short).is_ok());
    assert_eq!(
        with(&format!("{short}{}", "X: y\r\n".repeat(4))),
        Err(HttpError::HeadTooLarge)
    );
    let endless = format!("HTTP/1.1 200 OK\r\n{}", long.repeat(1_000));
    assert_eq!(read(endless.as_bytes(), 999), Err(HttpError::HeadTooLarge));
}

#[test]
fn a_long_line_that_matters_is_refused() {
    for name in ["ETag", "Location", "Content-Length"] {
        let long = format!("{name}: {}\r\n", "x".repeat(WINDOW_LEN));
        assert_eq!(with(&long), Err(HttpError::HeadTooLarge), "{name}");
    }
    let nameless = "x".repeat(WINDOW_LEN + 100);
    assert_eq!(with(&nameless), Err(HttpError::Malformed));
}

#[test]
fn locations_are_followed_from_where_they_came() {
    let longest = format!("http://h/{}", "x".repeat(MAX_LOCATION_LEN - 9));
    let too_long = format!("{longest}x");
    let refused = |error| Some(Err(RedirectError::Url(error)));
    for (location, url, result) in [
        ("http://other/x", "http://other/x", Some(Ok(()))),
        ("//other/x", "http://other/x", Some(Ok(()))),
        ("/x", "http://h/x", Some(Ok(()))),
        ("x", "http://h/dir/x", Some(Ok(()))),
        ("../x#f", "http://h/x", Some(Ok(()))),
        (&*longest, &*longest, Some(Ok(()))),
        (
            &*too_long,
            "http://h/dir/file?q",
            refused(UrlError::TooLong),
        ),
        (
            "ftp://other/x",
            "http://h/dir/file?q",
            refused(UrlError::Scheme),
        ),
        (
            "http://u:p@other/x",
            "http://h/dir/file?q",
            refused(UrlError::UserInfo),
        ),
        ("/a b", "http://h/dir/file?q", refused(UrlError::Character)),
        ("", "http://h/dir/file?q", refused(UrlError::Empty)),
    ] {
        let text = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
        let (head, _, now) = read(text.as_bytes(), 600).unwrap();
        assert_eq!(now, url, "{location}");
        assert_eq!(head.located, result, "{location}");
    }
    assert_eq!(
        with("Location: /x\r\n").unwrap().located,
        None,
        "only redirects"
    );
    assert_eq!(
        head("HTTP/1.1 301 x\r\nLocation: /a\r\nLocation: /b\r\n\r\n"),
        Err(HttpError::Malformed)
    );
}
