//! The device's HTTP client against servers that others wrote: nginx, which knows ranges and ETags, and Python's `http.server`,
//! which knows neither and answers with HTTP/1.0.

use core::time::Duration;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use otaria_device::board::Network;
use otaria_device::http::{GetRequest, HttpClient, HttpError, UrlPolicy};
use otaria_device::net::{ConnectError, PlainTcp};
use otaria_sim::flash::Busy;
use otaria_sim::net::{ConnectionFault, Faulty};
use otaria_sim::real::{RealClock, RealNetwork};

/// A server's process and its files. Both are gone when this is dropped.
struct Server {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }
}

/// Bytes that differ from place to place.
fn file() -> Vec<u8> {
    (0..600_000u32)
        .map(|i| (i.wrapping_mul(i) >> 5) as u8)
        .collect()
}

fn dir_with_files() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("www")).unwrap();
    fs::write(dir.path().join("www/app.otaria"), file()).unwrap();
    dir
}

/// Says why a test does not run, if `program` is not installed.
fn missing(program: &str) -> bool {
    let missing = !Path::new(program).exists();
    if missing {
        println!("skipped: {program} is not installed");
    }
    missing
}

/// Waits until something listens on `port`, or `process` has ended.
fn wait_for(port: u16, process: &mut Child) -> bool {
    loop {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return true;
        }
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

const NGINX: &str = "/usr/sbin/nginx";

fn nginx() -> Option<Server> {
    if missing(NGINX) {
        return None;
    }
    let dir = dir_with_files();
    // Between finding a free port and using it, somebody else may take it: then once more.
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let root = dir.path().display();
        // As root, nginx would read the files as another user, who may not enter the directory.
        let config = format!(
            "daemon off; master_process off; pid {root}/pid; error_log {root}/log;
             events {{}}
             http {{
                access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p;
                fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
                gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any; gzip_http_version 1.0;
                server {{
                    listen 127.0.0.1:{port}; root {root}/www;
                    location /moved {{ return 302 /app.otaria; }}
                    location /away {{ return 301 http://localhost:{port}/app.otaria; }}
                    location /loop {{ return 307 /loop; }}
                    location /tls {{ return 308 https://127.0.0.1:{port}/app.otaria; }}
                    location /busy {{ add_header Retry-After 7 always; return 503; }}
                    location /slow/ {{ alias {root}/www/; limit_rate 200k; }}
                }}
             }}"
        );
        let path = dir.path().join("nginx.conf");
        fs::write(&path, config).unwrap();
        let mut process = Command::new(NGINX)
            .args(["-e", "stderr", "-p"])
            .arg(dir.path())
            .arg("-c")
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        if wait_for(port, &mut process) {
            return Some(Server { process, port, dir });
        }
    }
    panic!("nginx does not start");
}

fn python() -> Option<Server> {
    let dir = dir_with_files();
    let www = dir.path().join("www");
    let process = Command::new("python3")
        .args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0"])
        .current_dir(www)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut process) = process else {
        println!("skipped: python3 is not installed");
        return None;
    };
    // "Serving HTTP on 127.0.0.1 port 43210 (http://...) ..."
    let mut line = String::new();
    let stdout = process.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let mut words = line.split(' ').skip_while(|word| *word != "port");
    let port = words.nth(1).unwrap().parse().unwrap();
    Some(Server { process, port, dir })
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
        server.process.kill().unwrap();
        server.process.wait().unwrap();
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
