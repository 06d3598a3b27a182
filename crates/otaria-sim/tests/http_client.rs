//! The device's HTTP client over simulated links: what arrives is the file, whatever the link and the server do.

use core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;

use embedded_io_async::Write;
use otaria_device::board::{Clock, Instant};
use otaria_device::http::{GetRequest, HttpClient, HttpError, UrlPolicy};
use otaria_device::net::{ConnectError, PlainTcp};
use otaria_sim::flash::Busy;
use otaria_sim::net::{ConnectionFault, Faulty, Host, HostConfig, LinkConfig, SimNet};
use otaria_sim::peers::web::{Act, File, Request, WebServer};
use otaria_sim::world::{SimClock, World};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);
const URL: &str = "http://files.lan/app.otaria";

/// A device, and a web server with a file.
struct Lab {
    world: World,
    device: Host,
    server: Host,
    web: WebServer,
    clock: SimClock,
    file: Rc<[u8]>,
}

impl Lab {
    fn new(device: HostConfig, len: usize) -> Lab {
        let world = World::new(11);
        let net = SimNet::new(&world);
        let server = net.host("files.lan", [10, 0, 0, 1].into(), HostConfig::server());
        net.name("cdn.lan", [10, 0, 0, 1].into());
        let device = net.host("device.lan", [10, 0, 0, 2].into(), device);
        let web = WebServer::new(world.handle());
        let file: Rc<[u8]> = (0..len).map(|i| ((i * i) >> 3) as u8).collect();
        web.put("/app.otaria", File::new(file.clone(), "one"));
        let mut listener = server.bind(80).unwrap();
        let (serving, handle) = (web.clone(), world.handle());
        world.spawn("web", async move {
            loop {
                let stream = listener.accept().await;
                let web = serving.clone();
                handle.spawn("request", async move { web.serve(stream).await });
            }
        });
        let clock = SimClock::boot(world.handle(), Busy::default());
        Lab {
            world,
            device,
            server,
            web,
            clock,
            file,
        }
    }

    /// Runs a download in the world, for an hour at most.
    fn run<T>(&self, download: impl Future<Output = T>) -> T {
        let hour = self.world.now() + 3_600 * SEC;
        self.world
            .block_on_until(hour, download)
            .expect("the download hangs")
    }
}

/// What a download that goes on after every failure did.
#[derive(Debug, Default)]
struct Story {
    body: Vec<u8>,
    errors: Vec<HttpError>,
    /// Where each answer began.
    starts: Vec<u64>,
}

/// Fetches the whole file, resuming after each failure, as the device does; at most `attempts` times.
async fn fetch<N: otaria_device::board::Network>(
    net: &N,
    clock: &SimClock,
    attempts: usize,
) -> Story {
    let tcp = PlainTcp::new(net);
    let mut client = HttpClient::new(&tcp, clock, UrlPolicy::ANY);
    let mut story = Story::default();
    let mut etag: Option<String> = None;
    for _ in 0..attempts {
        let from = Some(story.body.len() as u64).filter(|from| *from > 0);
        let request = GetRequest {
            range_from: from,
            if_range: etag.as_deref(),
            ..GetRequest::whole(URL)
        };
        let mut response = match client.get(&request).await {
            Ok(response) => response,
            Err(error) => {
                story.errors.push(error);
                continue;
            }
        };
        assert!(response.start() == 0 || Some(response.start()) == from);
        story.starts.push(response.start());
        story
            .body
            .truncate(usize::try_from(response.start()).unwrap());
        etag = response.etag().map(String::from);
        let mut buf = [0; 1000];
        loop {
            match response.read(&mut buf).await {
                Ok(0) => return story,
                Ok(n) => story.body.extend_from_slice(&buf[..n]),
                Err(error) => {
                    story.errors.push(error);
                    break;
                }
            }
        }
    }
    story
}

#[test]
fn a_file_arrives_over_every_kind_of_link() {
    let link = |latency, bits_per_second, loss| LinkConfig {
        latency,
        bits_per_second,
        loss,
        ..LinkConfig::IDEAL
    };
    for (name, config) in [
        ("Wi-Fi", HostConfig::device()),
        (
            "far away",
            HostConfig {
                link: link(400 * MS, 0, 0.0),
                ..HostConfig::device()
            },
        ),
        (
            "slow",
            HostConfig {
                link: link(50 * MS, 40_000, 0.0),
                ..HostConfig::device()
            },
        ),
        (
            "lossy",
            HostConfig {
                link: link(5 * MS, 4_000_000, 0.05),
                ..HostConfig::device()
            },
        ),
        (
            "a small window",
            HostConfig {
                window: 536,
                send_buffer: 100,
                ..HostConfig::device()
            },
        ),
    ] {
        let lab = Lab::new(config, 60_000);
        let story = lab.run(fetch(&lab.device, &lab.clock, 1));
        assert_eq!(story.errors, [], "{name}");
        assert!(story.body == *lab.file, "{name}");
    }
}

#[test]
fn throughput_is_what_the_window_allows() {
    // 8 KiB each round trip of 10 ms are 800 kB/s; the radio has 500 kB/s.
    let lab = Lab::new(HostConfig::device(), 1_000_000);
    lab.run(fetch(&lab.device, &lab.clock, 1));
    let took = lab.world.now();
    assert!(
        took < 2_300 * MS,
        "{took:?}: the client must not slow the link down"
    );
}

#[test]
fn a_server_that_cannot_be_reached_says_why_and_in_time() {
    type Prepare = fn(&Lab);
    let cases: [(&str, Prepare, ConnectError, Duration); 4] = [
        (
            "http://nowhere.lan/f",
            |_| {},
            ConnectError::NameNotFound,
            SEC,
        ),
        ("http://files.lan:81/f", |_| {}, ConnectError::Refused, SEC),
        (
            URL,
            |lab| lab.server.set_black_hole(true),
            ConnectError::Timeout,
            15 * SEC,
        ),
        (
            URL,
            |lab| lab.device.set_link_up(false),
            ConnectError::NameNotFound,
            15 * SEC,
        ),
    ];
    for (url, prepare, error, within) in cases {
        let lab = Lab::new(HostConfig::device(), 10);
        prepare(&lab);
        let tcp = PlainTcp::new(&lab.device);
        let mut client = HttpClient::new(&tcp, &lab.clock, UrlPolicy::ANY);
        let got = lab.run(async { client.get(&GetRequest::whole(url)).await.err() });
        assert_eq!(got, Some(HttpError::Connect(error)));
        assert!(lab.world.now() <= within, "{url}: {:?}", lab.world.now());
    }
}

#[test]
fn https_without_tls_is_refused_and_nobody_is_asked() {
    let lab = Lab::new(HostConfig::device(), 10);
    let tcp = PlainTcp::new(&lab.device);
    let mut client = HttpClient::new(&tcp, &lab.clock, UrlPolicy::ANY);
    let request = GetRequest::whole("https://files.lan/app.otaria");
    let got = lab.run(async { client.get(&request).await.err() });
    assert_eq!(got, Some(HttpError::Connect(ConnectError::TlsUnavailable)));
    assert_eq!(lab.device.bytes_sent(), 0);
}

#[test]
fn a_connection_that_breaks_after_any_byte_is_resumed_where_it_broke() {
    let reference = Lab::new(HostConfig::device(), 200);
    reference.run(fetch(&reference.device, &reference.clock, 1));
    let all = reference.device.bytes_received();
    assert!((200..600).contains(&all), "head and body: {all} bytes");
    for broken_after in 0..all {
        for fault in [
            ConnectionFault::EndAfter(broken_after),
            ConnectionFault::ResetAfter(broken_after),
            ConnectionFault::SilentAfter(broken_after),
        ] {
            let lab = Lab::new(HostConfig::device(), 200);
            let net = Faulty::new(lab.device.clone());
            net.plan(0, fault);
            let story = lab.run(fetch(&net, &lab.clock, 3));
            assert!(story.body == *lab.file, "{fault:?}: {story:?}");
            assert_eq!(story.errors.len(), 1, "{fault:?}");
            assert_eq!(net.attempts(), 2, "{fault:?}");
            let head = all - 200;
            let resumed = broken_after.saturating_sub(head);
            assert_eq!(story.starts.last(), Some(&resumed), "{fault:?}");
            let requests = lab.web.requests();
            let last = requests.last().unwrap();
            assert_eq!(last.range_from, Some(resumed).filter(|from| *from > 0));
            assert_eq!(last.if_range.is_some(), resumed > 0);
        }
    }
}

#[test]
fn a_request_that_breaks_after_any_byte_fails_and_is_repeated() {
    for broken_after in 0..200 {
        let lab = Lab::new(HostConfig::device(), 200);
        let net = Faulty::new(lab.device.clone());
        net.plan(0, ConnectionFault::ResetAfterWriting(broken_after));
        let story = lab.run(fetch(&net, &lab.clock, 2));
        assert!(
            story.body == *lab.file,
            "{broken_after}: {:?}",
            story.errors
        );
    }
}

#[test]
fn a_server_without_ranges_is_read_from_the_start_again() {
    let lab = Lab::new(HostConfig::device(), 5_000);
    lab.web.put(
        "/app.otaria",
        File {
            ranges: false,
            etag: None,
            ..File::new(lab.file.clone(), "one")
        },
    );
    let net = Faulty::new(lab.device.clone());
    net.plan(0, ConnectionFault::ResetAfter(3_000));
    let story = lab.run(fetch(&net, &lab.clock, 2));
    assert!(story.body == *lab.file);
    assert_eq!(story.starts, [0, 0]);
    assert_eq!(
        lab.web.requests()[1].if_range,
        None,
        "there is no ETag to name"
    );
}

#[test]
fn a_file_that_changes_between_two_requests_is_never_mixed() {
    let other: Rc<[u8]> = vec![7; 5_000].into();
    let lab = Lab::new(HostConfig::device(), 5_000);
    let net = Faulty::new(lab.device.clone());
    net.plan(0, ConnectionFault::ResetAfter(3_000));
    let (web, file) = (lab.web.clone(), File::new(other.clone(), "two"));
    lab.web.set_script(Box::new(move |request: &Request| {
        if request.range_from.is_some() {
            web.put("/app.otaria", file.clone());
        }
        None
    }));
    let story = lab.run(fetch(&net, &lab.clock, 2));
    assert!(story.body == *other);
    assert_eq!(story.starts, [0, 0], "If-Range turned the range into all");

    // The same with a server that knows Range, but not If-Range.
    let lab = Lab::new(HostConfig::device(), 5_000);
    lab.web.set_script(Box::new(|request: &Request| {
        let answer = match request.range_from {
            None => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"one\"\r\n\r\n01234".into(),
            Some(from) => format!(
                "HTTP/1.1 206 x\r\nContent-Range: bytes {from}-9/10\r\nETag: \"two\"\r\n\r\n56789"
            ),
        };
        Some(vec![Act::Send(answer.into_bytes())])
    }));
    let story = lab.run(fetch(&lab.device, &lab.clock, 2));
    assert_eq!(
        story.errors,
        [HttpError::EarlyClose, HttpError::ContentChanged]
    );
}

#[test]
fn a_link_that_fails_in_the_middle_is_a_stall_and_the_rest_comes_later() {
    let config = HostConfig {
        link: LinkConfig {
            bits_per_second: 80_000,
            ..LinkConfig::IDEAL
        },
        ..HostConfig::device()
    };
    let lab = Lab::new(config, 50_000);
    let (down, up) = (lab.device.clone(), lab.device.clone());
    lab.world.at(2 * SEC, move || down.set_link_up(false));
    lab.world.at(40 * SEC, move || up.set_link_up(true));
    let story = lab.run(fetch(&lab.device, &lab.clock, 5));
    assert!(story.body == *lab.file);
    assert_eq!(story.errors[0], HttpError::Stalled);
    assert!(story.starts[1] > 0, "{story:?}");
}

#[test]
fn a_short_standstill_of_the_link_is_no_failure() {
    let lab = Lab::new(HostConfig::device(), 500_000);
    let device = lab.device.clone();
    lab.world.at(300 * MS, move || device.stall(19 * SEC));
    let story = lab.run(fetch(&lab.device, &lab.clock, 1));
    assert_eq!(story.errors, []);
    assert!(story.body == *lab.file);
}

#[test]
fn redirects_lead_to_other_hosts_and_ranges_go_with_them() {
    let lab = Lab::new(HostConfig::device(), 5_000);
    lab.web.set_script(Box::new(|request: &Request| {
        let to_cdn = request.head.contains("Host: files.lan\r\n");
        to_cdn.then(|| {
            let answer = "HTTP/1.1 302 Found\r\nLocation: http://cdn.lan/app.otaria\r\nContent-Length: 0\r\n\r\n";
            vec![Act::Send(answer.into())]
        })
    }));
    let net = Faulty::new(lab.device.clone());
    net.plan(1, ConnectionFault::EndAfter(3_000));
    let story = lab.run(fetch(&net, &lab.clock, 2));
    assert!(story.body == *lab.file);
    let requests = lab.web.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests[2].range_from.is_some() && requests[3].range_from.is_some());
}

#[test]
fn any_flipped_bit_in_the_head_ends_in_a_file_or_a_named_error() {
    let reference = Lab::new(HostConfig::device(), 50);
    reference.run(fetch(&reference.device, &reference.clock, 1));
    let all = reference.device.bytes_received();
    for at in 0..all {
        for bit in 0..8 {
            let lab = Lab::new(HostConfig::device(), 50);
            let net = Faulty::new(lab.device.clone());
            net.plan(0, ConnectionFault::Flip { at, mask: 1 << bit });
            let story = lab.run(fetch(&net, &lab.clock, 1));
            assert!(story.errors.len() <= 1);
            assert!(lab.world.now() <= 21 * SEC, "{at} {bit}: {story:?}");
        }
    }
}

#[test]
fn a_server_that_hangs_at_any_moment_is_given_up() {
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for sent in 0..answer.len() {
        let lab = Lab::new(HostConfig::device(), 1);
        lab.web.set_script(Box::new(move |_| {
            Some(vec![Act::Send(answer[..sent].to_vec()), Act::Hang])
        }));
        let story = lab.run(fetch(&lab.device, &lab.clock, 1));
        assert!(
            matches!(
                story.errors[..],
                [HttpError::HeadTimeout | HttpError::Stalled]
            ),
            "{sent}: {story:?}"
        );
        assert!(lab.world.now() <= 21 * SEC);
    }
}

#[test]
fn bytes_that_drip_keep_the_download_alive_and_show_their_rate() {
    let lab = Lab::new(HostConfig::device(), 1);
    lab.web.set_script(Box::new(|_| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n".to_vec();
        let drip = (0..30).flat_map(|_| [Act::Wait(2 * SEC), Act::Send(b"x".to_vec())]);
        Some([Act::Send(head)].into_iter().chain(drip).collect())
    }));
    let tcp = PlainTcp::new(&lab.device);
    let mut client = HttpClient::new(&tcp, &lab.clock, UrlPolicy::ANY);
    let (received, took) = lab.run(async {
        let request = GetRequest::whole(URL);
        let mut response = client.get(&request).await.unwrap();
        while response.read(&mut [0; 100]).await.unwrap() > 0 {}
        let took = lab.clock.now() - response.since();
        (response.received(), took)
    });
    assert_eq!(received, 30);
    assert!(took >= (59 * SEC).into(), "{took:?}");
}

#[test]
fn a_probe_needs_no_more_than_a_status_line() {
    let lab = Lab::new(HostConfig::device(), 5_000);
    let tcp = PlainTcp::new(&lab.device);
    let mut client = HttpClient::new(&tcp, &lab.clock, UrlPolicy::ANY);
    assert_eq!(lab.run(client.probe("http://files.lan/none")), Ok(404));
    assert!(
        lab.world.now() < SEC,
        "it does not wait for anything behind that"
    );
    lab.server.set_black_hole(true);
    let started = lab.clock.now();
    assert_eq!(
        lab.run(client.probe(URL)),
        Err(HttpError::Connect(ConnectError::Timeout))
    );
    assert_eq!(lab.clock.now() - started, (15 * SEC).into());
}

#[test]
fn a_server_that_only_accepts_is_no_web_server() {
    let world = World::new(1);
    let net = SimNet::new(&world);
    let server = net.host("files.lan", [10, 0, 0, 1].into(), HostConfig::server());
    let device = net.host("device.lan", [10, 0, 0, 2].into(), HostConfig::device());
    let mut listener = server.bind(80).unwrap();
    let held = Rc::new(RefCell::new(Vec::new()));
    let keep = held.clone();
    world.spawn("mail server", async move {
        loop {
            let mut stream = listener.accept().await;
            stream.write_all(b"220 mail ready\r\n").await.unwrap();
            keep.borrow_mut().push(stream);
        }
    });
    let clock = SimClock::boot(world.handle(), Busy::default());
    let tcp = PlainTcp::new(&device);
    let mut client = HttpClient::new(&tcp, &clock, UrlPolicy::ANY);
    let got = world.block_on(async { client.get(&GetRequest::whole(URL)).await.err() });
    assert_eq!(got, Some(HttpError::NotHttp));
    assert!(clock.now() < Instant::from_secs(1));
}
