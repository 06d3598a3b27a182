//! The device's HTTP client against servers that others wrote: nginx, which knows ranges and ETags, and Python's `http.server`,
//! which knows neither and answers with HTTP/1.0.

mod servers;

use core::time::Duration;
use std::fs;

use otaria_device::board::Network;
use otaria_device::http::{GetRequest, HttpClient, HttpError, UrlPolicy};
use otaria_device::net::{ConnectError, PlainTcp};
use otaria_sim::flash::Busy;
use otaria_sim::net::{ConnectionFault, Faulty};
use otaria_sim::real::{RealClock, RealNetwork};
use servers::Server;

/// Bytes that differ from place to place.
fn file() -> Vec<u8> {
    (0..600_000u32)
        .map(|i| (i.wrapping_mul(i) >> 5) as u8)
        .collect()
}

const FILE: &str = "app.otaria";

fn nginx() -> Option<Server> {
    servers::nginx(
        &[(FILE, &file())],
        "location /moved { return 302 /app.otaria; }
         location /away { return 301 http://localhost:{port}/app.otaria; }
         location /loop { return 307 /loop; }
         location /tls { return 308 https://127.0.0.1:{port}/app.otaria; }
         location /busy { add_header Retry-After 7 always; return 503; }
         location /slow/ { alias {root}/www/; limit_rate 200k; }",
    )
}

fn python() -> Option<Server> {
    servers::python(&[(FILE, &file())])
}

/// Runs `test` in real time, for a minute at most.
fn run<T>(test: impl AsyncFnOnce(RealClock) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let minute = Duration::from_secs(60);
        let test = test(RealClock::boot(Busy::default()));
        tokio::time::timeout(minute, test).await.expect("hangs")
    })
}

#[derive(Debug)]
struct Got {
    status: u16,
    start: u64,
    total_len: Option<u64>,
    etag: Option<String>,
    body: Vec<u8>,
    end: Result<(), HttpError>,
}

async fn get<N: Network>(
    net: &N,
    clock: &RealClock,
    request: &GetRequest<'_>,
) -> Result<Got, HttpError> {
    let tcp = PlainTcp::new(net);
    let mut client = HttpClient::new(&tcp, clock, UrlPolicy::ANY);
    let mut response = client.get(request).await?;
    let mut got = Got {
        status: response.status(),
        start: response.start(),
        total_len: response.total_len(),
        etag: response.etag().map(String::from),
        body: Vec::new(),
        end: Ok(()),
    };
    let mut buf = [0; 4096];
    loop {
        match response.read(&mut buf).await {
            Ok(0) => return Ok(got),
            Ok(n) => got.body.extend_from_slice(&buf[..n]),
            Err(error) => {
                got.end = Err(error);
                return Ok(got);
            }
        }
    }
}

#[test]
fn nginx_sends_files_whole_and_from_any_position() {
    let Some(server) = nginx() else { return };
    let url = server.url("app.otaria");
    run(async |clock| {
        let whole = get(&RealNetwork, &clock, &GetRequest::whole(&url)).await;
        let whole = whole.unwrap();
        assert_eq!(
            (whole.status, whole.start, whole.end),
            (200, 0, Ok(())),
            "not compressed, although nginx would like to"
        );
        assert_eq!(whole.total_len, Some(600_000));
        assert!(whole.body == file());
        let etag = whole.etag.expect("nginx's ETags of files are strong");

        for from in [1, 4_096, 599_999] {
            let request = GetRequest {
                range_from: Some(from),
                if_range: Some(&etag),
                ..GetRequest::whole(&url)
            };
            let rest = get(&RealNetwork, &clock, &request).await.unwrap();
            assert_eq!((rest.status, rest.start, rest.end), (206, from, Ok(())));
            assert_eq!(rest.total_len, Some(600_000));
            assert!(rest.body == file()[usize::try_from(from).unwrap()..]);
        }
        let request = GetRequest {
            range_from: Some(600_000),
            ..GetRequest::whole(&url)
        };
        assert_eq!(
            get(&RealNetwork, &clock, &request).await.err(),
            Some(HttpError::RangeNotSatisfiable {
                total: Some(600_000)
            })
        );
    });
}

#[test]
fn nginx_sends_another_file_whole_instead_of_its_rest() {
    let Some(server) = nginx() else { return };
    let url = server.url("app.otaria");
    run(async |clock| {
        let request = GetRequest {
            range_from: Some(1_000),
            if_range: Some("\"of-another-file\""),
            ..GetRequest::whole(&url)
        };
        let got = get(&RealNetwork, &clock, &request).await.unwrap();
        assert_eq!((got.status, got.start), (200, 0));
        assert!(got.body == file());
        fs::write(server.dir.path().join("www/app.otaria"), b"new").unwrap();
        let request = GetRequest {
            if_range: got.etag.as_deref(),
            ..request
        };
        let got = get(&RealNetwork, &clock, &request).await.unwrap();
        assert_eq!((got.status, &got.body[..]), (200, &b"new"[..]));
    });
}

#[test]
fn nginx_redirects_are_followed_as_far_as_they_may() {
    let Some(server) = nginx() else { return };
    run(async |clock| {
        for path in ["moved", "away"] {
            let url = server.url(path);
            let got = get(&RealNetwork, &clock, &GetRequest::whole(&url)).await;
            assert!(got.unwrap().body == file(), "{path}");
        }
        for (path, error) in [
            ("loop", HttpError::TooManyRedirects),
            ("tls", HttpError::Connect(ConnectError::TlsUnavailable)),
            (
                "none",
                HttpError::Status {
                    status: 404,
                    retry_after: None,
                },
            ),
            (
                "busy",
                HttpError::Status {
                    status: 503,
                    retry_after: Some(7),
                },
            ),
        ] {
            let url = server.url(path);
            let got = get(&RealNetwork, &clock, &GetRequest::whole(&url)).await;
            assert_eq!(got.err(), Some(error), "{path}");
        }
    });
}

#[test]
fn nginx_can_be_killed_in_the_middle_of_a_file() {
    let Some(mut server) = nginx() else { return };
    let url = server.url("slow/app.otaria");
    run(async |clock| {
        let tcp = PlainTcp::new(&RealNetwork);
        let mut client = HttpClient::new(&tcp, &clock, UrlPolicy::ANY);
        let request = GetRequest::whole(&url);
        let mut response = client.get(&request).await.unwrap();
        assert!(response.read(&mut [0; 1000]).await.unwrap() > 0);
        server.kill();
        let mut buf = [0; 4096];
        let error = loop {
            match response.read(&mut buf).await {
                Ok(n) => assert_ne!(n, 0, "a cut file must not end as a whole one"),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, HttpError::EarlyClose | HttpError::Broken(_)),
            "{error:?}"
        );
        drop(response);
        assert_eq!(
            client.get(&request).await.err(),
            Some(HttpError::Connect(ConnectError::Refused))
        );
    });
}

#[test]
fn a_download_from_nginx_goes_on_after_every_break() {
    let Some(server) = nginx() else { return };
    let url = server.url("app.otaria");
    run(async |clock| {
        let net = Faulty::new(RealNetwork);
        for (connection, after) in [(0, 5), (1, 100_000), (2, 400), (3, 250_000), (4, 999)] {
            net.plan(connection, ConnectionFault::ResetAfter(after));
        }
        let mut body = Vec::new();
        let mut etag = None;
        let mut done = false;
        while !done {
            let request = GetRequest {
                range_from: Some(body.len() as u64).filter(|from| *from > 0),
                if_range: etag.as_deref(),
                ..GetRequest::whole(&url)
            };
            if let Ok(got) = get(&net, &clock, &request).await {
                assert_eq!(got.start, body.len() as u64);
                body.extend(got.body);
                etag = got.etag.clone();
                done = got.end.is_ok();
            }
        }
        assert!(body == file());
        assert_eq!(net.attempts(), 6);
    });
}

#[test]
fn python_sends_files_whole_whatever_is_asked() {
    let Some(server) = python() else { return };
    let url = server.url("app.otaria");
    run(async |clock| {
        for from in [None, Some(5), Some(9_999_999)] {
            let request = GetRequest {
                range_from: from,
                ..GetRequest::whole(&url)
            };
            let got = get(&RealNetwork, &clock, &request).await.unwrap();
            assert_eq!((got.status, got.start, got.end), (200, 0, Ok(())));
            assert_eq!((got.total_len, got.etag), (Some(600_000), None));
            assert!(got.body == file());
        }
        let url = server.url("none");
        let got = get(&RealNetwork, &clock, &GetRequest::whole(&url)).await;
        assert!(matches!(got, Err(HttpError::Status { status: 404, .. })));
    });
}

#[test]
fn both_answer_a_probe() {
    for server in [nginx(), python()].into_iter().flatten() {
        run(async |clock| {
            let tcp = PlainTcp::new(&RealNetwork);
            let mut client = HttpClient::new(&tcp, &clock, UrlPolicy::ANY);
            assert_eq!(client.probe(&server.url("app.otaria")).await, Ok(200));
            assert_eq!(client.probe(&server.url("none")).await, Ok(404));
        });
    }
}
