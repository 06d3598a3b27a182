//! From the address to the head of the answer.

use std::format;
use std::string::ToString;
use std::vec;

use embedded_io_async::ErrorKind;
use otaria_wire::messages::FailureCode;

use super::*;
use crate::net::ConnectError;

fn moved(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 3\r\n\r\nabc")
}

const FILE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: \"e\"\r\n\r\nfile";

#[test]
fn a_file_is_fetched() {
    let mut bench = Bench::new().answer(FILE);
    assert_eq!(
        bench.whole(),
        Ok(Got {
            status: 200,
            start: 0,
            total_len: Some(4),
            etag: Some("\"e\"".into()),
            body: b"file".to_vec(),
            end: Ok(()),
        })
    );
    assert_eq!(bench.dialed, [(Instant::ZERO, "tcp:h:80".into())]);
    assert!(bench.requests.borrow()[0].starts_with("GET /f HTTP/1.1\r\nHost: h\r\n"));
}

#[test]
fn every_status_has_its_meaning() {
    for (status, headers, error) in [
        (
            201,
            "",
            HttpError::Status {
                status: 201,
                retry_after: None,
            },
        ),
        (
            204,
            "",
            HttpError::Status {
                status: 204,
                retry_after: None,
            },
        ),
        (
            300,
            "",
            HttpError::Status {
                status: 300,
                retry_after: None,
            },
        ),
        (
            304,
            "",
            HttpError::Status {
                status: 304,
                retry_after: None,
            },
        ),
        (
            400,
            "",
            HttpError::Status {
                status: 400,
                retry_after: None,
            },
        ),
        (
            404,
            "",
            HttpError::Status {
                status: 404,
                retry_after: None,
            },
        ),
        (
            429,
            "Retry-After: 30\r\n",
            HttpError::Status {
                status: 429,
                retry_after: Some(30),
            },
        ),
        (
            503,
            "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n",
            HttpError::Status {
                status: 503,
                retry_after: None,
            },
        ),
        (
            500,
            "Content-Encoding: gzip\r\n",
            HttpError::Status {
                status: 500,
                retry_after: None,
            },
        ),
        (206, "", HttpError::RangeMismatch),
        (
            206,
            "Content-Range: bytes 0-3/4\r\n",
            HttpError::RangeMismatch,
        ),
        (
            416,
            "Content-Range: bytes */4\r\n",
            HttpError::RangeNotSatisfiable { total: Some(4) },
        ),
        (416, "", HttpError::RangeNotSatisfiable { total: None }),
        (200, "Content-Encoding: gzip\r\n", HttpError::Encoded),
        (
            301,
            "",
            HttpError::RedirectRefused(RedirectError::NoLocation),
        ),
    ] {
        let answer = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: 4\r\n\r\nbody");
        let got = Bench::new().answer(answer).whole();
        assert_eq!(got, Err(error), "{status} {headers}");
    }
}

#[test]
fn the_rest_of_a_file_is_fetched_only_from_where_it_was_asked() {
    let partial = |headers: &str| {
        let answer = format!("HTTP/1.1 206 Partial Content\r\n{headers}\r\n56789");
        Bench::new().answer(answer).get(&REST)
    };
    let good = partial("Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n").unwrap();
    assert_eq!(
        (good.status, good.start, good.total_len, good.end),
        (206, 5, Some(10), Ok(()))
    );
    assert_eq!(good.body, b"56789");

    let unknown = partial("Content-Range: bytes 5-9/*\r\n").unwrap();
    assert_eq!((unknown.total_len, unknown.end), (None, Ok(())));
    let shorter = partial("Content-Range: bytes 5-7/10\r\nContent-Length: 3\r\n").unwrap();
    assert_eq!((&shorter.body[..], shorter.end), (&b"567"[..], Ok(())));

    for (headers, error) in [
        ("Content-Length: 5\r\n", HttpError::RangeMismatch),
        ("Content-Range: bytes 4-9/10\r\n", HttpError::RangeMismatch),
        ("Content-Range: bytes 0-9/10\r\n", HttpError::RangeMismatch),
        ("Content-Range: bytes 6-9/10\r\n", HttpError::RangeMismatch),
        ("Content-Range: bytes */10\r\n", HttpError::RangeMismatch),
        (
            "Content-Range: bytes 5-9/10\r\nContent-Length: 6\r\n",
            HttpError::LengthMismatch,
        ),
        (
            "Content-Range: bytes 5-9/10\r\nContent-Type: multipart/byteranges; boundary=b\r\n",
            HttpError::RangeMismatch,
        ),
        (
            "Content-Range: bytes 5-9/10\r\nETag: \"other\"\r\n",
            HttpError::ContentChanged,
        ),
    ] {
        assert_eq!(partial(headers), Err(error), "{headers}");
    }
    assert!(partial("Content-Range: bytes 5-9/10\r\nETag: W/\"other\"\r\n").is_ok());
}

#[test]
fn a_server_that_ignores_the_range_sends_the_file_from_its_start() {
    let mut bench = Bench::new().answer(FILE);
    let got = bench.get(&REST).unwrap();
    assert_eq!(
        (got.status, got.start, &got.body[..]),
        (200, 0, &b"file"[..])
    );
    let requests = bench.requests.borrow();
    assert!(requests[0].contains("\r\nRange: bytes=5-\r\nIf-Range: \"e\"\r\n"));
}

#[test]
fn redirects_are_followed_with_everything_that_was_asked() {
    let mut bench = Bench::new()
        .answer(moved(301, "/a"))
        .answer(moved(302, "b?x=1"))
        .answer(moved(303, "//other:8080/c"))
        .answer(moved(307, "https://third/"))
        .answer(moved(308, "https://third:444/d#frag"))
        .answer("HTTP/1.1 206 x\r\nContent-Range: bytes 5-8/9\r\n\r\nfile");
    let got = bench.get(&REST).unwrap();
    assert_eq!(got.body, b"file");
    let dialed: Vec<_> = bench.dialed.iter().map(|(_, to)| to.as_str()).collect();
    assert_eq!(
        dialed,
        [
            "tcp:h:80",
            "tcp:h:80",
            "tcp:h:80",
            "tcp:other:8080",
            "tls:third:443",
            "tls:third:444"
        ]
    );
    let requests = bench.requests.borrow();
    let lines: Vec<_> = requests
        .iter()
        .map(|request| request.lines().next().unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            "GET /f HTTP/1.1",
            "GET /a HTTP/1.1",
            "GET /b?x=1 HTTP/1.1",
            "GET /c HTTP/1.1",
            "GET / HTTP/1.1",
            "GET /d HTTP/1.1"
        ]
    );
    assert!(
        requests
            .iter()
            .all(|request| request.contains("Range: bytes=5-\r\nIf-Range: \"e\""))
    );
}

#[test]
fn redirects_end_after_five() {
    let mut bench = Bench::new();
    for _ in 0..6 {
        bench = bench.answer(moved(302, "/f"));
    }
    assert_eq!(bench.whole(), Err(HttpError::TooManyRedirects));
    assert_eq!(bench.dialed.len(), 6);
}

#[test]
fn a_redirect_is_checked_as_the_first_address_is() {
    let refused = |error| Err(HttpError::RedirectRefused(error));
    let policy = UrlPolicy {
        hosts: &["h", "cdn"],
        ..UrlPolicy::ANY
    };
    let redirect = |from: &str, to: &str, policy| {
        let mut bench = Bench::new().answer(moved(302, to)).answer(FILE);
        bench.policy = policy;
        let got = bench.get(&GetRequest::whole(from)).map(|got| got.body);
        (got, bench.dialed.len())
    };
    assert_eq!(
        redirect("http://h/", "http://cdn/", policy),
        (Ok(b"file".to_vec()), 2)
    );
    assert_eq!(
        redirect("http://h/", "http://evil/", policy),
        (refused(RedirectError::NotAllowed), 1),
        "no connection is made to it"
    );
    assert_eq!(
        redirect("https://h/", "http://h/", UrlPolicy::ANY),
        (refused(RedirectError::Downgrade), 1)
    );
    let no_https = UrlPolicy {
        allow_https: false,
        ..UrlPolicy::ANY
    };
    assert_eq!(
        redirect("http://h/", "https://h/", no_https),
        (refused(RedirectError::NotAllowed), 1)
    );
    assert_eq!(
        redirect("http://h/", "http://u@h/", policy),
        (refused(RedirectError::Url(UrlError::UserInfo)), 1)
    );
    let long = format!("/{}", "x".repeat(2050));
    assert_eq!(
        redirect("http://h/", &long, policy),
        (refused(RedirectError::Url(UrlError::TooLong)), 1)
    );
}

#[test]
fn a_wrong_address_is_refused_before_anybody_is_asked() {
    let mut bench = Bench::new();
    bench.policy = UrlPolicy {
        hosts: &["h"],
        ..UrlPolicy::ANY
    };
    let long = format!("http://h/{}", "x".repeat(600));
    for (url, error) in [
        ("", HttpError::Url(UrlError::Empty)),
        ("ftp://h/", HttpError::Url(UrlError::Scheme)),
        ("http://u:p@h/", HttpError::Url(UrlError::UserInfo)),
        ("http://h/a b", HttpError::Url(UrlError::Character)),
        (&*long, HttpError::Url(UrlError::TooLong)),
        ("http://other/", HttpError::NotAllowed),
    ] {
        assert_eq!(bench.get(&GetRequest::whole(url)), Err(error), "{url}");
        assert!(bench.dialed.is_empty());
    }
}

#[test]
fn a_connection_that_cannot_be_made_says_why() {
    for (dial, error) in [
        (Dial::Fail(ConnectError::Refused), ConnectError::Refused),
        (
            Dial::Fail(ConnectError::NameNotFound),
            ConnectError::NameNotFound,
        ),
        (
            Dial::Fail(ConnectError::TlsUnavailable),
            ConnectError::TlsUnavailable,
        ),
        (Dial::Hang, ConnectError::Timeout),
    ] {
        let mut bench = Bench::new().dial(dial);
        assert_eq!(bench.whole(), Err(HttpError::Connect(error)));
        assert!(bench.clock.now() <= Instant::from_secs(15));
    }
}

#[test]
fn a_head_that_does_not_come_is_not_awaited_for_ever() {
    type Act = fn(&mut Wire);
    let cases: [(&str, Act, HttpError, u64); 7] = [
        ("silence", |_| {}, HttpError::HeadTimeout, 20),
        (
            "half a head",
            |wire| wire.send(b"HTTP/1.1 200 OK\r\n"),
            HttpError::HeadTimeout,
            20,
        ),
        (
            "dripping",
            |wire| {
                for _ in 0..1000 {
                    wire.send(b"X");
                    wire.pause(Duration::from_secs(1));
                }
            },
            HttpError::NotHttp,
            0,
        ),
        (
            "dripping headers",
            |wire| {
                wire.send(b"HTTP/1.1 200 OK\r\n");
                for _ in 0..1000 {
                    wire.send(b"X: y\r\n");
                    wire.pause(Duration::from_secs(1));
                }
            },
            HttpError::HeadTimeout,
            20,
        ),
        ("closed", Wire::close, HttpError::EarlyClose, 0),
        (
            "closed in the head",
            |wire| {
                wire.send(b"HTTP/1.1 200 OK\r\nContent-Le");
                wire.close();
            },
            HttpError::EarlyClose,
            0,
        ),
        (
            "reset",
            Wire::reset,
            HttpError::Broken(ErrorKind::ConnectionReset),
            0,
        ),
    ];
    for (name, act, error, after) in cases {
        let mut bench = Bench::new().server(act);
        assert_eq!(bench.whole(), Err(error), "{name}");
        assert_eq!(bench.clock.now(), Instant::from_secs(after), "{name}");
    }
}

#[test]
fn a_server_that_takes_no_request_is_given_up() {
    let mut bench = Bench::new().dial(Dial::open(|_: &[u8], wire: &mut Wire| {
        wire.segment = 10;
        wire.deaf = true;
    }));
    assert_eq!(bench.whole(), Err(HttpError::HeadTimeout));
}

#[test]
fn a_probe_is_content_with_any_status_line() {
    for (answer, result) in [
        ("HTTP/1.1 200 OK\r\n\r\n", Ok(200)),
        ("HTTP/1.0 500 x\r\nbroken\r\n", Ok(500)),
        ("HTTP/1.1 302 x\r\nLocation: http://evil/\r\n\r\n", Ok(302)),
        ("HTTP/1.1 405\r\nX: half a he", Ok(405)),
        ("SMTP ready", Err(HttpError::NotHttp)),
        ("HTTP/1.1 2", Err(HttpError::EarlyClose)),
        ("", Err(HttpError::EarlyClose)),
    ] {
        let mut bench = Bench::new().answer(answer);
        let net = FakeNet::new(&bench.clock, bench.dials.drain(..));
        let mut client = HttpClient::new(&net, &*bench.clock, UrlPolicy::ANY);
        let probed = run(&bench.clock, Instant::MAX, client.probe("http://h/f")).unwrap();
        assert_eq!(probed, result, "{answer:?}");
        assert!(bench.requests.borrow()[0].starts_with("HEAD /f HTTP/1.1\r\n"));
        assert_eq!(net.dialed.borrow().len(), 1);
    }
}

#[test]
fn a_dropped_request_closes_its_connection_and_the_client_goes_on() {
    for polls in 0..8 {
        let bench = Bench::new().server(|wire| {
            wire.segment = 5;
            wire.send(FILE.as_bytes());
        });
        let mut bench = bench.answer(FILE);
        let net = FakeNet::new(&bench.clock, bench.dials.drain(..));
        let mut client = HttpClient::new(&net, &*bench.clock, UrlPolicy::ANY);
        {
            let request = GetRequest::whole("http://h/f");
            let mut request = core::pin::pin!(client.get(&request));
            for _ in 0..polls {
                let waker = core::task::Waker::noop();
                let mut cx = core::task::Context::from_waker(waker);
                if request.as_mut().poll(&mut cx).is_ready() {
                    break;
                }
            }
        }
        if let Some(wire) = &*net.last.borrow() {
            assert!(wire.borrow().dropped);
        }
        let again = GetRequest::whole("http://h/f");
        let again = run(&bench.clock, Instant::MAX, client.get(&again)).unwrap();
        assert_eq!(again.map(|response| response.status()), Ok(200));
    }
}

#[test]
fn time_spent_on_the_way_to_the_body_is_measured() {
    let mut bench = Bench::new().server(|wire| {
        wire.pause(Duration::from_millis(700));
        wire.send(FILE.as_bytes());
    });
    let net = FakeNet::new(&bench.clock, bench.dials.drain(..));
    let mut client = HttpClient::new(&net, &*bench.clock, UrlPolicy::ANY);
    let request = GetRequest::whole("http://h/f");
    let response = run(&bench.clock, Instant::MAX, client.get(&request));
    let response = response.unwrap().unwrap();
    assert_eq!(response.timing().answer, Duration::from_millis(700));
    assert_eq!(response.since(), Instant::from_millis(700));
}

#[test]
fn every_error_has_a_sentence_and_a_code() {
    for (error, code) in [
        (HttpError::Url(UrlError::Host), FailureCode::UrlInvalid),
        (
            HttpError::Connect(ConnectError::TlsUnavailable),
            FailureCode::Tls,
        ),
        (
            HttpError::Connect(ConnectError::NameTimeout),
            FailureCode::Dns,
        ),
        (
            HttpError::Connect(ConnectError::Timeout),
            FailureCode::TimeoutConnect,
        ),
        (
            HttpError::Status {
                status: 404,
                retry_after: Some(1),
            },
            FailureCode::HttpStatus,
        ),
        (
            HttpError::RedirectRefused(RedirectError::Downgrade),
            FailureCode::RedirectRefused,
        ),
        (HttpError::Broken(ErrorKind::Other), FailureCode::EarlyClose),
    ] {
        assert_eq!(error.code(), code);
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn the_sizes_of_client_and_future_are_bounded() {
    let bench = Bench::new();
    let net = FakeNet::new(&bench.clock, vec![]);
    let mut client = HttpClient::new(&net, &*bench.clock, UrlPolicy::ANY);
    let own = size_of_val(&client);
    let request = GetRequest::whole("http://h/f");
    let future = size_of_val(&client.get(&request));
    std::println!("HttpClient: {own} bytes, the future of get: {future} bytes");
    assert!(own <= 5 * 1024, "{own}");
    assert!(future <= 1024, "{future}");
}
